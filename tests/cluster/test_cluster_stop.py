"""Runs that are stopped: by a person on Prefect's page, and by Kubernetes."""

from collections.abc import Iterator
from datetime import datetime

import pytest
from images import case
from kube import until
from release import Release

pytestmark = pytest.mark.cluster

BUILD = "dbt-build/dbt-build-daily"
GATE = "import pathlib, sys; gate = pathlib.Path('/data/gate'); "
LOCKED = """
import fcntl
with open("/data/writer.lock", "r+") as file:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        print("free")
    except BlockingIOError:
        print("held")
"""


@pytest.fixture
def waiting(warehouse: Release) -> Iterator[str]:
    """A run whose model `waiting` goes on until the gate is open."""
    run = warehouse.prefect.start(BUILD, **case("waits"))
    warehouse.prefect.logged(run, "START sql table model main.waiting", 90)
    yield run
    warehouse.shell(GATE + "gate.unlink(missing_ok=True)")


def test_cancelling_on_the_page_stops_dbt_within_15_seconds_and_frees_the_warehouse(
    warehouse: Release, waiting: str
) -> None:
    assert warehouse.shell(LOCKED).strip() == "held"

    cancelling = {"type": "CANCELLING", "name": "Cancelling"}
    warehouse.prefect.call("POST", f"flow_runs/{waiting}/set_state", state=cancelling)
    until(lambda: warehouse.shell(LOCKED).strip() == "free", 15, "the lock")

    run = warehouse.prefect.ended(waiting, 30)
    assert run["state"]["name"] == "Cancelled", warehouse.prefect.page(waiting)
    [row] = [row for row in warehouse.prefect.nodes(waiting) if row["name"] == "model waiting"]
    assert row["state"]["name"] == "Cancelled"
    until(lambda: warehouse.pods_of(waiting) == [] or "Running" not in phases(warehouse, waiting), 30, "the pod's end")


def test_a_run_whose_pod_is_drained_goes_on_in_a_new_pod(warehouse: Release, waiting: str) -> None:
    [first] = warehouse.pods_of(waiting)
    before = warehouse.generation()

    warehouse.shell(GATE + "gate.touch()")
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
