"""Events to Prefect's API from a thread of its own: in order, in batches, and never in the way of who puts them."""

import atexit
import contextvars
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from queue import Empty, SimpleQueue
from types import TracebackType
from typing import Any, Self, TypeVar

from httpx import HTTPError, HTTPStatusError
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.events import Event
from prefect.settings import PREFECT_API_URL

from dbtpod.one_try import one_try_each

# A person sees no difference, and a build of 2,000 nodes makes some hundred requests instead of thousands.
PAUSE_SECONDS = 0.5
# About 2 kB each, so that a batch passes a proxy that takes 1 MB, nginx's default.
BATCH_EVENTS = 250
_ANSWER_SECONDS = 20.0
RETRY_SECONDS = 5.0
# A server that is killed loses what it has taken and not yet written, so the newest events are sent again after a
# failure, and after a pause in which a server could have been replaced: one imports Prefect for longer than that.
# It recognizes an event that it has by its id.
REMEMBERED_SECONDS, QUIET_SECONDS = 60.0, 2.0
# For the events still on their way at the end of a flow, and again at that of its process, which lives until the run's
# last state is taken, within 17 minutes; between two attempts then; and how long they are made at most.
LAST_SECONDS, LAST_RETRY_SECONDS = 6.0, 1.0
PATIENCE_SECONDS = 1200.0

_BUSY_TRIES, _BUSY_SECONDS = 3, 0.5

Maker = Callable[[], Sequence[Event]]
T = TypeVar("T")


@contextmanager
def no_retry_client() -> Iterator[SyncPrefectClient]:
    """Open a client without retries: Prefect's own last for minutes, in which nothing could be reported."""
    with one_try_each():
        yield _client(PREFECT_API_URL.value())


def again_if_busy(work: Callable[[SyncPrefectClient], T]) -> T:
    """Do the work with a client, up to three times where the server has an answer that will not last.

    A write that another request has overtaken is refused so: by SQLite with 503, before which Prefect's client waits
    two seconds, by PostgreSQL with 500.
    """
    with no_retry_client() as client:
        for _ in range(_BUSY_TRIES - 1):
            try:
                return work(client)
            except HTTPStatusError as error:
                if not _is_transient(error):
                    raise
            time.sleep(_BUSY_SECONDS)
        return work(client)


@cache
def _client(_api: str | None) -> SyncPrefectClient:
    """One for all threads of the process: each has connections of its own, and reads the authorities' certificates."""
    return get_client(httpx_settings={"timeout": _ANSWER_SECONDS}, sync_client=True)


def background(work: Callable[[], None], name: str) -> threading.Thread:
    """Make a thread, not started yet, that never holds up the process's end."""
    context = contextvars.copy_context()  # Prefect's settings and its server's address are in it
    return threading.Thread(target=context.run, args=(work,), name=name, daemon=True)


class EventSender:
    """Takes makers of events while its block runs; leaving the block waits `LAST_SECONDS` at most for the rest.

    `warn` is called at most twice: when the API cannot be used, and when the block was left before all was sent.
    The thread continues with what is left while the process lives, whose end waits for it as long as the block's.
    """

    def __init__(self, warn: Callable[[str], None]) -> None:
        self._warn = warn
        self._queue: SimpleQueue[Maker | None] = SimpleQueue()
        self._put = self._sent = 0
        self._wake, self._closing = threading.Event(), threading.Event()
        # Once closing: nothing is left to send, as far as is known.
        self._settled = threading.Event()
        self._warned = False
        self._remembered: deque[tuple[float, Any]] = deque()  # when an event was taken, and its JSON
        self._thread = background(self._run, "dbtpod-event-sender")

    def __enter__(self) -> Self:
        """Start the thread."""
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Have the thread end, and wait for it, but not for long."""
        atexit.register(self._wait)
        self._queue.put(None)
        self._closing.set()
        self._wake.set()
        if not self._wait():
            self._warn(
                f"Prefect's API has not taken {self._put - self._sent} of {self._put} changes of dbt's nodes yet. They "
                "are sent when it answers, before the run's process ends; else the Prefect UI shows nodes as not "
                "finished. dbt's own results are not affected."
            )

    def put(self, maker: Maker) -> None:
        """Have the thread make the events and send them; at once, whatever the API does."""
        self._put += 1
        self._queue.put(maker)

    def flush(self) -> None:
        """Have what is there sent now; at once, too."""
        self._wake.set()

    def _wait(self) -> bool:
        return self._settled.wait(LAST_SECONDS)

    def _run(self) -> None:
        try:
            with no_retry_client() as client:
                while makers := self._take():
                    self._post(client, [event for maker in makers for event in maker()])
                    self._sent += len(makers)
                self._settled.set()
                self._warned = True  # the run's log has ended
                # A process that lives on may wait for a server that took the place of the one that took the events.
                time.sleep(QUIET_SECONDS)
                self._post(client, [])
        except Exception as error:  # a private name that is gone, too: sight is lost, the build is not
            self._complain(error)
        finally:
            self._settled.set()
            atexit.unregister(self._wait)

    def _take(self) -> list[Maker]:
        """Wait for something to send, a moment more for what follows it, and return all of that, a batch at most."""
        makers: list[Maker] = []
        maker = self._queue.get()
        if self._queue.qsize() < BATCH_EVENTS and not self._closing.is_set():
            self._wake.wait(PAUSE_SECONDS)
            self._wake.clear()
        try:
            while maker is not None and len(makers) < BATCH_EVENTS:
                makers.append(maker)
                maker = self._queue.get_nowait()
        except Empty:
            return makers
        if maker is None:
            self._queue.put(None)  # the end, for the next call
        else:
            makers.append(maker)
        return makers

    def _post(self, client: SyncPrefectClient, events: list[Event]) -> None:
        """Send until it is taken, after what may have been lost."""
        news = [event.model_dump(mode="json") for event in events]
        again = self._remembered_after(QUIET_SECONDS)
        until = math.inf
        while again or news:
            try:
                _send(client, [*again, *news])
                if not again:
                    # The request may have waited long, for a server that took the place of the one before.
                    _send(client, self._remembered_after(QUIET_SECONDS))
                break
            except HTTPError as error:
                if time.monotonic() > until or (isinstance(error, HTTPStatusError) and not _is_transient(error)):
                    raise
                self._settled.clear()
                self._complain(error)
            if self._closing.is_set():
                # At the end too: the server may have closed a connection that lay idle, or be about to come back.
                until = min(until, time.monotonic() + PATIENCE_SECONDS)
                time.sleep(LAST_RETRY_SECONDS)
            else:
                self._closing.wait(RETRY_SECONDS)
            again = self._remembered_after(0)
        self._remember(news)

    def _remembered_after(self, quiet: float) -> list[Any]:
        """Return the events to send again, if the last one was taken that long ago."""
        if not self._remembered or time.monotonic() - self._remembered[-1][0] < quiet:
            return []
        return [event for _, event in self._remembered]

    def _remember(self, events: list[Any]) -> None:
        now = time.monotonic()
        while self._remembered and now - self._remembered[0][0] > REMEMBERED_SECONDS:
            self._remembered.popleft()
        self._remembered.extend((now, event) for event in events)

    def _complain(self, error: Exception) -> None:
        if not self._warned:
            self._warned = True
            self._warn(
                f"The Prefect UI cannot follow dbt's nodes ({type(error).__name__}: {error}); "
                "the build continues, and so do its log lines."
            )


def _send(client: SyncPrefectClient, events: list[Any]) -> None:
    for start in range(0, len(events), BATCH_EVENTS):
        client.request("POST", "/events", json=events[start : start + BATCH_EVENTS])


def _is_transient(error: HTTPStatusError) -> bool:
    return error.response.status_code == 429 or error.response.status_code >= 500
