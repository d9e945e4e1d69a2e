"""One dbt command of a flow run: its attempts, what each left, and the error that says what went wrong.

Each attempt has a target folder of its own under runs/<flow run>/<n>-<command>/, so that no attempt overwrites what
the one before it found: `dbt retry` reads there which nodes are left.
"""

import shlex
import signal
from collections.abc import Sequence
from pathlib import Path

from prefect import get_run_logger, task
from prefect.cache_policies import NO_CACHE
from prefect.states import Completed, State

from dbtpod import events, failures, parse_state, process, report, results
from dbtpod.errors import ConnectionLost, DbtFailed, DbtKilled, DbtPodError, DbtUnusable
from dbtpod.events import LogLine
from dbtpod.node_runs import NodeRuns
from dbtpod.results import RunReport
from dbtpod.settings import Settings

# What `dbt retry` can go on with; others, such as `source freshness`, are run again whole.
_RESUMABLE = {"build", "run", "seed", "snapshot", "test"}


class Dbt:
    """What a flow calls: `dbt("build", "--select", "orders")` runs that command and raises if it fails."""

    def __init__(
        self, settings: Settings, run_dir: Path, target: str, retries: int, retry_delay_seconds: float
    ) -> None:
        self._settings = settings
        self._run_dir = run_dir
        self._target = target
        self._retries = retries
        self._retry_delay_seconds = retry_delay_seconds
        self._commands = 0
        self._nodes = NodeRuns()
        self.report = RunReport("", (), 0.0)
        self.target_dir = run_dir

    def __call__(self, *args: str) -> None:
        """Run `dbt *args`, again after a lock or a connection error; DbtPodError says which nodes failed and why."""
        self._commands += 1
        folder = self._run_dir / f"{self._commands}-{'-'.join(a for a in args[:2] if not a.startswith('-'))}"
        attempt = task(
            lambda: self._attempt(args, folder),
            name=shlex.join(("dbt", *args)),
            retries=self._retries,
            retry_delay_seconds=self._retry_delay_seconds,
            retry_condition_fn=_can_help,
            cache_policy=NO_CACHE,
            persist_result=False,
        )
        attempt()

    @property
    def state(self) -> State:
        """Completed, with the counts and the warnings of all commands as its message."""
        return Completed(message=report.completed_text(self.report))

    def _attempt(self, args: Sequence[str], folder: Path) -> None:
        logger = get_run_logger()
        earlier = _last_attempt(folder)
        target_dir = folder / f"attempt-{len(list(folder.glob('attempt-*'))) + 1}"
        target_dir.mkdir(parents=True)
        parse_state.give(self._settings, self._target, target_dir)
        command = [*args, *parse_state.target_options(self._target)]
        if earlier and args[0] in _RESUMABLE:
            logger.info("Going on from the point of failure: dbt retry with the results of %s", earlier.name)
            command = ["retry", "--state", str(earlier)]
        logger.info("Starting %s", shlex.join(("dbt", *command)))
        logger.info("Using DUCKDB_PATH=%s", self._settings.duckdb_path)
        code, errors = self._run(command, target_dir)
        found = results.read(target_dir)
        self.target_dir = target_dir
        self.report = results.merge(self.report, found) if found else self.report
        _raise_for(args, code, errors, found, target_dir)

    def _run(self, command: Sequence[str], target_dir: Path) -> tuple[int, list[str]]:
        errors: list[str] = []
        with process.start(command, self._settings, target_dir) as dbt, self._nodes.command(target_dir):
            for line in dbt.lines():
                for event in events.parse(line):
                    self._nodes.observe(event)
                    if isinstance(event, LogLine) and event.level >= 40:
                        errors.append(event.text)
            return dbt.wait(), errors


def _can_help(_task: object, _run: object, state: State) -> bool:
    error = state.result(raise_on_failure=False)
    return isinstance(error, DbtPodError) and error.retry


def _last_attempt(folder: Path) -> Path | None:
    attempts = sorted(folder.glob("attempt-*/run_results.json"))
    return attempts[-1].parent if attempts else None


def _raise_for(args: Sequence[str], code: int, errors: list[str], found: RunReport | None, target_dir: Path) -> None:
    command = shlex.join(("dbt", *args))
    if code == 0:
        return
    if code < 0:
        name = signal.Signals(-code).name
        hint = " (the kernel does that when memory runs out: see jobs.resources)" if name == "SIGKILL" else ""
        raise DbtKilled(f"{command} was ended by {name}{hint}. Artifacts: {target_dir}")
    failed = report.failed(found) if found else ()
    messages = [node.message for node in failed] or errors[-1:]
    text = report.failure_text(command, code, found, errors, target_dir)
    if messages and all(failures.is_connection_error(message) for message in messages):
        raise ConnectionLost(text)
    raise DbtFailed(text) if code == 1 and failed else DbtUnusable(text)
