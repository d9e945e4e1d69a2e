"""Who each pod is, what it holds, and whom it can reach."""

import re
from collections.abc import Iterator

import pytest

from kube import CommandFailed, pod
from release import SHELL, Release

pytestmark = pytest.mark.cluster

CONNECT = """
import socket, sys
try:
    socket.create_connection((sys.argv[1], int(sys.argv[2])), 3).close()
    print("open")
except OSError as error:
    print("shut", error)
"""


# All that an account of the release may ask of Kubernetes, beside what everybody may.
RIGHTS = {
    "dbtpod-server": set(),
    "dbtpod-flow-run": set(),
    "dbtpod-register": {"jobs.batch: create"},
    "dbtpod-worker": {
        "jobs.batch: create, delete, get, list, patch, watch",
        "pods: list, watch",
        "pods/log: get",
        "events: list",
    },
    "default": set(),
}


@pytest.fixture(scope="module")
def flow_run_pod(release: Release) -> Iterator[str]:
    """A pod that Kubernetes cannot tell from one of a flow run."""
    labels = {"app.kubernetes.io/instance": "dbtpod", "app.kubernetes.io/component": "flow-run"}
    release.start_pod(pod("like-a-flow-run", SHELL, labels, {"/data": "dbtpod-warehouse"}))
    yield "like-a-flow-run"
    release.kubectl("delete", "pod", "like-a-flow-run", "--wait=false")


def reaches(release: Release, source: str, host: str, port: int) -> bool:
    return release.shell(CONNECT, host, str(port), name=source).startswith("open")


@pytest.mark.parametrize("component", ["server", "worker", "register", "flow-run"])
def test_each_kind_of_pod_runs_under_the_restricted_standard(warehouse: Release, component: str) -> None:
    # The namespace enforces the standard (see the next test), so that a pod is there says it all.
    assert warehouse.pods(component)


def test_the_namespace_refuses_a_pod_below_the_restricted_standard(release: Release) -> None:
    below = pod("below", ["true"], {}, {})
    del below["spec"]["securityContext"]["runAsNonRoot"]

    with pytest.raises(CommandFailed, match="violates PodSecurity"):
        release.start_pod(below)


def test_a_flow_runs_pod_has_no_token_and_no_password_in_clear(warehouse: Release) -> None:
    found = warehouse.pods("flow-run")[0]
    volumes = [next(key for key in volume if key != "name") for volume in found["spec"]["volumes"]]
    environment = {each["name"]: each for each in found["spec"]["containers"][0]["env"]}

    assert sorted(volumes) == ["emptyDir", "persistentVolumeClaim"]
    assert found["spec"]["serviceAccountName"] == "dbtpod-flow-run"
    assert environment["PREFECT_API_AUTH_STRING"]["valueFrom"]["secretKeyRef"]["name"] == "dbtpod-auth"
    assert warehouse.prefect.auth.partition(":")[2] not in str(found)


@pytest.mark.parametrize("component", ["server", "register", "flow-run"])
def test_only_the_worker_has_a_token(warehouse: Release, component: str) -> None:
    assert "kube-api-access" in str(warehouse.pods("worker")[0])
    assert "kube-api-access" not in str(warehouse.pods(component)[0])


@pytest.mark.parametrize("account", RIGHTS)
def test_an_account_has_the_rights_of_this_list_and_no_other(warehouse: Release, account: str) -> None:
    there = {each["metadata"]["name"] for each in warehouse.cluster.objects("serviceaccounts", warehouse.namespace)}
    assert there == RIGHTS.keys()

    name = f"system:serviceaccount:{warehouse.namespace}:{account}"
    said = warehouse.kubectl("auth", "can-i", "--list", "--no-headers", "--as", name)

    found = re.findall(r"^([\w./-]+) +\[.*?\] +\[.*?\] +\[(.*?)\]", said, re.MULTILINE)
    own = {f"{what}: {', '.join(sorted(verbs.split()))}" for what, verbs in found if not what.startswith("selfsubject")}
    assert own == RIGHTS[account]


def test_the_password_is_nowhere_but_in_its_secret(warehouse: Release) -> None:
    password = warehouse.prefect.auth.partition(":")[2]
    seen = {
        "manifests and events": warehouse.kubectl("get", "all,configmaps,events", "--output", "yaml"),
        "Helm": warehouse.cluster.helm("get", "all", "dbtpod", "--namespace", warehouse.namespace),
    }
    for each in warehouse.cluster.objects("pods", warehouse.namespace):
        name = str(each["metadata"]["name"])
        seen[f"the log of {name}"] = warehouse.kubectl("logs", name, "--all-containers", "--ignore-errors")

    assert "dbtpod-server" in seen["manifests and events"]
    assert [where for where, text in seen.items() if password in text] == []


def test_a_flow_run_reaches_prefect_and_nothing_else(release: Release, flow_run_pod: str) -> None:
    [shell] = release.cluster.objects("pods", release.namespace, "app=shell")

    assert reaches(release, flow_run_pod, "dbtpod-server", 4200)
    assert not reaches(release, flow_run_pod, "kubernetes.default.svc", 443)
    assert not reaches(release, flow_run_pod, shell["status"]["podIP"], 8000)


def test_a_foreign_pod_reaches_neither_the_server_nor_a_flow_run(release: Release, flow_run_pod: str) -> None:
    [there] = [each for each in release.pods("flow-run") if each["metadata"]["name"] == flow_run_pod]

    assert reaches(release, "shell", "kubernetes.default.svc", 443)
    assert not reaches(release, "shell", "dbtpod-server", 4200)
    assert not reaches(release, "shell", there["status"]["podIP"], 8000)
