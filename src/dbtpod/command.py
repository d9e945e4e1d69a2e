"""A dbt command as a flow calls it: a Prefect task, tried again after a lost connection."""

from dataclasses import dataclass
from pathlib import Path

from prefect import State, get_run_logger, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import TaskRun
from prefect.states import Completed
from prefect.tasks import Task

from dbtpod import attempts, complete
from dbtpod.attempts import Attempts
from dbtpod.dbt import arguments, results
from dbtpod.dbt.project import Project
from dbtpod.dbt.results import RunReport
from dbtpod.errors import DbtFailed, DbtPodError
from dbtpod.ui import report
from dbtpod.ui.node_runs import NodeRuns
from dbtpod.ui.reader_links import ReaderLinks
from dbtpod.ui.text import truncate
from dbtpod.warehouse.built import Built
from dbtpod.warehouse.certificate import Certificate

# Of a task run: --vars may be kilobytes.
_LONGEST_NAME = 300


@dataclass(frozen=True)
class Retries:
    """How often a command is tried again after a lock or a connection error, and the pause before each time."""

    count: int
    delay_seconds: float


NO_RETRIES = Retries(0, 0)


class Dbt:
    """What a flow calls: `dbt("build", "--select", "orders")` runs that command, or raises."""

    def __init__(self, project: Project, run_dir: Path, file: Built | None, retries: Retries, nodes: NodeRuns) -> None:
        self._project = project
        self._run_dir = run_dir
        # None: it only reads.
        self._file = file
        self._retries = retries
        self._nodes = nodes
        self._done: list[complete.Command] = []
        self._failed: list[str] = []
        # Of all commands, attempts and pods of this flow run.
        self.report = RunReport("", (), 0.0)
        # Of the newest attempt.
        self.target_dir = run_dir
        # Whether `source freshness` has ended well where all that failed is that sources are stale.
        self.may_be_stale = False
        # Where its report leads.
        self.reader = ReaderLinks()
        # Why there is this run at all: in its report, before all else.
        self.reason = ""
        # What a generation gets beside dbt's own artifacts.
        self.records: list[Path] = []

    def __call__(self, *args: str) -> None:
        """Run `dbt *args`, and again after a lock or a connection error; DbtPodError says what failed, and why.

        What an earlier pod of this flow run has finished is not run again.
        """
        name = arguments.text(args)
        number = len(self._done) + len(self._failed) + 1
        self._failed.append(name)
        log = get_run_logger()
        folder = self._run_dir / f"{number}-{arguments.parse(args).verb}"
        command = Attempts(self._project, folder, args, self._file, log)
        command.check_connection()
        self._add(attempts.merged(command.reports))
        self.target_dir = command.target_dir
        if command.has_ended_well:
            log.info("%s: done before the pod of this run was replaced", name)
        else:
            self._run(name, command)
        self._done.append(command.finish())
        self._failed.remove(name)

    @property
    def state(self) -> State[None]:
        """Completed, with the counts and the warnings of all commands as its message.

        BuildIncomplete where a command or a node failed, whatever the flow made of that.
        """
        has_built = complete.check(self._done, self._failed, self.report)
        nothing = self._file is not None and self._file.publishes and not has_built
        return Completed(message=report.completed_text(self.report) + ("; nothing was published" if nothing else ""))

    def certify(self, file: Built, run_id: str) -> Certificate | None:
        """Say that the file is a complete build of the run: see `complete.certify`."""
        return complete.certify(run_id, file, self._done, self._failed, self.report)

    def _run(self, name: str, command: Attempts) -> None:
        @task(
            name=name,
            # A text would be taken for a template, and a user's braces for its fields.
            task_run_name=lambda: truncate(name, _LONGEST_NAME),
            retries=self._retries.count,
            retry_delay_seconds=self._retries.delay_seconds,
            retry_condition_fn=_can_help,
            cache_policy=NO_CACHE,
            persist_result=False,
        )
        def attempt() -> None:
            try:
                command.run(self._nodes, get_run_logger())
            except DbtFailed:
                if not (self.may_be_stale and command.latest and results.is_only_stale(command.latest)):
                    raise
            finally:
                self.target_dir = command.target_dir
                if command.latest:
                    self._add(command.latest)

        attempt()

    def _add(self, found: RunReport | None) -> None:
        self.report = results.merge(self.report, found) or self.report


def _can_help(_task: Task[..., None], _run: TaskRun, state: State[None]) -> bool:
    error = state.result(raise_on_failure=False)
    return isinstance(error, DbtPodError) and error.retry
