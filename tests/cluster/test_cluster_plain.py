"""`kubectl apply -k k8s/storage/ && kubectl apply -k k8s/`, for people without Helm: the same running system."""

from collections.abc import Iterator

import pytest

from kube import IMAGE, Cluster, command
from release import SMOKE, Release
from waiting import until

SECOND = "dbtpod-demo:second"

pytestmark = [pytest.mark.cluster, pytest.mark.soak]


@pytest.fixture(scope="module")
def plain(cluster: Cluster) -> Iterator[Release]:
    one = Release(cluster, "dbtpod")
    apply(one)
    yield one
    one.disconnect()
    cluster.kubectl("delete", "namespace", "dbtpod", "--wait=false")


def apply(release: Release) -> None:
    release.cluster.kubectl("apply", "--kustomize", "k8s/storage")
    release.cluster.kubectl("apply", "--kustomize", "k8s")
    release.kubectl("rollout", "status", "deployment/dbtpod-server", "--timeout=180s", seconds=200)
    release.kubectl("rollout", "status", "deployment/dbtpod-worker", "--timeout=180s", seconds=200)
    labels = "--selector=app.kubernetes.io/component=register"
    release.kubectl("wait", "job", labels, "--for=condition=Complete", "--timeout=180s", seconds=200)


def test_it_registers_the_deployments_and_runs_one(plain: Release) -> None:
    deployments = plain.prefect.deployments()
    assert len(deployments) == 6
    assert not any(each["paused"] for each in deployments.values())
    plain.prefect.completed(SMOKE)


def test_applied_again_it_goes_on_with_the_same_password_and_pods(plain: Release) -> None:
    auth, server = plain.prefect.auth, plain.pods("server")[0]["metadata"]["uid"]

    apply(plain)
    plain.disconnect()

    assert plain.prefect.auth == auth
    assert plain.pods("server")[0]["metadata"]["uid"] == server
    until(lambda: len(plain.prefect.deployments()) == 6, 30, "the deployments")


def test_another_image_is_applied_twice_and_its_job_template_reaches_the_server(plain: Release) -> None:
    command("docker", "tag", IMAGE, SECOND)
    plain.cluster.load(SECOND)
    rendered = plain.cluster.helm(
        *("template", "dbtpod", "charts/dbtpod", "--namespace", "dbtpod", "--skip-tests"),
        *("--set", "server.auth.existingSecret=dbtpod-auth", "--set-string", f"image.tag={SECOND.partition(':')[2]}"),
    )

    for _ in range(2):
        plain.cluster.kubectl("apply", "--filename", "-", stdin=rendered)
    plain.kubectl("rollout", "status", "deployment/dbtpod-server", "--timeout=180s", seconds=200)
    plain.disconnect()

    until(lambda: image_of_runs(plain) == SECOND, 180, "the new image in the pool")


def image_of_runs(release: Release) -> str:
    template = release.prefect.call("GET", "work_pools/dbtpod")["base_job_template"]
    return str(template["variables"]["properties"]["image"]["default"])


def test_deleted_it_leaves_the_volumes_and_the_password_and_no_job(plain: Release) -> None:
    # The Jobs of another image are not in k8s/: they go with the worker, whose watchdog makes them its own.
    until(lambda: not without_owner(plain), 90, "the owner of all Jobs")
    plain.disconnect()
    plain.cluster.kubectl("delete", "--kustomize", "k8s", "--ignore-not-found", seconds=200)

    left: set[str] = set()

    def is_empty() -> bool:
        nonlocal left
        left = {each["metadata"]["name"] for each in plain.cluster.objects("pods", "dbtpod")}
        return not left

    try:
        until(is_empty, 120, "the end of all pods")
    finally:
        assert left == set()
    claims = {each["metadata"]["name"] for each in plain.cluster.objects("persistentvolumeclaims", "dbtpod")}
    assert claims == {"dbtpod-warehouse", "dbtpod-server"}
    assert [each["metadata"]["name"] for each in plain.cluster.objects("secrets", "dbtpod")] == ["dbtpod-auth"]


def without_owner(release: Release) -> set[str]:
    jobs = release.cluster.objects("jobs", release.namespace)
    return {each["metadata"]["name"] for each in jobs if "ownerReferences" not in each["metadata"]}
