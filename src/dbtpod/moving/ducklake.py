"""Into a DuckLake: tables of the catalog of one build, which readers see when it is published."""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import duckdb

from dbtpod.dbt.lake import Lake
from dbtpod.errors import MoveRefused
from dbtpod.moving.columns import Column, quoted
from dbtpod.moving.tables import Place, Table, named
from dbtpod.warehouse.database import literal
from dbtpod.warehouse.lake import files

_FILE = "moved"
# https://ducklake.select/docs/stable/specification/data_types
_NONE = re.compile(r"BIT|BIGNUM|.*\b(UNION|ENUM)\(.*", re.DOTALL)


class Target:
    """The catalog of a build, attached to the connection that has the DuckDB file."""

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self._connection = connection

    def existing(self, places: Sequence[Place]) -> list[str]:
        """Return those of the relations that are there, tables and views."""
        there = "SELECT table_schema, table_name FROM information_schema.tables WHERE table_catalog = ?"
        found = set(self._connection.execute(there, [files.ALIAS]).fetchall())
        return [".".join(place) for place in places if place in found]

    def column(self, name: str, duckdb_type: str) -> Column:
        """Return the column, of the same type; an enumeration is a text there, and MoveRefused names what is not."""
        if duckdb_type.startswith("ENUM("):
            return Column(name, duckdb_type, "VARCHAR", f"CAST({quoted(name)} AS VARCHAR)")
        if _NONE.fullmatch(duckdb_type):
            raise MoveRefused(
                f"column {name} is of type {duckdb_type}, for which a DuckLake has none: cast it in the model, for "
                "example to VARCHAR, and build once more before you move"
            )
        return Column(name, duckdb_type, duckdb_type, quoted(name))

    def fill(self, source: duckdb.DuckDBPyConnection, one: Table, columns: Sequence[Column]) -> None:
        """Make the table of what the file has; its schema too, where there is none."""
        schema, _ = one.target
        values = ", ".join(f"{each.value} AS {quoted(each.name)}" for each in columns)
        source.execute(f"CREATE SCHEMA IF NOT EXISTS {files.ALIAS}.{quoted(schema)}")
        source.execute(f"CREATE TABLE {_there(one.target)} AS SELECT {values} FROM {named(one.source)}")  # noqa: S608

    def sums(self, place: Place, what: Sequence[str]) -> tuple[Any, ...]:
        """Return the values of these aggregates over the table."""
        [found] = self._connection.execute(f"SELECT {', '.join(what)} FROM {_there(place)}").fetchall()  # noqa: S608
        return tuple(found)


@contextmanager
def opened(lake: Lake, schema: str, file: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """Open the file, to read only, beside a build's catalog."""
    with files.attached(lake, schema) as connection:
        connection.execute(f"ATTACH {literal(str(file))} AS {_FILE} (READ_ONLY)")
        connection.execute(f"USE {_FILE}")
        yield connection


def _there(place: Place) -> str:
    return f"{files.ALIAS}.{named(place)}"
