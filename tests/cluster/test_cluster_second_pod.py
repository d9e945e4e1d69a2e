"""A second pod of one run, whatever made it: it does nothing."""

import pytest

from faults import CONTENT, in_the_middle, is_settled, lock, state
from release import Release
from waiting import until

pytestmark = [pytest.mark.cluster, pytest.mark.soak]


def second_pod(release: Release, run: str, name: str) -> str:
    """Make the run's Job once more, and wait for its pod's end; what that printed."""
    jobs = release.cluster.objects("jobs", release.namespace, f"prefect.io/flow-run-id={run}")
    original = jobs[0]
    template = original["spec"]["template"]
    template["metadata"]["labels"] = {
        key: value
        for key, value in template["metadata"]["labels"].items()
        if "controller-uid" not in key and "job-name" not in key
    }
    spec = {key: value for key, value in original["spec"].items() if key not in ("selector", "suspend")}
    metadata = {"name": name, "namespace": release.namespace, "labels": {"app": "second"}}
    release.cluster.apply({"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": spec})
    try:
        release.kubectl("wait", f"job/{name}", "--for=condition=Complete", "--timeout=60s")
        return release.kubectl("logs", f"job/{name}")
    finally:
        release.kubectl("delete", f"job/{name}", "--wait=false")


def test_a_second_pod_of_a_run_does_nothing_while_the_first_works_and_after_it(warehouse: Release) -> None:
    content = warehouse.rows(CONTENT)
    with in_the_middle(warehouse) as run:
        before = warehouse.prefect.flow_run(run)["state"]
        assert "is Running in another pod: this one does nothing." in second_pod(warehouse, run, "second-1")
        assert warehouse.prefect.flow_run(run)["state"] == before
        assert lock(warehouse) == "held"

    assert state(warehouse, run) == "Completed", warehouse.prefect.page(run)
    generation = warehouse.generation()
    done = warehouse.prefect.flow_run(run)["state"]
    assert "is Completed already: this pod does nothing." in second_pod(warehouse, run, "second-2")

    assert warehouse.prefect.flow_run(run)["state"] == done
    assert warehouse.generation() == generation
    until(lambda: lock(warehouse) == "free", 60, "the lock")
    is_settled(warehouse, content, published=run)
