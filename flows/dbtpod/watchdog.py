"""Beside the worker: ends runs whose pod cannot start, and tells whether the worker serves its pool.

Prefect's worker starts a Job and never asks again whether its pod came up. All that is known is in the two APIs, so
a restart of the watchdog loses nothing but the minute of patience. It speaks plain HTTP: with Prefect's client and
Kubernetes' it would take five times the memory.
"""

import argparse
import logging
import os
import ssl
import sys
import time
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx

from dbtpod.cluster.health import Health
from dbtpod.cluster.stuck import Obstacle, obstacle_of_job, obstacle_of_pod

# A registry or a new Secret may be a moment late; a person who typed a wrong tag should not wait longer.
PATIENCE_WITH_MISTAKES = 60
ROUND_SECONDS = 5
TOKEN = Path("/var/run/secrets/kubernetes.io/serviceaccount/token")
AUTHORITY = TOKEN.with_name("ca.crt")
FLOW_RUN = "prefect.io/flow-run-id"

logger = logging.getLogger("dbtpod.watchdog")


class ServiceAccount(httpx.Auth):
    """The pod's own token, read each time because Kubernetes renews it."""

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response]:
        """Add the token to one request."""
        request.headers["Authorization"] = f"Bearer {TOKEN.read_text()}"
        yield request


@dataclass
class Watchdog:
    """One worker's watchdog; `round` is all it does, again and again."""

    cluster: httpx.Client
    prefect: httpx.Client
    namespace: str
    selector: str
    start_timeout: float
    # When a mistake was first seen, by the uid of its pod.
    seen: dict[str, float] = field(default_factory=dict)

    def round(self) -> None:
        """End each run that has waited long enough for a pod that cannot start."""
        still: dict[str, float] = {}
        for item, obstacle in self._obstacles():
            uid = item["metadata"]["uid"]
            if obstacle.mistake or uid in self.seen:
                still[uid] = self.seen.get(uid, time.monotonic())
            patience_over = obstacle.mistake and time.monotonic() - still[uid] >= PATIENCE_WITH_MISTAKES
            if patience_over or _age(item) >= self.start_timeout:
                self._end(item, obstacle)
        self.seen = still

    def _obstacles(self) -> list[tuple[Mapping[str, Any], Obstacle]]:
        pods = self._list(f"/api/v1/namespaces/{self.namespace}/pods", "status.phase=Pending")
        jobs = self._list(f"/apis/batch/v1/namespaces/{self.namespace}/jobs", "status.successful=0")
        judged = [(pod, obstacle_of_pod(pod)) for pod in pods] + [(job, obstacle_of_job(job)) for job in jobs]
        return [(item, obstacle) for item, obstacle in judged if obstacle]

    def _list(self, path: str, fields: str) -> list[Mapping[str, Any]]:
        parameters = {"labelSelector": self.selector, "fieldSelector": fields}
        items: list[Mapping[str, Any]] = self.cluster.get(path, params=parameters).raise_for_status().json()["items"]
        return items

    def _end(self, item: Mapping[str, Any], obstacle: Obstacle) -> None:
        metadata = item["metadata"]
        job = metadata["labels"].get("batch.kubernetes.io/job-name", metadata["name"])
        run = self.prefect.get(f"flow_runs/{metadata['labels'][FLOW_RUN]}")
        state = "GONE" if run.status_code == httpx.codes.NOT_FOUND else run.raise_for_status().json()["state"]["type"]
        if state == "RUNNING":
            return  # in another pod: a rescheduled run has a Job of its own
        if state == "PENDING":
            # Before the Job is deleted, or Prefect's observer would tell that as the reason.
            crashed = {"type": "CRASHED", "name": "Crashed", "message": f"The pod {metadata['name']} {obstacle}"}
            self.prefect.post(f"flow_runs/{run.json()['id']}/set_state", json={"state": crashed}).raise_for_status()
            logger.warning("Ended flow run %s: %s", run.json()["name"], crashed["message"])
        path = f"/apis/batch/v1/namespaces/{self.namespace}/jobs/{job}"
        gone = self.cluster.delete(path, params={"propagationPolicy": "Background"})
        if gone.status_code != httpx.codes.NOT_FOUND:
            gone.raise_for_status()

    def serves(self, pool: str, worker: str) -> bool:
        """Ask the pool whether this worker is online in it; False while there is no such pool."""
        online = {"workers": {"status": {"any_": ["ONLINE"]}}}
        answer = self.prefect.post(f"work_pools/{pool}/workers/filter", json=online)
        if answer.status_code == httpx.codes.NOT_FOUND:
            return False
        return any(each["name"] == worker for each in answer.raise_for_status().json())


def _age(item: Mapping[str, Any]) -> float:
    return time.time() - datetime.fromisoformat(item["metadata"]["creationTimestamp"]).timestamp()


def _prefect(environment: Mapping[str, str]) -> httpx.Client:
    """Connect to Prefect's API as Prefect's own clients do."""
    user, _, password = environment.get("PREFECT_API_AUTH_STRING", "").partition(":")
    key = environment.get("PREFECT_API_KEY")
    return httpx.Client(
        base_url=environment["PREFECT_API_URL"],
        auth=(user, password) if user else None,
        headers={"Authorization": f"Bearer {key}"} if key else None,
        timeout=10,
    )


def main(arguments: Sequence[str], environment: Mapping[str, str] = os.environ) -> None:
    """Watch until the pod ends; an API that does not answer is told once and tried again."""
    parser = argparse.ArgumentParser(prog="python -m dbtpod.watchdog", description=__doc__)
    for name in ("pool", "worker", "namespace", "selector"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--start-timeout-seconds", type=float, required=True)
    parser.add_argument("--port", type=int, required=True)
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(message)s", stream=sys.stdout)
    trust = ssl.create_default_context(cafile=AUTHORITY)
    cluster = httpx.Client(base_url="https://kubernetes.default.svc", auth=ServiceAccount(), verify=trust, timeout=10)
    dog = Watchdog(cluster, _prefect(environment), options.namespace, options.selector, options.start_timeout_seconds)
    health = Health.serve(options.port)
    trouble = ""
    while True:
        ready, told = False, trouble
        try:
            ready, trouble = dog.serves(options.pool, options.worker), ""
            dog.round()
        except httpx.HTTPError as error:
            ready, trouble = False, f"{type(error).__name__}: {error}"
        if trouble and trouble != told:
            logger.warning("%s; trying again each %d s.", trouble, ROUND_SECONDS)
        health.tell(ready)
        time.sleep(ROUND_SECONDS if ready else 1)


if __name__ == "__main__":
    main(sys.argv[1:])
