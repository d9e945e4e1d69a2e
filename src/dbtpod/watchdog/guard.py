"""Holds Prefect's worker back while its work pool belongs to another release, whose runs it would take.

Then it becomes the worker. A pool that is not there, or has no owner, is no reason to wait: registration takes it.
"""

import logging
import os
import sys
import time
from collections.abc import Mapping, Sequence

import httpx

from dbtpod.watchdog import server
from dbtpod.watchdog.cluster import AUTHORITY
from dbtpod.watchdog.owner import Owner, taken
from dbtpod.watchdog.server import Server

PAUSE_SECONDS = 5.0

logger = logging.getLogger("dbtpod.watchdog")


def main(pool: str, owner: str, command: Sequence[str], environment: Mapping[str, str]) -> None:
    """Wait until the pool is not another's, then replace this process by the command."""
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(message)s", stream=sys.stdout)
    prefect = Server(server.connected(environment, 20.0), pool)
    wait(prefect, Owner.of(owner, AUTHORITY))
    os.execvp(command[0], list(command))  # noqa: S606, its signals and its exit code are the worker's


def wait(prefect: Server, own: Owner) -> None:
    """Wait until the server says that the pool is not another's."""
    said = ""
    while reason := _reason(prefect, own):
        if reason != said:
            logger.warning("%s", reason)
            said = reason
        time.sleep(PAUSE_SECONDS)


def _reason(prefect: Server, own: Owner) -> str:
    try:
        other = prefect.owner()
    except (httpx.HTTPError, ValueError) as error:
        return f"Prefect's API does not say whose the work pool is: {type(error).__name__} {error}".rstrip()
    return taken(prefect.pool, other, own) if other and not other.is_same(own) else ""
