"""What a flow calls to run dbt: the story of a run, from the lock to the published generation."""

import os
import shlex
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from prefect import State, get_run_logger
from prefect.runtime import flow_run

from dbtpod import resume
from dbtpod.command import NO_RETRIES, Dbt, Retries
from dbtpod.complete import WorkingCopy
from dbtpod.dbt import arguments
from dbtpod.errors import SettingsError
from dbtpod.settings import Settings, from_environment
from dbtpod.ui import artifacts, mark, report
from dbtpod.ui.lineage import read_parents
from dbtpod.ui.node_runs import NodeRuns
from dbtpod.warehouse import checkout, housekeeping, lock, publish, published, volume
from dbtpod.warehouse.certificate import Certificate

# Longer than any healthy hand-over, and short enough that a forgotten shell is noticed within the hour.
LOCK_SECONDS = 600.0


# They write nothing, and so read what is published, whatever a writer does meanwhile.
_READING = {"compile", "docs", "list", "ls", "parse", "show", "source"}


def run_dbt(*commands: str | Sequence[str], retries: int = 0, retry_delay_seconds: float = 0) -> State[None]:
    """Run dbt commands in a flow, one after the other, and return the flow run's state.

        @flow
        def smoke() -> State:
            return run_dbt("seed", "build --selector smoke", retries=2, retry_delay_seconds=30)

    A command is written as a shell has it, or given as a list of words that are passed on as they are. One that fails
    ends the run, and nothing is published. Commands that only read (`source freshness`, `show`, `docs generate`) see
    the published warehouse; if one of them builds, all run on a copy of it, alone, and the copy is published when all
    of them ended well. `retries` count for each command, after a lock or a connection error only.

    The state is Completed, with the counts of all nodes as its message. Raises SettingsError, WarehouseBusy,
    WarehouseUnusable, VolumeFull or RunGivenUp where dbt cannot start; DbtFailed, DbtUnusable, DbtKilled or
    ConnectionLost where it did not end well; BuildIncomplete where it did and yet something is missing.
    """
    given = [shlex.split(command) if isinstance(command, str) else list(command) for command in commands]
    if not given or not all(given):
        raise SettingsError('run_dbt() needs a dbt command, such as run_dbt("build").')
    only_reads = all(arguments.parse(words).verb in _READING for words in given)
    with (reading if only_reads else writing)(Retries(retries, retry_delay_seconds)) as dbt:
        for words in given:
            dbt(*words)
    return dbt.state


@contextmanager
def writing(retries: Retries = NO_RETRIES) -> Iterator[Dbt]:
    """Yield a dbt that writes: alone, on a copy of the last published build, published if the block ends well."""
    settings, run_id = from_environment(), _flow_run_id()
    log = get_run_logger()
    lock.check_filesystem(settings.volume, settings.allow_network_filesystem)
    with NodeRuns() as nodes, lock.hold(settings.lock_path, _holder(), LOCK_SECONDS, log.info):
        volume.make_ready(settings, log)
        # Before the working copy: what a crash left may take the room that it needs.
        housekeeping.clean(settings, run_id)
        mark.amend(lambda: published.generations(settings))
        checkout.wait_until_unused(settings, LOCK_SECONDS, log)
        begun = resume.begin(settings, run_id, flow_run.run_count, log)
        copy = WorkingCopy(settings, run_id, begun.is_fresh, log)
        dbt = Dbt(settings, begun.run_dir, copy, retries, nodes)
        with _reported(dbt):
            yield dbt
            if settings.publish:
                _publish(settings, dbt.certify(copy, run_id), dbt.target_dir)


@contextmanager
def reading(retries: Retries = NO_RETRIES) -> Iterator[Dbt]:
    """Yield a dbt that reads the published warehouse; WarehouseUnusable where nothing was published yet."""
    run_id = _flow_run_id()
    settings = volume.for_reading(from_environment(writes=False), get_run_logger())
    run_dir = settings.reader_runs_dir() / run_id
    with NodeRuns() as nodes:
        dbt = Dbt(settings, run_dir, None, retries, nodes)
        with _reported(dbt):
            yield dbt


@contextmanager
def _reported(dbt: Dbt) -> Iterator[None]:
    try:
        yield
    finally:
        parents = read_parents(dbt.target_dir)
        artifacts.send(report.table(dbt.report, parents), report.markdown(dbt.report, parents))


def _publish(settings: Settings, certificate: Certificate | None, target_dir: Path) -> None:
    log = get_run_logger()
    if certificate is None:
        log.warning("Nothing is published: no command of this run had anything to build.")
        return
    made = [target_dir / name for name in ("manifest.json", "run_results.json")]
    generation = publish.publish(settings, certificate, made)
    mark.published(generation.run, generation.number)
    log.info("Published generation %d: %s", generation.number, settings.readable_path)


def _flow_run_id() -> str:
    if not flow_run.id:
        raise SettingsError("run_dbt() belongs inside a Prefect flow: decorate the function that calls it with @flow.")
    return str(flow_run.id)


def _holder() -> lock.Holder:
    return lock.Holder(str(flow_run.name), os.environ.get("POD_NAME", socket.gethostname()), datetime.now(UTC))
