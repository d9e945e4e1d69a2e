"""The task runs of one dbt command's nodes: each begins and ends as dbt says, and as its artifacts say in the end."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from logging import Logger, LoggerAdapter
from pathlib import Path
from uuid import UUID, uuid4

from prefect.client.schemas.objects import FlowRun, State, StateType, TaskRun, TaskRunResult
from prefect.logging.loggers import task_run_logger

from dbtpod.dbt import results
from dbtpod.dbt.artifact import RUN_RESULTS
from dbtpod.dbt.events import Event, LogLine, NodeFinished, NodeStarted
from dbtpod.dbt.node import NodeResult, kind_of, name_of, names
from dbtpod.dbt.results import RunReport
from dbtpod.ui import node_states, task_events
from dbtpod.ui.earlier_runs import TASK_KEY
from dbtpod.ui.event_sender import EventSender
from dbtpod.ui.lineage import Parents, nearest, read_parents
from dbtpod.ui.progress import Progress

Log = Logger | LoggerAdapter[Logger]


@dataclass
class Shown:
    """What the commands of a flow run share: where their nodes are shown."""

    flow_run: FlowRun
    related: list[dict[str, str]]
    log: Log
    sender: EventSender = field(init=False)
    # Each node's newest task run in this flow run.
    latest: dict[str, UUID] = field(default_factory=dict)
    is_disabled: bool = False

    def __post_init__(self) -> None:
        """Have what the sender warns of in the log."""
        self.sender = EventSender(self.warn)

    def attempt(self, change: Callable[[], None]) -> None:
        """Do it, unless an earlier one failed: one warning says so, the log continues, and dbt is not disturbed."""
        if self.is_disabled:
            return
        try:
            change()
        except Exception as error:  # whatever Prefect's next version breaks
            self.is_disabled = True
            self.warn(f"dbt's nodes are not shown in Prefect from here on, only logged: {error!r}")

    def warn(self, text: str) -> None:
        """Log a warning."""
        self.log.warning("%s", text)


class CommandRuns:
    """The task runs of a running dbt command, which writes its artifacts to `target_dir`."""

    def __init__(self, shown: Shown, target_dir: Path, progress: Progress) -> None:
        self._shown = shown
        self._target_dir = target_dir
        self._progress = progress
        self._parents: Parents | None = None
        self._labels: dict[str, str] = {}
        self._runs: dict[str, TaskRun] = {}
        self._open: dict[str, TaskRun] = {}
        self._ended: dict[str, NodeResult] = {}

    def observe(self, event: Event) -> None:
        """Write a line to the log, or have a node's task run begin or end.

        The line of a node goes to its task run; Prefect shows it in the flow run's log as well.
        """
        if isinstance(event, LogLine):
            _write(self._logger_of(event.node_id), event)
            return
        self._progress.observe(event)
        if isinstance(event, NodeStarted):
            self._shown.attempt(lambda: self._start(event))
        elif isinstance(event, NodeFinished):
            place = str(self._target_dir / RUN_RESULTS)
            self._shown.attempt(lambda: self._end(results.of_event(event, place)))

    def reconcile(self, report: RunReport) -> None:
        """Have each task run end as the report of this command says; call it when dbt has ended.

        dbt's log leaves out what it cannot write, what only its artifacts have, and with `--quiet` everything.
        """
        if report.warning:
            self._shown.warn(report.warning)
        for node in report.nodes:
            before = self._ended.get(node.node_id)
            if before and not node_states.is_news(node, before):
                continue
            self._progress.ended(node.node_id, node.status)
            self._shown.attempt(partial(self._end, node, is_late=True))

    def end_open(self, kind: StateType, name: str, message: str) -> None:
        """End the task runs of nodes that dbt began and never finished."""
        for run in self._open.values():
            self._shown.attempt(partial(self._enter, run, kind, name, datetime.now(UTC), message))

    def _start(self, event: NodeStarted) -> None:
        run = self._begin(event.node_id, event.at)
        self._open[event.node_id] = run
        self._enter(run, StateType.RUNNING, "Running", event.at)

    def _end(self, node: NodeResult, is_late: bool = False) -> None:
        ended = node.ended or datetime.now(UTC)
        is_open = self._open.pop(node.node_id, None) is not None
        began = ended - timedelta(seconds=node.seconds)
        run = self._begin(node.node_id, began)
        if is_late and not is_open and node.node_id not in self._ended and node_states.has_run(node):
            self._enter(run, StateType.RUNNING, "Running", began)
        run.name = node_states.name_of(run.name, node)
        self._ended[node.node_id] = node
        self._enter(run, *node_states.state_of(node), ended, node_states.message_of(node))

    def _run(self, node_id: str) -> TaskRun:
        """The task run of the node in this command; the first line about a node may come before its start."""
        if node_id not in self._runs:
            run_id = uuid4()
            self._runs[node_id] = TaskRun(
                id=run_id,
                name=f"{kind_of(node_id)} {name_of(node_id)}",
                flow_run_id=self._shown.flow_run.id,
                flow_run_run_count=self._shown.flow_run.run_count,
                task_key=TASK_KEY,
                dynamic_key=f"{node_id}/{run_id}",  # a node runs once in each command
            )
        return self._runs[node_id]

    def _begin(self, node_id: str, at: datetime) -> TaskRun:
        """The node's task run with its name and its parents, Pending if it has no state yet."""
        run, latest = self._run(node_id), self._shown.latest
        if self._parents is None:  # dbt has written its manifest by the time that a node begins
            self._parents = read_parents(self._target_dir)
            self._labels = names(self._parents)
        run.name = f"{kind_of(node_id)} {self._labels.get(node_id) or name_of(node_id)}"
        if latest.get(node_id) != run.id:
            before = [latest[parent] for parent in nearest(node_id, self._parents, latest)]
            # Not "__parents__" too, where a task runs the command: the graph would fold the lineage into its one bar.
            run.task_inputs = {"upstream": [TaskRunResult(id=run_id) for run_id in before]}
            latest[node_id] = run.id
            self._enter(run, StateType.PENDING, "Pending", at - task_events.TICK)
        return run

    def _enter(self, run: TaskRun, kind: StateType, name: str, at: datetime, message: str | None = None) -> None:
        state: State[None] = State(type=kind, name=name, timestamp=at, message=message)
        self._shown.sender.put(lambda: [task_events.state_change(run, state, self._shown.related)])

    def _logger_of(self, node_id: str | None) -> Log:
        with suppress(Exception):
            if node_id and not self._shown.is_disabled:
                return task_run_logger(self._run(node_id))
        return self._shown.log


def _write(log: Log, line: LogLine) -> None:
    """Log the line at dbt's own time."""
    logger, extra = (log.logger, log.extra) if isinstance(log, LoggerAdapter) else (log, None)
    if logger.isEnabledFor(line.level):
        record = logger.makeRecord(logger.name, line.level, "", 0, line.text, (), None, extra=extra)
        record.created = line.at.timestamp() if line.at else record.created
        record.msecs = record.created % 1 * 1000
        logger.handle(record)
