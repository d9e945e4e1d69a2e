"""Runs that are stopped: by a person on Prefect's page, and by Kubernetes."""

from collections.abc import Iterator
from datetime import datetime

import pytest

from faults import in_the_middle, lock, open_gate
from release import Release
from waiting import until

pytestmark = pytest.mark.cluster


@pytest.fixture
def waiting(warehouse: Release) -> Iterator[str]:
    """A run whose model `waiting` goes on until the gate is open."""
    with in_the_middle(warehouse, "waits") as run:
        yield run


def test_cancelling_on_the_page_stops_dbt_within_15_seconds_and_frees_the_warehouse(
    warehouse: Release, waiting: str
) -> None:
    assert lock(warehouse) == "held"

    cancelling = {"type": "CANCELLING", "name": "Cancelling"}
    warehouse.prefect.call("POST", f"flow_runs/{waiting}/set_state", state=cancelling)
    until(lambda: lock(warehouse) == "free", 15, "the lock")

    run = warehouse.prefect.ended(waiting, 90)
    assert run["state"]["name"] == "Cancelled", warehouse.prefect.page(waiting)
    [row] = [row for row in warehouse.prefect.nodes(waiting) if row["name"] == "model waiting"]
    assert row["state"]["name"] == "Cancelled"
    until(lambda: warehouse.pods_of(waiting) == [] or "Running" not in phases(warehouse, waiting), 60, "the pod's end")


def test_a_run_whose_pod_is_drained_goes_on_in_a_new_pod(warehouse: Release, waiting: str) -> None:
    [first] = warehouse.pods_of(waiting)
    before = warehouse.generation()

    open_gate(warehouse)
    warehouse.kubectl("delete", "pod", first["metadata"]["name"], "--wait=false")
    run = warehouse.prefect.ended(waiting)

    assert run["state"]["name"] == "Completed", warehouse.prefect.page(waiting)
    assert run["run_count"] == 2
    last = warehouse.pods_of(waiting)[-1]
    assert last["metadata"]["uid"] != first["metadata"]["uid"]
    assert datetime.fromisoformat(run["end_time"]) > datetime.fromisoformat(last["metadata"]["creationTimestamp"])
    assert warehouse.generation() > before


def phases(release: Release, run: str) -> list[str]:
    return [pod["status"]["phase"] for pod in release.pods_of(run)]
