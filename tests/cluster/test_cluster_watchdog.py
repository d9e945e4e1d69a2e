"""Runs that Prefect and Kubernetes see differently: what the watchdog makes of them, on a real cluster."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any

import pytest

from faults import api_cut
from kube import command
from release import BUILD, FRESHNESS, Release
from waiting import until

pytestmark = pytest.mark.cluster

CANCELLING = {"type": "CANCELLING", "name": "Cancelling"}
# More than any node has.
NOWHERE = {"memory_request": "900Gi", "memory_limit": "900Gi"}
LOSE_THE_DATABASE = """
import pathlib
for file in pathlib.Path("/var/lib/prefect").glob("prefect.db*"):
    file.unlink()
"""


def jobs_of(release: Release, run: str) -> list[dict[str, Any]]:
    return release.cluster.objects("jobs", release.namespace, f"prefect.io/flow-run-id={run}")


def seconds_between(earlier: str, later: str) -> float:
    return (datetime.fromisoformat(later) - datetime.fromisoformat(earlier)).total_seconds()


def test_a_run_that_is_cancelled_while_its_pod_is_pending_is_cancelled_and_not_given_up(
    warehouse: Release,
) -> None:
    run = warehouse.prefect.start(FRESHNESS, **NOWHERE)
    until(lambda: warehouse.pods_of(run), 60, "the pod")

    warehouse.prefect.call("POST", f"flow_runs/{run}/set_state", state=CANCELLING)
    cancelling = warehouse.prefect.flow_run(run)["state"]
    ended = warehouse.prefect.ended(run, 90)

    assert ended["state"]["name"] == "Cancelled"
    # Prefect's worker may be first, and not have noted yet which Job it made.
    assert ended["state"]["message"] in (
        "Cancelled before its pod started. Its Job and its pod were deleted.",
        "Flow run cancelled by worker (no infrastructure found).",
    )
    assert seconds_between(cancelling["timestamp"], ended["state"]["timestamp"]) < 60
    until(lambda: not jobs_of(warehouse, run) and not warehouse.pods_of(run), 60, "the end of Job and pod")


@pytest.mark.soak
def test_a_pod_that_a_limit_forbids_ends_the_run_with_kubernetes_words(warehouse: Release) -> None:
    limit = {"type": "Container", "max": {"memory": "1536Mi"}, "default": {"memory": "256Mi"}}
    metadata = {"name": "small", "namespace": warehouse.namespace}
    warehouse.cluster.apply(
        {"apiVersion": "v1", "kind": "LimitRange", "metadata": metadata, "spec": {"limits": [limit]}}
    )
    try:
        run = warehouse.prefect.ended(warehouse.prefect.start(FRESHNESS), 120)
    finally:
        warehouse.kubectl("delete", "limitrange", "small")

    assert run["state"]["name"] == "Crashed"
    assert "maximum memory usage per Container is 1536Mi, but limit is 2Gi" in run["state"]["message"]
    assert "jobs.resources" in run["state"]["message"]


@contextmanager
def slow_admission(release: Release) -> Iterator[None]:
    """Each new Job waits for a webhook that takes the connection and says nothing, which opens the window."""
    gateway = command("docker", "inspect", f"{release.cluster.name}-control-plane", "--format", GATEWAY).strip()
    kept = []
    with socket.create_server((gateway, 0)) as listener:

        def accept() -> None:
            try:
                while True:
                    kept.append(listener.accept())
            except OSError:
                return

        threading.Thread(target=accept, daemon=True).start()
        url = f"https://{gateway}:{listener.getsockname()[1]}/v"
        release.cluster.apply(webhook(url))
        try:
            yield
        finally:
            release.cluster.kubectl("delete", "validatingwebhookconfiguration", "slow-policy", "--ignore-not-found")


GATEWAY = "{{range .NetworkSettings.Networks}}{{.Gateway}}{{end}}"


def webhook(url: str) -> dict[str, Any]:
    rule = {"operations": ["CREATE"], "apiGroups": ["batch"], "apiVersions": ["v1"], "resources": ["jobs"]}
    return {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingWebhookConfiguration",
        "metadata": {"name": "slow-policy"},
        "webhooks": [
            {
                "name": "slow.policy.example.com",
                "clientConfig": {"url": url},
                "failurePolicy": "Ignore",
                "timeoutSeconds": 25,
                "rules": [rule],
                "sideEffects": "None",
                "admissionReviewVersions": ["v1"],
            }
        ],
    }


@pytest.mark.soak
def test_a_run_whose_worker_goes_between_claim_and_job_runs_within_two_minutes_of_a_new_worker(
    warehouse: Release,
) -> None:
    worker = until(lambda: only_worker(warehouse), 120, "one worker")
    with slow_admission(warehouse):
        run = warehouse.prefect.start(FRESHNESS)  # its queue is never full
        until(lambda: warehouse.prefect.flow_run(run)["state"]["name"] == "Submitting", 30, warehouse.prefect.page(run))
        warehouse.kubectl("delete", "pod", worker)

    put_back = until(lambda: [text for text in messages(warehouse, run) if "Put back into the queue" in text], 120)
    assert "worker" in put_back[0]
    assert warehouse.prefect.ended(run, 120)["state"]["name"] == "Completed", warehouse.prefect.page(run)


def only_worker(release: Release) -> str:
    """The worker's pod, once none is left of those before it."""
    pods = release.pods("worker")
    ready = len(pods) == 1 and all(each["ready"] for each in pods[0]["status"]["containerStatuses"])
    return str(pods[0]["metadata"]["name"]) if ready else ""


def messages(release: Release, run: str) -> list[str]:
    states = release.prefect.http.get("flow_run_states/", params={"flow_run_id": run}).raise_for_status().json()
    return [str(state["message"]) for state in states]


@pytest.mark.soak
def test_a_pod_that_never_reaches_prefect_is_reported_within_two_minutes_with_what_to_check(warehouse: Release) -> None:
    with api_cut(warehouse):
        run = warehouse.prefect.start(FRESHNESS)
        until(lambda: [pod for pod in warehouse.pods_of(run) if pod["status"]["phase"] == "Running"], 60, "the pod")
        warehouse.prefect.logged(run, "does not reach Prefect's API", 120)

    [line] = [text for level, text in warehouse.prefect.log(run) if "does not reach" in text and level == 30]
    assert all(word in line for word in ("network policies", "HTTP_PROXY", "DNS"))
    assert warehouse.prefect.ended(run, 180)["state"]["name"] == "Completed", warehouse.prefect.page(run)


def names(release: Release) -> set[str]:
    return {deployment["name"] for deployment in release.prefect.all("deployments")}


def has_new_server(release: Release, old: str) -> bool:
    """Whether another server's pod is Ready; a Deployment may still say that of the one that was deleted."""
    for pod in release.pods("server"):
        conditions = pod["status"].get("conditions") or []
        ready = any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)
        if ready and pod["metadata"]["uid"] != old:
            return True
    return False


@pytest.mark.soak
def test_a_database_that_was_lost_is_registered_again_within_two_minutes(warehouse: Release) -> None:
    before = names(warehouse)
    [server] = warehouse.pods("server")
    warehouse.shell(LOSE_THE_DATABASE, name=server["metadata"]["name"])
    warehouse.kubectl("delete", "pod", server["metadata"]["name"], "--grace-period=0", "--force")
    until(lambda: has_new_server(warehouse, server["metadata"]["uid"]), 180, "the new server")
    warehouse.disconnect()

    until(lambda: names(warehouse) == before, 120, "the deployments")
    until(lambda: warehouse.prefect.all("automations"), 30, "the automations")
    warehouse.kubectl("rollout", "status", "deployment/dbtpod-worker", "--timeout=60s")
    assert warehouse.prefect.run(BUILD)["state"]["name"] == "Completed"
