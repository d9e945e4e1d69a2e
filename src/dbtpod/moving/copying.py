"""All tables of a DuckDB file to where the warehouse is now; each is compared when its rows are there."""

from collections.abc import Callable, Sequence
from decimal import Decimal
from math import isclose
from pathlib import Path
from typing import Any, Protocol

import duckdb

from dbtpod.errors import MoveRefused
from dbtpod.moving.columns import Column, quoted
from dbtpod.moving.tables import Place, Table, named

# Two sums of the same floating-point numbers, in another order.
_TOLERANCE = 1e-9


class Target(Protocol):
    """Where the tables go; all of them or none, which is for whoever opened it."""

    def existing(self, places: Sequence[Place]) -> list[str]:
        """Return those of the relations that are there, tables, views and all else."""

    def column(self, name: str, duckdb_type: str) -> Column:
        """Return the column that takes a type's values; MoveRefused names a type that has none there."""

    def fill(self, source: duckdb.DuckDBPyConnection, one: Table, columns: Sequence[Column]) -> None:
        """Make a table, its schema too, and bring the rows there."""

    def sums(self, place: Place, what: Sequence[str]) -> tuple[Any, ...]:
        """Return the values of these aggregates over the table."""


def opened(file: Path) -> duckdb.DuckDBPyConnection:
    """Open the file, to read only."""
    return duckdb.connect(file, read_only=True)


def copy(source: duckdb.DuckDBPyConnection, tables: Sequence[Table], target: Target, say: Callable[[str], None]) -> int:
    """Copy the tables and return how many rows they have; MoveRefused lists all that cannot be moved, or differs.

    `source` has the file as its default database.
    """
    columns = _columns(source, tables, target)
    if there := target.existing([one.target for one in tables]):
        raise MoveRefused(
            f"Not moved: {', '.join(there)} is there already. Drop what is to be replaced, or give the target another "
            "schema."
        )
    rows = 0
    for number, one in enumerate(tables, 1):
        target.fill(source, one, columns[one.node_id])
        count = _compare(source, one, columns[one.node_id], target)
        say(f"{number} of {len(tables)}: {'.'.join(one.target)}, {count} rows, the same sums.")
        rows += count
    return rows


def _columns(source: duckdb.DuckDBPyConnection, tables: Sequence[Table], target: Target) -> dict[str, list[Column]]:
    found: dict[str, list[Column]] = {}
    problems = []
    for one in tables:
        described = source.execute(f"DESCRIBE {named(one.source)}").fetchall()
        try:
            found[one.node_id] = [target.column(str(name), str(type_)) for name, type_, *_ in described]
        except MoveRefused as refused:
            problems.append(f"{'.'.join(one.source)}: {refused}.")
    if problems:
        raise MoveRefused("\n".join(["Not moved:", *problems]))
    return found


def _compare(source: duckdb.DuckDBPyConnection, one: Table, columns: Sequence[Column], target: Target) -> int:
    """Return the number of rows; it and each column's values and sum are the same on both sides."""
    what = {"rows": "count(*)"}
    for each in columns:
        what[f"values in {each.name}"] = f"count({quoted(each.name)})"
        if each.sum:
            what[f"the sum of {each.name}"] = each.sum
    aggregates = list(what.values())
    [here] = source.execute(f"SELECT {', '.join(aggregates)} FROM {named(one.source)}").fetchall()  # noqa: S608
    there = target.sums(one.target, aggregates)
    differing = [
        f"{name} {after} and not {before}"
        for name, before, after in zip(what, here, there, strict=True)
        if not _is_same(before, after)
    ]
    if differing:
        raise MoveRefused(f"Not moved: {'.'.join(one.target)} is not what was sent. It has {', '.join(differing)}.")
    return int(here[0])


def _is_same(before: Any, after: Any) -> bool:
    if isinstance(before, float) and isinstance(after, float):
        return isclose(before, after, rel_tol=_TOLERANCE)
    return before == after if before is None or after is None else Decimal(str(before)) == Decimal(str(after))
