"""Prefect's API, asked which runs are there and which come next; a page that has no answer says so."""

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import httpx

# A page waits no longer, and asks no more often.
_SECONDS = 2.0
_KEPT_SECONDS = 10.0
_MOST = 6
_ERRORS = (httpx.HTTPError, httpx.InvalidURL, ArithmeticError, AttributeError, LookupError, TypeError, ValueError)
_AWAY = "Prefect's server does not answer. Builds, data and history are shown as they are."


@dataclass(frozen=True)
class Planned:
    """A run that is going, or is to come."""

    id: str
    name: str
    deployment: str
    state: str
    at: datetime | None


@dataclass(frozen=True)
class Plan:
    """What Prefect says."""

    runs: tuple[Planned, ...] = ()
    problem: str = ""


class Server:
    """One Prefect server; None for an address where there is none."""

    def __init__(self, api: str | None, login: str | None) -> None:
        self._api = (api or "").rstrip("/")
        # Prefect's server has HTTP Basic, as `user:password`.
        user, _, password = (login or "").partition(":")
        self._auth = (user, password) if login else None
        self._lock = threading.Lock()
        self._asked = -_KEPT_SECONDS
        self._plan = Plan()

    @property
    def is_known(self) -> bool:
        """Whether there is one to ask."""
        return bool(self._api)

    def plan(self) -> Plan:
        """Return the runs that are going and those that come next; one page asks, the others wait for its answer."""
        with self._lock:
            if self.is_known and time.monotonic() - self._asked > _KEPT_SECONDS:
                try:
                    self._plan = self._ask()
                except _ERRORS:
                    self._plan = Plan(problem=_AWAY)
                self._asked = time.monotonic()
            return self._plan

    def _ask(self) -> Plan:
        with httpx.Client(auth=self._auth, timeout=_SECONDS, trust_env=False) as client:
            wanted = {"type": {"any_": ["SCHEDULED", "PENDING", "RUNNING"]}}
            question = {
                "flow_runs": {"state": wanted},
                "sort": "EXPECTED_START_TIME_ASC",
                "limit": _MOST,
            }
            runs = _answer(client, f"{self._api}/flow_runs/filter", question)
            ids = sorted({run["deployment_id"] for run in runs if run.get("deployment_id")})
            known = {"deployments": {"id": {"any_": ids}}}
            there = _answer(client, f"{self._api}/deployments/filter", known) if ids else []
        names = {each["id"]: str(each["name"]) for each in there}
        return Plan(tuple(_planned(run, names) for run in runs))


def _answer(client: httpx.Client, address: str, question: Mapping[str, Any]) -> list[dict[str, Any]]:
    answer = client.post(address, json=question)
    answer.raise_for_status()
    return list(answer.json())


def _planned(run: Mapping[str, Any], names: Mapping[str, str]) -> Planned:
    at = run.get("start_time") or run.get("expected_start_time")
    return Planned(
        id=str(run["id"]),
        name=str(run["name"]),
        deployment=names.get(run.get("deployment_id") or "", ""),
        state=str(run.get("state_name") or run.get("state_type") or "").lower(),
        at=datetime.fromisoformat(at).astimezone(UTC) if at else None,
    )
