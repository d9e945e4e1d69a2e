"""What kind of failure dbt's exit code and messages mean; pure."""

import errno
import os
import re
from collections.abc import Sequence

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


def classify(code: int, failed: Sequence[str], said: Sequence[str]) -> type[DbtPodError] | None:
    """Return the error of a dbt command that ended with this exit code, negative for a signal's number; None for none.

    `failed` are the messages of the nodes that failed, `said` are dbt's own error lines.

    >>> classify(1, ["IO Error: Could not set lock on file"], []).__name__
    'ConnectionLost'
    """
    if code == 0:
        return BuildIncomplete if failed else None
    if code < 0:
        return DbtKilled
    if was_connection_lost(failed, said):
        return ConnectionLost
    if any(_FULL in message for message in failed or said):
        return VolumeFull
    return DbtFailed if failed else DbtUnusable


def is_connection_error(message: str) -> bool:
    """Return whether the database could not be reached, so that the same command may succeed later.

    Give it one message, a node's or dbt's own, not a whole log. A file that is not a database, or of a newer format,
    is none; nor is a path that is wrong or forbidden.

    >>> is_connection_error("IO Error: Could not set lock on file"), is_connection_error("Parser Error: near selct")
    (True, False)
    """
    return bool(_AWAY.search(message)) and not _LASTING.search(message)


def was_connection_lost(failed: Sequence[str], said: Sequence[str]) -> bool:
    """Return whether only the connection failed: for each of these nodes or, without one, in dbt's error lines."""
    if failed:
        return all(is_connection_error(message) for message in failed)
    return any(map(is_connection_error, said)) and not any(map(_LASTING.search, said))


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
