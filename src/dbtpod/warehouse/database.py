"""What only DuckDB knows about its file: whether it opens, who has it open, what is in it."""

import errno
import fcntl
import os
import struct
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import duckdb

from dbtpod.errors import WarehouseBusy, WarehouseUnusable
from dbtpod.warehouse import durable

_INTERRUPT_SECONDS = 0.05
# struct flock; macOS orders it otherwise.
FLOCK, FLOCK_FIELDS = (
    ("qqihh", "start length pid kind whence")
    if sys.platform == "darwin"
    else (
        "hhqqi4x",
        "kind whence start length pid",
    )
)


@dataclass(frozen=True)
class Relation:
    """A table or view: two that are equal hold the same rows, in whatever order."""

    rows: int | None  # None: a view
    fingerprint: str
    place: tuple[str, str]  # schema and name


class NewerFormat(WarehouseUnusable):
    """The file is whole, and of a newer DuckDB than the one here."""


def check_database(path: Path) -> None:
    """Open the file read-only and close it: WarehouseUnusable or WarehouseBusy says what stands against it.

    DuckDB reads a file's tables only when they are asked for, so this does not find a file that was cut short.
    """
    with _connect(path, read_only=True):
        pass


def check_all(path: Path) -> None:
    """Read every row of every table, and see that no block is missing: WarehouseUnusable says what is wrong.

    It takes about a second for each gigabyte, and finds what opening the file does not.
    """
    with _connect(path, read_only=True) as connection:
        [blocks] = connection.execute("SELECT block_size * total_blocks FROM pragma_database_size()").fetchall()
        # The first three blocks are headers of their own size.
        needed, size = 3 * 4096 + int(blocks[0]), path.stat().st_size
    if size < needed:
        raise WarehouseUnusable(f"{path} was cut: it has {size} of {needed} bytes.")
    try:
        relations(path)
    except duckdb.Error as error:
        raise WarehouseUnusable(f"{path} is damaged: {str(error).splitlines()[0]}") from error


def is_like(beginning: bytes) -> bool:
    """Say whether the first bytes of a file are those of a DuckDB file."""
    return beginning[8:12] == b"DUCK"


def checkpoint(path: Path) -> None:
    """Bring everything committed into the file itself, so that no write-ahead log remains beside it.

    VolumeFull when there is no room to do so; nothing committed is lost then.
    """
    log = wal(path)
    needed = log.stat().st_size if log.exists() else 0
    with _connect(path, read_only=False) as connection:
        try:
            connection.execute("CHECKPOINT")
        except duckdb.Error as error:
            if _is_full(error):
                raise durable.volume_full(path.parent, needed, "writing the log into the DuckDB file") from error
            raise WarehouseUnusable(f"DuckDB could not checkpoint {path}: {error}") from error
    if log.exists():
        raise WarehouseUnusable(
            f"{log} is still there after a checkpoint, so {path} is not whole; it stays unpublished."
        )


def wal(path: Path) -> Path:
    """Name the write-ahead log that DuckDB keeps beside the file."""
    return path.with_name(path.name + ".wal")


def writer(path: Path) -> int | None:
    """Return the process that has the file open for writing in DuckDB, 0 if it is in another pod; None without one."""
    with path.open("rb") as file:
        question = {"kind": fcntl.F_RDLCK, "whence": os.SEEK_SET, "start": 0, "length": 0, "pid": 0}
        packed = struct.pack(FLOCK, *(question[name] for name in FLOCK_FIELDS.split()))
        answer = dict(
            zip(FLOCK_FIELDS.split(), struct.unpack(FLOCK, fcntl.fcntl(file, fcntl.F_GETLK, packed)), strict=True)
        )
    return None if answer["kind"] == fcntl.F_UNLCK else max(answer["pid"], 0)


def relations(path: Path) -> dict[str, Relation]:
    """Return every table and view by its name; reads all rows, which takes about a second for each gigabyte."""
    with _connect(path, read_only=True) as connection:
        [catalog] = connection.execute("SELECT current_database()").fetchall()
        return relations_of(connection, str(catalog[0]))


def relations_of(connection: duckdb.DuckDBPyConnection, catalog: str) -> dict[str, Relation]:
    """Return those of a file that is open or attached under that name."""
    found = {
        _shown(schema, name): Relation(None, sql, (schema, name))
        for schema, name, sql in connection.execute(
            "SELECT schema_name, view_name, sql FROM duckdb_views() WHERE database_name = $1 AND NOT internal",
            [catalog],
        ).fetchall()
    }
    tables = connection.execute(
        "SELECT schema_name, table_name, sql FROM duckdb_tables() WHERE database_name = $1 AND NOT internal", [catalog]
    ).fetchall()
    for schema, name, sql in tables:
        # The sum of the rows' hashes: equal rows give an equal sum in whatever order they lie. All three names,
        # as a schema may be called like the catalog; and the columns, as one may be called like the table.
        place = ".".join(map(quoted, (catalog, schema, name)))
        rows, total = connection.execute(
            f"SELECT count(*), sum(hash(*COLUMNS(*))) FROM {place}"  # noqa: S608
        ).fetchall()[0]
        found[_shown(schema, name)] = Relation(rows, f"{sql} {total}", (schema, name))
    return found


def rows(path: Path) -> dict[str, int]:
    """Return the number of rows of each table, which DuckDB knows without reading them."""
    with _connect(path, read_only=True) as connection:
        [catalog] = connection.execute("SELECT current_database()").fetchall()
        return {_shown(*place): _count(connection, str(catalog[0]), *place) for place in _tables(connection)}


def tables(path: Path) -> set[tuple[str, str]]:
    """Return schema and name of each table in the file, in lower case."""
    with _connect(path, read_only=True) as connection:
        return {(schema.lower(), name.lower()) for schema, name in _tables(connection)}


def _tables(connection: duckdb.DuckDBPyConnection) -> list[tuple[str, str]]:
    found = connection.execute(
        "SELECT schema_name, table_name FROM duckdb_tables() WHERE database_name = current_database() AND NOT internal"
    ).fetchall()
    return [(str(schema), str(name)) for schema, name in found]


def _count(connection: duckdb.DuckDBPyConnection, *place: str) -> int:
    [count] = connection.execute(f"SELECT count(*) FROM {'.'.join(map(quoted, place))}").fetchall()  # noqa: S608
    return int(count[0])


def names(path: Path) -> tuple[str, set[tuple[str, str]]]:
    """Return the name of the file's catalog, and schema and name of each table and view in it, in lower case."""
    with _connect(path, read_only=True) as connection:
        found = connection.execute(
            "SELECT current_database(), schema_name, table_name FROM duckdb_tables() "
            "WHERE database_name = current_database() UNION ALL SELECT current_database(), schema_name, view_name "
            "FROM duckdb_views() WHERE database_name = current_database() UNION ALL SELECT current_database(), '', ''"
        ).fetchall()
    return str(found[0][0]), {(str(schema).lower(), str(name).lower()) for _, schema, name in found}


def _shown(*names: str) -> str:
    """Write a name so that it is only one table's, on one line; as people write it where they need no quotes."""
    return printable(".".join(name if name.isidentifier() else quoted(name) for name in names))


def printable(text: str) -> str:
    """Write a text so that it stays on one line."""
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in text)


@contextmanager
def _connect(path: Path, read_only: bool) -> Iterator[duckdb.DuckDBPyConnection]:
    try:
        connection = duckdb.connect(path, read_only=read_only)
    except duckdb.Error as error:
        raise _opening_error(path, error) from error
    with connection:
        yield connection


def _opening_error(path: Path, error: duckdb.Error) -> WarehouseBusy | WarehouseUnusable | Exception:
    text = str(error)
    if "Could not set lock" in text:
        return WarehouseBusy(
            f"Another process has {path} open in DuckDB: {text.splitlines()[0]} Close it, then run this again."
        )
    if _is_full(error):
        return durable.volume_full(path.parent, 0, "opening the DuckDB file")
    if "version number" in text or "newer version of DuckDB" in text:
        return NewerFormat(
            f"{path} was written by a newer DuckDB than the {duckdb.__version__} here: {text.splitlines()[0]} "
            "Use an image with that DuckDB, or bring the file to the older format with the newer one "
            "(ATTACH 'old.duckdb' (STORAGE_VERSION 'v1.0.0'); COPY FROM DATABASE). Nothing was deleted."
        )
    return WarehouseUnusable(
        f"DuckDB {duckdb.__version__} cannot open {path}: {text.splitlines()[0]} Nothing was deleted. Put a whole "
        "file in its place, or move it away."
    )


def _is_full(error: duckdb.Error) -> bool:
    return any(os.strerror(number) in str(error) for number in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG))


def quoted(name: str) -> str:
    """Write a name as SQL has it, whatever is in it."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """Write a text as SQL has it.

    >>> literal("it's")
    "'it''s'"
    """
    return "'" + text.replace("'", "''") + "'"


@contextmanager
def interrupted_after(seconds: float | None, connection: duckdb.DuckDBPyConnection) -> Iterator[None]:
    """Interrupt each statement that runs in the block once the time is over; None: never."""
    if seconds is None:
        yield
        return
    done = threading.Event()

    def interrupt() -> None:
        # Again and again: DuckDB forgets an interruption that comes between two statements.
        late = not done.wait(seconds)
        while late:
            connection.interrupt()
            late = not done.wait(_INTERRUPT_SECONDS)

    thread = threading.Thread(target=interrupt, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
