"""What kind of failure dbt's exit code and messages mean; pure."""

import errno
import os
import re
from collections.abc import Sequence
from enum import Enum

from dbtpod.dbt.project import DUCKDB, DUCKLAKE
from dbtpod.errors import (
    BuildIncomplete,
    ConnectionLost,
    DbtFailed,
    DbtKilled,
    DbtPodError,
    DbtUnusable,
    VolumeFull,
)

# How DuckDB and Python report a volume that became full in the middle.
_FULL = os.strerror(errno.ENOSPC)

# The database was away or held by another: DuckDB's file, its httpfs, PostgreSQL, and what libc says of sockets.
_AWAY = re.compile(
    r"""could\ not\ set\ lock | conflicting\ lock | io\ error:\ cannot\ open\ file
    | connection\ (refused|reset|timed\ out|is\ closed|already\ closed) | broken\ pipe | network\ is\ unreachable
    | no\ route\ to\ host | temporary\ failure\ in\ name\ resolution | could\ not\ translate\ host\ name
    | could\ not\ connect\ to\ server | connection\ to\ server\b.*\ failed | could\ not\ establish\ connection
    | server\ closed\ the\ connection | ssl\ connection\ has\ been\ closed | terminating\ connection\ due\ to
    | database\ system\ is\ (starting\ up|shutting\ down|in\ recovery) | too\ many\ (clients|connections)
    | remaining\ connection\ slots | stale\ file\ handle""",
    re.IGNORECASE | re.VERBOSE,
)
# The database answered, or no later try will find it otherwise. Such messages quote SQL, which may say anything.
_LASTING = re.compile(
    r"""\b(catalog|binder|parser|constraint|conversion|invalid\ input|out\ of\ memory|compilation|syntax
    |not\ implemented|mismatch\ type|out\ of\ range)\ error
    | permission\ denied | no\ such\ file | is\ a\ directory | read-only\ file\ system | no\ space\ left""",
    re.IGNORECASE | re.VERBOSE,
)


# Of a server, all that it says begins in the line after dbt's own; further down it quotes SQL, which may say anything.
_HEAD = re.compile(
    r"^\s*((\[ERROR\]: )?Encountered an error:|\w+ Error(\ in\ .*)?|Error|(PARTIAL SUCCESS|ERROR) \(.*\))?\s*$"
)
# Of a microbatch model's batch.
_BATCH = re.compile(r"^\s*batch [\d :T-]+: ")
_PREFIX = re.compile(r"^\s*(\[ERROR\]: |(Database|Runtime) Error: )?(FATAL:\s+)?")
# The texts of psycopg2 and PostgreSQL 17, taken from a server. Nothing was done: no connection was made, or the server
# has undone the transaction (serialization_failure 40001, deadlock_detected 40P01).
_POSTGRES_UNDONE = re.compile(
    r"""connection\ to\ server\b.*\ failed:\ (?!FATAL:)
    | (connection\ to\ server\b.*\ failed:\ FATAL:\s+)?(
        the\ database\ system\ is\ (starting\ up|shutting\ down|not\ yet\ accepting|in\ recovery)
        | sorry,\ too\ many\ clients | too\ many\ connections | remaining\ connection\ slots
        | terminating\ connection\ due\ to )
    | could\ not\ (translate\ host\ name|connect\ to\ server) | could\ not\ serialize\ access | deadlock\ detected
    | canceling\ statement\ due\ to\ conflict\ with\ recovery""",
    re.IGNORECASE | re.VERBOSE,
)
# Or the connection broke while the server worked: it may have committed before.
_POSTGRES_BROKEN = re.compile(
    r"""server\ closed\ the\ connection | terminating\ connection\ (due\ to|because\ of)
    | ssl\ (syscall\ error|connection\ has\ been)
    | (connection|cursor)\ (already\ closed|not\ open|is\ closed|reset) | could\ not\ (receive|send)\ (data|ssl)
    | no\ connection\ to\ the\ server | broken\ pipe""",
    re.IGNORECASE | re.VERBOSE,
)
# The texts of DuckDB 1.5.5 with a DuckLake in PostgreSQL and on S3, taken from both. Files are written first: only
# where the commit itself broke, PostgreSQL may have done it. Of a lost connection libpq often says nothing there.
_LAKE_BROKEN = re.compile(r"failed to commit:.*(\"ROLLBACK\":\s*$|server closed|connection|terminating)", re.I | re.S)
_LAKE_AWAY = re.compile(
    r"""unable\ to\ connect\ to\ postgres\ at | failed\ to\ query\ most\ recent\ snapshot
    | failed\ to\ execute\ query\ .*(server\ closed|no\ connection|terminating\ connection|:\s*$)
    | could\ not\ (resolve\ hostname|establish\ connection|connect\ to\ server) | timeout\ was\ reached
    | http\ (429|5\d\d)\b | \b(429|5\d\d)\ \((internal|bad|service|gateway|too|slow)""",
    re.IGNORECASE | re.VERBOSE,
)
_LAKE_REFUSED = re.compile(r"FATAL:\s+(?!\s|the database system|sorry|too many|remaining|terminating)", re.IGNORECASE)
# The names that Trino 476 gives its errors, as its Python client writes them. A query that lost a worker, or a race for
# the table, has written nothing that a table shows.
_TRINO_NAME = re.compile(r"Trino\w*Error\(type=(\w+), name=(\w+),")
_TRINO_UNDONE = {
    *("NO_NODES_AVAILABLE", "REMOTE_TASK_ERROR", "REMOTE_HOST_GONE", "TOO_MANY_REQUESTS_FAILED", "ABANDONED_TASK"),
    *("PAGE_TRANSPORT_ERROR", "PAGE_TRANSPORT_TIMEOUT", "TRANSACTION_CONFLICT"),
}
# Each statement of a node commits by itself, and these may be of one that came after the rows.
_TRINO_BROKEN = {"SERVER_STARTING_UP", "SERVER_SHUTTING_DOWN", "ICEBERG_COMMIT_ERROR"}
# The texts of its client, for which a lost coordinator has many; a new one does not know the queries of the old one.
_TRINO_AWAY = re.compile(
    r"""failed\ to\ (execute|fetch):\ (?!.*certificate) | received\ empty\ response
    | error\ (429|50[234])\b | error\ (404|410):\ b'Query\ not\ found""",
    re.VERBOSE,
)
# What its plugins say of files and catalogs that could not be reached.
_TRINO_STORE_AWAY = re.compile(
    r"unable to execute http request|failed to connect: jdbc:|connection\b.* refused|status code: (429|5\d\d)",
    re.IGNORECASE,
)
# Such a server will be ready in a minute, or a coordinator have its workers; nothing was done.
_STARTING = re.compile(
    r"FATAL:\s+the database system is (starting up|not yet accepting|in recovery)"
    r"|name=(SERVER_STARTING_UP|NO_NODES_AVAILABLE),"
)


class Kind(Enum):
    """What another try of the same command can do about an error."""

    LASTING = "nothing: it would find the same"
    UNDONE = "it may succeed, and nothing was done before"
    BROKEN = "it may succeed, but whether something was done before is not known"


def kind_of(message: str, adapter: str = DUCKDB) -> Kind:
    """Return what an error's message means, as this adapter writes it.

    Give it one message, a node's or dbt's own, not a whole log. What is not known is lasting.

    >>> kind_of("Database Error\\n  deadlock detected", "postgres"), kind_of("Parser Error: near selct")
    (<Kind.UNDONE: 'it may succeed, and nothing was done before'>, <Kind.LASTING: 'nothing: it would find the same'>)
    """
    if adapter == "postgres":
        return _postgres(_first_line(message))
    if adapter == DUCKLAKE:
        return _ducklake(message)
    if adapter == "trino":
        return _trino(_first_line(message))
    if not _AWAY.search(message) or _LASTING.search(message):
        return Kind.LASTING
    # DuckDB's file is opened by dbt itself, and no commit of it goes over a connection.
    return Kind.UNDONE if adapter == DUCKDB else Kind.BROKEN


def _ducklake(message: str) -> Kind:
    if _LAKE_BROKEN.search(message):
        return Kind.BROKEN
    is_lasting = _LASTING.search(message) or _LAKE_REFUSED.search(message)
    return Kind.UNDONE if _LAKE_AWAY.search(message) and not is_lasting else Kind.LASTING


def _postgres(line: str) -> Kind:
    if _POSTGRES_BROKEN.match(line):
        return Kind.BROKEN
    return Kind.UNDONE if _POSTGRES_UNDONE.match(line) else Kind.LASTING


def _trino(line: str) -> Kind:
    if not (named := _TRINO_NAME.match(line)):
        return Kind.BROKEN if _TRINO_AWAY.match(line) else Kind.LASTING
    source, name = named.groups()
    if name in _TRINO_UNDONE:
        return Kind.UNDONE
    is_away = source != "USER_ERROR" and _TRINO_STORE_AWAY.search(line)
    return Kind.BROKEN if is_away or name in _TRINO_BROKEN else Kind.LASTING


def _first_line(message: str) -> str:
    """Return what the server said, without dbt's own words before it."""
    lines = (line for each in message.splitlines() if not _HEAD.match(line := _BATCH.sub("", each)))
    return _PREFIX.sub("", next(lines, ""))


def classify(code: int, failed: Sequence[str], said: Sequence[str], adapter: str = DUCKDB) -> type[DbtPodError] | None:
    """Return the error of a dbt command that ended with this exit code, negative for a signal's number; None for none.

    `failed` are the messages of the nodes that failed, `said` are dbt's own error lines.

    >>> classify(1, ["IO Error: Could not set lock on file"], []).__name__
    'ConnectionLost'
    """
    if code == 0:
        return BuildIncomplete if failed else None
    if code < 0:
        return DbtKilled
    if was_connection_lost(failed, said, adapter):
        return ConnectionLost
    if any(_FULL in message for message in failed or said):
        return VolumeFull
    return DbtFailed if failed else DbtUnusable


def is_connection_error(message: str, adapter: str = DUCKDB) -> bool:
    """Return whether the database could not be reached or gave up, so that the same command may succeed later.

    A file that is not a database, or of a newer format, is none; nor is a path that is wrong or forbidden.

    >>> is_connection_error("IO Error: Could not set lock on file"), is_connection_error("Parser Error: near selct")
    (True, False)
    """
    return kind_of(message, adapter) is not Kind.LASTING


def is_starting(message: str) -> bool:
    """Return whether a server takes no queries because it has not started yet.

    >>> is_starting("Database Error\\n  FATAL:  the database system is starting up"), is_starting("Connection refused")
    (True, False)
    """
    return bool(_STARTING.search(message))


def was_connection_lost(failed: Sequence[str], said: Sequence[str], adapter: str = DUCKDB) -> bool:
    """Return whether only the connection failed: for each of these nodes or, without one, in dbt's error lines."""
    if failed:
        return all(is_connection_error(message, adapter) for message in failed)
    return any(is_connection_error(line, adapter) for line in said) and not any(map(_LASTING.search, said))


def advice(message: str) -> str:
    """Say which value of the chart is too low, where the message names a limit that the chart sets; else nothing."""
    if "max_temp_directory_size" in message:
        return (
            "This is the scratch limit: raise jobs.scratch.sizeLimit, or give the run more memory "
            "(jobs.resources.limits.memory), so that it spills less."
        )
    if "Out of Memory Error" in message:
        return (
            "This is the memory that the pod leaves to DuckDB: raise jobs.resources.limits.memory, or memory_limit in "
            "the deployment's job_variables."
        )
    return ""
