"""`helm upgrade` brings values and prefect.yaml to the server, also what is no longer in them; uninstall keeps data."""

from collections.abc import Iterator

import pytest

from images import REMOVED, TAG, UNSCHEDULED
from release import BUILD, Release
from waiting import until

pytestmark = pytest.mark.cluster

SMOKE = f"dbt-smoke/{UNSCHEDULED}"
FULL_REFRESH = f"{REMOVED}/{REMOVED}"


@pytest.fixture(scope="module")
def upgraded(warehouse: Release) -> Iterator[Release]:
    """Another memory limit, another claim, and an image whose prefect.yaml is shorter."""
    warehouse.prefect.pause(SMOKE, paused=False)
    smoke = warehouse.prefect.deployments()[SMOKE]
    until(lambda: warehouse.prefect.coming(smoke["id"]), 60, "runs of the schedule")
    # The values for kind have a size, which a claim of one's own has already: the chart's default in its place.
    claim = ("warehouse.existingClaim=a-users-own", "warehouse.size=10Gi")
    changes = ("image.tag=" + TAG, "jobs.resources.limits.memory=1234Mi", *claim)
    warehouse.install(*(option for change in changes for option in ("--set", change)))
    yield warehouse
    warehouse.prefect.pause(SMOKE)


def test_a_changed_value_reaches_the_pools_template(upgraded: Release) -> None:
    template = upgraded.prefect.call("GET", "work_pools/dbtpod")["base_job_template"]

    assert template["variables"]["properties"]["memory_limit"]["default"] == "1234Mi"
    assert "'claimName': 'a-users-own'" in str(template)


def test_a_deployment_that_left_the_file_leaves_the_server(upgraded: Release) -> None:
    assert FULL_REFRESH not in upgraded.prefect.deployments()
    assert f"deployment {FULL_REFRESH}: removed" in upgraded.registration()


def test_a_schedule_that_left_the_file_leaves_the_server_with_its_runs(upgraded: Release) -> None:
    deployment = upgraded.prefect.deployments()[SMOKE]

    assert deployment["schedules"] == []
    assert upgraded.prefect.coming(deployment["id"]) == []


def test_what_comes_back_into_the_file_comes_back_to_the_server(upgraded: Release) -> None:
    upgraded.install()

    deployments = upgraded.prefect.deployments()

    assert FULL_REFRESH in deployments
    assert [each["schedule"]["cron"] for each in deployments[SMOKE]["schedules"]] == ["0 * * * *"]


@pytest.mark.soak
def test_uninstalled_it_leaves_the_volumes_and_nothing_that_runs_and_installed_again_it_goes_on(
    warehouse: Release,
) -> None:
    warehouse.prefect.pause(SMOKE)
    run = warehouse.prefect.completed(BUILD)["id"]
    before, orders = warehouse.generation(), warehouse.rows("select count(*) from fct_orders")

    warehouse.uninstall()
    try:
        until(lambda: not left(warehouse, "jobs"), 60, "the end of all Jobs")
        until(lambda: not left(warehouse, "pods"), 180, "the end of all pods")
        assert left(warehouse, "persistentvolumeclaims") == {"dbtpod-warehouse", "dbtpod-server"}
    finally:
        # The files of tests after this one share the release.
        warehouse.install()

    assert warehouse.generation() == before
    assert warehouse.rows("select count(*) from fct_orders") == orders
    assert warehouse.prefect.call("GET", f"flow_runs/{run}")["state"]["name"] == "Completed"
    assert warehouse.prefect.deployments()[SMOKE]["paused"]
    warehouse.prefect.completed(BUILD)


def left(release: Release, kind: str) -> set[str]:
    """The names of the release's objects of a kind; but for the pod of `helm test`, which Helm leaves as any hook's."""
    found = release.cluster.objects(kind, release.namespace, "app.kubernetes.io/component!=test")
    return {
        each["metadata"]["name"]
        for each in found
        if each["metadata"].get("labels", {}).get("app.kubernetes.io/instance") == "dbtpod"
    }
