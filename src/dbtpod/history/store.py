"""One history file: made, filled, pruned, and read."""

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import duckdb

from dbtpod.history import schema
from dbtpod.history.attempt import Row
from dbtpod.history.fold import Rows
from dbtpod.history.schema import OF_RUNS, TABLES

# Beside dbt's and Prefect's own, in a pod whose memory is for the build.
_SETTINGS: dict[str, str | bool | int | float | list[str]] = {
    "threads": 1,
    "memory_limit": "256MB",
    "default_block_size": "16384",
}


class OtherVersion(Exception):
    """The file is whole, and of a dbtpod with other tables."""


class NoHistory(Exception):
    """The file is a database of something else."""


def read(path: Path) -> duckdb.DuckDBPyConnection:
    """Open a history file, or that of a folder such as `published/000007`, for reading; its times are shown in UTC.

    Close what it returns: `with store.read(path) as history:`.
    """
    connection = duckdb.connect(path / schema.FILE if path.is_dir() else path, read_only=True)
    connection.execute("SET TimeZone = 'UTC'")
    return connection


@contextmanager
def opened(path: Path) -> Iterator["Store"]:
    """Open a file for writing, or make it; when the block has ended well, all of it is in the file itself.

    NoHistory and OtherVersion say why it cannot be written to.
    """
    with duckdb.connect(path, config=_SETTINGS) as connection:
        # What does not fit into memory must not fill the volume.
        connection.execute("SET TimeZone = 'UTC'; SET temp_directory = ''")
        store = Store(connection)
        store.prepare()
        connection.execute("BEGIN")
        yield store
        connection.execute("COMMIT")
        connection.execute("CHECKPOINT")


class Store:
    """A file that is open for writing, in one transaction."""

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self._connection = connection

    def prepare(self) -> None:
        """Have the tables and the views there."""
        there = {name for (name,) in self._fetch("SELECT table_name FROM duckdb_tables() WHERE NOT internal")}
        if there and "about" not in there:
            raise NoHistory("it has no table `about`")
        about = self._fetch("SELECT version, views FROM about") if there else []
        if about and about[0][0] != schema.VERSION:
            raise OtherVersion(f"its version is {about[0][0]}, and this dbtpod writes version {schema.VERSION}")
        views = schema.views()
        if about != [(schema.VERSION, views)]:
            self._connection.execute(schema.tables())
            self._connection.execute(views)
            self._connection.execute("DELETE FROM about")
            self._connection.execute("INSERT INTO about VALUES ($1, $2)", [schema.VERSION, views])

    def stamps(self) -> dict[str, str]:
        """Return what the folders of each run looked like when they were read."""
        return dict(self._fetch("SELECT run_id, stamp FROM imports"))

    def unended(self) -> set[str]:
        """Return the runs that are not known to have ended."""
        return {run_id for (run_id,) in self._fetch("SELECT run_id FROM runs WHERE state = 'running'")}

    def invocations(self) -> dict[str, str]:
        """Return the run of each of dbt's invocations."""
        return dict(self._fetch("SELECT invocation_id, run_id FROM commands WHERE invocation_id IS NOT NULL"))

    def replace(self, found: Mapping[str, tuple[str, Rows]]) -> None:
        """Put the rows of runs, each with its stamp, in the place of what was known of them."""
        self._delete([*OF_RUNS, "imports"], "run_id", list(found))
        for table in OF_RUNS:
            self._insert(table, TABLES[table], [row for _, rows in found.values() for row in rows[table]])
        stamps = [{"run_id": run_id, "stamp": stamp} for run_id, (stamp, _) in found.items()]
        self._insert("imports", dict.fromkeys(("run_id", "stamp"), "VARCHAR"), stamps)

    def note_generation(self, run_id: str, generation: int) -> None:
        """Note that what the run built is that generation, where it is not known."""
        self._connection.execute(
            "UPDATE runs SET generation = $1 WHERE run_id = $2 AND generation IS NULL", [generation, run_id]
        )

    def has_relations(self, generation: int, run_id: str) -> bool:
        """Say whether the tables of that generation are known."""
        known = "SELECT count(*) FROM relations WHERE generation = $1 AND run_id = $2"
        return bool(self._fetch(known, [generation, run_id])[0][0])

    def add_relations(self, generation: int, run_id: str, at: datetime, found: Sequence[Row]) -> None:
        """Put the tables of a generation in the place of what was known of that number."""
        self._delete(["relations"], "generation", [str(generation)])
        own = {"generation": generation, "run_id": run_id, "at": at}
        self._insert("relations", TABLES["relations"], [own | row for row in found])

    def prune(self, before: datetime, there: Collection[str]) -> None:
        """Remove what is older; the stamp of a run stays while its folder is `there`, or it would be read again."""
        old = "SELECT run_id FROM runs WHERE coalesce(ended, started) < $1"
        for table in reversed(OF_RUNS):
            self._connection.execute(f"DELETE FROM {table} WHERE run_id IN ({old})", [before])  # noqa: S608
        self._connection.execute('DELETE FROM relations WHERE "at" < $1', [before])
        known = {run_id for (run_id,) in self._fetch("SELECT run_id FROM runs")}
        gone = [run_id for run_id in self.stamps() if run_id not in there and run_id not in known]
        self._delete(["imports"], "run_id", gone)

    def _delete(self, tables: Sequence[str], column: str, values: Sequence[str]) -> None:
        for table in tables if values else ():
            listed = "SELECT unnest(from_json($1, '[\"VARCHAR\"]'))"
            self._connection.execute(
                f"DELETE FROM {table} WHERE CAST({column} AS VARCHAR) IN ({listed})",  # noqa: S608
                [json.dumps(list(values))],
            )

    def _insert(self, table: str, columns: Mapping[str, str], rows: Sequence[Row]) -> None:
        """Insert rows as one JSON text: 500 rows take 15 ms, and 1,400 ms one by one."""
        if rows:
            found = [{name: row.get(name) for name in columns} for row in rows]
            text = json.dumps(found, default=datetime.isoformat)
            form = json.dumps([dict(columns)])
            self._connection.execute(
                f"INSERT INTO {table} SELECT unnest(from_json($1, $2), recursive := true)",
                [text, form],
            )

    def _fetch(self, sql: str, values: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        return self._connection.execute(sql, list(values)).fetchall()
