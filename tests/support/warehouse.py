"""A small warehouse for tests: builds of a known number of rows, and readers that look at all of it."""

import dataclasses
import logging
import shutil
import subprocess
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from pathlib import Path

import duckdb

from dbtpod.settings import Settings
from dbtpod.warehouse import checkout, lock, publish
from dbtpod.warehouse.certificate import Certificate, identity
from dbtpod.warehouse.facts import Generation

LOG = logging.getLogger("warehouse")
# Runs a command of `generations` on a volume.
Command = Callable[..., subprocess.CompletedProcess[str]]


def new(folder: Path, **settings: bool | int) -> Settings:
    return Settings(folder / "work" / "warehouse.duckdb", folder / "dbt_project", **settings)  # type: ignore[arg-type]


def write(settings: Settings, rows: int, log_stays: bool = False) -> None:
    """Do what dbt does: two tables and a view that names its catalog, all of `rows` rows."""
    with duckdb.connect(settings.duckdb_path) as connection:
        if log_stays:
            connection.execute("PRAGMA disable_checkpoint_on_shutdown; SET checkpoint_threshold = '1GB'")
        for table in ("customers", "orders"):
            connection.execute(f"CREATE OR REPLACE TABLE {table} AS SELECT range AS id FROM range({rows})")
        connection.execute("CREATE OR REPLACE VIEW per_order AS SELECT * FROM warehouse.main.orders")


def build(settings: Settings, rows: int, run_id: str = "run", artifacts: tuple[Path, ...] = ()) -> Generation:
    check_out(settings, run_id)
    write(settings, rows)
    return publish_as(settings, run_id, artifacts)


def check_out(settings: Settings, run_id: str = "run") -> None:
    with alone(settings):
        checkout.check_out(settings, run_id, LOG)


def publish_as(settings: Settings, run_id: str = "run", artifacts: Iterable[Path] = ()) -> Generation:
    """Publish the working copy as that run, which is trusted to have built it to its end."""
    certificate = Certificate(run_id, *identity(settings.duckdb_path))
    with alone(settings):
        return publish.publish(settings, certificate, tuple(artifacts))


def alone(settings: Settings) -> AbstractContextManager[None]:
    """Be the one writer; at once, as no other is there."""
    return lock.hold(settings.lock_path, lock.Holder("test", "here", datetime.now(UTC)), 0)


def rows(path: Path) -> int:
    """Count rows as a reader; fails where the tables are not of one build."""
    with duckdb.connect(path, read_only=True) as connection:
        counts = connection.execute(
            "SELECT (SELECT count(*) FROM customers), (SELECT count(*) FROM orders), (SELECT count(*) FROM per_order)"
        ).fetchall()[0]
    assert len(set(counts)) == 1, counts
    return int(counts[0])


def twin(settings: Settings, folder: Path) -> Settings:
    """Copy the whole volume, links and all."""
    shutil.copytree(settings.volume, folder, symlinks=True)
    return dataclasses.replace(settings, duckdb_path=folder / "work" / "warehouse.duckdb")
