"""What a flow calls to run dbt: the story of a run, from the lock to the published generation."""

import socket
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from prefect import State, get_run_logger
from prefect.runtime import flow_run

from dbtpod import ending, recording, resume, settings
from dbtpod.command import NO_RETRIES, Dbt, Retries
from dbtpod.dbt import arguments, effective_profile
from dbtpod.dbt.project import find
from dbtpod.ending import Ending
from dbtpod.errors import DbtPodError, SettingsError
from dbtpod.history.update import History
from dbtpod.recording import Recording
from dbtpod.request import Result as Result
from dbtpod.settings import Settings
from dbtpod.ui import mark, reader_links, report, stale
from dbtpod.ui.artifacts import ReportSender
from dbtpod.ui.lineage import read_parents
from dbtpod.ui.links import OfFailure
from dbtpod.ui.node_runs import NodeRuns
from dbtpod.ui.reader_links import ReaderLinks
from dbtpod.warehouse import lock, warehouse
from dbtpod.warehouse.built import Built, Run
from dbtpod.warehouse.warehouse import Kept

# Longer than any healthy hand-over, and short enough that a forgotten shell is noticed within the hour.
LOCK_SECONDS = 600.0


def run_dbt(
    *commands: str | Sequence[str],
    retries: int = 0,
    retry_delay_seconds: float = 0,
    result: Result = "publish",
    continues: str | None = None,
) -> State[None]:
    """Run dbt commands in a flow, one after the other, and return the flow run's state.

        @flow
        def smoke() -> State:
            return run_dbt("seed", "build --selector smoke", retries=2, retry_delay_seconds=30)

    A command is written as a shell has it, with `dbt` or without, or given as a list of words, passed on as they are.
    One that fails ends the run, and nothing is published. Commands that only read (`source freshness`, `show`, `docs
    generate`) see the published warehouse; if one of them builds, all run on a copy of it, alone, and the copy is
    published when all of them ended well. `retries` count for each command, after a lock or a connection error only.
    With `result="keep aside"` the copy becomes a preview, which readers do not see, and which a person compares and
    publishes; with "discard" nothing is kept of it. `continues` is the id of a flow run that failed: what it had built
    stays, where that is still good.

    The state is Completed, with the counts of all nodes as its message. Raises SettingsError, WarehouseBusy,
    WarehouseUnusable, VolumeFull or RunGivenUp where dbt cannot start; DbtFailed, DbtUnusable, DbtKilled or
    ConnectionLost where it did not end well; BuildIncomplete where it did and yet something is missing.
    """
    given = [arguments.split(command) for command in commands]
    if not given or not all(given):
        raise SettingsError('run_dbt() needs a dbt command, such as run_dbt("build").')
    only_reads = all(arguments.parse(words).verb in arguments.READING for words in given)
    end, tries = Ending(result), Retries(retries, retry_delay_seconds)
    if only_reads:
        end.check_reading()
    with reading(tries) if only_reads else writing(tries, end, given, continues) as dbt:
        for words in given:
            dbt(*words)
    return end.state(dbt.state)


@contextmanager
def writing(
    retries: Retries = NO_RETRIES,
    end: Ending | None = None,
    commands: Sequence[Sequence[str]] = (),
    continues: str | None = None,
) -> Iterator[Dbt]:
    """Yield a dbt that writes: alone, on a copy of the last published build, published if the block ends well.

    Or kept aside or discarded, as `end` says. `commands` are what the block is to run, for a run that continues this
    one; `continues` is the flow run whose working copy it continues with, if that is still good.
    """
    end = end or Ending()
    given, run_id = current_settings(), _flow_run_id()
    kept, project, log = warehouse.of(given), warehouse.project(given), get_run_logger()
    end.check_writing(kept)
    with (
        ReportSender() as sender,
        ExitStack() as unlocked,
        NodeRuns() as nodes,
        kept.write(Run(run_id, _holder()), LOCK_SECONDS, log) as file,
        recording.of(run_id, kept.volume.runs / run_id, _history(kept, given), file.alone) as of,
    ):
        mark.amend(kept.builds)
        run_dir = resume.begin(file, project, run_id, log, continues)
        of.begin(recording.base(kept.volume))
        if commands:
            resume.note_commands(run_dir, commands)
        dbt = Dbt(project, run_dir, file, retries, nodes)
        dbt.reader = _reader(run_id, publishes=file.publishes and end.publishes)
        try:
            with _reported(dbt, sender, file):
                yield dbt
        finally:
            resume.ended(run_dir)
        # The server takes the report meanwhile.
        preview = end.apply(file, dbt, run_id)
        _complete(of, end, dbt)
        if preview:
            unlocked.callback(ending.compare, preview, kept, given.memory_limit, dbt, sender)


@contextmanager
def reading(retries: Retries = NO_RETRIES, suffix: str = "") -> Iterator[Dbt]:
    """Yield a dbt that reads the published warehouse; WarehouseUnusable where nothing was published yet.

    `suffix` gives it a folder of its own in a run that also writes.
    """
    given, run_id = current_settings(), _flow_run_id()
    kept = warehouse.of(given)
    project = warehouse.project(given, kept.read(get_run_logger()))
    run_dir = kept.volume.reader_runs() / f"{run_id}{suffix}"
    with ReportSender() as sender, NodeRuns() as nodes, recording.of(run_id, run_dir) as of:
        dbt = Dbt(project, run_dir, None, retries, nodes)
        dbt.reader = _reader(run_id, publishes=False)
        with _reported(dbt, sender):
            yield dbt
        _complete(of, Ending(), dbt)


def current_settings() -> Settings:
    """Read the settings, with the profile as the project's files are now: those of an image do not change."""
    environment = settings.environment()
    if made := effective_profile.refresh(find(environment, Path.cwd()), environment):
        for note in made.notes:
            get_run_logger().info("%s", note)
    return settings.from_environment(environment)


@contextmanager
def _reported(dbt: Dbt, sender: ReportSender, file: Built | None = None) -> Iterator[None]:
    """Send the report at the block's end, however it ends; where it failed to build, with links to continue."""
    has_failed = True
    try:
        yield
        has_failed = False
    finally:
        wait = stale.send(dbt.report, dbt.target_dir)
        parents = read_parents(dbt.target_dir)
        reader = replace(dbt.reader, publishes=dbt.reader.publishes and not has_failed)
        markdown = report.markdown(dbt.report, parents, dbt.reason, reader=reader)
        links = OfFailure(dbt.report, parents, dbt.target_dir, file.publishes) if file and has_failed else None
        sender.send(report.table(dbt.report, parents), markdown, links)
        wait()


def _history(kept: Kept, given: Settings) -> History:
    return History(kept.publisher.generations, given.history_days)


def _reader(run_id: str, *, publishes: bool) -> ReaderLinks:
    return ReaderLinks(settings.environment().get(reader_links.ADDRESS, ""), run_id, publishes)


def _complete(of: Recording, end: Ending, dbt: Dbt) -> None:
    # A flow that continues after a failed command has a state of its own.
    with suppress(DbtPodError):
        of.complete(end.state(dbt.state).message, end.published)


def _flow_run_id() -> str:
    if not flow_run.id:
        raise SettingsError("run_dbt() belongs inside a Prefect flow: decorate the function that calls it with @flow.")
    return str(flow_run.id)


def _holder() -> lock.Holder:
    return lock.Holder(
        str(flow_run.name), settings.environment().get("POD_NAME", socket.gethostname()), datetime.now(UTC)
    )
