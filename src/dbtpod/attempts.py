"""One dbt command of a run: the attempts that there were, in this pod and before, and the next one.

Each attempt has a target folder of its own under runs/<flow run>/<n>-<command>/, so that none overwrites what the one
before it left. An attempt either runs the command as it was given, or the same command for the nodes that the ones
before it left: with all its options but the selection. Prefect has no part in it.
"""

import json
import logging
from collections.abc import Sequence
from contextlib import AbstractContextManager, closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from dbtpod import complete, outcome, plan
from dbtpod.dbt import (
    arguments,
    failures,
    kept_state,
    kinds,
    parse_state,
    process,
    profile,
    reachable,
    record,
    results,
    stream,
)
from dbtpod.dbt.events import Event, LogLine
from dbtpod.dbt.failures import Kind
from dbtpod.dbt.profile import Connection
from dbtpod.dbt.project import DUCKDB, Project
from dbtpod.dbt.record import GOOD, Attempt
from dbtpod.dbt.results import RunReport
from dbtpod.errors import BuildIncomplete, ConnectionLost, SettingsError
from dbtpod.timeout import Timeout
from dbtpod.warehouse import durable
from dbtpod.warehouse.built import Built
from dbtpod.warehouse.volume import Log
from dbtpod.warehouse.working_copy import BuiltFile

# What dbt 1.11 and 1.12 read; a test runs it.
_SCHEMA = "https://schemas.getdbt.com/dbt/run-results/v6.json"
_DONE = "done"
_STARTING_PAUSE_SECONDS = 5.0


class Shown(Protocol):
    """Who is shown what dbt says of one attempt."""

    def observe(self, event: Event) -> None:
        """See one event."""

    def reconcile(self, report: RunReport) -> None:
        """See what dbt's artifacts say, once dbt has ended."""


class Watcher(Protocol):
    """Who is shown what dbt says while it runs."""

    def command(self, target_dir: Path, name: str) -> AbstractContextManager[Shown]:
        """Enclose one attempt."""


@dataclass(frozen=True)
class Step:
    """What the next attempt runs: these nodes, or the whole command for that reason."""

    remaining: frozenset[str] | None
    reason: str
    # Whether the whole command may run on the file as it is.
    is_safe: bool = True


class Attempts:
    """The attempts of the command with this folder; made where a flow calls the command."""

    def __init__(self, project: Project, folder: Path, args: Sequence[str], file: Built | None, log: Log) -> None:
        self._project = project
        self._folder = folder
        self._args = tuple(args)
        # The reader's commands have none.
        self._file = file
        self._log = log
        self._untouched = file is not None and file.is_untouched
        self._before = file and file.look()
        self._is_certain = False
        # None where the profile does not say it: dbt will.
        self._connection: Connection | None = None
        self._found = record.history(folder)
        # Whether that is all that the last attempt has heard of the server.
        self._is_starting = False
        # What the attempt that was run last did.
        self.latest: RunReport | None = None

    @property
    def reports(self) -> list[RunReport]:
        """What is known of each attempt, the oldest first; without nodes that the command has no more."""
        found = [attempt.report for attempt in self._found.attempts if attempt.report]
        change = self._found.change
        return [_only(report, change.plan) for report in found] if change else found

    @property
    def target_dir(self) -> Path:
        """Where the newest attempt has dbt's artifacts."""
        return self._found.attempts[-1].target_dir if self._found.attempts else self._folder

    @property
    def has_ended_well(self) -> bool:
        """Whether the last attempt of this very command did, and nothing that it built is void since."""
        last = self._found.attempts[-1] if self._found.attempts else None
        change = self._found.change
        is_void = change is not None and change.after == len(self._found.attempts) and bool(self._left(change.plan))
        return last is not None and last.exit_code == 0 and last.args == self._args and not is_void

    def check_connection(self) -> None:
        """SettingsError where dbt would write to another file than the run's own, or read another one."""
        text = arguments.text(self._args)
        found = profile.connection(arguments.parse(self._args), process.environment(self._project, self._folder))
        file = self._project.reads if self._project.only_reads else self._project.writes
        self._is_certain = found is not None
        if found is None:
            return
        self._connection = found
        kind = kinds.DUCKLAKE if self._project.is_lake else kinds.REMOTE if self._project.is_remote else kinds.FILE
        if misfit := kinds.misfit(kind, found.adapter):
            raise SettingsError(f"{text}: the target `{found.target}` of {found.profiles_yml} {misfit}")
        if self._project.is_lake:
            self._check_threads()
        if found.is_file(file) or self._project.is_remote:
            return
        raise SettingsError(
            f"{text}: the target `{found.target}` of {found.profiles_yml} "
            f"{'reads' if self._project.only_reads else 'writes to'} {found.path}, and not {file}. Leave "
            f"--profiles-dir and --project-dir out: {self._project.profiles_dir} has the same profile with that path."
        )

    def _check_threads(self) -> None:
        """SettingsError where several nodes would commit to a DuckLake at once; the profile has one thread."""
        given = arguments.parse(self._args).last("--threads")
        found = given or arguments.variable(process.environment(self._project, self._folder), "THREADS")
        if found and found != "1":
            raise SettingsError(
                f"{arguments.text(self._args)}: {'--threads' if given else 'DBT_THREADS'} is {found}, and in a "
                "DuckLake one node is built at a time, with all cores: it has lost what several threads committed "
                "(duckdb/ducklake#1404). Leave it out."
            )

    def run(self, watcher: Watcher, log: Log) -> None:
        """Run the next attempt to its end; DbtPodError says what failed, and why.

        Where a server only said that it takes no queries yet, another one follows: that is no retry of the flow's.
        """
        self._log = log
        starting = Timeout(reachable.SECONDS)
        while True:
            try:
                self._run(watcher)
            except ConnectionLost:
                if not self._is_starting or starting.is_over:
                    raise
                log.info(
                    "The server takes no queries yet, and nothing was done: waiting for it, %.0f s at most",
                    starting.left,
                )
                starting.pause(_STARTING_PAUSE_SECONDS)
            else:
                return

    def _run(self, watcher: Watcher) -> None:
        server = self._connection
        if server and server.host and server.port:
            reachable.wait(server.host, server.port, self._log.info)
        before = self._found.attempts
        step = self._next()
        if before:
            self._log.info("%s", self._text(step, before))
        from_published = not step.remaining and self._back_to_start(before)
        if not (step.is_safe or from_published):
            raise BuildIncomplete(
                f"{arguments.text(self._args)} cannot resume: {step.reason}. Nothing is published; run it again."
            )
        target_dir = self._folder / f"attempt-{len(before) + 1}"
        try:
            recorder, command = self._begin(step, target_dir, from_published)
            with durable.volume_errors(target_dir, 0, "the record of what dbt said"), closing(recorder):
                code, errors = self._dbt(watcher, command, target_dir, recorder)
                recorder.end(code)
            kept_state.keep(self._project, self._args, target_dir)
        finally:
            self._found = record.history(self._folder)
            parse_state.take_away(target_dir)
        found = self.latest or RunReport("", (), 0.0)
        self._is_starting = not found.nodes and any(failures.is_starting(line.text) for line in errors)
        outcome.raise_for(self._args, code, errors, found, target_dir, self._adapter)

    def finish(self) -> complete.Command:
        """Look whether the command, whose last attempt ended well, is complete; BuildIncomplete if it is not."""
        file = self._file if isinstance(self._file, BuiltFile) else None
        # Whether tests alone have written to a database server is not known: they are no build.
        as_published = file.is_as_published if file else self._file is not None
        done = complete.command(self._project, self._args, self._found, as_published)
        # Once: what a later command of the run drops is not missed when another pod comes back here.
        if file and not (self._folder / _DONE).exists():
            file.check()
            # Of a command that another pod ran it is not known any more.
            is_written = self.latest is None or self._before != file.look()
            complete.relations(file, self._args, self._found, self._is_certain, is_written, self._log)
            (self._folder / _DONE).touch()
        return done

    def _next(self) -> Step:
        counted, change = self._found.counted, self._found.change
        if not counted:
            return Step(None, "")
        if any(attempt.args is None for attempt in counted):
            return Step(None, "the record of an attempt cannot be read")
        if any(attempt.args != self._args for attempt in counted):
            return Step(None, f"it was {arguments.text(counted[-1].args or ())} before")
        if arguments.parse(self._args).verb not in arguments.KINDS:
            return Step(None, "it does not run node by node")
        try:
            unsure = [n for attempt in counted for n in plan.uncertain(attempt, self._broken(attempt))]
            if unsure:
                reason = f"it was stopped in {', '.join(unsure)}, whose rows may be there already"
                return Step(None, reason, is_safe=False)
            planned = change.plan if change else plan.of(self._project, counted[0])
        except plan.PlanUnknown as error:
            return Step(None, str(error))
        remaining = self._left(planned)
        if not remaining:
            return Step(None, "all its nodes ended well, but not its hooks")
        if remaining == planned:
            return Step(None, "none of its nodes had ended well")
        return Step(remaining, "")

    @property
    def _adapter(self) -> str:
        return self._connection.adapter if self._connection else DUCKDB

    def _broken(self, attempt: Attempt) -> set[str]:
        """Return the nodes whose connection broke in between: a server may have committed them."""
        nodes = attempt.report.nodes if self._project.is_remote and attempt.report else ()
        failed = [node for node in nodes if node.failed and not record.is_hook(node.node_id)]
        return {node.node_id for node in failed if failures.kind_of(node.message, self._adapter) is Kind.BROKEN}

    def _left(self, planned: frozenset[str]) -> frozenset[str]:
        ended = self._found.settled()
        return frozenset(node_id for node_id in planned if ended.get(node_id) not in GOOD)

    def _text(self, step: Step, before: Sequence[Attempt]) -> str:
        if step.remaining is None:
            return f"Running the whole command again: {step.reason}"
        return f"Resuming from {before[-1].target_dir}: {len(step.remaining)} nodes are left"

    def _back_to_start(self, before: Sequence[Attempt]) -> bool:
        """Have the whole command begin on what was published, if it did before; whether it does.

        What an incremental model appended would be there twice. A later command, or one after a flow's own writing,
        is run again on the file as it is, as a person would do by hand.
        """
        if self._file is None:
            return False
        if not before:
            return self._folder.name.startswith("1-") and self._file.is_as_published
        counted = self._found.counted
        # In this pod nothing but dbt wrote since the first attempt; in a new one, nothing did until now.
        may_return = self._file.publishes and self._untouched and counted[0].is_from_published
        is_writing = arguments.parse(self._args).verb in complete.WRITING
        if may_return and (is_writing or any(attempt.has_begun for attempt in counted)):
            self._log.info("Starting over from the published build")
            self._file.check_out()
        return may_return

    def _begin(self, step: Step, target_dir: Path, from_published: bool) -> tuple[record.Recorder, list[str]]:
        """Make the attempt's folder with what dbt needs in it; its record, and the command to run."""
        with durable.volume_errors(self._folder.parent, 0, "dbt's artifacts"):
            target_dir.mkdir(parents=True)
            kept_state.give(self._project, self._args, target_dir)
            command = self._command(step, target_dir)
            whole = step.remaining is None
            facts = {"whole": whole, "from_published": from_published}
            return record.Recorder(target_dir, self._args, command, **facts), command

    def _command(self, step: Step, target_dir: Path) -> list[str]:
        if step.remaining is None:
            return arguments.run(self._args)
        state = target_dir / "state"
        state.mkdir()
        found = {
            "metadata": {"dbt_schema_version": _SCHEMA},
            "results": [_remaining(node_id) for node_id in sorted(step.remaining)],
            "elapsed_time": 0.0,
            "args": {},
        }
        (state / "run_results.json").write_text(json.dumps(found))
        return arguments.resumed(self._args, str(state), process.environment(self._project, target_dir))

    def _dbt(
        self, watcher: Watcher, command: Sequence[str], target_dir: Path, recorder: record.Recorder
    ) -> tuple[int, list[LogLine]]:
        """Run dbt to its end, each event passed on at once; return its exit code and its error lines."""
        self._log.info("Starting %s", arguments.text(command))
        self._log.info("Using %s", self._database())
        kept: list[Event] = []
        with (
            watcher.command(target_dir, arguments.text(self._args)) as shown,
            process.start(command, self._project, target_dir) as dbt,
        ):
            for event in stream.read(recorder.passing(dbt.lines())):
                shown.observe(event)
                if not isinstance(event, LogLine) or event.level >= logging.ERROR:
                    kept.append(event)
            code = dbt.wait()
            self.latest = results.of_command(kept, target_dir)
            shown.reconcile(self.latest)
        return code, [event for event in kept if isinstance(event, LogLine)]

    def _database(self) -> str:
        if self._project.is_remote:
            return str(self._connection or "the database of the profile")
        if self._project.only_reads:
            return f"{self._project.reads}, read-only"
        return f"DUCKDB_PATH={self._project.writes}"


def merged(reports: Sequence[RunReport]) -> RunReport:
    """All of them as one, the latest word on a node last."""
    found: RunReport | None = None
    for report in reports:
        found = results.merge(found, report)
    return found or RunReport("", (), 0.0)


def _only(report: RunReport, plan: frozenset[str]) -> RunReport:
    nodes = tuple(node for node in report.nodes if node.node_id in plan or record.is_hook(node.node_id))
    return replace(report, nodes=nodes)


def _remaining(node_id: str) -> dict[str, Any]:
    return {
        "unique_id": node_id,
        "status": arguments.REMAINING,
        "timing": [],
        "thread_id": "",
        "execution_time": 0.0,
        "adapter_response": {},
        "message": None,
        "failures": None,
        "compiled": None,
        "compiled_code": None,
        "relation_name": None,
    }
