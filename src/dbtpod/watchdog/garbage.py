"""Gives each Job of this release an owner that goes with the release, so that Kubernetes removes the Job then.

Prefect's worker makes Jobs that belong to nothing, and Helm forgets what its hooks made: after `helm uninstall` runs
would continue without a server, and finished Jobs would stay for their time. The owner is the worker's ReplicaSet,
which stays through the next upgrades; it is known from the worker's own pod.
"""

from collections.abc import Iterable
from typing import Any

from dbtpod.watchdog.cluster import Cluster, Object


def give_owner(jobs: Iterable[Object], workers: Iterable[Object], worker: str, cluster: Cluster) -> None:
    """Make the ReplicaSet of this worker the owner of the Jobs that have none."""
    owner = next((_replica_set(pod) for pod in workers if pod["metadata"]["name"] == worker), None)
    if not owner:
        return
    for job in jobs:
        if not job["metadata"].get("ownerReferences") and "deletionTimestamp" not in job["metadata"]:
            cluster.own_job(job["metadata"]["name"], owner)


def _replica_set(pod: Object) -> dict[str, Any] | None:
    for each in pod["metadata"].get("ownerReferences") or []:
        if each.get("controller"):
            return {key: each[key] for key in ("apiVersion", "kind", "name", "uid")}
    return None
