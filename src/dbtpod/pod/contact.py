"""The first contact with Prefect's API: it is waited for, as each later one is.

Prefect's client tries again by itself, but a connection that fails at once only after one that did not fail, and it
says nothing while it waits. So the first request has its own patience, which names the address and the cause.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http import HTTPStatus
from uuid import UUID

import anyio
import httpx
from prefect.client.orchestration import PrefectClient, SyncPrefectClient
from prefect.client.schemas.objects import FlowRun
from prefect.context import SyncClientContext
from prefect.settings.context import get_current_settings

from dbtpod.one_try import one_try_each

# A server that is replaced, DNS or a node that restarts. The watchdog ends no run while it does not reach the server.
PATIENCE_SECONDS = 600.0
PAUSE_SECONDS = 2.0
CONNECT_SECONDS = 5.0
LAST_SECONDS = 15.0
# A password that was changed reaches the server up to two minutes after the pods that start.
REFUSED_SECONDS = 150.0
_BETWEEN_LINES_SECONDS = 60.0

Say = Callable[[str], None]


class Unreachable(Exception):
    """Prefect's API did not answer in time; the text has the address and the last cause."""


class Patience:
    """How long the API is waited for, and what is said meanwhile: at the first failure, then each minute."""

    def __init__(self, address: httpx.URL, say: Say, seconds: float = PATIENCE_SECONDS) -> None:
        self._address = address.copy_with(username=None, password=None)
        self._say = say
        self._start = self._next_line = time.monotonic()
        self._end = self._start + seconds
        self._refused = False

    def shorten(self, seconds: float) -> None:
        """Wait no longer than that from now on."""
        self._end = min(self._end, time.monotonic() + seconds)

    def pause(self, error: Exception) -> float:
        """Return the seconds until the next try; raises where none can help, and Unreachable when the time is over."""
        if not _is_transient(error):
            raise error
        if _is_refused(error) and not self._refused:
            self._refused = True
            self.shorten(REFUSED_SECONDS)
        now = time.monotonic()
        problem = f"Prefect's API at {self._address} cannot be reached ({cause(error)})"
        if now >= self._end:
            raise Unreachable(f"{problem}, and {now - self._start:.0f} s of waiting did not change that.") from error
        if now >= self._next_line:
            self._say(f"{problem}. Waiting for it, {self._end - now:.0f} s at most.")
            self._next_line = now + _BETWEEN_LINES_SECONDS
        return min(PAUSE_SECONDS, self._end - now)


def say(text: str) -> None:
    """Print a line to the pod's log, which is there also without the API."""
    print(f"dbtpod: {text}", flush=True)  # noqa: T201


def connect_soon(timeout: httpx.Timeout) -> httpx.Timeout:
    """Return that timeout with a short wait for a connection.

    An address that takes none is tried four times by the client's transport, by default a minute each.
    """
    return httpx.Timeout(connect=CONNECT_SECONDS, read=timeout.read, write=timeout.write, pool=timeout.pool)


@contextmanager
def opened(timeout: httpx.Timeout | None = None) -> Iterator[SyncPrefectClient]:
    """Open the one client of the process; without a timeout of its own, also the one of Prefect's engine in it.

    Prefect would ask for the server's version here, and die where there is no answer: see `read`.
    """
    settings = get_current_settings().client
    checked, settings.server_version_check_enabled = settings.server_version_check_enabled, False
    with SyncClientContext({"timeout": timeout} if timeout else None) as context:
        settings.server_version_check_enabled = checked
        yield context.client


def read(client: SyncPrefectClient, flow_run_id: UUID, say: Say) -> FlowRun:
    """Read the flow run as soon as the API answers."""
    patience = Patience(client.api_url, say)
    with one_try_each():
        while True:
            try:
                flow_run = client.read_flow_run(flow_run_id)
                if get_current_settings().client.server_version_check_enabled:
                    client.raise_for_api_version_mismatch_once()
                return flow_run
            except httpx.HTTPError as error:
                time.sleep(patience.pause(error))


async def read_async(client: PrefectClient, flow_run_id: UUID, terminating: anyio.Event) -> FlowRun:
    """Read the flow run as soon as the API answers; with a few more tries only once the pod is being removed."""
    # The engine's process waits as well, and says so.
    patience = Patience(client.api_url, lambda _: None)
    with one_try_each():
        while True:
            try:
                return await client.read_flow_run(flow_run_id)
            except httpx.HTTPError as error:
                if terminating.is_set():
                    patience.shorten(LAST_SECONDS)
                await anyio.sleep(patience.pause(error))


def _is_transient(error: Exception) -> bool:
    if isinstance(error, httpx.HTTPStatusError):
        status = error.response.status_code
        passing = (HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.UNAUTHORIZED)
        return status in passing or error.response.is_server_error
    return isinstance(error, httpx.TransportError) and not isinstance(error, httpx.UnsupportedProtocol)


def _is_refused(error: Exception) -> bool:
    return isinstance(error, httpx.HTTPStatusError) and error.response.status_code == HTTPStatus.UNAUTHORIZED


def cause(error: Exception) -> str:
    """Say in one line what went wrong."""
    if isinstance(error, Unreachable):
        return str(error)
    if isinstance(error, httpx.HTTPStatusError):
        return f"HTTP {error.response.status_code} {error.response.reason_phrase}"
    return f"{type(error).__name__}: {error}"
