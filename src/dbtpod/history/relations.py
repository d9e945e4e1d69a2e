"""Rows and bytes of the tables in a DuckDB file, by its metadata alone: no row is read."""

import time
from collections.abc import Iterator
from pathlib import Path

import duckdb

from dbtpod.history.attempt import Row
from dbtpod.warehouse.database import literal, quoted

# For the bytes of all tables together. What is left then has none.
SECONDS = 2.0
# In one query, which cannot be interrupted. DuckDB lists each column of each 122,880 rows twice: ten thousand of them
# take a second. A table that has more by itself has no bytes.
_MOST_SEGMENTS = 10_000
_ROW_GROUP = 122_880
# In one query too: a third of the time of one for each.
_TOGETHER = 20


def read(path: Path, seconds: float = SECONDS) -> list[Row]:
    """Return each table and view: a table with its rows, and with its bytes where that took no longer than `seconds`.

    Bytes are those of the blocks on which it lies. Of a block that tables share, each has as much as its columns take.
    """
    end = time.monotonic() + seconds
    with duckdb.connect(path, read_only=True) as connection:
        # It is a matter of many small answers.
        connection.execute("SET threads = 1")
        tables = connection.execute(
            "SELECT schema_name, table_name, estimated_size, column_count FROM duckdb_tables() "
            "WHERE NOT internal AND database_name = current_database()"
        ).fetchall()
        views = connection.execute(
            "SELECT schema_name, view_name FROM duckdb_views() "
            "WHERE NOT internal AND database_name = current_database()"
        ).fetchall()
        [[block]] = connection.execute("SELECT block_size FROM pragma_database_size()").fetchall()
        # DuckDB's function reads no name with a quote in it.
        known = [
            (2 * columns * (rows // _ROW_GROUP + 1), index, f"{quoted(schema)}.{quoted(name)}")
            for index, (schema, name, rows, columns) in enumerate(tables)
            if '"' not in schema + name
        ]
        measured = _bytes(connection, sorted(known), block, end)
    found: list[Row] = [
        {"schema": schema, "name": name, "kind": "table", "rows": rows, "bytes": measured.get(index)}
        for index, (schema, name, rows, _) in enumerate(tables)
    ]
    return found + [{"schema": schema, "name": name, "kind": "view"} for schema, name in views]


def _bytes(
    connection: duckdb.DuckDBPyConnection, tables: list[tuple[int, int, str]], block: int, end: float
) -> dict[int, int]:
    """Return the bytes of tables, by their number; not of those for which there was no time."""
    found: dict[int, int] = {}
    segments: list[tuple[int, int, int]] = []
    for some in _batches(tables):
        if time.monotonic() > end:
            break
        found |= {index: 0 for index, _ in some}
        for index, number, offset, more in connection.execute(" UNION ALL ".join(map(_segments, some))).fetchall():
            segments.append((number, offset, index))
            # Long texts have whole blocks of their own.
            found[index] += more * block
    # A part lasts until the next one begins, or to the end of its block.
    ordered = sorted(set(segments))
    for (number, offset, index), following in zip(ordered, [*ordered[1:], (-1, 0, 0)], strict=False):
        found[index] += (following[1] if following[0] == number else block) - offset
    return found


def _batches(tables: list[tuple[int, int, str]]) -> Iterator[list[tuple[int, str]]]:
    """Put tables together that are looked at in one query; those with most to look at are the last."""
    some: list[tuple[int, str]] = []
    left = _MOST_SEGMENTS
    for segments, index, place in tables:
        if some and (segments > left or len(some) == _TOGETHER):
            yield some
            some, left = [], _MOST_SEGMENTS
        if segments <= left:
            some.append((index, place))
            left -= segments
    if some:
        yield some


def _segments(table: tuple[int, str]) -> str:
    return (
        f"SELECT {table[0]}, block_id, block_offset, len(additional_block_ids) "  # noqa: S608
        f"FROM pragma_storage_info({literal(table[1])}) WHERE persistent AND block_id >= 0"
    )
