"""What a flow enters to run dbt: the story of a run, from the lock to the published generation."""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

from prefect import get_run_logger
from prefect.runtime import flow_run

from dbtpod import resume
from dbtpod.command import Dbt, Retries
from dbtpod.dbt import parse_state
from dbtpod.errors import SettingsError, WarehouseUnusable
from dbtpod.page import artifacts, mark, report
from dbtpod.page.lineage import read_parents
from dbtpod.page.node_runs import NodeRuns
from dbtpod.settings import Settings, from_environment
from dbtpod.warehouse import checkout, housekeeping, lock, publish

# Longer than any healthy hand-over, and short enough that a forgotten shell is noticed within the hour.
LOCK_SECONDS = 600.0


@contextmanager
def writer(*, retries: int = 0, retry_delay_seconds: float = 0) -> Iterator[Dbt]:
    """Yield a dbt that writes: alone, on a copy of the last published build, published if the block ends well.

    What fails publishes nothing. `retries` count for each dbt command, after a lock or a connection error only.
    Raises SettingsError, WarehouseBusy, WarehouseUnusable or VolumeFull where dbt cannot start.
    """
    settings, run_id = from_environment(), _flow_run_id()
    log = get_run_logger()
    lock.check_filesystem(settings.volume, settings.allow_network_filesystem)
    with NodeRuns() as nodes, lock.hold(settings.lock_path, _holder(), LOCK_SECONDS, log.info):
        # First of all: what a crash left may take the room that the working copy needs.
        housekeeping.clean(settings, run_id)
        mark.amend(lambda: publish.generations(settings))
        checkout.wait_until_unused(settings, LOCK_SECONDS, log)
        run_dir = resume.begin(settings, run_id, flow_run.run_count, log)
        dbt = Dbt(settings, run_dir, parse_state.WRITER, Retries(retries, retry_delay_seconds), nodes)
        with _reported(dbt):
            yield dbt
            _publish(settings, dbt)


@contextmanager
def reader(*, retries: int = 0, retry_delay_seconds: float = 0) -> Iterator[Dbt]:
    """Yield a dbt that reads the published warehouse, whatever a writer does meanwhile.

    WarehouseUnusable where nothing was published yet.
    """
    settings = from_environment()
    if not settings.readable_path.is_file():
        raise WarehouseUnusable(
            f"There is no published warehouse at {settings.readable_path} yet: run dbt-build or dbt-smoke first."
        )
    run_dir = settings.runs_dir / _flow_run_id()
    with NodeRuns() as nodes:
        dbt = Dbt(settings, run_dir, parse_state.READER, Retries(retries, retry_delay_seconds), nodes)
        with _reported(dbt):
            yield dbt


@contextmanager
def _reported(dbt: Dbt) -> Iterator[None]:
    try:
        yield
    finally:
        artifacts.send(report.table(dbt.report), report.markdown(dbt.report, read_parents(dbt.target_dir)))


def _publish(settings: Settings, dbt: Dbt) -> None:
    if settings.publish:
        made = [dbt.target_dir / name for name in ("manifest.json", "run_results.json")]
        generation = publish.publish(settings, _flow_run_id(), made)
        mark.published(generation.run, generation.number)
        get_run_logger().info("Published generation %d: %s", generation.number, settings.readable_path)


def _flow_run_id() -> str:
    if not flow_run.id:
        raise SettingsError("writer() and reader() belong inside a Prefect flow: decorate the function with @flow.")
    return str(flow_run.id)


def _holder() -> lock.Holder:
    return lock.Holder(str(flow_run.name), os.environ.get("POD_NAME", socket.gethostname()), datetime.now(UTC))
