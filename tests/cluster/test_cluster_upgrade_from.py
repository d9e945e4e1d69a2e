"""An upgrade from an earlier commit, DBTPOD_UPGRADE_FROM, with its data, its history and a run in flight; and back."""

import os
from collections.abc import Iterator

import pytest

from kube import Cluster, command
from release import BUILD, Release
from waiting import until

pytestmark = [pytest.mark.cluster, pytest.mark.soak, pytest.mark.timeout(1200)]

# The last commit before the chart's password, pool owner and alerts.
FROM = os.environ.get("DBTPOD_UPGRADE_FROM", "b6e8cde")
OLD = f"dbtpod-demo:from-{FROM}"


@pytest.fixture(scope="module")
def old_chart(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """That commit's chart, with its image on the node."""
    folder = tmp_path_factory.mktemp("upgrade") / "from"
    command("git", "worktree", "add", "--quiet", "--detach", str(folder), FROM)
    try:
        build = ("docker", "build", "--quiet", "--file", str(folder / "image/Dockerfile"), "--tag", OLD, str(folder))
        command(*build, seconds=600, DOCKER_BUILDKIT="1")
        cluster.load(OLD)
        yield str(folder / "charts/dbtpod")
    finally:
        command("git", "worktree", "remove", "--force", str(folder))


@pytest.fixture(scope="module")
def old(cluster: Cluster, old_chart: str) -> Iterator[Release]:
    """That commit's release, with one build published."""
    one = Release(cluster, cluster.namespace("upgrade-from"))
    one.install("--set-string", f"image.tag={OLD.partition(':')[2]}", chart=old_chart)
    one.start_shell()
    one.prefect.completed(BUILD)
    yield one
    one.disconnect()
    cluster.kubectl("delete", "namespace", one.namespace, "--wait=false")


def test_an_upgrade_keeps_data_history_and_password_and_ends_no_run(old: Release) -> None:
    before, password = old.generation(), old.prefect.auth
    run = old.prefect.start(BUILD)
    until(lambda: old.prefect.flow_run(run)["state"]["type"] == "RUNNING", 60, "the run in flight")

    old.install()

    assert old.prefect.auth == password
    assert old.prefect.ended(run)["state"]["name"] == "Completed"
    assert old.generation() > before
    assert len([each for each in old.prefect.all("flow_runs") if each["state"]["name"] == "Completed"]) == 2
    assert image_of(old, old.prefect.completed(BUILD)["id"]) != OLD
    old.install("--reuse-values")


def test_the_way_back_has_the_old_image_again(old: Release) -> None:
    old.cluster.helm("rollback", "dbtpod", "1", "--namespace", old.namespace, "--wait")
    old.disconnect()

    until(lambda: pool_image(old) == OLD, 180, "the old image in the pool")
    assert image_of(old, old.prefect.completed(BUILD)["id"]) == OLD


def image_of(release: Release, run: str) -> str:
    return str(release.pods_of(run)[-1]["spec"]["containers"][0]["image"])


def pool_image(release: Release) -> str:
    template = release.prefect.call("GET", "work_pools/dbtpod")["base_job_template"]
    return str(template["variables"]["properties"]["image"]["default"])
