"""Processes, pods and nodes that die in the middle of a run: who notices, how soon, and what goes on."""

import pytest

from faults import CONTENT, Content, goes_on_by_itself, in_the_middle, is_settled, kill_dbt, open_gate, state, vanish
from images import case
from release import BUILD, Release
from waiting import until

pytestmark = pytest.mark.cluster

# Over what each fault takes on a quiet machine, for one that is not.
OBSERVED = 60


@pytest.fixture(scope="module")
def content(warehouse: Release) -> Content:
    return warehouse.rows(CONTENT)


@pytest.mark.soak
def test_dbt_that_is_killed_in_a_node_is_started_again_in_the_same_pod(warehouse: Release, content: Content) -> None:
    with in_the_middle(warehouse) as run:
        assert len(kill_dbt(warehouse, run)) == 1
        warehouse.prefect.logged(run, "was ended by SIGKILL", 30)

    assert state(warehouse, run) == "Completed", warehouse.prefect.page(run)
    assert len(warehouse.pods_of(run)) == 1
    is_settled(warehouse, content, published=run)


def test_a_run_whose_pod_vanishes_ends_and_leaves_the_way_free(warehouse: Release, content: Content) -> None:
    with in_the_middle(warehouse) as run:
        vanish(warehouse, run)
        ended = warehouse.prefect.ended(run, OBSERVED)

    assert ended["state"]["name"] == "Crashed"
    is_settled(warehouse, content, unpublished=run)
    goes_on_by_itself(warehouse, content)


def test_a_run_whose_pod_is_deleted_at_once_goes_on_in_a_new_pod(warehouse: Release, content: Content) -> None:
    with in_the_middle(warehouse) as run:
        [first] = warehouse.pods_of(run)
        warehouse.kubectl("delete", "pod", first["metadata"]["name"], "--grace-period=0", "--force")
        until(lambda: new_pod(warehouse, run, first["metadata"]["uid"]), OBSERVED, "a new pod")

    assert state(warehouse, run) == "Completed", warehouse.prefect.page(run)
    is_settled(warehouse, content, published=run)


def test_a_run_whose_node_is_drained_waits_for_a_node_and_goes_on(warehouse: Release, content: Content) -> None:
    with in_the_middle(warehouse, "waits") as run:
        [first] = warehouse.pods_of(run)
        node = first["spec"]["nodeName"]
        selector = f"--pod-selector=prefect.io/flow-run-id={run}"
        warehouse.kubectl("drain", node, selector, "--ignore-daemonsets", "--delete-emptydir-data", "--timeout=60s")
        open_gate(warehouse)
        try:
            until(lambda: new_pod(warehouse, run, first["metadata"]["uid"]), OBSERVED, "a new pod")
        finally:
            warehouse.kubectl("uncordon", node)

    assert state(warehouse, run) == "Completed", warehouse.prefect.page(run)
    warehouse.prefect.logged(run, "Resuming from")
    is_settled(warehouse, content, published=run)


@pytest.mark.parametrize(
    ("limit", "states", "message"),
    [
        ({}, {"Failed"}, "Out of Memory Error"),
        # The kernel chooses among the pod's processes: nearly always dbt, or else the flow run's.
        pytest.param({"DBTPOD_MEMORY_LIMIT": "8GB"}, {"Failed", "Crashed"}, "SIGKILL", marks=pytest.mark.soak),
    ],
    ids=["DuckDB's own limit", "the kernel's"],
)
def test_a_model_that_needs_more_memory_than_there_is_fails_with_the_reason(
    warehouse: Release, content: Content, limit: dict[str, str], states: set[str], message: str
) -> None:
    hungry = case("hungry")
    hungry["env"] |= limit

    run = warehouse.prefect.ended(warehouse.prefect.start(BUILD, **hungry, memory_limit="768Mi"), 240)

    assert run["state"]["name"] in states, warehouse.prefect.page(run["id"])
    assert message in run["state"]["message"]
    assert "memory" in run["state"]["message"]
    is_settled(warehouse, content, unpublished=run["id"])


@pytest.mark.soak
def test_a_worker_that_is_killed_loses_no_run_and_comes_back(warehouse: Release, content: Content) -> None:
    with in_the_middle(warehouse) as run:
        [worker] = warehouse.pods("worker")
        warehouse.kubectl("delete", "pod", worker["metadata"]["name"], "--grace-period=0", "--force")

    assert state(warehouse, run) == "Completed", warehouse.prefect.page(run)
    assert len(warehouse.pods_of(run)) == 1
    goes_on_by_itself(warehouse, content)


def test_a_server_that_is_killed_loses_neither_a_run_nor_its_rows(warehouse: Release, content: Content) -> None:
    with in_the_middle(warehouse) as run:
        [server] = warehouse.pods("server")
        warehouse.kubectl("scale", "deployment/dbtpod-server", "--replicas=0")
        try:
            warehouse.kubectl("delete", "pod", server["metadata"]["name"], "--grace-period=0", "--force")
            # dbt does not wait for a server: it ends its last nodes before there is one again.
            open_gate(warehouse)
            until(lambda: "has not taken" in warehouse.pod_log(run), 90, "the end of dbt")
        finally:
            warehouse.kubectl("scale", "deployment/dbtpod-server", "--replicas=1")
        warehouse.kubectl("rollout", "status", "deployment/dbtpod-server", "--timeout=180s", seconds=200)
        warehouse.disconnect()

    assert state(warehouse, run) == "Completed", warehouse.prefect.page(run)
    passed = warehouse.totals(run)["PASS"]
    assert warehouse.prefect.flow_run(run)["state"]["message"].startswith(f"{passed} nodes: {passed} success")
    completed = ["Completed"] * passed
    assert [row["state_name"] for row in warehouse.prefect.ended_nodes(run, passed)] == completed
    is_settled(warehouse, content, published=run)


def new_pod(release: Release, run: str, old: str) -> bool:
    return any(pod["metadata"]["uid"] != old for pod in release.pods_of(run))
