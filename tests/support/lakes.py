"""A DuckLake for tests: its catalog in a real PostgreSQL, its files in a folder; and builds as dbt would make them."""

import logging
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import duckdb
import pytest

from dbtpod.dbt import effective_profile, lake
from dbtpod.settings import Settings
from dbtpod.warehouse import warehouse as kinds
from dbtpod.warehouse.built import Built, Run
from dbtpod.warehouse.certificate import Certificate
from dbtpod.warehouse.facts import Generation
from dbtpod.warehouse.lake import files
from dbtpod.warehouse.lake.ducklake import DuckLake
from dbtpod.warehouse.lock import Holder
from postgres import PASSWORD

LOG = logging.getLogger("warehouse")
IS_HERE = os.environ.get("DBTPOD_TEST_DUCKLAKE") == "1"
# For the tests of it.
MARKS = [
    pytest.mark.soak,
    pytest.mark.skipif(not IS_HERE, reason="`make soak SOAK=ducklake` runs it, with a DuckDB that has extensions"),
    pytest.mark.xdist_group("ducklake"),
]
PROFILE = """
shop:
  target: prod
  outputs:
    prod:
      type: duckdb
      path: ":memory:"
      database: shop
      schema: main
      threads: 4
      attach:
        - alias: shop
          path: "ducklake:postgres:host=127.0.0.1 port={{ env_var('SHOP_PORT') }} dbname=postgres user=postgres \
password={{ env_var('DBT_ENV_SECRET_PASSWORD') }}"
          options: {data_path: "{{ env_var('SHOP_FILES') }}", metadata_schema: "{{ env_var('SHOP_LAKE') }}"}
"""


def environment(port: int, name: str, files: Path | str) -> dict[str, str]:
    """Return what the profile reads."""
    return {
        "SHOP_PORT": str(port),
        "SHOP_LAKE": name,
        "SHOP_FILES": f"{files}/",
        "DBT_ENV_SECRET_PASSWORD": PASSWORD,
        "DBTPOD_WAREHOUSE_KIND": "ducklake",
    }


def project(folder: Path, name: str = "shop", profile: str = PROFILE) -> Path:
    """Write a dbt project of nothing but a profile, and make its effective profile."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "dbt_project.yml").write_text(f"name: {name}\nprofile: shop\n")
    (folder / "profiles.yml").write_text(profile)
    effective_profile.write(folder, os.environ)
    return folder


def new(volume: Path, folder: Path, keep: int = 3) -> DuckLake:
    """Return the warehouse of that project, with its records on that volume."""
    volume.mkdir(exist_ok=True)
    found = kinds.of(Settings(volume / "work" / "shop.duckdb", folder, "ducklake", keep_generations=keep))
    assert isinstance(found, DuckLake)
    return found


def run(name: str) -> Run:
    return Run(name, Holder.here(name))


@contextmanager
def attached(where: lake.Lake, schema: str, snapshot: int | None = None) -> Iterator[duckdb.DuckDBPyConnection]:
    """Attach a catalog as dbt does: one snapshot of it read-only, or all of it to write."""
    more = f", SNAPSHOT_VERSION {snapshot}, READ_ONLY" if snapshot is not None else ""
    with files.opened(where) as connection:
        connection.execute(f"ATTACH '{where.attach_path}' AS shop (METADATA_SCHEMA '{schema}'{more})")
        yield connection


def write(kept: DuckLake, schema: str, rows: int) -> None:
    """Do what dbt does: two tables, a small one that stays in the catalog, and a view, all of `rows` rows."""
    with attached(kept.lake, schema) as connection:
        for table in ("customers", "orders"):
            connection.execute(f"CREATE OR REPLACE TABLE shop.{table} AS SELECT range AS id FROM range({rows})")
        connection.execute("CREATE TABLE IF NOT EXISTS shop.builds (rows bigint)")
        connection.execute(f"DELETE FROM shop.builds; INSERT INTO shop.builds VALUES ({rows})")
        connection.execute("CREATE OR REPLACE VIEW shop.per_order AS SELECT * FROM shop.main.orders")


def schema_of(kept: DuckLake) -> str:
    """Return the catalog that the run's dbt would attach."""
    return str(lake.options({"DUCKDB_PATH": str(kept.volume.database)}, reads=False)["metadata_schema"])


def build(kept: DuckLake, rows: int, name: str = "run", before: Callable[[Built], None] = lambda _: None) -> Generation:
    """Build and publish, as a run of that name."""
    with kept.write(run(name), 0, LOG) as built:
        built.check_out()
        write(kept, schema_of(kept), rows)
        before(built)
        return built.publish(Certificate(name), artifacts(kept, name))


def artifacts(kept: DuckLake, name: str) -> list[Path]:
    folder = kept.volume.runs / name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "manifest.json").write_text("{}")
    return [folder / "manifest.json"]


def readable(kept: DuckLake) -> Mapping[str, Any]:
    """Return what a reading run attaches with."""
    return lake.options({"DBTPOD_READABLE_PATH": str(kept.read(LOG))}, reads=True)


def rows(kept: DuckLake, schema: str, snapshot: int) -> int:
    """Count rows as a reader; fails where the tables are not of one build."""
    with attached(kept.lake, schema, snapshot) as connection:
        counts = connection.execute(
            "SELECT (SELECT count(*) FROM shop.customers), (SELECT count(*) FROM shop.orders), "
            "(SELECT count(*) FROM shop.per_order), (SELECT max(rows) FROM shop.builds)"
        ).fetchall()[0]
    assert len(set(counts)) == 1, counts
    return int(counts[0])


def read(kept: DuckLake) -> int:
    """Count rows in what is published."""
    found = readable(kept)
    return rows(kept, found["metadata_schema"], found["snapshot_version"])
