"""A small warehouse for tests: builds of a known number of rows, and readers that look at all of it."""

import logging
import os
import shutil
import subprocess
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from pathlib import Path

import duckdb
import pytest

from dbtpod import bake as baking
from dbtpod.dbt.project import Project
from dbtpod.settings import Settings
from dbtpod.warehouse import lock
from dbtpod.warehouse import warehouse as kinds
from dbtpod.warehouse.certificate import Certificate, identity
from dbtpod.warehouse.facts import Generation
from dbtpod.warehouse.warehouse import DuckDBFile, InPlace
from dbtpod.warehouse.working_copy import InPlaceFile, WorkingCopy

LOG = logging.getLogger("warehouse")
# Runs a command of `generations` on a volume.
Command = Callable[..., subprocess.CompletedProcess[str]]


def new(folder: Path, keep: int = 3) -> DuckDBFile:
    return of(Settings(folder / "work" / "warehouse.duckdb", folder / "dbt_project", keep_generations=keep))


def of_commands(folder: Path, monkeypatch: pytest.MonkeyPatch, keep: int = 3) -> DuckDBFile:
    """Make a volume, and have the commands of this process use it."""
    (folder / "dbt_project").mkdir(parents=True)
    (folder / "dbt_project" / "dbt_project.yml").touch()
    kept = new(folder, keep)
    kept.volume.work.mkdir(exist_ok=True)
    monkeypatch.setenv("DUCKDB_PATH", str(kept.volume.database))
    monkeypatch.setenv("DBT_PROJECT_DIR", str(folder / "dbt_project"))
    return kept


def project(volume: Path, folder: Path) -> Project:
    """Return the dbt project of that folder, with its warehouse on that volume."""
    return kinds.project(Settings(volume / "work" / "warehouse.duckdb", folder))


def bake(found: Project) -> None:
    """Bake the project as its image is."""
    given = {"DUCKDB_PATH": str(found.writes), "DBT_PROJECT_DIR": str(found.folder)}
    baking.bake(os.environ | given, LOG.info)


def in_place(folder: Path) -> InPlace:
    found = kinds.of(Settings(folder / "work" / "warehouse.duckdb", folder / "dbt_project", publish=False))
    assert isinstance(found, InPlace)
    return found


def of(settings: Settings) -> DuckDBFile:
    """Return the warehouse of settings that publish."""
    found = kinds.of(settings)
    assert isinstance(found, DuckDBFile)
    return found


def write(kept: DuckDBFile | InPlace, rows: int, log_stays: bool = False) -> None:
    """Do what dbt does: two tables and a view that names its catalog, all of `rows` rows."""
    with duckdb.connect(kept.volume.database) as connection:
        if log_stays:
            connection.execute("PRAGMA disable_checkpoint_on_shutdown; SET checkpoint_threshold = '1GB'")
        for table in ("customers", "orders"):
            connection.execute(f"CREATE OR REPLACE TABLE {table} AS SELECT range AS id FROM range({rows})")
        connection.execute("CREATE OR REPLACE VIEW per_order AS SELECT * FROM warehouse.main.orders")


def build(kept: DuckDBFile, rows: int, run_id: str = "run", artifacts: tuple[Path, ...] = ()) -> Generation:
    check_out(kept, run_id)
    write(kept, rows)
    return publish_as(kept, run_id, artifacts)


def check_out(kept: DuckDBFile | InPlace, run_id: str = "run") -> None:
    kind = WorkingCopy if kept.publishes else InPlaceFile
    with alone(kept):
        kind(kept.publisher, run_id, LOG).check_out()


def is_own(kept: DuckDBFile, run_id: str) -> bool:
    """Say whether that run, started again, resumes with the working copy."""
    return not WorkingCopy(kept.publisher, run_id, LOG).obstacle()


def publish_as(kept: DuckDBFile, run_id: str = "run", artifacts: Iterable[Path] = ()) -> Generation:
    """Publish the working copy as that run, which is trusted to have built it to its end."""
    certificate = Certificate(run_id, *identity(kept.volume.database))
    with alone(kept):
        return kept.publisher.publish(certificate, tuple(artifacts))


def keep_aside(kept: DuckDBFile, rows: int, run_id: str = "run", artifacts: Iterable[Path] = ()) -> Generation:
    """Build as that run, and make a preview of it."""
    check_out(kept, run_id)
    write(kept, rows)
    return keep_aside_as(kept, run_id, artifacts)


def keep_aside_as(kept: DuckDBFile, run_id: str = "run", artifacts: Iterable[Path] = ()) -> Generation:
    """Make a preview of the working copy as that run."""
    certificate = Certificate(run_id, *identity(kept.volume.database))
    with alone(kept):
        return kept.publisher.keep_aside(certificate, tuple(artifacts))


def alone(kept: DuckDBFile | InPlace) -> AbstractContextManager[None]:
    """Be the one writer; at once, as no other is there."""
    return lock.hold(kept.volume.lock, lock.Holder("test", "here", datetime.now(UTC)), 0)


def rows(path: Path) -> int:
    """Count rows as a reader; fails where the tables are not of one build."""
    with duckdb.connect(path, read_only=True) as connection:
        counts = connection.execute(
            "SELECT (SELECT count(*) FROM customers), (SELECT count(*) FROM orders), (SELECT count(*) FROM per_order)"
        ).fetchall()[0]
    assert len(set(counts)) == 1, counts
    return int(counts[0])


def twin(kept: DuckDBFile, folder: Path) -> DuckDBFile:
    """Copy the whole volume, links and all."""
    shutil.copytree(kept.volume.root, folder, symlinks=True)
    return new(folder, kept.publisher.keep)
