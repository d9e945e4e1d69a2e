"""The demo dbt project, run by real dbt on real files; the project under test is a copy, so nothing writes into it."""

import csv
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pytest

from dbtpod.dbt import effective_profile
from dbtpod.dbt.project import MADE

PROJECT = Path(__file__).parents[2] / "dbt_project"
FULL_PARSE = "Unable to do partial parsing"
Row = tuple[Any, ...]


@dataclass(frozen=True)
class Build:
    """A warehouse as a dbt command left it, with what dbt said."""

    warehouse: Path
    log: str
    started: datetime
    ended: datetime

    def rows(self, sql: str) -> list[Row]:
        with duckdb.connect(self.warehouse, read_only=True) as connection:
            return connection.sql(sql).fetchall()

    def table(self, name: str, without: str = "") -> list[Row]:
        """Every row of a table, in one order."""
        columns = f"* exclude ({without})" if without else "*"
        return self.rows(f"select {columns} from {name} order by all")


@dataclass(frozen=True)
class Shop:
    """A copy of the project with a volume; every command uses one DUCKDB_PATH, so the project is parsed once."""

    root: Path

    @property
    def project(self) -> Path:
        return self.root / "dbt_project"

    @property
    def warehouse(self) -> Path:
        return self.root / "work" / "warehouse.duckdb"

    def run(self, *argv: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run dbt as the pod does, but far from UTC, so that a local time where UTC belongs shows."""
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(("DBT", "PYTHONPATH"))}
        ours = {
            "TZ": "Pacific/Kiritimati",
            "DUCKDB_PATH": str(self.warehouse),
            "DBT_PROJECT_DIR": str(self.project),
            "DBT_PROFILES_DIR": str(self.project / MADE / "writer"),
            "DBT_TARGET_PATH": str(self.root / "target"),
            "DBT_LOG_PATH": str(self.root / "logs"),
        }
        return subprocess.run(
            [Path(sys.executable).with_name("dbt"), "--no-use-colors", "--warn-error", *argv],
            env=inherited | ours | environment,
            cwd=self.root,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )

    def dbt(self, *argv: str, keep_as: str = "", **environment: str) -> Build:
        """Run dbt to success; its warehouse and manifest are copied to the folder `keep_as` for the tests to read."""
        started = datetime.now(UTC).replace(tzinfo=None)
        done = self.run(*argv, **environment)
        ended = datetime.now(UTC).replace(tzinfo=None)
        assert done.returncode == 0, done.stdout + done.stderr
        kept = self.root / keep_as / self.warehouse.name if keep_as else self.warehouse
        if keep_as:
            kept.parent.mkdir(exist_ok=True)
            shutil.copy(self.warehouse, kept)
            shutil.copy(self.root / "target" / "manifest.json", kept.parent)
        return Build(kept, done.stdout, started, ended)

    def edit_seed(self, name: str, change: Callable[[list[dict[str, str]]], list[dict[str, str]]]) -> None:
        path = self.project / "seeds" / f"{name}.csv"
        with path.open(newline="") as file:
            rows = change(list(csv.DictReader(file)))
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, rows[0], lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)


@pytest.fixture(scope="session")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    shop = Shop(tmp_path_factory.mktemp("shop"))
    shutil.copytree(PROJECT, shop.project, ignore=shutil.ignore_patterns("target", "logs", "dbt_packages", MADE))
    shop.warehouse.parent.mkdir()
    effective_profile.write(shop.project, {})
    return shop


@pytest.fixture(scope="session")
def first(shop: Shop) -> Build:
    """A build on an empty volume."""
    return shop.dbt("build", "--show-all-deprecations", keep_as="first")


@pytest.fixture(scope="session")
def manifest(first: Build) -> dict[str, Any]:
    return json.loads(first.warehouse.with_name("manifest.json").read_text())


LATE_ORDER = {"id": "9001", "customer_id": "1", "ordered_at": "2026-07-01 10:00:00", "status": "completed"}
LATE_PAYMENT = {"id": "9001", "order_id": "10", "method": "coupon", "amount_cents": "12345", "paid_at": "2026-10-30"}


@pytest.fixture(scope="session")
def second(shop: Shop, first: Build) -> Build:
    """A build on the first one's file, after rows came late, changed, moved and went; and with limits for DuckDB."""

    def orders(rows: list[dict[str, str]]) -> list[dict[str, str]]:
        rows[4]["status"] = "cancelled"
        return [row for row in rows if row["id"] != "20"] + [LATE_ORDER | {"loaded_at": ""}]

    def payments(rows: list[dict[str, str]]) -> list[dict[str, str]]:
        rows = [row for row in rows if row["order_id"] != "20"] + [LATE_PAYMENT | {"loaded_at": ""}]
        rows[100]["order_id"] = "9001"
        return rows

    def customers(rows: list[dict[str, str]]) -> list[dict[str, str]]:
        rows[0]["country"] = "NO"
        return rows

    shop.edit_seed("raw_orders", orders)
    shop.edit_seed("raw_payments", payments)
    shop.edit_seed("raw_customers", customers)
    limits = "select current_setting('memory_limit') as memory, current_setting('temp_directory') as spill"
    (shop.project / "models" / "marts" / "limits.sql").write_text(limits)
    shutil.copy(first.warehouse, shop.warehouse)
    return shop.dbt("build", keep_as="second", DBTPOD_MEMORY_LIMIT="1400MiB")


@pytest.fixture(scope="session")
def from_nothing(shop: Shop, second: Build) -> Build:
    """The changed seeds, built on an empty volume, with other limits."""
    shop.warehouse.unlink()
    limits = {"DBTPOD_MEMORY_LIMIT": "2GiB", "DBTPOD_TEMP_DIRECTORY": str(shop.root / "o'clock")}
    return shop.dbt("build", keep_as="from_nothing", **limits)


def test_a_build_passes_on_an_empty_database_without_a_warning(first: Build) -> None:
    assert "WARN=0 ERROR=0 SKIP=0" in first.log
    assert "deprecat" not in first.log.lower()


def test_a_build_passes_again_on_a_full_database(second: Build) -> None:
    assert "WARN=0 ERROR=0 SKIP=0" in second.log


def test_the_seeds_are_as_large_as_promised(first: Build) -> None:
    [(customers, orders, payments, without_orders)] = first.rows(
        "select (select count(*) from raw_customers), (select count(*) from raw_orders), "
        "(select count(*) from raw_payments), (select count(*) from dim_customers where order_count = 0)"
    )

    assert (customers >= 100, orders >= 2000, payments >= 2500, without_orders >= 1) == (True,) * 4


@pytest.mark.parametrize("seed", ["raw_customers", "raw_orders", "raw_payments"])
def test_loading_a_seed_stamps_every_row_with_the_time_in_utc(first: Build, second: Build, seed: str) -> None:
    for build in (first, second):
        [(oldest, newest, empty)] = build.rows(
            f"select min(loaded_at), max(loaded_at), count(*) filter (loaded_at is null) from {seed}"
        )
        assert build.started <= oldest == newest <= build.ended
        assert empty == 0


def test_late_changed_moved_and_removed_rows_give_the_table_of_a_build_from_nothing(
    first: Build, second: Build, from_nothing: Build
) -> None:
    assert second.table("fct_orders", without="loaded_at") == from_nothing.table("fct_orders", without="loaded_at")
    assert second.table("dim_customers") == from_nothing.table("dim_customers")

    before, after = (dict(build.rows("select order_id, net_amount from fct_orders")) for build in (first, second))
    assert after[10] - before[10] == Decimal("123.45")
    assert 9001 in after.keys() - before.keys()
    assert before.keys() - after.keys() == {20}


def test_a_full_refresh_gives_the_same_orders(shop: Shop, second: Build) -> None:
    shutil.copy(second.warehouse, shop.warehouse)

    refreshed = shop.dbt("run", "--select", "fct_orders", "--full-refresh", keep_as="refreshed")

    assert refreshed.table("fct_orders") == second.table("fct_orders")


def test_the_snapshot_keeps_the_old_version_of_a_changed_customer_and_adds_none_by_a_load(
    first: Build, second: Build
) -> None:
    versions = second.rows(
        "select country, dbt_valid_to is null from customers_snapshot where customer_id = 1 order by dbt_valid_from"
    )

    assert [valid_now for _, valid_now in versions] == [False, True]
    assert versions[1][0] == "NO"
    assert len(second.table("customers_snapshot")) == len(first.table("customers_snapshot")) + 1
    [(began,)] = second.rows("select max(dbt_valid_from) from customers_snapshot")
    assert second.started - timedelta(seconds=1) <= began <= second.ended


def test_limits_for_duckdb_are_seen_by_a_model_and_a_changed_one_causes_no_full_parse(
    shop: Shop, first: Build, second: Build, from_nothing: Build
) -> None:
    assert second.table("limits") == [("1.3 GiB", f"{shop.warehouse}.tmp")]
    assert from_nothing.table("limits") == [("2.0 GiB", str(shop.root / "o'clock"))]
    assert FULL_PARSE in first.log
    assert FULL_PARSE not in second.log + from_nothing.log


def test_smoke_passes_on_a_volume_that_holds_only_the_seeds(shop: Shop, first: Build) -> None:
    shop.warehouse.unlink(missing_ok=True)
    shop.dbt("seed")

    smoke = shop.dbt("build", "--selector", "smoke")

    assert {name for (name,) in smoke.rows("select view_name from duckdb_views() where not internal")} == {
        "stg_customers",
        "stg_orders",
        "stg_payments",
    }
    assert "relationships_stg_orders" in smoke.log
    assert "fct_orders" not in smoke.log


def test_freshness_reads_the_published_file_beside_a_writer_and_another_reader(shop: Shop, first: Build) -> None:
    published = first.warehouse
    content, folder = published.read_bytes(), sorted(published.parent.iterdir())
    target = shop.root / "target-reader"

    # DuckDB lets nobody open a file for writing that another process reads: a reader that is not one would fail.
    with duckdb.connect(shop.warehouse) as writer, duckdb.connect(published, read_only=True):
        writer.execute("begin; create table held (i int)")
        paths = {"DBTPOD_READABLE_PATH": str(published), "DBT_TARGET_PATH": str(target), "DUCKDB_PATH": ""}
        fresh = shop.run("source", "freshness", **paths, DBT_PROFILES_DIR=str(shop.project / MADE / "reader"))

    assert fresh.returncode == 0, fresh.stdout
    results = json.loads((target / "sources.json").read_text())["results"]
    assert [result["status"] for result in results] == ["pass"] * 3
    assert all(0 <= result["max_loaded_at_time_ago_in_s"] < 3600 for result in results)
    assert published.read_bytes() == content
    assert sorted(published.parent.iterdir()) == folder


def test_sources_warn_after_a_day_and_fail_after_three(manifest: dict[str, Any]) -> None:
    for source in manifest["sources"].values():
        assert source["loaded_at_field"] == "loaded_at"
        assert source["freshness"]["warn_after"] == {"count": 24, "period": "hour"}
        assert source["freshness"]["error_after"] == {"count": 72, "period": "hour"}
    assert len(manifest["sources"]) == 3


def test_every_model_seed_snapshot_test_and_column_is_described(manifest: dict[str, Any], first: Build) -> None:
    described = [*manifest["nodes"].values(), *manifest["sources"].values(), *manifest["unit_tests"].values()]
    own = [node for node in described if "test_metadata" not in node and node["resource_type"] != "operation"]
    assert [node["unique_id"] for node in own if not node["description"]] == []

    documented = {
        (node["name"], column["name"])
        for node in own
        for column in node.get("columns", {}).values()
        if column["description"]
    }
    built = set(first.rows("select table_name, column_name from duckdb_columns() where not internal"))
    assert built - documented == set()
    assert {name for name, _ in documented} == {name for name, _ in built}


def test_every_seed_leads_to_its_staging_view(manifest: dict[str, Any]) -> None:
    for name in ("customers", "orders", "payments"):
        parents = manifest["parent_map"][f"model.shop.stg_{name}"]
        assert set(parents) == {f"seed.shop.raw_{name}", f"source.shop.shop.raw_{name}"}


def test_the_project_needs_no_packages() -> None:
    assert [path for name in ("packages.yml", "dependencies.yml") for path in PROJECT.glob(name)] == []


def test_nothing_in_the_project_can_be_imported_as_a_dbt_plugin() -> None:
    assert [path.name for path in PROJECT.rglob("*.py")] == []
