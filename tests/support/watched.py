"""What the watchdog looks at: a work pool on a real Prefect server, and Kubernetes' objects as its API gives them."""

import sqlite3
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import httpx

from dbtpod.watchdog.cluster import Cluster
from dbtpod.watchdog.server import Run, Server, connected
from dbtpod.watchdog.sight import Sight
from dbtpod.watchdog.watch import Watch
from prefect_server import Server as PrefectServer
from waiting import until

WORKER = "dbtpod-worker-6d5f-abcde"
NO_CLUSTER = Cluster(httpx.Client(base_url="http://127.0.0.1:1"), "dbtpod", "app.kubernetes.io/instance=dbtpod")


class Pool:
    """A work pool with one deployment."""

    def __init__(self, server: PrefectServer, name: str) -> None:
        self.name, self.http = name, connected({"PREFECT_API_URL": server.url}, 30)
        self.database = server.database
        self.server = Server(self.http, name)
        self.post("work_pools/", name=name, type="kubernetes", base_job_template={})
        flow = self.post("flows/", name="shop")["id"]
        self.deployment = self.post("deployments/", flow_id=flow, name=name, work_pool_name=name)["id"]

    def post(self, path: str, **body: Any) -> Any:
        return self._call("POST", path, body)

    def patch(self, path: str, **body: Any) -> Any:
        return self._call("PATCH", path, body)

    def get(self, path: str) -> Any:
        return self._call("GET", path, None)

    def _call(self, method: str, path: str, body: Any) -> Any:
        answer = until(lambda: self._answer(method, path, body), 30, f"an answer to {method} {path}")
        assert answer.is_success, answer.text
        return answer.json() if answer.content else None

    def _answer(self, method: str, path: str, body: Any) -> httpx.Response | None:
        """None where SQLite is too busy on a loaded machine."""
        answer = self.http.request(method, path, json=body)
        return None if answer.status_code == httpx.codes.SERVICE_UNAVAILABLE else answer

    def missed(self, minutes: int, seconds: int = 2) -> list[str]:
        """Runs as the schedule makes them, which were due in each of the last minutes; the oldest first.

        The server makes such runs ahead of their time only, so their time is set back in its database.
        """
        runs = [self.by_hand() for _ in range(minutes)]
        now = datetime.now(UTC)
        due = [now - timedelta(minutes=minutes - index, seconds=seconds) for index in range(minutes)]
        with sqlite3.connect(self.database, timeout=30) as database:
            for run, at in zip(runs, due, strict=True):
                database.execute(
                    "update flow_run set auto_scheduled = 1, expected_start_time = ? where id = ?",
                    (at.strftime("%Y-%m-%d %H:%M:%S.%f"), str(UUID(run))),
                )
        return runs

    def by_hand(self, *states: str, name: str = "") -> str:
        """A run that a person started, brought into these states one after the other."""
        run: str = self.post(f"deployments/{self.deployment}/create_flow_run")["id"]
        for state in states:
            self.set(run, state, name)
        return run

    def set(self, run: str, type_: str, name: str = "", message: str = "") -> None:
        state = {"type": type_, "name": name or None, "message": message}
        answer = self.post(f"flow_runs/{run}/set_state", state=state)
        assert answer["status"] == "ACCEPT", answer

    def run(self, key: str) -> Run:
        [run] = self.server.runs([key])
        return run

    def all(self) -> list[Run]:
        body = {"work_pools": {"name": {"any_": [self.name]}}, "sort": "EXPECTED_START_TIME_ASC"}
        return [Run.read(each) for each in self.post("flow_runs/filter", **body)]


class Clock:
    """Time that passes in rounds."""

    def __init__(self) -> None:
        self.now = 0.0
        self.watch = Watch(lambda: self.now)

    def rounds(self, seconds: float) -> Iterator[None]:
        for _ in range(int(seconds / 5) + 1):
            yield
            self.now += 5
            self.watch.end_round()


def worker(name: str = WORKER, since: timedelta = timedelta(0)) -> dict[str, Any]:
    started = (datetime.now(UTC) - since).isoformat()
    statuses = [{"name": "watchdog", "state": {}}, {"name": "worker", "state": {"running": {"startedAt": started}}}]
    return {"metadata": {"name": name}, "status": {"containerStatuses": statuses}}


def job(run: str, **status: Any) -> dict[str, Any]:
    now = datetime.now(UTC).isoformat()
    metadata = {"name": "job-1", "uid": "u1", "creationTimestamp": now, "labels": {"prefect.io/flow-run-id": run}}
    return {"metadata": metadata, "spec": {"activeDeadlineSeconds": 30}, "status": status}


def failed(run: str, reason: str, at: datetime | None = None) -> dict[str, Any]:
    at = at or datetime.now(UTC)
    condition = {"type": "Failed", "status": "True", "reason": reason, "lastTransitionTime": at.isoformat()}
    return job(run, conditions=[condition], startTime=(at - timedelta(seconds=30)).isoformat())


def pod(run: str, phase: str, **status: Any) -> dict[str, Any]:
    labels = {"prefect.io/flow-run-id": run, "batch.kubernetes.io/job-name": "job-1"}
    metadata = {"name": "pod-1", "uid": "p1", "labels": labels, "creationTimestamp": datetime.now(UTC).isoformat()}
    return {"metadata": metadata, "status": {"phase": phase, **status}}


def sight(run: Run, *items: dict[str, Any], workers: tuple[dict[str, Any], ...] = ()) -> Sight:
    jobs: list[Mapping[str, Any]] = [each for each in items if "spec" in each]
    pods: list[Mapping[str, Any]] = [each for each in items if "spec" not in each]
    return Sight({run.id: run}, {run.id: jobs}, {run.id: pods}, list(workers))
