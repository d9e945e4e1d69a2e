"""The ready flow: a deployment of it needs no Python, only the commands.

entrypoint: dbtpod.flows.commands
parameters:
  commands: [seed, build --select staging]
  retries: 2
  retry_delay_seconds: 60
"""

from typing import Annotated

from prefect import State, flow
from pydantic import Field

from dbtpod.run import run_dbt


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
