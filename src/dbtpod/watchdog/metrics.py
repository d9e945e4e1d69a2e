"""What Prometheus is given at the watchdog's port: runs by state, waits, successes, registration, the server.

The server's own endpoint asks for its password and knows nothing of runs, so it is not scraped. How full a volume is
says the kubelet (kubelet_volume_stats_used_bytes): no pod of ours has the warehouse all the time.
"""

from collections import Counter
from collections.abc import Iterable, Mapping

from prometheus_client import CollectorRegistry, Gauge, generate_latest

from dbtpod.watchdog.server import Run
from dbtpod.watchdog.sight import since

# The states that a live run may have; each is there with 0, so that a rule sees it end.
STATES = ("Scheduled", "Late", "AwaitingRetry", "Pending", "Running", "Cancelling")


class Metrics:
    """The gauges of one watchdog."""

    def __init__(self) -> None:
        """Make them without a value."""
        self._registry = CollectorRegistry()
        self._runs = self._gauge("dbtpod_flow_runs", "Flow runs of the work pool that are due, by state.", "state")
        self._waits = self._gauge(
            "dbtpod_queue_wait_seconds", "How long the first run of a queue has been waiting for its start.", "queue"
        )
        self._success = self._gauge(
            "dbtpod_last_success_timestamp_seconds",
            "When a scheduled deployment last succeeded; before its first success, when it was registered.",
            "deployment",
        )
        self._registered = self._gauge(
            "dbtpod_registered", "Whether the server has what this release registers: 1, or 0."
        )
        self._up = self._gauge("dbtpod_server_up", "Whether Prefect's server answered in the last round: 1, or 0.")

    def runs(self, live: Iterable[Run]) -> None:
        """Take the runs that a round found."""
        due = [run for run in live if since(run.expected) >= 0 or run.type != "SCHEDULED"]
        counts = Counter(run.state for run in due)
        for state in {*STATES, *counts}:
            self._runs.labels(state).set(counts[state])
        waits: dict[str, float] = {}
        for run in due:
            if run.queue:
                waited = since(run.expected) if run.type == "SCHEDULED" else 0.0
                waits[run.queue] = max(waits.get(run.queue, 0.0), waited)
        self._waits.clear()
        for queue, seconds in waits.items():
            self._waits.labels(queue).set(seconds)

    def successes(self, times: Mapping[str, float]) -> None:
        """Take each deployment's last success; one that is gone is left out."""
        self._success.clear()
        for deployment, at in times.items():
            self._success.labels(deployment).set(at)

    def server(self, up: bool, registered: bool | None) -> None:
        """Take whether the server answered, and whether it has what is registered, which may not be known."""
        self._up.set(up)
        if registered is not None:
            self._registered.set(registered)

    def text(self) -> bytes:
        """Write them as Prometheus reads them."""
        return generate_latest(self._registry)

    def _gauge(self, name: str, what: str, *labels: str) -> Gauge:
        return Gauge(name, what, labels, registry=self._registry)
