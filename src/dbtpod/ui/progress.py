"""How far a dbt command is: a line in the log, and a bar in Prefect that moves while the run lasts."""

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Any, Self
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient

from dbtpod.dbt.events import BatchFinished, Event, NodeFinished, NodeStarted
from dbtpod.dbt.node import NodeStatus, kind_of
from dbtpod.ui.event_sender import background, no_retry_client

BAR_SECONDS = 2.0
LOG_SECONDS = 10.0
# Where no node ends, the line comes six times less often: it then says what dbt is still busy with.
_QUIET = 6
_LAST_SECONDS = 2.0


class Progress:
    """Counts the nodes of one dbt command; one that ends within seconds has no line, one without nodes no bar."""

    def __init__(self, command: str, flow_run_id: UUID, log: Callable[[str], None]) -> None:
        self._command = command
        self._flow_run_id = flow_run_id
        self._log = log
        self._done = self._failed = self._skipped = 0
        self._ended: dict[str, NodeStatus] = {}
        self._total: int | None = None
        self._running: dict[str, tuple[str, float]] = {}
        self._batches: dict[str, str] = {}
        self._closing = threading.Event()
        self._thread = background(self._run, "dbtpod-progress")
        self._logged_at, self._logged_done = time.monotonic(), 0
        self._bar: str | None = None
        self._shown = ""

    def __enter__(self) -> Self:
        """Start the thread."""
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Have the bar move a last time; at once, whatever the API does."""
        self._closing.set()

    def wait(self) -> None:
        """Wait for that last move, but not for long."""
        self._thread.join(_LAST_SECONDS)

    def __str__(self) -> str:
        """`37 of 96 done, 1 failed, 2 skipped`."""
        parts = [f"{self._done} of {max(self._total, self._done)} done" if self._total else f"{self._done} done"]
        parts += [f"{self._failed} failed"] if self._failed else []
        parts += [f"{self._skipped} skipped"] if self._skipped else []
        return ", ".join(parts)

    def observe(self, event: Event) -> None:
        """Count what a node's start or end changes, and a batch's end; a hook is not in dbt's total."""
        if isinstance(event, NodeStarted):
            self._total = event.total or self._total
            self._running[event.node_id] = (f"{event.kind} {event.name}", time.monotonic())
        elif isinstance(event, BatchFinished):
            self._batches[event.node_id] = f", batch {event.index} of {event.total} is done"
        elif isinstance(event, NodeFinished):
            self.ended(event.node_id, event.status)

    def ended(self, node_id: str, status: NodeStatus) -> None:
        """Count a node by its newest status."""
        self._running.pop(node_id, None)
        before = self._ended.get(node_id)
        self._ended[node_id] = status
        self._done += before is None and kind_of(node_id) != "operation"
        self._failed += _is_failed(status) - _is_failed(before)
        self._skipped += (status is NodeStatus.SKIPPED) - (before is NodeStatus.SKIPPED)

    def _run(self) -> None:
        with no_retry_client() as client:
            left = False
            while not left:
                left = self._closing.wait(BAR_SECONDS)
                self._say()
                # A bar that could not be moved moves with the next change; of an API that is gone the sender warns.
                with suppress(Exception):
                    self._show(client)

    def _say(self) -> None:
        now = time.monotonic()
        waited = now - self._logged_at
        if waited < LOG_SECONDS or (self._done == self._logged_done and waited < _QUIET * LOG_SECONDS):
            return
        self._logged_at, self._logged_done = now, self._done
        running = [(since, name, node_id) for node_id, (name, since) in list(self._running.items())]
        since, name, node_id = min(running, default=(0.0, "", ""))
        longest = f"; {name} is running for {now - since:.0f} s{self._batches.get(node_id, '')}" if name else ""
        self._log(f"{self._command}: {self}{longest}")

    def _show(self, client: SyncPrefectClient) -> None:
        text = f"{self._command}: {self}"
        if not self._total or text == self._shown:
            return
        self._shown, percent = text, min(100.0, round(100 * self._done / self._total, 1))
        artifact: dict[str, Any] = {"data": percent, "description": text}
        # Not client.create_artifact(), which has an event sent for each change, by a worker that a slow API holds up.
        if self._bar:
            client.request("PATCH", "/artifacts/{id}", path_params={"id": self._bar}, json=artifact)
        else:
            artifact |= {"type": "progress", "flow_run_id": str(self._flow_run_id)}
            self._bar = client.request("POST", "/artifacts/", json=artifact).json()["id"]


def _is_failed(status: NodeStatus | None) -> bool:
    return status in (NodeStatus.ERROR, NodeStatus.FAIL)
