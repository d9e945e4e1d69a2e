"""Flows as a user writes them, over the project that the fixture `project` makes."""

from collections.abc import Callable
from typing import Any

from prefect import State, flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId
from prefect.client.schemas.objects import TaskRun

from dbtpod import run_dbt
from waiting import until


@flow
def building(*args: str, retries: int = 0) -> State[Any]:
    return run_dbt(args or "build", retries=retries, retry_delay_seconds=1)


@flow
def checking_freshness() -> State[Any]:
    return run_dbt("source freshness", retries=3, retry_delay_seconds=1)


@flow
def smoking() -> State[Any]:
    return run_dbt("seed", "build --selector smoke")


@flow
def continuing_from(earlier: str) -> State[Any]:
    return run_dbt("build", continues=earlier)


@flow
def keeping_aside() -> State[Any]:
    return run_dbt("build", result="keep aside")


def run(function: Callable[..., State[Any]], *args: Any, **kwargs: Any) -> State[Any]:
    """Run a flow; its last state, also where that is a failure."""
    return function(*args, return_state=True, **kwargs)


def commands_of(state: State[Any]) -> list[TaskRun]:
    """The task runs of the run's dbt commands that ended: at least one."""
    flow_run = state.state_details.flow_run_id
    assert flow_run is not None
    with get_client(sync_client=True) as client:
        this_run = FlowRunFilter(id=FlowRunFilterId(any_=[flow_run]))

        def commands() -> list[TaskRun]:
            runs = client.read_task_runs(flow_run_filter=this_run)
            return [run for run in runs if run.name.startswith("dbt ")]

        # The server hears of a task run's end by an event, which may come after the end of its flow run.
        return until(lambda: [run for run in commands() if run.end_time] or [], what=f"dbt commands of {flow_run}")
