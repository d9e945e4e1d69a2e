"""What a flow calls to run dbt: the story of a run, from the lock to the published generation."""

import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from prefect import State, get_run_logger
from prefect.runtime import flow_run

from dbtpod import resume, settings
from dbtpod.command import NO_RETRIES, Dbt, Retries
from dbtpod.dbt import arguments, effective_profile
from dbtpod.dbt.project import find
from dbtpod.errors import SettingsError
from dbtpod.settings import Settings
from dbtpod.ui import mark, report, stale
from dbtpod.ui.artifacts import ReportSender
from dbtpod.ui.lineage import read_parents
from dbtpod.ui.links import OfFailure
from dbtpod.ui.node_runs import NodeRuns
from dbtpod.warehouse import lock, warehouse
from dbtpod.warehouse.warehouse import Run
from dbtpod.warehouse.working_copy import BuiltFile

# What becomes of a build that ended well: readers see it, a person looks at it first, or nothing is kept of it.
Result = Literal["publish", "keep aside", "discard"]

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

    The state is Completed, with the counts of all nodes as its message. Raises SettingsError, WarehouseBusy,
    WarehouseUnusable, VolumeFull or RunGivenUp where dbt cannot start; DbtFailed, DbtUnusable, DbtKilled or
    ConnectionLost where it did not end well; BuildIncomplete where it did and yet something is missing.
    """
    given = [arguments.split(command) for command in commands]
    if not given or not all(given):
        raise SettingsError('run_dbt() needs a dbt command, such as run_dbt("build").')
    only_reads = all(arguments.parse(words).verb in arguments.READING for words in given)
    with (reading if only_reads else writing)(Retries(retries, retry_delay_seconds)) as dbt:
        for words in given:
            dbt(*words)
    return dbt.state


@contextmanager
def writing(retries: Retries = NO_RETRIES) -> Iterator[Dbt]:
    """Yield a dbt that writes: alone, on a copy of the last published build, published if the block ends well."""
    given, run_id = _settings(), _flow_run_id()
    kept, project, log = warehouse.of(given), warehouse.project(given), get_run_logger()
    with ReportSender() as sender, NodeRuns() as nodes, kept.write(Run(run_id, _holder()), LOCK_SECONDS, log) as file:
        mark.amend(kept.builds)
        run_dir = resume.begin(file, project, run_id, flow_run.run_count, log)
        dbt = Dbt(project, run_dir, file, retries, nodes)
        with _reported(dbt, sender, file):
            yield dbt
        # The server takes the report meanwhile.
        if file.publishes:
            _publish(file, dbt, run_id)


@contextmanager
def reading(retries: Retries = NO_RETRIES, suffix: str = "") -> Iterator[Dbt]:
    """Yield a dbt that reads the published warehouse; WarehouseUnusable where nothing was published yet.

    `suffix` gives it a folder of its own in a run that also writes.
    """
    given, run_id = _settings(), _flow_run_id()
    kept = warehouse.of(given)
    project = warehouse.project(given, kept.read(get_run_logger()))
    run_dir = kept.volume.reader_runs() / f"{run_id}{suffix}"
    with ReportSender() as sender, NodeRuns() as nodes:
        dbt = Dbt(project, run_dir, None, retries, nodes)
        with _reported(dbt, sender):
            yield dbt


def _settings() -> Settings:
    """Read the settings, with the profile as the project's files are now: those of an image do not change."""
    environment = settings.environment()
    if made := effective_profile.refresh(find(environment, Path.cwd()), environment):
        for note in made.notes:
            get_run_logger().info("%s", note)
    return settings.from_environment(environment)


@contextmanager
def _reported(dbt: Dbt, sender: ReportSender, file: BuiltFile | None = None) -> Iterator[None]:
    """Send the report at the block's end, however it ends; where it failed to build, with links to continue."""
    has_failed = True
    try:
        yield
        has_failed = False
    finally:
        stale.send(dbt.report, dbt.target_dir)
        parents = read_parents(dbt.target_dir)
        links = OfFailure(dbt.report, parents, dbt.target_dir, file.publishes) if file and has_failed else None
        sender.send(report.table(dbt.report, parents), report.markdown(dbt.report, parents, dbt.reason), links)


def _publish(file: BuiltFile, dbt: Dbt, run_id: str) -> None:
    log = get_run_logger()
    certificate = dbt.certify(file, run_id)
    if certificate is None:
        log.warning("Nothing is published: this run built nothing.")
        return
    made = [*(dbt.target_dir / name for name in ("manifest.json", "run_results.json")), *dbt.records]
    if generation := file.publish(certificate, made):
        mark.published(generation.run, generation.number)
        log.info("Published generation %d: %s", generation.number, file.volume.current / file.path.name)


def _flow_run_id() -> str:
    if not flow_run.id:
        raise SettingsError("run_dbt() belongs inside a Prefect flow: decorate the function that calls it with @flow.")
    return str(flow_run.id)


def _holder() -> lock.Holder:
    return lock.Holder(
        str(flow_run.name), settings.environment().get("POD_NAME", socket.gethostname()), datetime.now(UTC)
    )
