"""A second environment of the same image on the same Prefect server, and schedules that change without a new image."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from kube import REPO, CommandFailed
from release import BUILD, Release

pytestmark = [pytest.mark.cluster, pytest.mark.soak, pytest.mark.timeout(600)]

POOL = "dbtpod-dev"
VALUES = {
    "server": {"enabled": False},
    "prefect": {
        "apiUrl": "http://dbtpod-server.warehouse.svc:4200/api",
        "authSecret": {"name": "shared-auth"},
    },
    "workPool": {"name": POOL},
    "environment": {"target": "dev", "deploymentSuffix": "-dev", "schedules": False},
}


@pytest.fixture(scope="module")
def both(warehouse: Release, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Release, Release]]:
    """The release of the suite, and one beside it that has no server of its own."""
    cluster = warehouse.cluster
    namespace = cluster.namespace("dev")
    peer = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}}}
    warehouse.install("--set-json", f"networkPolicy.serverFrom={json.dumps([peer])}")
    secret = json.loads(warehouse.kubectl("get", "secret", "dbtpod-auth", "--output", "json"))
    metadata = {"name": "shared-auth", "namespace": namespace}
    cluster.apply({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": secret["data"]})
    file = tmp_path_factory.mktemp("values") / "values-dev.yaml"
    file.write_text(yaml.safe_dump(VALUES))
    dev = Release(cluster, namespace)
    dev.install("--values", str(file))
    yield warehouse, dev
    dev.uninstall()
    # What a release has brought to a server of another one stays there.
    for deployment in warehouse.prefect.deployments().values():
        if deployment["work_pool_name"] == POOL:
            warehouse.prefect.call("DELETE", f"deployments/{deployment['id']}")
    warehouse.prefect.call("DELETE", f"work_pools/{POOL}")
    cluster.kubectl("delete", "namespace", namespace, "--wait=false")
    warehouse.install()


def test_each_environment_has_its_own_deployments_pool_and_schedules(both: tuple[Release, Release]) -> None:
    first, _ = both
    found = first.prefect.deployments()

    ours = {name: each for name, each in found.items() if each["work_pool_name"] == POOL}
    theirs = {name: each for name, each in found.items() if each["work_pool_name"] == "dbtpod"}
    assert set(ours) == {f"{name}-dev" for name in theirs}
    assert len(theirs) == 6
    assert active(ours) == set()
    assert active(theirs) == {BUILD, "dbt-smoke/dbt-smoke-hourly", "dbt-source-freshness/dbt-source-freshness"}


def active(deployments: dict[str, Any]) -> set[str]:
    """Those with a schedule that starts runs."""
    return {name for name, each in deployments.items() if any(one["active"] for one in each["schedules"])}


def test_a_run_of_one_environment_builds_its_own_warehouse(both: tuple[Release, Release]) -> None:
    first, dev = both
    before = first.generation()

    run = first.prefect.completed(f"{BUILD}-dev")

    [pod] = dev.pods_of(run["id"])
    assert pod["metadata"]["namespace"] == dev.namespace
    assert "Unable to do partial parsing" not in dev.pod_log(run["id"])
    assert first.generation() == before


def test_a_pool_of_another_release_is_refused_and_its_runs_are_left_alone(both: tuple[Release, Release]) -> None:
    first, dev = both
    before = first.prefect.call("GET", "work_pools/dbtpod")

    with pytest.raises(CommandFailed):
        dev.install("--reuse-values", "--set", "workPool.name=dbtpod", "--timeout", "90s")

    assert "belongs to release dbtpod in namespace warehouse" in dev.registration()
    assert "this is release dbtpod in namespace dev" in dev.registration()
    assert first.prefect.call("GET", "work_pools/dbtpod") == before
    polling = {each["name"] for each in first.prefect.call("POST", "work_pools/dbtpod/workers/filter")}
    assert not polling & {each["metadata"]["name"] for each in dev.pods("worker")}
    dev.install("--reuse-values", "--set", f"workPool.name={POOL}")


def test_a_schedule_changes_without_a_new_image(both: tuple[Release, Release], tmp_path: Path) -> None:
    first, dev = both
    file = yaml.safe_load((REPO / "prefect.yaml").read_text())
    file["deployments"][0]["schedules"][0]["cron"] = "17 3 * * *"
    (tmp_path / "prefect.yaml").write_text(yaml.safe_dump(file))

    dev.install("--reuse-values", "--set-file", f"prefectYaml={tmp_path / 'prefect.yaml'}")

    [schedule] = first.prefect.deployments()[f"{BUILD}-dev"]["schedules"]
    assert schedule["schedule"]["cron"] == "17 3 * * *"


def test_a_wrong_schedule_fails_the_upgrade_with_its_line_and_changes_nothing(
    both: tuple[Release, Release], tmp_path: Path
) -> None:
    first, dev = both
    before = first.prefect.deployments()[f"{BUILD}-dev"]["schedules"]
    (tmp_path / "prefect.yaml").write_text((REPO / "prefect.yaml").read_text().replace("0 6 * * *", "0 25 * * *"))

    with pytest.raises(CommandFailed):
        dev.install("--reuse-values", "--set-file", f"prefectYaml={tmp_path / 'prefect.yaml'}", "--timeout", "60s")

    assert "0 25 * * *" in dev.registration()
    assert "schedules[0].cron" in dev.registration()
    assert first.prefect.deployments()[f"{BUILD}-dev"]["schedules"] == before
