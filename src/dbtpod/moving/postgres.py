"""A PostgreSQL server, by the driver that dbt-postgres brings: tables made, rows taken, and summed up."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, BinaryIO

from dbtpod.errors import MoveRefused
from dbtpod.moving.columns import Column, quoted

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

Place = tuple[str, str]


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

    def create(self, place: Place, columns: Sequence[Column]) -> None:
        """Make the table, and its schema where there is none."""
        schema, _ = place
        self._cursor.execute("SELECT 1 FROM pg_namespace WHERE nspname = %s", (schema,))
        if not self._cursor.fetchone():
            self._cursor.execute(f"CREATE SCHEMA {quoted(schema)}")
        listed = ", ".join(f"{quoted(one.name)} {one.type}" for one in columns)
        self._cursor.execute(f"CREATE TABLE {_name(place)} ({listed})")

    def take(self, place: Place, rows: BinaryIO) -> None:
        """Write rows of CSV, as PostgreSQL's COPY takes them, into the table."""
        self._cursor.copy_expert(f"COPY {_name(place)} FROM STDIN (FORMAT csv)", rows)

    def sums(self, place: Place, what: Sequence[str]) -> tuple[Any, ...]:
        """Return the values of these aggregates over the table."""
        self._cursor.execute(f"SELECT {', '.join(what)} FROM {_name(place)}")  # noqa: S608
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


def _name(place: Place) -> str:
    return ".".join(map(quoted, place))
