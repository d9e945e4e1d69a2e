"""What the two APIs say at one time: the pool's runs, each with its Jobs and pods."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from dbtpod.watchdog.cluster import Cluster, Object, is_live, run_of
from dbtpod.watchdog.server import Run


@dataclass(frozen=True)
class Sight:
    """One look at everything; runs were read before Jobs, so a run that has none had none a moment ago."""

    runs: Mapping[str, Run]
    jobs: Mapping[str, list[Object]]
    pods: Mapping[str, list[Object]]
    workers: list[Object]

    @classmethod
    def of(cls, runs: Iterable[Run], cluster: Cluster) -> "Sight":
        """Look at Kubernetes, after the runs were read."""
        jobs, pods = cluster.run_jobs(), cluster.run_pods()
        return cls({run.id: run for run in runs}, _by_run(jobs), _by_run(pods), cluster.worker_pods())

    def live_jobs(self, run: str) -> list[Object]:
        """Return the run's Jobs that have not ended."""
        return [job for job in self.jobs.get(run, []) if is_live(job)]

    def live_pods(self, run: str) -> list[Object]:
        """Return the run's pods that have not ended; one that is being removed may still work."""
        return [pod for pod in self.pods.get(run, []) if pod.get("status", {}).get("phase") in ("Pending", "Running")]


def running_since(pod: Object, container: str = "") -> datetime | None:
    """Return when the pod's container started that runs now; None where none does."""
    for status in pod.get("status", {}).get("containerStatuses") or []:
        running = status.get("state", {}).get("running")
        if running and container in ("", status["name"]):
            return _time(running["startedAt"])
    return None


def has_started(pod: Object) -> bool:
    """Return whether a container of the pod ran at any time."""
    statuses: list[Any] = pod.get("status", {}).get("containerStatuses") or []
    return any(key in status.get("state", {}) for status in statuses for key in ("running", "terminated"))


def age(item: Object) -> float:
    """Return the seconds since Kubernetes made the object."""
    return since(_time(item["metadata"]["creationTimestamp"]))


def since(moment: datetime) -> float:
    """Return the seconds that have passed since then."""
    return (datetime.now(UTC) - moment).total_seconds()


def _by_run(items: Iterable[Object]) -> dict[str, list[Object]]:
    found: dict[str, list[Object]] = {}
    for item in items:
        found.setdefault(run_of(item), []).append(item)
    return found


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)
