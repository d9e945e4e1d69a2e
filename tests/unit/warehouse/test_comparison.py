"""Two builds compared down to the rows: real DuckDB files, with a known key and without one."""

import json
from pathlib import Path

import duckdb
import pytest

from dbtpod.dbt import keys
from dbtpod.errors import WarehouseUnusable
from dbtpod.warehouse import comparison
from dbtpod.warehouse.comparison import Bounds, Change, Rows

ORDERS = {("main", "orders"): ("id",)}


def made(path: Path, sql: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with duckdb.connect(path) as connection:
        connection.execute(sql)
    return path


def pair(folder: Path, before: str, after: str) -> tuple[Path, Path]:
    return made(folder / "1" / "warehouse.duckdb", before), made(folder / "2" / "warehouse.duckdb", after)


def rows(folder: Path, before: str, after: str, known: keys.Keys = comparison.NO_KEYS) -> Rows | None:
    """How the rows of the table `orders` differ, of which these are the values."""
    both = pair(folder, f"CREATE TABLE orders AS FROM ({before})", f"CREATE TABLE orders AS FROM ({after})")
    [change] = comparison.changes(*both, known)
    return change.rows


def test_with_a_key_a_row_of_other_values_is_changed(tmp_path: Path) -> None:
    before = "SELECT range AS id, 'a' AS state, NULL AS note FROM range(10)"
    after = "SELECT range AS id, if(range < 4, 'b', 'a') AS state, NULL AS note FROM range(1, 12)"

    assert rows(tmp_path, before, after, ORDERS) == Rows(added=2, removed=1, changed=3)


def test_without_a_key_it_is_one_that_was_added_and_one_that_was_removed(tmp_path: Path) -> None:
    before = "SELECT range AS id, 'a' AS state, NULL AS note FROM range(10)"
    after = "SELECT range AS id, if(range < 4, 'b', 'a') AS state, NULL AS note FROM range(1, 12)"

    assert rows(tmp_path, before, after) == Rows(added=5, removed=4, changed=None)


def test_rows_that_are_there_several_times_are_counted_as_except_all_does(tmp_path: Path) -> None:
    before, after = "VALUES (1), (1), (1), (2), (NULL)", "VALUES (1), (3), (3), (NULL), (NULL)"

    assert rows(tmp_path, before, after) == Rows(added=3, removed=3, changed=None)


def test_a_key_that_is_there_twice_is_counted_row_by_row(tmp_path: Path) -> None:
    before = "VALUES (1, 'a'), (1, 'b'), (2, 'c'), (NULL, 'd')"
    after = "VALUES (1, 'b'), (1, 'x'), (1, 'y'), (NULL, 'e')"
    table = "SELECT * FROM ({}) AS t(id, state)"

    assert rows(tmp_path, table.format(before), table.format(after), ORDERS) == Rows(added=1, removed=1, changed=2)


def test_a_key_of_several_columns_is_found_whatever_its_case_and_one_that_is_no_column_is_none(tmp_path: Path) -> None:
    before, after = "SELECT 1 AS Id, 1 AS line, 5 AS amount", "SELECT 1 AS Id, 2 AS line, 6 AS amount"

    assert rows(tmp_path / "a", before, after, {("main", "orders"): ("ID", "line")}) == Rows(1, 1, 0)
    assert rows(tmp_path / "b", before, after, {("main", "orders"): ("id",)}) == Rows(0, 0, 1)
    assert rows(tmp_path / "c", before, after, {("main", "orders"): ("id || line",)}) == Rows(1, 1, None)


def test_columns_that_one_of_them_has_not_are_named_and_the_others_are_compared(tmp_path: Path) -> None:
    both = pair(
        tmp_path,
        "CREATE TABLE orders AS SELECT range AS id, 1 AS amount, 2 AS tax FROM range(3)",
        "CREATE TABLE orders AS SELECT range AS id, '1' AS amount, 3 AS discount FROM range(4)",
    )

    [change] = comparison.changes(*both, ORDERS)

    assert change == Change("main.orders", "changed", 3, 4, Rows(1, 0, 0), "+discount -tax ~amount")


def test_a_first_build_is_all_added_and_a_view_has_no_rows(tmp_path: Path) -> None:
    [_, after] = pair(tmp_path, "SELECT 1", "CREATE TABLE orders AS FROM range(3); CREATE VIEW seen AS SELECT 1 AS a")

    found = comparison.changes(None, after)

    assert found == [
        Change("main.orders", "added", None, 3, Rows(3, 0, 0)),
        Change("main.seen", "added", None, None),
    ]
    assert [comparison.cells(one) for one in found] == [("-", "3", "3", "0", "0", ""), ("-", "-", "-", "-", "-", "")]


def test_any_name_and_any_type_can_be_compared(tmp_path: Path) -> None:
    table = """CREATE SCHEMA "odd ""name"; CREATE TABLE "odd ""name"."a.b" AS SELECT {} AS "select", [1, 2] AS l,
        {{'a': NULL}} AS s, MAP {{'k': 1}} AS m, 'x'::BLOB AS b, 'nan'::DOUBLE AS n"""

    [change] = comparison.changes(*pair(tmp_path / "it's here", table.format(1), table.format(2)))

    assert change.rows == Rows(1, 1, None)


def test_what_does_not_fit_in_memory_is_left_out_and_the_rest_is_compared(tmp_path: Path) -> None:
    table = "CREATE TABLE large AS SELECT range + {0} AS i FROM range(1500000); CREATE TABLE small AS SELECT {0} AS i"

    found = comparison.changes(*pair(tmp_path, table.format(1), table.format(2)), bounds=Bounds(memory="60MB"))

    assert [(one.name, one.rows) for one in found] == [("main.large", None), ("main.small", Rows(1, 1, None))]
    assert comparison.cells(found[0]) == ("1500000", "1500000", "?", "?", "?", "")
    assert {path.name for path in tmp_path.rglob("*")} == {"1", "2", "warehouse.duckdb"}, "nothing was written"


def test_it_ends_in_the_time_that_it_has(tmp_path: Path) -> None:
    table = "CREATE TABLE large AS SELECT range + {0} AS i FROM range(3000000)"

    with pytest.raises(WarehouseUnusable, match="took longer than 0 s"):
        comparison.changes(*pair(tmp_path, table.format(1), table.format(2)), bounds=Bounds(seconds=0.001))


def test_a_file_that_is_cut_is_an_error_of_ours(tmp_path: Path) -> None:
    before, after = pair(tmp_path, "CREATE TABLE t AS SELECT range AS i FROM range(500000)", "CREATE TABLE u(i INT)")
    before.write_bytes(before.read_bytes()[: before.stat().st_size // 2])

    with pytest.raises(WarehouseUnusable):
        comparison.changes(before, after)


# --- the keys that dbt's manifest knows ---


def test_a_key_is_what_constraints_and_tests_say_or_else_the_unique_key(tmp_path: Path) -> None:
    nodes = {
        "model.shop.a": {"schema": "Main", "alias": "A", "primary_key": ["id", "day"], "config": {"unique_key": "no"}},
        "model.shop.b": {"schema": "main", "alias": "b", "primary_key": [], "config": {"unique_key": "id"}},
        "snapshot.shop.c": {"schema": "main", "alias": "c", "config": {"unique_key": ["id", "day"]}},
        "model.shop.d": {"schema": "main", "alias": "d", "config": {"unique_key": None}},
    }
    path = tmp_path / "manifest.json"
    path.write_text(json.dumps({"nodes": nodes}))

    assert keys.read(path) == {("main", "a"): ("id", "day"), ("main", "b"): ("id",), ("main", "c"): ("id", "day")}


@pytest.mark.parametrize("text", ["", "{", "[]", '{"nodes": [1]}', '{"nodes": {"a": {}}}', '{"nodes": null}'])
def test_a_manifest_that_cannot_be_read_has_no_keys(tmp_path: Path, text: str) -> None:
    (tmp_path / "manifest.json").write_text(text)

    assert keys.read(tmp_path / "manifest.json") == {}
    assert keys.read(tmp_path / "none.json") == {}
