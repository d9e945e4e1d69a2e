"""Rows and bytes of tables, from DuckDB's metadata."""

from pathlib import Path

import duckdb
import pytest

from dbtpod.history import relations


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "shop.duckdb"
    with duckdb.connect(path) as connection:
        connection.execute("CREATE TABLE numbers AS SELECT hash(range) AS a, hash(range + 7) AS b FROM range(1000000)")
        connection.execute("CREATE TABLE texts AS SELECT repeat(hash(range)::VARCHAR, 3000) AS t FROM range(200)")
        connection.execute("CREATE TABLE none (id INTEGER)")
        connection.execute('CREATE SCHEMA "it\'s"; CREATE TABLE "it\'s".one AS SELECT 1 AS id')
        connection.execute('CREATE TABLE "a ""name""" AS SELECT 1 AS id')
        connection.execute("CREATE VIEW shown AS SELECT * FROM numbers")
        for number in range(25):
            connection.execute(f"CREATE TABLE small_{number} AS SELECT range AS id FROM range({number})")
    return path


def test_rows_are_exact_and_bytes_are_about_what_the_values_take(path: Path) -> None:
    found = {(one["schema"], one["name"]): one for one in relations.read(path, 60)}

    assert found["main", "numbers"]["rows"] == 1_000_000
    assert 16e6 < found["main", "numbers"]["bytes"] < 18e6
    # 200 texts of 57,000 characters and more.
    assert 11e6 < found["main", "texts"]["bytes"] < 14e6
    assert (found["main", "none"]["rows"], found["main", "none"]["bytes"]) == (0, 0)
    assert found["it's", "one"]["rows"] == 1
    assert found["main", "shown"] == {"schema": "main", "name": "shown", "kind": "view"}
    assert [found["main", f"small_{number}"]["rows"] for number in range(25)] == list(range(25))
    assert sum(one.get("bytes") or 0 for one in found.values()) <= path.stat().st_size


def test_a_name_that_duckdbs_function_does_not_read_has_rows_and_no_bytes(path: Path) -> None:
    [found] = [one for one in relations.read(path, 60) if one["name"] == 'a "name"']

    assert (found["rows"], found["bytes"]) == (1, None)


def test_where_there_is_no_time_there_are_rows_and_no_bytes(path: Path) -> None:
    found = [one for one in relations.read(path, -1) if one["kind"] == "table"]

    assert sum(one["rows"] for one in found) == 1_000_000 + 200 + 1 + 1 + sum(range(25))
    assert {one["bytes"] for one in found} == {None}


def test_a_table_that_has_too_much_to_look_at_has_no_bytes_and_the_others_have(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relations, "_MOST_SEGMENTS", 10)

    found = {one["name"]: one.get("bytes") for one in relations.read(path, 60)}

    assert found["numbers"] is None
    assert found["small_3"] is not None
