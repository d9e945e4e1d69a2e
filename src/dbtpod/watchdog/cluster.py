"""Kubernetes' API, as far as the watchdog uses it: one namespace, the Jobs and pods of one release."""

import json
import ssl
from collections.abc import Generator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

TOKEN = Path("/var/run/secrets/kubernetes.io/serviceaccount/token")
AUTHORITY = TOKEN.with_name("ca.crt")
FLOW_RUN = "prefect.io/flow-run-id"

Object = Mapping[str, Any]


class ServiceAccount(httpx.Auth):
    """The pod's own token, read each time because Kubernetes renews it."""

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response]:
        """Add the token to one request."""
        request.headers["Authorization"] = f"Bearer {TOKEN.read_text()}"
        yield request


def connected(seconds: float = 20.0) -> httpx.Client:
    """Return a client of Kubernetes' API with this pod's own token."""
    trust = ssl.create_default_context(cafile=AUTHORITY)
    api = "https://kubernetes.default.svc"
    # Not by a proxy of the environment: the API is in the cluster.
    return httpx.Client(base_url=api, auth=ServiceAccount(), verify=trust, timeout=seconds, trust_env=False)


@dataclass(frozen=True)
class Cluster:
    """One release's part of a namespace; `release` are the labels that all its objects have."""

    http: httpx.Client
    namespace: str
    release: str

    def run_pods(self) -> list[Object]:
        """List the pods of flow runs, without those that ended well."""
        return self._list(self._core("pods"), f"{FLOW_RUN},{self._of('flow-run')}", "status.phase!=Succeeded")

    def run_jobs(self) -> list[Object]:
        """List the Jobs of flow runs, without those that ended well."""
        return self._list(self._jobs(), f"{FLOW_RUN},{self._of('flow-run')}", "status.successful=0")

    def worker_pods(self) -> list[Object]:
        """List the worker's pods: two while one replaces another."""
        return self._list(self._core("pods"), self._of("worker"))

    def registrations(self) -> list[Object]:
        """List the Jobs that register, be they Helm's or ours."""
        return self._list(self._jobs(), self._of("register"))

    def other_jobs(self) -> list[Object]:
        """List the release's Jobs that run no flow: registrations, the warehouse's first pod, the password's."""
        return self._list(self._jobs(), f"!{FLOW_RUN},{self.release}")

    def newest_event(self, kind: str, name: str, reason: str = "") -> str:
        """Read the newest warning about an object; empty where there is none."""
        fields = f"involvedObject.kind={kind},involvedObject.name={name},type=Warning"
        events = self._list(self._core("events"), "", f"{fields},reason={reason}" if reason else fields)
        newest = max(events, key=_event_time, default=None)
        return str(newest.get("message") or "").strip() if newest else ""

    def last_lines(self, job: str) -> str:
        """Read the end of the log of a Job's newest pod; empty where there is none to read."""
        pods = self._list(self._core("pods"), f"batch.kubernetes.io/job-name={job}")
        if not pods:
            return ""
        newest = max(pods, key=lambda pod: str(pod["metadata"]["creationTimestamp"]))
        answer = self.http.get(self._core(f"pods/{newest['metadata']['name']}/log"), params={"tailLines": 5})
        return answer.text.strip() if answer.is_success else ""

    def create_job(self, manifest: Object) -> str:
        """Create a Job and return its name."""
        created = self.http.post(self._jobs(), json=manifest).raise_for_status().json()
        return str(created["metadata"]["name"])

    def own_job(self, name: str, owner: Object) -> None:
        """Set whose a Job is, with whom Kubernetes removes it; that it is gone already is no error."""
        answer = self.http.patch(
            f"{self._jobs()}/{name}",
            content=json.dumps({"metadata": {"ownerReferences": [owner]}}),
            headers={"Content-Type": "application/merge-patch+json"},
        )
        if answer.status_code != httpx.codes.NOT_FOUND:
            answer.raise_for_status()

    def delete_job(self, name: str) -> None:
        """Delete a Job and its pods; that it is gone already is no error."""
        answer = self.http.delete(f"{self._jobs()}/{name}", params={"propagationPolicy": "Background"})
        if answer.status_code != httpx.codes.NOT_FOUND:
            answer.raise_for_status()

    def _of(self, component: str) -> str:
        return f"{self.release},app.kubernetes.io/component={component}"

    def _core(self, what: str) -> str:
        return f"/api/v1/namespaces/{self.namespace}/{what}"

    def _jobs(self) -> str:
        return f"/apis/batch/v1/namespaces/{self.namespace}/jobs"

    def _list(self, path: str, labels: str, fields: str = "") -> list[Object]:
        parameters = {"labelSelector": labels, "fieldSelector": fields}
        items: list[Object] = self.http.get(path, params=parameters).raise_for_status().json()["items"]
        return items


def job_of(pod: Object) -> str:
    """Return the name of the Job that made this pod; empty where none did."""
    return str(pod["metadata"].get("labels", {}).get("batch.kubernetes.io/job-name", ""))


def run_of(item: Object) -> str:
    """Return the id of the flow run that this Job or pod is for."""
    return str(item["metadata"]["labels"][FLOW_RUN])


def is_live(job: Object) -> bool:
    """Return whether the Job has not ended and is not being removed."""
    conditions = job.get("status", {}).get("conditions") or []
    ended = any(each["type"] in ("Complete", "Failed") and each["status"] == "True" for each in conditions)
    return not ended and "deletionTimestamp" not in job["metadata"]


def _event_time(event: Object) -> str:
    series = event.get("series") or {}
    times = (series.get("lastObservedTime"), event.get("lastTimestamp"), event.get("eventTime"))
    return str(next((each for each in times if each), event["metadata"].get("creationTimestamp") or ""))
