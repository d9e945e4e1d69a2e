"""The command line: what is published, what changed between two builds, and the way back."""

import os
import re
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import duckdb
import pytest

import warehouse
from dbtpod import generations
from dbtpod.errors import WarehouseBusy, WarehouseUnusable
from dbtpod.warehouse import lock
from dbtpod.warehouse.comparison import Change, Rows
from dbtpod.warehouse.warehouse import DuckDBFile
from warehouse import Command


def test_list_names_each_generation_its_run_and_the_one_that_readers_see(kept: DuckDBFile, command: Command) -> None:
    warehouse.build(kept, 1, "quick-fox")
    warehouse.build(kept, 2, "slow-owl")
    kept.publisher.roll_back(1)

    header, first, second = command(kept, "list").stdout.splitlines()

    assert header.split() == ["number", "published", "size", "by", "built", "run"]
    assert first.startswith("* 1 ")
    assert first.endswith("from nothing  quick-fox")
    assert second.startswith("  2 ")
    assert f"DuckDB {duckdb.__version__}  from 1        slow-owl" in second


def test_list_of_an_empty_volume_says_so_by_the_installed_command(kept: DuckDBFile) -> None:
    project = kept.volume.root / "dbt_project"
    project.mkdir()
    (project / "dbt_project.yml").touch()
    given = {"DUCKDB_PATH": str(kept.volume.database), "DBT_PROJECT_DIR": str(project)}

    done = subprocess.run(
        [Path(sys.executable).with_name("dbtpod"), "generations", "list"],
        env=os.environ | given,
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert (done.returncode, done.stdout) == (0, "Nothing is published.\n")


def between(kept: DuckDBFile, before: int, after: int) -> list[Change]:
    return generations.diff(kept.generations.find(before), kept.generations.find(after))


def test_diff_shows_what_came_went_and_changed_with_rows_and_leaves_out_what_is_equal(
    kept: DuckDBFile, command: Command
) -> None:
    warehouse.check_out(kept)
    with duckdb.connect(kept.volume.database) as connection:
        connection.execute("CREATE TABLE gone AS FROM range(3)")
        connection.execute("CREATE TABLE same AS SELECT range AS i, [range] AS l FROM range(100)")
        connection.execute("CREATE TABLE grown AS FROM range(5)")
        connection.execute('CREATE SCHEMA "odd ""name"; CREATE TABLE "odd ""name".corrected AS SELECT 1 AS amount')
        connection.execute("CREATE VIEW seen AS SELECT 1 AS a")
    warehouse.publish_as(kept)
    warehouse.check_out(kept)
    with duckdb.connect(kept.volume.database) as connection:
        connection.execute("DROP TABLE gone; CREATE TABLE fresh AS FROM range(7); INSERT INTO grown VALUES (9)")
        connection.execute('UPDATE "odd ""name".corrected SET amount = 2')
        connection.execute("CREATE OR REPLACE TABLE same AS SELECT * FROM same ORDER BY i DESC")
        connection.execute("CREATE OR REPLACE VIEW seen AS SELECT 2 AS a")
    warehouse.publish_as(kept)

    assert between(kept, 1, 2) == [
        Change('"odd ""name".corrected', "changed", 1, 1, Rows(1, 1, None)),
        Change("main.fresh", "added", None, 7, Rows(7, 0, 0)),
        Change("main.gone", "removed", 3, None, Rows(0, 3, 0)),
        Change("main.grown", "changed", 5, 6, Rows(1, 0, None)),
        Change("main.seen", "changed", None, None),
    ]
    assert "changed  main.grown" in command(kept, "diff", "1", "2").stdout
    assert command(kept, "diff", "2", "2").stdout == "2 and 2 hold the same.\n"


@pytest.mark.parametrize(
    "names",
    [
        [("warehouse", "orders"), ("warehouse", "warehouse"), ("main", "main"), ("main", "warehouse")],
        [("a.b", "c"), ("a", "b.c"), ("a", '"b"."c"')],
        [("größe", "Straße 1"), ("select", "order"), ('"', "'"), ("%s", "{0}"), ("main", "line\nfeed"), (" ", "- -")],
    ],
)
def test_diff_tells_tables_of_any_name_apart(kept: DuckDBFile, command: Command, names: list[tuple[str, str]]) -> None:
    """The catalog's name is `warehouse`, and a schema may have the same."""

    def build(rows: int) -> None:
        warehouse.check_out(kept)
        with duckdb.connect(kept.volume.database) as connection:
            for number, (schema, table) in enumerate(names):
                place = f"warehouse.{quoted(schema)}"
                connection.execute(f"CREATE SCHEMA IF NOT EXISTS {place}")
                connection.execute(f"CREATE OR REPLACE TABLE {place}.{quoted(table)} AS FROM range({rows + number})")
        warehouse.publish_as(kept)

    build(1)
    build(2)

    changes = between(kept, 1, 2)

    assert sorted((one.rows_before, one.rows_after) for one in changes) == [(n + 1, n + 2) for n in range(len(names))]
    done = command(kept, "diff", "1", "2")
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == len(names) + 1


def quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def test_diff_sees_a_change_beside_a_column_that_is_called_like_anything_else(kept: DuckDBFile) -> None:
    for value in (1, 2):
        warehouse.check_out(kept)
        with duckdb.connect(kept.volume.database) as connection:
            connection.execute(f"CREATE OR REPLACE TABLE t AS SELECT 0 AS relation, 0 AS t, {value} AS amount")
            connection.execute("CREATE SCHEMA IF NOT EXISTS t; CREATE OR REPLACE VIEW t.t AS FROM warehouse.main.t")
        warehouse.publish_as(kept)

    assert between(kept, 1, 2) == [Change("main.t", "changed", 1, 1, Rows(1, 1, None))]


def test_after_a_rollback_readers_and_the_next_build_go_on_from_there(kept: DuckDBFile, command: Command) -> None:
    for rows in (1, 2, 3):
        warehouse.build(kept, rows)

    done = command(kept, "rollback", "2")

    assert "Readers now see generation 2" in done.stdout
    assert "To undo: dbtpod generations rollback 3" in done.stdout
    assert warehouse.rows(kept.readable) == 2
    warehouse.check_out(kept, "next")
    assert warehouse.rows(kept.volume.database) == 2
    generation = warehouse.publish_as(kept, "next")
    assert (generation.number, generation.base) == (4, 2)


def test_a_rollback_waits_for_the_writer_and_says_who_it_is(kept: DuckDBFile) -> None:
    warehouse.build(kept, 1)
    with (
        lock.hold(kept.volume.lock, lock.Holder("dbt-build/quick-fox", "pod-1", datetime.now(UTC)), 0),
        pytest.raises(WarehouseBusy, match="dbt-build/quick-fox"),
    ):
        kept.publisher.roll_back(1, timeout=0)


def test_a_rollback_to_a_damaged_generation_changes_nothing(kept: DuckDBFile) -> None:
    damaged = warehouse.build(kept, 1).database
    warehouse.build(kept, 2)
    damaged.write_bytes(damaged.read_bytes()[:5000])

    with pytest.raises(WarehouseUnusable, match=r"has 5000 bytes, and had \d+ when it was published"):
        kept.publisher.roll_back(1)

    assert warehouse.rows(kept.readable) == 2


@pytest.mark.parametrize(
    ("arguments", "environment", "said"),
    [
        (["rollback", "9"], {}, "There is no generation 9 in .*; there are: 1."),
        (["diff", "1", "9"], {}, "There is no generation 9"),
        (["list"], {"DBTPOD_PUBLISH": "false"}, "DBTPOD_PUBLISH is false"),
        (["list"], {"DUCKDB_PATH": "/no/such/volume/warehouse.duckdb"}, "create or mount it"),
    ],
)
def test_a_mistake_ends_with_one_plain_sentence(
    kept: DuckDBFile, command: Command, arguments: list[str], environment: dict[str, str], said: str
) -> None:
    warehouse.build(kept, 1)

    done = command(kept, *arguments, **environment)

    assert done.returncode == 1
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert re.search(said, done.stderr)
