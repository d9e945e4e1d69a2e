"""What a flow enters to run dbt: the story of a run, from the lock to the published generation."""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from prefect import get_run_logger
from prefect.runtime import flow_run

from dbtpod import artifacts, lock, parse_state, publish
from dbtpod.command import Dbt
from dbtpod.errors import SettingsError, WarehouseUnusable
from dbtpod.lock import Holder
from dbtpod.settings import Settings, from_environment

# A longer wait than any healthy handover, and short enough that a forgotten shell is noticed the same hour.
LOCK_SECONDS = 600.0


@contextmanager
def writer(*, retries: int = 0, retry_delay_seconds: float = 0) -> Iterator[Dbt]:
    """Yield a dbt that writes: alone, on a copy of the last published build, published if the block ends well.

    What failed publishes nothing. `retries` are per dbt command, for lock and connection errors only. Raises
    SettingsError, WarehouseBusy, WarehouseUnusable or VolumeFull before dbt starts.
    """
    settings = from_environment()
    log = get_run_logger()
    run_id = _flow_run_id()
    lock.check_filesystem(settings.volume, settings.allow_network_filesystem)
    with lock.hold(settings.lock_path, _holder(), LOCK_SECONDS):
        publish.check_out(settings, run_id, log)
        with _reported(Dbt(settings, _run_dir(settings, run_id), parse_state.WRITER, retries, retry_delay_seconds)) as dbt:
            yield dbt
            if settings.publish:
                generation = publish.publish(settings, run_id, dbt.target_dir)
                log.info("Published generation %s: %s", generation.number, settings.readable_path)
        publish.clean(settings, run_id)


@contextmanager
def reader(*, retries: int = 0, retry_delay_seconds: float = 0) -> Iterator[Dbt]:
    """Yield a dbt that reads the published warehouse, whatever a writer does meanwhile.

    WarehouseUnusable where nothing was published yet.
    """
    settings = from_environment()
    if not settings.readable_path.is_file():
        raise WarehouseUnusable(
            f"There is no published warehouse at {settings.readable_path} yet: run dbt-build (or dbt-smoke) first."
        )
    run_dir = _run_dir(settings, _flow_run_id())
    with _reported(Dbt(settings, run_dir, parse_state.READER, retries, retry_delay_seconds)) as dbt:
        yield dbt


@contextmanager
def _reported(dbt: Dbt) -> Iterator[Dbt]:
    try:
        yield dbt
    finally:
        artifacts.send(dbt.report, dbt.target_dir)


def _run_dir(settings: Settings, run_id: str) -> Path:
    return settings.runs_dir / run_id


def _flow_run_id() -> str:
    if not flow_run.id:
        raise SettingsError("writer() and reader() belong inside a Prefect flow: decorate the function with @flow.")
    return str(flow_run.id)


def _holder() -> Holder:
    return Holder(run=str(flow_run.name), pod=os.environ.get("POD_NAME", socket.gethostname()), since=datetime.now(UTC))
