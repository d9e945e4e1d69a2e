"""Prefect's API as a user's browser and shell see it: over HTTP, with the password of the release."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx

from waiting import until

FINAL = {"COMPLETED", "FAILED", "CRASHED", "CANCELLED"}


@dataclass(frozen=True)
class Prefect:
    """One Prefect server."""

    url: str
    auth: str
    http: httpx.Client

    @classmethod
    @contextmanager
    def connected(cls, address: str, auth: str) -> Iterator["Prefect"]:
        user, _, password = auth.partition(":")
        # A new connection each time: one kept for the next call may be closed by the server as that is sent.
        limits = httpx.Limits(max_keepalive_connections=0)
        with httpx.Client(base_url=f"{address}/api/", auth=(user, password), timeout=30, limits=limits) as http:
            yield cls(f"{address}/api", auth, http)

    @property
    def environment(self) -> dict[str, str]:
        """What Prefect's own command line needs to reach this server."""
        return {"PREFECT_API_URL": self.url, "PREFECT_API_AUTH_STRING": self.auth}

    def call(self, method: str, path: str, **body: Any) -> Any:
        answer = until(lambda: self._answer(method, path, body), 30, f"an answer to {method} {path}")
        assert answer.is_success, f"{method} {path}: {answer.status_code} {answer.text}"
        return answer.json() if answer.content else None

    def _answer(self, method: str, path: str, body: dict[str, Any]) -> httpx.Response | None:
        """None where the database is too busy: SQLite's answer is 503, PostgreSQL's 500. Pods try both again, too."""
        answer = self.http.request(method, path, json=body or None)
        busy = {httpx.codes.SERVICE_UNAVAILABLE}
        if method == "GET" or path.endswith("/filter"):
            busy.add(httpx.codes.INTERNAL_SERVER_ERROR)
        return None if answer.status_code in busy else answer

    def all(self, kind: str, **filters: Any) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        while page := self.call("POST", f"{kind}/filter", offset=len(found), limit=200, **filters):
            found += page
        return found

    def deployments(self) -> dict[str, dict[str, Any]]:
        """Each deployment by flow and name, as `prefect deployment run` takes it."""
        flows = {flow["id"]: flow["name"] for flow in self.all("flows")}
        return {f"{flows[each['flow_id']]}/{each['name']}": each for each in self.all("deployments")}

    def pause(self, deployment: str, *, paused: bool = True) -> None:
        """Pause a deployment's schedules or resume them, as the switch in the Prefect UI does."""
        key = self.call("GET", f"deployments/name/{deployment}")["id"]
        self.call("PATCH", f"deployments/{key}", paused=paused)

    def coming(self, key: str) -> list[dict[str, Any]]:
        """The runs of the deployment with this id that have a time and have not begun."""
        scheduled = {"state": {"type": {"any_": ["SCHEDULED"]}}}
        return self.all("flow_runs", deployments={"id": {"any_": [key]}}, flow_runs=scheduled)

    def start(self, deployment: str, **job_variables: Any) -> str:
        """Trigger a run, as the button in the Prefect UI does, and return its id."""
        key = self.call("GET", f"deployments/name/{deployment}")["id"]
        run: str = self.call("POST", f"deployments/{key}/create_flow_run", job_variables=job_variables)["id"]
        return run

    def start_with(self, deployment: str, parameters: dict[str, Any], **job_variables: Any) -> str:
        """Trigger a run as a form does, and return its id."""
        key = self.call("GET", f"deployments/name/{deployment}")["id"]
        asked = {"parameters": parameters, "job_variables": job_variables}
        run: str = self.call("POST", f"deployments/{key}/create_flow_run", **asked)["id"]
        return run

    def start_at(self, deployment: str, due: datetime) -> str:
        """Schedule a run for that time, and return its id."""
        key = self.call("GET", f"deployments/name/{deployment}")["id"]
        state = {"type": "SCHEDULED", "state_details": {"scheduled_time": due.isoformat()}}
        run: str = self.call("POST", f"deployments/{key}/create_flow_run", state=state)["id"]
        return run

    def flow_run(self, run: str) -> dict[str, Any]:
        found: dict[str, Any] = self.call("GET", f"flow_runs/{run}")
        return found

    def ended(self, run: str, seconds: float = 150) -> dict[str, Any]:
        """Wait for a run's end and return the run."""
        until(lambda: self.flow_run(run)["state"]["type"] in FINAL, seconds, f"the end of {self.page(run)}")
        return self.flow_run(run)

    def retry(self, run: str, **job_variables: Any) -> dict[str, Any]:
        """Run a run that has ended again, as Retry in the Prefect UI does, and return it at its end."""
        self.start_again(run, **job_variables)
        return self.ended(run)

    def start_again(self, run: str, **job_variables: Any) -> None:
        """Retry a run that has ended."""
        if job_variables:
            # Those of a run that has ended cannot be changed.
            self._reschedule(run, datetime.now(UTC) + timedelta(hours=1))
            self.call("PATCH", f"flow_runs/{run}", job_variables=job_variables)
        self._reschedule(run, datetime.now(UTC))

    def _reschedule(self, run: str, due: datetime) -> None:
        details = {"scheduled_time": due.isoformat()}
        state = {"type": "SCHEDULED", "name": "AwaitingRetry", "state_details": details}
        done = self.call("POST", f"flow_runs/{run}/set_state", state=state, force=True)
        assert done["status"] == "ACCEPT", done

    def run(self, deployment: str, **job_variables: Any) -> dict[str, Any]:
        return self.ended(self.start(deployment, **job_variables))

    def completed(self, deployment: str, **job_variables: Any) -> dict[str, Any]:
        run = self.run(deployment, **job_variables)
        assert run["state"]["name"] == "Completed", self.page(run["id"])
        return run

    def log(self, run: str) -> list[tuple[int, str]]:
        """The run's log, as level and message."""
        lines = self.all("logs", logs={"flow_run_id": {"any_": [run]}}, sort="TIMESTAMP_ASC")
        return [(line["level"], line["message"]) for line in lines]

    def logged(self, run: str, text: str, seconds: float = 60) -> None:
        """Wait for a text in the run's log."""
        until(lambda: any(text in message for _, message in self.log(run)), seconds, f"{text!r} in {self.page(run)}")

    def nodes(self, run: str) -> list[dict[str, Any]]:
        """The task runs of dbt's nodes in the run."""
        rows = self.all("task_runs", flow_runs={"id": {"any_": [run]}})
        return [row for row in rows if row["task_key"] == "dbt-node"]

    def ended_nodes(self, run: str, total: int) -> list[dict[str, Any]]:
        """Wait until the server has written down the end of that many nodes, which is after the run's; their rows."""

        def ended() -> list[dict[str, Any]]:
            rows = self.nodes(run)
            # On SQLite Prefect's server writes a row before the state that it names.
            return rows if len(rows) == total and all(row["end_time"] and row["state"] for row in rows) else []

        return until(ended, 60, f"the end of {total} nodes of {run}")

    def page(self, run: str) -> str:
        """What a person would read of the run in the Prefect UI."""
        found = self.flow_run(run)
        lines = "\n".join(message for _, message in self.log(run)[-30:])
        return f"{found['name']}: {found['state']['name']} {found['state']['message']}\n{lines}"
