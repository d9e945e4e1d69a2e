"""The tables of a history file, and its views (views.sql); docs/history.md says what each column means."""

from collections.abc import Mapping
from pathlib import Path

from dbtpod.warehouse.builds import HISTORY
from dbtpod.warehouse.database import quoted

# Another one is of another dbtpod, which alone may write to it.
VERSION = 1
FILE = HISTORY

_RUN, _PLACE = {"run_id": "VARCHAR"}, {"command": "INTEGER", "attempt": "INTEGER"}
_TIMED = {"status": "VARCHAR", "started": "TIMESTAMPTZ", "seconds": "DOUBLE", "thread": "VARCHAR"}

TABLES: dict[str, dict[str, str]] = {
    "runs": _RUN
    | {
        "name": "VARCHAR",
        "flow": "VARCHAR",
        "deployment": "VARCHAR",
        "started": "TIMESTAMPTZ",
        "ended": "TIMESTAMPTZ",
        "state": "VARCHAR",
        "message": "VARCHAR",
        "generation": "INTEGER",
        "base": "INTEGER",
        "only_reads": "BOOLEAN",
        "starts": "INTEGER",
        "pod_seconds": "DOUBLE",
        "dbtpod": "VARCHAR",
        "dbt": "VARCHAR",
    },
    "commands": _RUN
    | {
        "number": "INTEGER",
        "attempt": "INTEGER",
        "args": "VARCHAR",
        "started": "TIMESTAMPTZ",
        "seconds": "DOUBLE",
        "exit_code": "INTEGER",
        "invocation_id": "VARCHAR",
    },
    "nodes": _RUN
    | _PLACE
    | {"node_id": "VARCHAR", "kind": "VARCHAR", "name": "VARCHAR"}
    | _TIMED
    | {"rows": "BIGINT", "message": "VARCHAR"},
    "tests": _RUN
    | _PLACE
    | {"node_id": "VARCHAR", "name": "VARCHAR"}
    | _TIMED
    | {"failures": "BIGINT", "message": "VARCHAR"},
    "source_checks": _RUN
    | _PLACE
    | {
        "node_id": "VARCHAR",
        "name": "VARCHAR",
        "status": "VARCHAR",
        "loaded_at": "TIMESTAMPTZ",
        "checked_at": "TIMESTAMPTZ",
        "age_seconds": "DOUBLE",
    },
    "relations": {
        "generation": "INTEGER",
        "run_id": "VARCHAR",
        "at": "TIMESTAMPTZ",
        "schema": "VARCHAR",
        "name": "VARCHAR",
        "kind": "VARCHAR",
        "rows": "BIGINT",
        "bytes": "BIGINT",
    },
}
# A run that is read again replaces its rows in these.
OF_RUNS = ("runs", "commands", "nodes", "tests", "source_checks")
# For ourselves: what each run's folders looked like when they were read, and the schema's version.
_OURS = {
    "imports": {"run_id": "VARCHAR", "stamp": "VARCHAR"},
    "about": {"version": "INTEGER", "views": "VARCHAR"},
}


def tables() -> str:
    """Return the statements that make those tables which are not there."""
    return "".join(
        f"CREATE TABLE IF NOT EXISTS {name} ({_columns(columns)});\n" for name, columns in (TABLES | _OURS).items()
    )


def _columns(columns: Mapping[str, str]) -> str:
    # `at` is a word of SQL's.
    return ", ".join(f"{quoted(name)} {kind}" for name, kind in columns.items())


def views() -> str:
    """Return the statements that make the views, anew where they are there."""
    return Path(__file__).with_name("views.sql").read_text(encoding="utf-8")
