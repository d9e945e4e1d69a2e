"""`kubectl apply -k k8s/`, for people without Helm: the same running system."""

from collections.abc import Iterator

import pytest

from kube import Cluster
from release import SMOKE, Release
from waiting import until

pytestmark = pytest.mark.cluster


@pytest.fixture(scope="module")
def plain(cluster: Cluster) -> Iterator[Release]:
    one = Release(cluster, "dbtpod")
    apply(one)
    yield one
    one.disconnect()
    cluster.kubectl("delete", "namespace", "dbtpod", "--wait=false")


def apply(release: Release) -> None:
    release.cluster.kubectl("apply", "--kustomize", "k8s")
    release.kubectl("rollout", "status", "deployment/dbtpod-server", "--timeout=180s", seconds=200)
    release.kubectl("rollout", "status", "deployment/dbtpod-worker", "--timeout=180s", seconds=200)
    labels = "--selector=app.kubernetes.io/component=register"
    release.kubectl("wait", "job", labels, "--for=condition=Complete", "--timeout=180s", seconds=200)


def test_it_registers_the_deployments_and_runs_one(plain: Release) -> None:
    assert len(plain.prefect.deployments()) == 4
    plain.prefect.completed(SMOKE)


def test_applied_again_it_goes_on_with_the_same_password_and_pods(plain: Release) -> None:
    auth, server = plain.prefect.auth, plain.pods("server")[0]["metadata"]["uid"]

    apply(plain)
    plain.disconnect()

    assert plain.prefect.auth == auth
    assert plain.pods("server")[0]["metadata"]["uid"] == server
    until(lambda: len(plain.prefect.deployments()) == 4, 30, "the deployments")
