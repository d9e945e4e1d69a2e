"""What `dbtpod move` knows without a server: types, and whose table is whose."""

from typing import Any

import duckdb
import pytest

from dbtpod.errors import MoveRefused
from dbtpod.moving import tables
from dbtpod.moving.postgres import column
from dbtpod.moving.tables import Table


def manifest(**nodes: tuple[str, str, str]) -> dict[str, Any]:
    """A manifest of these nodes, each with its resource type, schema and alias."""
    return {
        "nodes": {
            f"{kind}.shop.{name}": {"resource_type": kind, "schema": schema, "alias": alias}
            for name, (kind, schema, alias) in nodes.items()
        }
    }


def test_each_type_of_duckdb_has_one_or_is_refused_with_what_to_do() -> None:
    with duckdb.connect() as connection:
        listed = connection.execute("SELECT DISTINCT logical_type FROM duckdb_types()").fetchall()
    # Those have parts in brackets.
    names = {str(name) for (name,) in listed} - {"ARRAY", "DECIMAL", "ENUM", "LIST", "MAP", "STRUCT", "UNION"}
    refused = set()
    for name in names:
        try:
            column("c", name)
        except MoveRefused as error:
            assert f"column c is of type {name}, for which PostgreSQL has none: cast it in the model" in str(error)
            refused.add(name)

    # The last digits of nanoseconds would be lost.
    assert refused == {"GEOMETRY", "NULL", "TIME_NS", "TIMESTAMP_NS", "TYPE", "VARIANT"}


def test_a_nodes_table_is_found_by_its_id_whatever_its_names_are() -> None:
    before = manifest(
        orders=("model", "main", "orders"),
        Raw=("seed", "main_raw", "Raw"),
        view=("model", "main", "a_view"),
        gone=("model", "main", "gone"),
        test=("test", "main", "orders"),
    )
    after = manifest(
        orders=("model", "analytics", "fct_orders"), Raw=("seed", "raw", "Raw"), view=("model", "analytics", "a_view")
    )
    there = {("main", "orders"), ("main_raw", "raw"), ("main", "gone"), ("main", "of_nobody")}

    found = tables.of_nodes(before, after, there)

    assert found == [
        Table("model.shop.orders", ("main", "orders"), ("analytics", "fct_orders")),
        Table("seed.shop.Raw", ("main_raw", "Raw"), ("raw", "Raw")),
    ]
    assert tables.left_out(found, there) == ["main.gone", "main.of_nobody"]


@pytest.mark.parametrize("adapter", ["STRUCT(a INTEGER)", "INTEGER[]", "INTEGER[3]", "MAP(VARCHAR, INTEGER)"])
def test_what_is_nested_goes_as_json(adapter: str) -> None:
    assert (column("c", adapter).type, column("c", adapter).value) == ("jsonb", 'to_json("c")')
