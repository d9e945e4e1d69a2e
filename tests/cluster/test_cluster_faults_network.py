"""Prefect's API out of reach of a run's pod: before the run starts, while dbt works, and when it ends."""

from datetime import UTC, datetime

import pytest

from faults import CONTENT, PUBLISHED_BY, Content, api_cut, in_the_middle, is_settled, open_gate, state
from kube import CommandFailed
from release import BUILD, Release
from waiting import until

pytestmark = pytest.mark.cluster

CONNECT = "import socket; socket.create_connection(('dbtpod-server', 4200), 2)"


@pytest.fixture(scope="module")
def content(warehouse: Release) -> Content:
    return warehouse.rows(CONTENT)


def is_cut_off(release: Release, run: str) -> bool:
    try:
        release.shell(CONNECT, name=release.pods_of(run)[-1]["metadata"]["name"])
    except CommandFailed as error:
        return "TimeoutError" in str(error) or "ConnectionRefusedError" in str(error)
    return False


def seconds_since_start(release: Release, run: str) -> float:
    for pod in release.pods_of(run):
        for container in pod["status"].get("containerStatuses", []):
            if running := container["state"].get("running"):
                return (datetime.now(UTC) - datetime.fromisoformat(running["startedAt"])).total_seconds()
    return 0


@pytest.mark.soak
def test_a_pod_that_cannot_reach_the_api_when_it_starts_waits_for_it(warehouse: Release, content: Content) -> None:
    with api_cut(warehouse):
        run = warehouse.prefect.start(BUILD)
        # By then it has imported Prefect and tried.
        until(lambda: seconds_since_start(warehouse, run) > 10, 60, "the pod")
        assert is_cut_off(warehouse, run)

    warehouse.prefect.ended(run, 180)

    assert state(warehouse, run) == "Completed", warehouse.prefect.page(run)
    is_settled(warehouse, content, published=run)


@pytest.mark.soak
def test_a_run_that_loses_the_api_for_a_while_tells_its_whole_story(warehouse: Release, content: Content) -> None:
    with in_the_middle(warehouse) as run, api_cut(warehouse):
        until(lambda: is_cut_off(warehouse, run), 30, "the cut")

    assert state(warehouse, run) == "Completed", warehouse.prefect.page(run)
    total = warehouse.totals(run)["TOTAL"]
    until(lambda: len(warehouse.prefect.nodes(run)) == total, 60, f"{total} rows of nodes")
    is_settled(warehouse, content, published=run)


def test_a_run_that_cannot_reach_the_api_at_its_end_publishes_and_ends_when_it_can(
    warehouse: Release, content: Content
) -> None:
    with in_the_middle(warehouse) as run, api_cut(warehouse):
        until(lambda: is_cut_off(warehouse, run), 30, "the cut")
        open_gate(warehouse)
        until(lambda: run in warehouse.shell(PUBLISHED_BY).split(), 90, "publishing")

    assert state(warehouse, run) == "Completed", warehouse.prefect.page(run)
    is_settled(warehouse, content, published=run)
