"""The task runs that an earlier process of a rescheduled flow run has left in Prefect."""

from collections.abc import Iterator
from itertools import count
from uuid import UUID

from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId
from prefect.client.schemas.objects import FlowRun, State, StateType, TaskRun
from prefect.client.schemas.sorting import TaskRunSort
from prefect.events import Event

from dbtpod.ui import task_events
from dbtpod.ui.event_sender import no_retry_client

TASK_KEY = "dbt-node"
_MOST_AT_ONCE = 200  # the most task runs that the API gives


def read(flow_run: FlowRun, related: list[dict[str, str]]) -> tuple[dict[str, UUID], list[Event]]:
    """Read each node's newest task run, and make the events that end those that the process left open.

    HTTPError where the API does not answer.
    """
    newest: dict[str, UUID] = {}
    ended = []
    for run in _newest_first(flow_run):
        newest.setdefault(run.dynamic_key.rsplit("/", 1)[0], run.id)
        if run.state and not run.state.is_final():
            state: State[None] = State(type=StateType.CRASHED, name="Crashed", message="The process that ran dbt died.")
            ended.append(task_events.state_change(run, state, related))
    return newest, ended


def _newest_first(flow_run: FlowRun) -> Iterator[TaskRun]:
    this_run = FlowRunFilter(id=FlowRunFilterId(any_=[flow_run.id]))
    with no_retry_client() as client:
        for offset in count(0, _MOST_AT_ONCE):
            page = client.read_task_runs(
                flow_run_filter=this_run, sort=TaskRunSort.EXPECTED_START_TIME_DESC, limit=_MOST_AT_ONCE, offset=offset
            )
            yield from (run for run in page if run.task_key == TASK_KEY)
            if len(page) < _MOST_AT_ONCE:
                return
