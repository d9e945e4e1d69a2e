"""All tables of a DuckDB file into a server, in one transaction: each is compared when its rows are there."""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from math import isclose
from pathlib import Path
from typing import Any

import duckdb

from dbtpod.errors import MoveRefused
from dbtpod.moving.columns import Column, column, quoted
from dbtpod.moving.postgres import Server
from dbtpod.moving.tables import Table

# Two sums of the same floating-point numbers, in another order.
_TOLERANCE = 1e-9


def copy(file: Path, tables: Sequence[Table], server: Server, say: Callable[[str], None]) -> int:
    """Copy the tables and return how many rows they have; MoveRefused lists all that cannot be moved, or differs.

    Nothing is written to the file.
    """
    with duckdb.connect(file, read_only=True) as source:
        columns = _columns(source, tables)
        if there := server.existing([one.target for one in tables]):
            raise MoveRefused(
                f"Not moved: the server has {', '.join(there)} already. Drop what is to be replaced, or give the "
                "target another schema."
            )
        rows = 0
        for number, one in enumerate(tables, 1):
            server.create(one.target, columns[one.node_id])
            _stream(source, one, columns[one.node_id], server)
            count = _compare(source, one, columns[one.node_id], server)
            say(f"{number} of {len(tables)}: {'.'.join(one.target)}, {count} rows, the same sums.")
            rows += count
        return rows


def _columns(source: duckdb.DuckDBPyConnection, tables: Sequence[Table]) -> dict[str, list[Column]]:
    found: dict[str, list[Column]] = {}
    problems = []
    for one in tables:
        described = source.execute(f"DESCRIBE {_place(one)}").fetchall()
        try:
            found[one.node_id] = [column(str(name), str(type_)) for name, type_, *_ in described]
        except MoveRefused as refused:
            problems.append(f"{'.'.join(one.source)}: {refused}.")
    if problems:
        raise MoveRefused("\n".join(["Not moved:", *problems]))
    return found


def _stream(source: duckdb.DuckDBPyConnection, one: Table, columns: Sequence[Column], server: Server) -> None:
    """Let DuckDB write into a pipe what the server reads from it: no file in between."""
    values = ", ".join(each.value for each in columns)
    reads, writes = os.pipe()
    # Quotes tell an empty text from a NULL.
    form = "(FORMAT csv, HEADER false, FORCE_QUOTE *, NULLSTR '')"

    def send() -> None:
        try:
            source.execute(f"COPY (SELECT {values} FROM {_place(one)}) TO '/dev/fd/{writes}' {form}")  # noqa: S608
        finally:
            os.close(writes)

    with ThreadPoolExecutor(1) as beside:
        sending = beside.submit(send)
        with os.fdopen(reads, "rb") as rows:
            server.take(one.target, rows)
        sending.result()


def _compare(source: duckdb.DuckDBPyConnection, one: Table, columns: Sequence[Column], server: Server) -> int:
    """Return the number of rows; it and each column's values and sum are the same on both sides."""
    what = {"rows": "count(*)"}
    for each in columns:
        what[f"values in {each.name}"] = f"count({quoted(each.name)})"
        if each.sum:
            what[f"the sum of {each.name}"] = each.sum
    aggregates = list(what.values())
    [here] = source.execute(f"SELECT {', '.join(aggregates)} FROM {_place(one)}").fetchall()  # noqa: S608
    there = server.sums(one.target, aggregates)
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


def _place(one: Table) -> str:
    return ".".join(map(quoted, one.source))
