"""How far a dbt command is: a line in the log, and a bar in Prefect that moves while the run goes on."""

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Any, Self
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient

from dbtpod.dbt.events import Event, NodeFinished, NodeStarted, NodeStatus
from dbtpod.page.outbox import background, impatient_client

BAR_SECONDS = 2.0
LOG_SECONDS = 10.0
# Where no node ends, the line comes six times more seldom: it then says what dbt is still busy with.
_QUIET = 6
_LAST_SECONDS = 2.0


class Progress:
    """Counts the nodes of one dbt command; one that ends within seconds has no line, one without nodes no bar."""

    def __init__(self, command: str, flow_run_id: UUID, log: Callable[[str], None]) -> None:
        self._command = command
        self._flow_run_id = flow_run_id
        self._log = log
        self._done = self._failed = self._skipped = 0
        self._total: int | None = None
        self._running: dict[str, tuple[str, float]] = {}
        self._left = threading.Event()
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
        self._left.set()

    def wait(self) -> None:
        """Wait for that last move, but not for long."""
        self._thread.join(_LAST_SECONDS)

    def __str__(self) -> str:
        """`37 of 96 done, 1 failed, 2 skipped`."""
        parts = [f"{self._done} of {self._total} done" if self._total else f"{self._done} done"]
        parts += [f"{self._failed} failed"] if self._failed else []
        parts += [f"{self._skipped} skipped"] if self._skipped else []
        return ", ".join(parts)

    def observe(self, event: Event) -> None:
        """Count what a node's start or end changes; a hook is not in dbt's total."""
        if isinstance(event, NodeStarted):
            self._total = event.total or self._total
            self._running[event.node_id] = (f"{event.kind} {event.name}", time.monotonic())
        elif isinstance(event, NodeFinished):
            self._running.pop(event.node_id, None)
            self._done += event.kind != "operation"
            self._failed += event.status in (NodeStatus.ERROR, NodeStatus.FAIL)
            self._skipped += event.status is NodeStatus.SKIPPED

    def _run(self) -> None:
        with impatient_client() as client:
            left = False
            while not left:
                left = self._left.wait(BAR_SECONDS)
                self._say()
                # A bar that could not be moved moves with the next change; the outbox warns of an API that is gone.
                with suppress(Exception):
                    self._show(client)

    def _say(self) -> None:
        now = time.monotonic()
        waited = now - self._logged_at
        if waited < LOG_SECONDS or (self._done == self._logged_done and waited < _QUIET * LOG_SECONDS):
            return
        self._logged_at, self._logged_done = now, self._done
        name, since = min(list(self._running.values()), key=lambda node: node[1], default=("", 0.0))
        self._log(f"{self._command}: {self}" + (f"; {name} is running for {now - since:.0f} s" if name else ""))

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
