"""The ready flows: a deployment of them needs no Python.

`commands` is for what runs again and again, with its commands in prefect.yaml:

    entrypoint: dbtpod.flows.commands
    parameters:
      commands: [seed, build --select staging]
      retries: 2
      retry_delay_seconds: 60

`run` is for what a person runs once, with a form in Prefect's UI:

    entrypoint: dbtpod.flows.run
"""

from typing import Annotated

from prefect import State, flow
from pydantic import Field

from dbtpod import resume, selection
from dbtpod.request import RunRequest
from dbtpod.run import current_settings, run_dbt
from dbtpod.warehouse import warehouse


@flow(
    name="dbt",
    description="Runs dbt commands, one after the other. The first that fails ends the run; what they build is "
    "published when all of them ended well.",
)
def commands(
    commands: Annotated[list[str | list[str]], Field(min_length=1)],
    retries: Annotated[int, Field(ge=0)] = 0,
    retry_delay_seconds: Annotated[float, Field(ge=0)] = 0,
) -> State[None]:
    # Prefect's form of a custom run shows these texts, and reads them nowhere else.
    """Run dbt commands as `run_dbt` does.

    Args:
        commands: Each as in a shell, such as `build --select staging`, or as a list of its words.
        retries: How often a command is tried again after a lock or a connection error.
        retry_delay_seconds: The pause before each of these tries.
    """
    return run_dbt(*commands, retries=retries, retry_delay_seconds=retry_delay_seconds)


@flow(
    name="dbt-run",
    description="Runs any part of the project once, with dbt's options: a selection, a full refresh, a backfill by "
    "event time; or continues a run that failed.",
)
def run(request: RunRequest) -> State[None]:
    """Run what was asked for; a name that the project does not have is an error before the run waits for another.

    Args:
        request: What dbt does; as it is, it builds the whole project and publishes it.
    """
    if request.continue_from:
        volume = warehouse.of(current_settings()).volume
        given = resume.commands_of(volume, request.continue_from)
    else:
        given = request.commands()
        if request.chooses:
            selection.check(warehouse.project(current_settings()), given[0])
    return run_dbt(
        *given,
        retries=request.retries,
        retry_delay_seconds=request.retry_delay_seconds,
        result=request.result,
        continues=request.continue_from or None,
    )
