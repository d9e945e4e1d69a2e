"""Prefect's API, as far as the watchdog uses it: one pool and its runs."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx

from dbtpod.watchdog.owner import Owner

LIVE = ("PENDING", "RUNNING", "CANCELLING", "SCHEDULED")
# Scheduled runs that are due later than this are not looked at yet.
SOON = timedelta(seconds=30)
PAGE = 200


@dataclass(frozen=True)
class Run:
    """One flow run, as the server has it."""

    id: str
    name: str
    type: str  # of its state
    state: str  # the state's name
    message: str
    since: datetime
    expected: datetime
    started: bool  # its flow began once
    scheduled: bool  # by the deployment's schedule, not by a person
    deployment: str
    queue: str
    labels: Mapping[str, Any]

    @classmethod
    def read(cls, answer: Mapping[str, Any]) -> "Run":
        """Read what is needed from the API's answer."""
        state = answer.get("state") or {}
        created = answer["created"]
        return cls(
            id=str(answer["id"]),
            name=str(answer["name"]),
            type=str(state.get("type", "")),
            state=str(state.get("name", "")),
            message=str(state.get("message") or ""),
            since=_time(state.get("timestamp") or created),
            expected=_time(answer.get("expected_start_time") or created),
            started=bool(answer.get("start_time")),
            scheduled=bool(answer.get("auto_scheduled")),
            deployment=str(answer.get("deployment_id") or ""),
            queue=str(answer.get("work_queue_name") or ""),
            labels=answer.get("labels") or {},
        )


@dataclass(frozen=True)
class Deployment:
    """One deployment, as the server has it: its full name, and when it was made."""

    name: str
    created: float


@dataclass(frozen=True)
class Server:
    """One pool on one Prefect server."""

    http: httpx.Client
    pool: str

    def live_runs(self) -> list[Run]:
        """Read the pool's runs that have not ended and are due."""
        soon = (datetime.now(UTC) + SOON).isoformat()
        return self._runs(state={"type": {"any_": list(LIVE)}}, expected_start_time={"before_": soon})

    def crashed_runs(self, within: timedelta) -> list[Run]:
        """Read the pool's runs that crashed in that time."""
        after = (datetime.now(UTC) - within).isoformat()
        return self._runs(state={"type": {"any_": ["CRASHED"]}}, end_time={"after_": after})

    def runs(self, ids: list[str]) -> list[Run]:
        """Read these runs, whatever their state and pool."""
        return [Run.read(each) for each in self._post("flow_runs/filter", flow_runs={"id": {"any_": ids}}, limit=PAGE)]

    def deployments(self) -> dict[str, Deployment]:
        """Read the pool's deployments that a schedule runs, by id."""
        pools = {"name": {"any_": [self.pool]}}
        found = self._all("deployments/filter", work_pools=pools, sort="NAME_ASC")
        flows = {each["id"]: each["name"] for each in self._all("flows/filter", work_pools=pools)}
        return {
            str(each["id"]): Deployment(
                f"{flows.get(each['flow_id'], '')}/{each['name']}", _time(each["created"]).timestamp()
            )
            for each in found
            if any(schedule["active"] for schedule in each["schedules"])
        }

    def last_success(self, deployment: str) -> float | None:
        """Read when the deployment last completed; None where it never did."""
        runs = {"deployment_id": {"any_": [deployment]}, "state": {"type": {"any_": ["COMPLETED"]}}}
        found = self._post("flow_runs/filter", flow_runs=runs, sort="END_TIME_DESC", limit=1)
        return _ended(found[0]) if found else None

    def completed_since(self, after: datetime) -> list[tuple[str, float]]:
        """Read which deployments completed since then, and when."""
        runs = {"state": {"type": {"any_": ["COMPLETED"]}}, "end_time": {"after_": after.isoformat()}}
        found = self._all("flow_runs/filter", flow_runs=runs, work_pools={"name": {"any_": [self.pool]}})
        return [(str(each.get("deployment_id")), _ended(each)) for each in found]

    def history(self, run: Run) -> list[Mapping[str, Any]]:
        """Read all states that the run had."""
        answer = self.http.get("flow_run_states/", params={"flow_run_id": run.id}).raise_for_status().json()
        return list(answer)

    def set_state(self, run: Run, type_: str, name: str, message: str, *, force: bool = False, **details: str) -> bool:
        """Propose a state; False where the server did not take it, as the run has another one meanwhile."""
        state = {"type": type_, "name": name, "message": message, "state_details": details}
        answer = self.http.post(f"flow_runs/{run.id}/set_state", json={"state": state, "force": force})
        return bool(answer.raise_for_status().json()["status"] == "ACCEPT")

    def warn(self, run: Run, message: str) -> None:
        """Add a warning to the run's log."""
        now = datetime.now(UTC).isoformat()
        line = {"name": "dbtpod.watchdog", "level": 30, "message": message, "timestamp": now, "flow_run_id": run.id}
        self.http.post("logs/", json=[line]).raise_for_status()

    def work_pool(self) -> Mapping[str, Any] | None:
        """Read the pool; None where there is none."""
        answer = self.http.get(f"work_pools/{self.pool}")
        if answer.status_code == httpx.codes.NOT_FOUND:
            return None
        found: Mapping[str, Any] = answer.raise_for_status().json()
        return found

    def owner(self) -> Owner | None:
        """Read whose the pool is; None where it has no owner, or there is no pool."""
        pool = self.work_pool()
        return Owner.written(pool.get("description")) if pool else None

    def serves(self, worker: str) -> bool:
        """Return whether the pool has this worker online; False while there is no such pool."""
        online = {"workers": {"status": {"any_": ["ONLINE"]}}}
        answer = self.http.post(f"work_pools/{self.pool}/workers/filter", json=online)
        if answer.status_code == httpx.codes.NOT_FOUND:
            return False
        return any(each["name"] == worker for each in answer.raise_for_status().json())

    def _runs(self, **flow_runs: Any) -> list[Run]:
        pools = {"name": {"any_": [self.pool]}}
        by_time = {"flow_runs": flow_runs, "work_pools": pools, "sort": "EXPECTED_START_TIME_ASC"}
        return [Run.read(each) for each in self._all("flow_runs/filter", **by_time)]

    def _all(self, path: str, **body: Any) -> list[Mapping[str, Any]]:
        found: list[Mapping[str, Any]] = []
        while True:
            page = self._post(path, **body, limit=PAGE, offset=len(found))
            found += page
            if len(page) < PAGE:
                return found

    def _post(self, path: str, **body: Any) -> list[Mapping[str, Any]]:
        answer: list[Mapping[str, Any]] = self.http.post(path, json=body).raise_for_status().json()
        return answer


def connected(environment: Mapping[str, str], timeout: float) -> httpx.Client:
    """Connect to Prefect's API as Prefect's own clients do."""
    user, _, password = environment.get("PREFECT_API_AUTH_STRING", "").partition(":")
    key = environment.get("PREFECT_API_KEY")
    return httpx.Client(
        base_url=environment["PREFECT_API_URL"],
        auth=(user, password) if user else None,
        headers={"Authorization": f"Bearer {key}"} if key else None,
        timeout=timeout,
        # The server closes an idle connection after 5 s, which is when the next round begins.
        limits=httpx.Limits(keepalive_expiry=2),
    )


def _ended(run: Mapping[str, Any]) -> float:
    return _time(run.get("end_time") or run["created"]).timestamp()


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)
