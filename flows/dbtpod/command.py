"""One dbt command of a flow run: its attempts, what each left, and the error that says what went wrong.

Each attempt has a target folder of its own under runs/<flow run>/<n>-<command>/, so that none overwrites what the one
before it left: `dbt retry` reads there which nodes are still to be run.
"""

import errno
import logging
import os
import shlex
import signal
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from prefect import State, get_run_logger, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import TaskRun
from prefect.states import Completed
from prefect.tasks import Task

from dbtpod import resume
from dbtpod.dbt import events, failures, parse_state, process, results
from dbtpod.dbt.events import Event, InvocationStarted, LogLine
from dbtpod.dbt.results import RunReport
from dbtpod.errors import ConnectionLost, DbtFailed, DbtKilled, DbtPodError, DbtUnusable, VolumeFull
from dbtpod.page import report
from dbtpod.page.node_runs import NodeRuns
from dbtpod.settings import Settings
from dbtpod.warehouse import durable

# How DuckDB and Python tell of a volume that became full in the middle.
_FULL = os.strerror(errno.ENOSPC)


@dataclass(frozen=True)
class Retries:
    """How often a command is tried again after a lock or a connection error, and the pause before each time."""

    count: int
    delay_seconds: float


class Dbt:
    """What a flow calls: `dbt("build", "--select", "orders")` runs that command, or raises."""

    def __init__(self, settings: Settings, run_dir: Path, target: str, retries: Retries, nodes: NodeRuns) -> None:
        self._settings = settings
        self._run_dir = run_dir
        self._target = target
        self._retries = retries
        self._nodes = nodes
        self._commands = 0
        # Of all commands, attempts and pods of this flow run.
        self.report = RunReport("", (), 0.0)
        # Of the newest attempt.
        self.target_dir = run_dir

    def __call__(self, *args: str) -> None:
        """Run `dbt *args`, and again after a lock or a connection error; DbtPodError says what failed, and why.

        What an earlier pod of this flow run has finished is not run again.
        """
        self._commands += 1
        folder = self._run_dir / f"{self._commands}-{args[0]}"
        before = resume.attempts(folder)
        for attempt in before:
            self._add(attempt.report)
        name = shlex.join(("dbt", *args))
        if before and before[-1].exit_code == 0:
            self.target_dir = before[-1].target_dir
            get_run_logger().info("%s: done before the pod of this run was replaced", name)
            return

        @task(
            name=name,
            task_run_name=name,
            retries=self._retries.count,
            retry_delay_seconds=self._retries.delay_seconds,
            retry_condition_fn=_can_help,
            cache_policy=NO_CACHE,
            persist_result=False,
        )
        def command() -> None:
            self._attempt(name, args, folder)

        command()

    @property
    def state(self) -> State[None]:
        """Completed, with the counts and the warnings of all commands as its message."""
        return Completed(message=report.completed_text(self.report))

    def _attempt(self, name: str, args: Sequence[str], folder: Path) -> None:
        log = get_run_logger()
        options = parse_state.target_options(self._target)
        before = resume.attempts(folder)
        self.target_dir = folder / f"attempt-{len(before) + 1}"
        with durable.room(self._settings.volume, 0, "dbt's artifacts"):
            self.target_dir.mkdir(parents=True)
            parse_state.give(self._settings, self._target, self.target_dir)
        again = resume.command(self._settings, args, options, before[-1]) if before else None
        if before:
            log.info(
                "%s", f"Going on from {before[-1].target_dir}" if again else "Starting over: nothing to go on from"
            )
        command = again or [*args, *options]
        log.info("Starting %s", shlex.join(("dbt", *command)))
        log.info("Using %s", self._database())
        code, seen = self._run(name, command)
        with durable.room(self._settings.volume, 0, "dbt's exit code"):
            resume.record(self.target_dir, code)
        found = _report(seen, self.target_dir)
        self._add(found)
        _raise_for(args, code, seen, found, self.target_dir)

    def _database(self) -> str:
        if self._target == parse_state.READER:
            return f"{self._settings.readable_path}, read-only"
        return f"DUCKDB_PATH={self._settings.duckdb_path}"

    def _add(self, found: RunReport | None) -> None:
        self.report = results.merge(self.report, found) or self.report

    def _run(self, name: str, command: Sequence[str]) -> tuple[int, list[Event]]:
        """Run dbt to its end, each event passed on at once; return its exit code and the events worth keeping."""
        kept: list[Event] = []
        with (
            self._nodes.command(self.target_dir, name),
            process.start(command, self._settings, self.target_dir) as dbt,
        ):
            for line in dbt.lines():
                for event in events.parse(line):
                    self._nodes.observe(event)
                    if not isinstance(event, LogLine) or event.level >= logging.ERROR:
                        kept.append(event)
            return dbt.wait(), kept


def _can_help(_task: Task[..., None], _run: TaskRun, state: State[None]) -> bool:
    error = state.result(raise_on_failure=False)
    return isinstance(error, DbtPodError) and error.retry


def _report(seen: Sequence[Event], target_dir: Path) -> RunReport:
    """The command's results as dbt wrote them, and what its log alone told of."""
    invocation = next((event.invocation_id for event in seen if isinstance(event, InvocationStarted)), "")
    merged = results.merge(results.from_events(seen), results.read(target_dir, invocation))
    return merged or RunReport(invocation, (), 0.0)


def _raise_for(args: Sequence[str], code: int, seen: Sequence[Event], found: RunReport, target_dir: Path) -> None:
    if code == 0:
        return
    if code < 0:
        by = signal.Signals(-code).name
        hint = ": the kernel does that when memory runs out, see jobs.resources" if by == "SIGKILL" else ""
        raise DbtKilled(f"{shlex.join(('dbt', *args))} was ended by {by}{hint}. dbt's artifacts: {target_dir}")
    failed = [node.message for node in found.nodes if node.failed]
    said = [event.text for event in seen if isinstance(event, LogLine)]
    limits = sorted({failures.advice(message) for message in [*failed, *said]} - {""})
    advice = "\n".join([*limits, f"dbt's artifacts: {target_dir}"])
    text = report.failure_text(found, args, code, advice if failed else "\n".join([*said[-5:], advice]))
    if all(failures.is_connection_error(message) for message in failed or said or [""]):
        raise ConnectionLost(text)
    if any(_FULL in message for message in failed or said):
        raise VolumeFull(f"{durable.volume_full(target_dir, 0, shlex.join(('dbt', *args)))}\n{text}")
    raise DbtFailed(text) if failed else DbtUnusable(text)
