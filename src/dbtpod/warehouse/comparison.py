"""Two builds compared: the tables and views that differ, and how many of their rows.

It reads both files and writes nothing, not even a temporary file: what a table's rows do not fit in memory for, or in
the time that there is, is left out and said.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import duckdb

from dbtpod.dbt.keys import Keys
from dbtpod.errors import WarehouseUnusable
from dbtpod.timeout import Timeout
from dbtpod.warehouse import database
from dbtpod.warehouse.database import Relation, literal, quoted

NO_KEYS: Keys = MappingProxyType({})
# The names under which both are attached.
_BEFORE, _AFTER = "before", "after"


@dataclass(frozen=True)
class Rows:
    """How the rows of a table differ."""

    added: int
    removed: int
    # The same key, and other values; None where no key is known, and such a row is added and removed.
    changed: int | None


@dataclass(frozen=True)
class Change:
    """A table or view that two builds do not have in common; None where it is not there or is a view."""

    name: str
    what: str  # added, removed, changed
    rows_before: int | None
    rows_after: int | None
    # None: a view, or not compared.
    rows: Rows | None = None
    # Columns that one of them has not, or not of that type: "+discount -tax ~amount".
    columns: str = ""


@dataclass(frozen=True)
class Bounds:
    """What a comparison may take, as DuckDB writes it for memory; None leaves it to DuckDB."""

    seconds: float | None = None
    memory: str | None = None


def changes(before: Path | None, after: Path, keys: Keys = NO_KEYS, bounds: Bounds = Bounds()) -> list[Change]:
    """Compare two DuckDB files, down to the rows; what is equal is left out. `before` is None where there was none.

    WarehouseUnusable where that takes too long, or one of them cannot be read.
    """
    left = Timeout(bounds.seconds or math.inf)
    with _attached({_BEFORE: before, _AFTER: after}, bounds) as connection:
        old = database.relations_of(connection, _BEFORE) if before else {}
        new = database.relations_of(connection, _AFTER)
        if left.is_over:
            raise _too_long(bounds)
        differing = [name for name in sorted(old | new) if old.get(name) != new.get(name)]
        return [_change(connection, name, old.get(name), new.get(name), keys, left) for name in differing]


def cells(one: Change) -> tuple[str, ...]:
    """Write the rows before and after, those added, removed and changed, and the columns, each for people.

    "-" is where there is no table, or no key by which a row is the same; "?" where it took too much to compare.
    """
    found = one.rows
    is_table = one.rows_before is not None or one.rows_after is not None
    parts = (found.added, found.removed, found.changed) if found else ()
    differences = tuple(map(_count, parts)) or ("?" if is_table else "-",) * 3
    return _count(one.rows_before), _count(one.rows_after), *differences, one.columns


def _count(rows: int | None) -> str:
    return "-" if rows is None else str(rows)


@contextmanager
def _attached(files: Mapping[str, Path | None], bounds: Bounds) -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as connection, database.interrupted_after(bounds.seconds, connection):
        try:
            connection.execute("SET temp_directory = ''")
            if bounds.memory:
                connection.execute("SET memory_limit = $1", [bounds.memory])
            for name, path in files.items():
                if path:
                    database.check_database(path)
                    connection.execute(f"ATTACH {literal(str(path))} AS {name} (READ_ONLY)")
            yield connection
        except duckdb.InterruptException as error:
            raise _too_long(bounds) from error
        except duckdb.Error as error:
            raise WarehouseUnusable(f"The builds cannot be compared: {str(error).splitlines()[0]}") from error


def _too_long(bounds: Bounds) -> WarehouseUnusable:
    return WarehouseUnusable(f"Comparing the builds took longer than {bounds.seconds:.0f} s.")


def _change(
    connection: duckdb.DuckDBPyConnection,
    name: str,
    old: Relation | None,
    new: Relation | None,
    keys: Keys,
    left: Timeout,
) -> Change:
    before, after = old.rows if old else None, new.rows if new else None
    if old is None or new is None:
        rows = Rows(after or 0, before or 0, 0) if (before, after) != (None, None) else None
        return Change(name, "added" if old is None else "removed", before, after, rows)
    if before is None or after is None:
        return Change(name, "changed", before, after)
    old_columns, new_columns = (_columns(connection, side, new.place) for side in (_BEFORE, _AFTER))
    common = [column for column, kind in new_columns.items() if old_columns.get(column) == kind]
    known = keys.get((new.place[0].lower(), new.place[1].lower()), ())
    rows = Rows(after, before, None)
    if common:
        rows = _rows(connection, new.place, common, _key(known, common), left)
    return Change(name, "changed", before, after, rows, _column_text(old_columns, new_columns))


def _columns(connection: duckdb.DuckDBPyConnection, side: str, place: tuple[str, str]) -> dict[str, str]:
    found = connection.execute(
        "SELECT column_name, data_type FROM duckdb_columns() "
        "WHERE database_name = $1 AND schema_name = $2 AND table_name = $3 ORDER BY column_index",
        [side, *place],
    ).fetchall()
    return dict(found)


def _key(known: Sequence[str], common: Sequence[str]) -> list[str]:
    """Return the key's columns as the tables write them; none where one is no column of both."""
    written = {column.lower(): column for column in common}
    found = [written.get(column.lower(), "") for column in known]
    return found if all(found) else []


def _rows(
    connection: duckdb.DuckDBPyConnection,
    place: tuple[str, str],
    columns: Sequence[str],
    key: Sequence[str],
    left: Timeout,
) -> Rows | None:
    """Count what EXCEPT ALL finds in each direction, and of that the rows whose key is in both.

    By the rows' hashes, which take a few bytes for each row, whatever the columns hold. A row without a known key is
    its own key, and keys that are there twice are counted row by row. None where that takes too much.
    """
    if left.is_over:
        return None
    table = ".".join(map(quoted, place))
    row = f"hash({', '.join(map(quoted, columns))})"
    identity = f"hash({', '.join(map(quoted, key))})" if key else row
    sql = f"""
        WITH hashed AS (
            SELECT {identity} AS key, {row} AS row, 1 AS one FROM {_AFTER}.{table}
            UNION ALL SELECT {identity}, {row}, -1 FROM {_BEFORE}.{table}),
        differing AS (SELECT key, sum(one) AS n FROM hashed GROUP BY key, row HAVING n <> 0),
        by_key AS (SELECT sum(greatest(n, 0)) AS came, sum(greatest(-n, 0)) AS went FROM differing GROUP BY key)
        SELECT coalesce(sum(came - least(came, went)), 0), coalesce(sum(went - least(came, went)), 0),
            coalesce(sum(least(came, went)), 0) FROM by_key"""  # noqa: S608
    try:
        [counts] = connection.execute(sql).fetchall()
    except (duckdb.OutOfMemoryException, duckdb.InterruptException):
        return None
    added, removed, changed = map(int, counts)
    return Rows(added, removed, changed if key else None)


def _column_text(old: Mapping[str, str], new: Mapping[str, str]) -> str:
    came = [f"+{name}" for name in new if name not in old]
    went = [f"-{name}" for name in old if name not in new]
    other = [f"~{name}" for name in new if name in old and old[name] != new[name]]
    return database.printable(" ".join([*came, *went, *other]))
