"""Into a PostgreSQL server, by the driver that dbt-postgres brings: types there, and rows as COPY takes them."""

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import duckdb

from dbtpod.errors import MoveRefused
from dbtpod.moving.columns import Column, quoted
from dbtpod.moving.tables import Place, Table, named

if TYPE_CHECKING:
    from psycopg2.extensions import connection  # type: ignore[import-untyped]

ADAPTER = "postgres"
# dbt-postgres' keys of a target, each with another name that it takes; libpq's name is the first.
_KEYS = {
    "host": (),
    "port": (),
    "user": (),
    "password": ("pass",),
    "dbname": ("database",),
    "sslmode": (),
    "sslcert": (),
    "sslkey": (),
    "sslrootcert": (),
}
_CONNECT_SECONDS = 10
_NESTED = re.compile(r".*\[\d*\]|(STRUCT|MAP|UNION)\(.*", re.DOTALL)
# DuckDB's types: what each is there.
_TYPES = {
    "BIGINT": "bigint",
    "BIGNUM": "numeric",
    "BIT": "bit varying",
    "BLOB": "bytea",
    "BOOLEAN": "boolean",
    "DATE": "date",
    "DOUBLE": "double precision",
    "FLOAT": "real",
    "HUGEINT": "numeric(39)",
    "INTEGER": "integer",
    "INTERVAL": "interval",
    "JSON": "json",
    "SMALLINT": "smallint",
    "TIME": "time",
    "TIME WITH TIME ZONE": "timetz",
    "TIMESTAMP": "timestamp",
    "TIMESTAMP WITH TIME ZONE": "timestamptz",
    "TIMESTAMP_MS": "timestamp",
    "TIMESTAMP_S": "timestamp",
    "TINYINT": "smallint",
    "UBIGINT": "numeric(20)",
    "UHUGEINT": "numeric(39)",
    "UINTEGER": "bigint",
    "USMALLINT": "integer",
    "UTINYINT": "smallint",
    "UUID": "uuid",
    "VARCHAR": "text",
}


def column(name: str, duckdb_type: str) -> Column:
    """Return the column that takes a type's values; MoveRefused names a type that PostgreSQL has nothing for.

    >>> column("amount", "DECIMAL(18,3)").type, column("tags", "VARCHAR[]").type
    ('numeric(18,3)', 'jsonb')
    """
    if decimal := re.fullmatch(r"DECIMAL(\(\d+,\d+\))", duckdb_type):
        return Column(name, duckdb_type, f"numeric{decimal[1]}", quoted(name))
    if _NESTED.fullmatch(duckdb_type):
        return Column(name, duckdb_type, "jsonb", f"to_json({quoted(name)})")
    if duckdb_type.startswith("ENUM("):
        return Column(name, duckdb_type, "text", quoted(name))
    if duckdb_type not in _TYPES:
        raise MoveRefused(
            f"column {name} is of type {duckdb_type}, for which PostgreSQL has none: cast it in the model, for example "
            "to VARCHAR, and build once more before you move"
        )
    value = rf"'\x' || hex({quoted(name)})" if duckdb_type == "BLOB" else quoted(name)
    return Column(name, duckdb_type, _TYPES[duckdb_type], value)


class Server:
    """An open transaction."""

    def __init__(self, connected: "connection") -> None:
        self._cursor = connected.cursor()

    def existing(self, places: Sequence[Place]) -> list[str]:
        """Return those of the relations that are there, tables, views and all else."""
        names = "SELECT n.nspname, c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
        self._cursor.execute(f"{names} WHERE n.nspname = ANY(%s)", ([schema for schema, _ in places],))
        there = set(self._cursor.fetchall())
        return [".".join(place) for place in places if place in there]

    column = staticmethod(column)

    def fill(self, source: duckdb.DuckDBPyConnection, one: Table, columns: Sequence[Column]) -> None:
        """Make the table, and let DuckDB write into a pipe what the server reads from it: no file in between."""
        self._create(one.target, columns)
        values = ", ".join(each.value for each in columns)
        reads, writes = os.pipe()
        # Quotes tell an empty text from a NULL.
        form = "(FORMAT csv, HEADER false, FORCE_QUOTE *, NULLSTR '')"

        def send() -> None:
            try:
                source.execute(f"COPY (SELECT {values} FROM {named(one.source)}) TO '/dev/fd/{writes}' {form}")  # noqa: S608
            finally:
                os.close(writes)

        with ThreadPoolExecutor(1) as beside:
            sending = beside.submit(send)
            with os.fdopen(reads, "rb") as rows:
                self._cursor.copy_expert(f"COPY {named(one.target)} FROM STDIN (FORMAT csv)", rows)
            sending.result()

    def _create(self, place: Place, columns: Sequence[Column]) -> None:
        """Make the table, and its schema where there is none."""
        schema, _ = place
        self._cursor.execute("SELECT 1 FROM pg_namespace WHERE nspname = %s", (schema,))
        if not self._cursor.fetchone():
            self._cursor.execute(f"CREATE SCHEMA {quoted(schema)}")
        listed = ", ".join(f"{quoted(one.name)} {one.type}" for one in columns)
        self._cursor.execute(f"CREATE TABLE {named(place)} ({listed})")

    def sums(self, place: Place, what: Sequence[str]) -> tuple[Any, ...]:
        """Return the values of these aggregates over the table."""
        self._cursor.execute(f"SELECT {', '.join(what)} FROM {named(place)}")  # noqa: S608
        [found] = self._cursor.fetchall()
        return tuple(found)


@contextmanager
def opened(target: Mapping[str, str]) -> Iterator[Server]:
    """Open a transaction on the server of a dbt target; it is committed where the block ends well, and else undone.

    MoveRefused has the server's words, where it refuses something.
    """
    import psycopg2  # type: ignore[import-untyped]

    given = {key: target[name] for key, others in _KEYS.items() for name in (*others, key) if target.get(name)}
    try:
        connected = psycopg2.connect(
            **given,
            connect_timeout=_CONNECT_SECONDS,
            application_name="dbtpod move",
        )
    except psycopg2.Error as error:
        raise MoveRefused(f"Not moved: the server cannot be used. {str(error).strip()}") from error
    try:
        with connected:
            if role := target.get("role"):
                connected.cursor().execute(f"SET ROLE {quoted(role)}")
            yield Server(connected)
    except psycopg2.Error as error:
        raise MoveRefused(f"Not moved, and nothing of it is in the server: {str(error).strip()}") from error
    finally:
        connected.close()
