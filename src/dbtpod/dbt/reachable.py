"""A bounded wait for a database server that is away: a restart takes a minute, and a wrong address never answers.

Only its port is tried. A server that answers there and is not ready says so to dbt (`failures`).
"""

import socket
from collections.abc import Callable

from dbtpod.errors import ConnectionLost
from dbtpod.timeout import Timeout

SECONDS = 120.0
_TRY_SECONDS, _PAUSE_SECONDS = 5.0, 1.0


def wait(host: str, port: int, log: Callable[[str], None]) -> None:
    """Return once something listens at that port; ConnectionLost names it where nothing does for SECONDS."""
    waiting = Timeout(SECONDS)
    is_logged = False
    while problem := _problem(host, port):
        if waiting.is_over:
            raise ConnectionLost(
                f"The database at {host}:{port} could not be reached within {waiting.seconds:.0f} s: {problem}. Check "
                "that it runs, its host and port in the profile, and that the network policies let runs out to it "
                "(warehouse.egress)."
            )
        if not is_logged:
            log(f"Waiting for the database at {host}:{port}, {waiting.seconds:.0f} s at most: {problem}.")
            is_logged = True
        waiting.pause(_PAUSE_SECONDS)


def _problem(host: str, port: int) -> str:
    try:
        socket.create_connection((host, port), _TRY_SECONDS).close()
    except OSError as error:
        return error.strerror or str(error) or type(error).__name__
    return ""
