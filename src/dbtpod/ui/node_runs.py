"""dbt's nodes as task runs of the flow run: Prefect's run graph is then dbt's lineage, live and coloured.

A line of a node is logged in its task run. The task runs of a command are linked to the newest of their ancestors in
this flow run, be they of this dbt command, of one before it, or of an earlier process of a rescheduled run.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from logging import Logger, LoggerAdapter
from pathlib import Path
from types import TracebackType
from typing import Self
from uuid import UUID, uuid4

from httpx import HTTPError
from prefect import get_run_logger
from prefect.client.schemas.objects import State, StateType, TaskRun, TaskRunResult
from prefect.context import FlowRunContext
from prefect.events import Event as PrefectEvent
from prefect.logging.loggers import task_run_logger

from dbtpod.dbt import results
from dbtpod.dbt.artifact import RUN_RESULTS
from dbtpod.dbt.events import Event, LogLine, NodeFinished, NodeStarted
from dbtpod.dbt.node import NodeResult, kind_of, name_of, names
from dbtpod.dbt.results import RunReport
from dbtpod.ui import earlier_runs, node_states, task_events
from dbtpod.ui.earlier_runs import TASK_KEY
from dbtpod.ui.event_sender import EventSender
from dbtpod.ui.lineage import Parents, read_parents, upstream
from dbtpod.ui.progress import Progress

_Log = Logger | LoggerAdapter[Logger]


class NodeRuns:
    """The task runs of one flow run's nodes, over all its dbt commands; entered by the flow for its length.

    Nothing here raises, or waits for the API: where rows cannot be made, one warning says so and the log goes on. Only
    the end of the block waits for the rows that are still on their way, and not for long.
    """

    def __init__(self) -> None:
        context = FlowRunContext.get()
        if context is None or context.flow_run is None:
            raise RuntimeError("NodeRuns() belongs inside a Prefect flow: decorate the function with @flow.")
        self._flow_run = context.flow_run
        self._log: _Log = get_run_logger()
        self._related = task_events.related(context.flow_run, context.flow.name if context.flow else "")
        self._latest: dict[str, UUID] = {}  # each node's newest task run in this flow run
        self._blind = False
        self._sender = EventSender(self._warn)
        self._progress: Progress | None = None

    def __enter__(self) -> Self:
        """Take over what an earlier process of this flow run has left."""
        self._sender.__enter__()
        self._sender.put(self._adopt)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Have the last rows sent, and the last bar moved; those of other commands had the time for that."""
        self._sender.__exit__(kind, error, traceback)
        if self._progress:
            self._progress.wait()

    @contextmanager
    def command(self, target_dir: Path, name: str = "dbt") -> Iterator[Self]:
        """Follow a dbt command, which writes its artifacts to `target_dir`; `name` is what the progress calls it.

        A node that dbt began and never finished ends with the block: Cancelled if an exception ends it, as when the
        run is being stopped, else Crashed.
        """
        self._log = get_run_logger()
        self._target_dir = target_dir
        self._parents: Parents | None = None
        self._labels: dict[str, str] = {}
        self._rows: dict[str, TaskRun] = {}  # those of this command
        self._open: dict[str, TaskRun] = {}
        self._ended: dict[str, NodeResult] = {}
        with Progress(name, self._flow_run.id, self._log.info) as self._progress:
            try:
                yield self
            except BaseException:
                self._end_open(StateType.CANCELLED, "Cancelled", "The run was stopped while dbt ran this node.")
                raise
            self._end_open(StateType.CRASHED, "Crashed", "dbt ended before it finished this node.")
            self._sender.flush()

    def observe(self, event: Event) -> None:
        """Write a line to the log, or have a node's row begin or end.

        The line of a node goes to its row; Prefect shows it in the run's log as well.
        """
        if isinstance(event, LogLine):
            _write(self._logger_of(event.node_id), event)
            return
        if self._progress:
            self._progress.observe(event)
        if isinstance(event, NodeStarted):
            self._try(lambda: self._start(event))
        elif isinstance(event, NodeFinished):
            place = str(self._target_dir / RUN_RESULTS)
            self._try(lambda: self._end(results.of_event(event, place)))

    def reconcile(self, report: RunReport) -> None:
        """Have each row end as the report of this command says; call it when dbt has ended.

        dbt's log leaves out what it cannot write, what only its artifacts have, and with `--quiet` everything.
        """
        if report.warning:
            self._warn(report.warning)
        for node in report.nodes:
            shown = self._ended.get(node.node_id)
            if shown and not node_states.is_news(node, shown):
                continue
            if self._progress:
                self._progress.ended(node.node_id, node.status)
            self._try(partial(self._end, node, is_late=True))

    def _start(self, event: NodeStarted) -> None:
        row = self._begin(event.node_id, event.at)
        self._open[event.node_id] = row
        self._enter(row, StateType.RUNNING, "Running", event.at)

    def _end(self, node: NodeResult, is_late: bool = False) -> None:
        ended = node.ended or datetime.now(UTC)
        is_open = self._open.pop(node.node_id, None) is not None
        began = ended - timedelta(seconds=node.seconds)
        row = self._begin(node.node_id, began)
        if is_late and not is_open and node.node_id not in self._ended and node_states.has_run(node):
            self._enter(row, StateType.RUNNING, "Running", began)
        row.name = node_states.name_of(row.name, node)
        self._ended[node.node_id] = node
        self._enter(row, *node_states.state_of(node), ended, node_states.message_of(node))

    def _row(self, node_id: str) -> TaskRun:
        """The task run of the node in this command; the first line about a node may come before its start."""
        if node_id not in self._rows:
            run_id = uuid4()
            self._rows[node_id] = TaskRun(
                id=run_id,
                name=f"{kind_of(node_id)} {name_of(node_id)}",
                flow_run_id=self._flow_run.id,
                flow_run_run_count=self._flow_run.run_count,
                task_key=TASK_KEY,
                dynamic_key=f"{node_id}/{run_id}",  # a node runs once in each command
            )
        return self._rows[node_id]

    def _begin(self, node_id: str, at: datetime) -> TaskRun:
        """The node's row with its name and its parents, Pending if it has no state yet."""
        row = self._row(node_id)
        if self._parents is None:  # dbt has written its manifest by the time that a node begins
            self._parents = read_parents(self._target_dir)
            self._labels = names(self._parents)
        row.name = f"{kind_of(node_id)} {self._labels.get(node_id) or name_of(node_id)}"
        if self._latest.get(node_id) != row.id:
            before = upstream(node_id, self._parents, self._latest)
            # Not "__parents__" too, where a task runs the command: the graph would fold the lineage into its one bar.
            row.task_inputs = {"upstream": [TaskRunResult(id=run_id) for run_id in before]}
            self._latest[node_id] = row.id
            self._enter(row, StateType.PENDING, "Pending", at - task_events.TICK)
        return row

    def _enter(self, row: TaskRun, kind: StateType, name: str, at: datetime, message: str | None = None) -> None:
        state: State[None] = State(type=kind, name=name, timestamp=at, message=message)
        self._sender.put(lambda: [task_events.state_change(row, state, self._related)])

    def _end_open(self, kind: StateType, name: str, message: str) -> None:
        for row in self._open.values():
            self._try(partial(self._enter, row, kind, name, datetime.now(UTC), message))

    def _adopt(self) -> list[PrefectEvent]:
        """Link to the task runs of an earlier process of this flow run, and end those that it left open."""
        if self._flow_run.run_count < 2:
            return []
        try:
            runs, ended = earlier_runs.adopt(self._flow_run, self._related)
        except HTTPError as error:
            self._warn(f"The task runs of this run's earlier pod stay as they are, and are not linked to: {error}")
            return []
        for node_id, run_id in runs.items():
            self._latest.setdefault(node_id, run_id)
        return ended

    def _logger_of(self, node_id: str | None) -> _Log:
        with suppress(Exception):
            if node_id and not self._blind:
                return task_run_logger(self._row(node_id))
        return self._log

    def _try(self, change: Callable[[], None]) -> None:
        if self._blind:
            return
        try:
            change()
        except Exception as error:  # whatever Prefect's next version breaks
            self._blind = True
            self._warn(f"dbt's nodes are not shown in Prefect from here on, only logged: {error!r}")

    def _warn(self, text: str) -> None:
        self._log.warning("%s", text)


def _write(log: _Log, line: LogLine) -> None:
    """Log the line at dbt's own time."""
    logger, extra = (log.logger, log.extra) if isinstance(log, LoggerAdapter) else (log, None)
    if logger.isEnabledFor(line.level):
        record = logger.makeRecord(logger.name, line.level, "", 0, line.text, (), None, extra=extra)
        record.created = line.at.timestamp() if line.at else record.created
        record.msecs = record.created % 1 * 1000
        logger.handle(record)
