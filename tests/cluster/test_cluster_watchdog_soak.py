"""Outages of minutes: Kubernetes' API, the worker, or the CPU is away for longer than a common test may take."""

import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from kube import CommandFailed, command
from neighbours import busy
from release import BUILD, SMOKE, Release
from waiting import until

pytestmark = [pytest.mark.cluster, pytest.mark.soak, pytest.mark.timeout(1500)]

MANIFEST = "/etc/kubernetes/manifests/kube-apiserver.yaml"
AWAY = "/root/kube-apiserver.yaml"


@contextmanager
def kubernetes_api_away(release: Release) -> Iterator[None]:
    """The control plane of the node is without its API server, as while it is upgraded."""
    node = f"{release.cluster.name}-control-plane"
    command("docker", "exec", node, "mv", MANIFEST, AWAY)
    try:
        until(lambda: not answers(release), 60, "the end of the API server")
        yield
    finally:
        command("docker", "exec", node, "mv", AWAY, MANIFEST)
        until(lambda: answers(release), 180, "the API server")
        release.disconnect()


def answers(release: Release) -> bool:
    try:
        return bool(release.cluster.kubectl("get", "--raw", "/readyz", "--request-timeout=3s", seconds=20))
    except (CommandFailed, subprocess.TimeoutExpired):
        return False


def test_runs_that_are_due_while_kubernetes_api_is_away_run_when_it_is_back(warehouse: Release) -> None:
    due = datetime.now(UTC) + timedelta(seconds=75)
    meanwhile = warehouse.prefect.start_at(BUILD, due)

    with kubernetes_api_away(warehouse):
        assert datetime.now(UTC) < due - timedelta(seconds=20), "away before a worker takes the run"
        time.sleep((due - datetime.now(UTC)).total_seconds() + 90)  # longer than the worker's own tries
    at_once = warehouse.prefect.start(SMOKE)

    for run in (meanwhile, at_once):
        assert until(lambda run=run: completed(warehouse, run), 300, run), warehouse.prefect.page(run)
    assert warehouse.prefect.flow_run(meanwhile)["start_time"] > due.isoformat()


def completed(release: Release, run: str) -> bool:
    return bool(release.prefect.flow_run(run)["state"]["name"] == "Completed")


def test_of_the_runs_that_a_worker_missed_one_runs_and_the_rest_is_skipped(warehouse: Release) -> None:
    key = warehouse.prefect.deployments()[SMOKE]["id"]
    schedule = {"schedule": {"cron": "* * * * *"}, "active": True, "slug": "each-minute"}
    warehouse.kubectl("scale", "deployment/dbtpod-worker", "--replicas=0")
    until(lambda: not warehouse.pods("worker"), 60, "the worker's end")
    warehouse.prefect.pause(SMOKE, paused=False)
    warehouse.prefect.http.post(f"deployments/{key}/schedules", json=[schedule]).raise_for_status()
    try:
        until(lambda: len(late(warehouse, key)) >= 5, 500, "five late runs")
        missed = [run["id"] for run in late(warehouse, key)]
        warehouse.kubectl("scale", "deployment/dbtpod-worker", "--replicas=1")
        runs = until(lambda: settled(warehouse, missed), 240, "the end of the missed runs")
    finally:
        warehouse.kubectl("scale", "deployment/dbtpod-worker", "--replicas=1")
        warehouse.prefect.pause(SMOKE)
        for made in warehouse.prefect.call("GET", f"deployments/{key}")["schedules"]:
            if made["slug"] == "each-minute":
                warehouse.prefect.call("DELETE", f"deployments/{key}/schedules/{made['id']}")

    names = [run["state"]["name"] for run in runs]
    assert names.count("Completed") <= 1
    assert set(names) <= {"Completed", "Skipped"}
    assert all("worker.lateRuns" in run["state"]["message"] for run in runs if run["state"]["name"] == "Skipped")


def late(release: Release, deployment: str) -> list[dict[str, Any]]:
    due = {"before_": (datetime.now(UTC) - timedelta(seconds=60)).isoformat()}
    filters = {"state": {"type": {"any_": ["SCHEDULED"]}}, "expected_start_time": due}
    return release.prefect.all("flow_runs", flow_runs=filters, deployments={"id": {"any_": [deployment]}})


def settled(release: Release, ids: list[str]) -> list[dict[str, Any]]:
    runs = [release.prefect.flow_run(run) for run in ids]
    return runs if all(run["state"]["type"] in ("COMPLETED", "CANCELLED", "CRASHED", "FAILED") for run in runs) else []


def test_no_pod_is_restarted_in_15_minutes_of_load_50(warehouse: Release) -> None:
    before = restarts(warehouse)

    with busy(warehouse.cluster, pods=10, loops=5):
        time.sleep(15 * 60)
        load = float(warehouse.shell("import os; print(os.getloadavg()[1])"))

    assert load > 40
    assert restarts(warehouse) == before
    assert warehouse.prefect.run(SMOKE)["state"]["name"] == "Completed"


def restarts(release: Release) -> dict[str, int]:
    found = {}
    for pod in [*release.pods("server"), *release.pods("worker")]:
        for container in pod["status"]["containerStatuses"]:
            found[f"{pod['metadata']['name']} {container['name']}"] = container["restartCount"]
    return found
