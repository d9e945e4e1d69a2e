"""dbt's nodes as task runs of the flow run: Prefect's run graph is then dbt's lineage, live and coloured.

    with NodeRuns() as nodes, nodes.command(target_dir, "dbt build") as shown:
        shown.observe(event)

A line of a node is logged in its task run. The task runs of a command are linked to the newest of their ancestors in
this flow run, be they of this dbt command, of one before it, or of an earlier process of a rescheduled run.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

from httpx import HTTPError
from prefect import get_run_logger
from prefect.client.schemas.objects import StateType
from prefect.context import FlowRunContext
from prefect.events import Event as PrefectEvent

from dbtpod.ui import earlier_runs, task_events
from dbtpod.ui.command_runs import CommandRuns, Shown
from dbtpod.ui.progress import Progress


class NodeRuns:
    """The task runs of one flow run's nodes, over all its dbt commands; entered by the flow for its length.

    Nothing here raises, or waits for the API: where no task run can be made, one warning says so and the log continues.
    Only the end of the block waits for those that are still on their way, and not for long.
    """

    def __init__(self) -> None:
        context = FlowRunContext.get()
        if context is None or context.flow_run is None:
            raise RuntimeError("NodeRuns() belongs inside a Prefect flow: decorate the function with @flow.")
        related = task_events.related(context.flow_run, context.flow.name if context.flow else "")
        self._shown = Shown(context.flow_run, related, get_run_logger())
        # Of the newest command.
        self._progress: Progress | None = None

    def __enter__(self) -> Self:
        """Link to what an earlier process of this flow run has left."""
        self._shown.sender.__enter__()
        self._shown.sender.put(self._link_to_earlier)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Have the last task runs sent, and the last bar moved; those of other commands had the time for that."""
        self._shown.sender.__exit__(kind, error, traceback)
        if self._progress:
            self._progress.wait()

    @contextmanager
    def command(self, target_dir: Path, name: str = "dbt") -> Iterator[CommandRuns]:
        """Follow a dbt command, which writes its artifacts to `target_dir`; `name` is what the progress calls it.

        A node that dbt began and never finished ends with the block: Cancelled if an exception ends it, as when the
        run is being stopped, else Crashed.
        """
        self._shown.log = get_run_logger()
        with Progress(name, self._shown.flow_run.id, self._shown.log.info) as self._progress:
            runs = CommandRuns(self._shown, target_dir, self._progress)
            try:
                yield runs
            except BaseException:
                runs.end_open(StateType.CANCELLED, "Cancelled", "The run was stopped while dbt ran this node.")
                raise
            runs.end_open(StateType.CRASHED, "Crashed", "dbt ended before it finished this node.")
            self._shown.sender.flush()

    def _link_to_earlier(self) -> list[PrefectEvent]:
        """Link to the task runs of an earlier process of this flow run, and end those that it left open."""
        if self._shown.flow_run.run_count < 2:
            return []
        try:
            runs, ended = earlier_runs.read(self._shown.flow_run, self._shown.related)
        except HTTPError as error:
            self._shown.warn(
                f"The task runs of this run's earlier pod stay as they are, and are not linked to: {error}"
            )
            return []
        for node_id, run_id in runs.items():
            self._shown.latest.setdefault(node_id, run_id)
        return ended
