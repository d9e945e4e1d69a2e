"""The server's password: in no manifest, the same after another apply, and after a change known to all that use it."""

import base64
import json
from collections.abc import Iterator

import pytest

import pages
from kube import Cluster, command
from release import SMOKE, Release
from waiting import until

pytestmark = [pytest.mark.cluster, pytest.mark.soak, pytest.mark.timeout(900)]

ROTATE = pages.line("docs/access.md", "kubectl -n dbtpod patch secret")


@pytest.fixture(scope="module")
def installed(cluster: Cluster) -> Iterator[Release]:
    one = Release(cluster, cluster.namespace("password"))
    one.install()
    yield one
    one.disconnect()
    cluster.kubectl("delete", "namespace", "password", "--wait=false")


def secret(release: Release) -> str:
    found = json.loads(release.kubectl("get", "secret", "dbtpod-auth", "--output", "json"))
    return base64.b64decode(found["data"]["auth-string"]).decode()


def test_helm_knows_no_password_and_leaves_no_rights_behind(installed: Release) -> None:
    word = secret(installed).partition(":")[2]
    helm = installed.cluster.helm

    assert len(word) == 32
    for what in ("manifest", "hooks", "values", "notes"):
        said = helm("get", what, "dbtpod", "--namespace", installed.namespace)
        assert word not in said, what
        assert base64.b64encode(word.encode()).decode().rstrip("=") not in said, what
    for kind in ("role", "rolebinding", "serviceaccount", "job"):
        names = installed.kubectl("get", kind, "--output", "name")
        assert "-auth" not in names, kind


def test_a_changed_secret_reaches_server_worker_and_runs_without_another_command(installed: Release) -> None:
    before = {name: installed.pods(name)[0]["metadata"]["uid"] for name in ("server", "worker")}
    old = secret(installed)

    command(
        "sh",
        "-c",
        ROTATE.replace("-n dbtpod", f"-n {installed.namespace}"),
        KUBECONFIG=str(installed.cluster.kubeconfig),
    )
    installed.disconnect()

    def restarted() -> bool:
        statuses = [
            status for name in before for each in installed.pods(name) for status in each["status"]["containerStatuses"]
        ]
        return all(status["restartCount"] == 1 and status["ready"] for status in statuses)

    until(restarted, 240, "server, worker and watchdog to start again with the new password")
    assert {name: installed.pods(name)[0]["metadata"]["uid"] for name in before} == before
    assert secret(installed) != old
    installed.prefect.completed(SMOKE)


def test_uninstalled_and_installed_again_it_has_the_same_password(installed: Release) -> None:
    before = secret(installed)
    installed.uninstall()
    assert secret(installed) == before

    installed.install()

    assert secret(installed) == before
    until(lambda: len(installed.prefect.deployments()) == 6, 60, "the deployments")
