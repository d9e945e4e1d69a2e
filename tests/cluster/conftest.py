"""One cluster for the whole session, with everything installed once; DBTPOD_KEEP_CLUSTER=1 keeps it for the next."""

import json
import os
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

import images
import pages
from kube import IMAGE, Cluster, CommandFailed, command
from release import BUILD, READERS, SMOKE, Release

NAME = os.environ.get("DBTPOD_TEST_CLUSTER", "dbtpod-test")
KEEP = os.environ.get("DBTPOD_KEEP_CLUSTER") == "1"
# Another Kubernetes than kind's own.
NODE = os.environ.get("DBTPOD_TEST_NODE_IMAGE", "")
TOOLS = ("docker", "kind", "kubectl", "helm", "make")


# Before the same hook of xdist, which reads the groups.
@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep all tests of the cluster in one process, where several run the tests: they share what is installed."""
    for item in items:
        if item.get_closest_marker("cluster"):
            item.add_marker(pytest.mark.xdist_group("cluster"))


def missing() -> str:
    absent = [tool for tool in TOOLS if not shutil.which(tool)]
    if absent:
        return f"{', '.join(absent)} not on PATH"
    try:
        command("docker", "version", seconds=30)
    except CommandFailed as error:
        return str(error)
    return ""


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A fresh cluster with the images on its node; one that was kept is taken as it is."""
    if reason := missing():
        if os.environ.get("CI") == "true":
            pytest.fail(f"the cluster tests cannot run: {reason}")
        pytest.skip(f"no cluster tests: {reason}")
    one = Cluster(NAME, tmp_path_factory.mktemp("kind") / "kubeconfig")
    with ThreadPoolExecutor() as beside:
        built = beside.submit(images.build, tmp_path_factory.mktemp("image"))
        start(one)
        built.result()
    # Together, so that the layers they share are copied once.
    one.load(IMAGE, images.TEST_IMAGE, images.FIXED_IMAGE)
    yield one
    if not KEEP:
        command("kind", "delete", "cluster", "--name", NAME, "--kubeconfig", str(one.kubeconfig))


def start(one: Cluster) -> None:
    at = ("--name", one.name, "--kubeconfig", str(one.kubeconfig))
    up = one.name in command("kind", "get", "clusters").split()
    if up and KEEP:
        command("kind", "export", "kubeconfig", *at)
        return
    if up:
        command("kind", "delete", "cluster", *at)
    # The README's own command, for a cluster of another name.
    create = pages.line("README.md", "kind create cluster").replace("--name dbtpod", f"--name {one.name}")
    node = ["--image", NODE] if NODE else []
    command(*create.split(), *node, "--kubeconfig", str(one.kubeconfig), "--wait", "90s", seconds=300)


@pytest.fixture(scope="session")
def release(cluster: Cluster) -> Iterator[Release]:
    """The chart, installed with its defaults on a small cluster's values.

    What publishes is not scheduled: at a full hour it would do so amid a test that counts the generations.
    """
    one = Release(cluster, cluster.namespace("warehouse"))
    one.install()
    for deployment in (BUILD, SMOKE):
        one.prefect.pause(deployment)
    one.start_shell()
    yield one
    one.disconnect()


@pytest.fixture(scope="session")
def warehouse(release: Release) -> Release:
    """The release with a published warehouse."""
    if not release.generation():
        release.prefect.completed(BUILD)
    return release


@pytest.fixture(scope="module")
def reading(warehouse: Release) -> Iterator[Release]:
    """The release with a reader, which the pods of the namespace READERS may reach, and no other one."""
    peer = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": READERS}}}
    warehouse.cluster.namespace(READERS)
    warehouse.install("--set-json", f"reader={json.dumps({'enabled': True, 'from': [peer]})}")
    yield warehouse
    warehouse.cluster.kubectl("delete", "namespace", READERS, "--timeout=90s")
    warehouse.install()
    assert not warehouse.cluster.objects("deployments", warehouse.namespace, "app.kubernetes.io/component=reader")


@pytest.fixture
def address(reading: Release) -> Iterator[str]:
    """Where a person reaches the reader, by `kubectl port-forward`."""
    with reading.cluster.forwarded(reading.namespace, "dbtpod-reader", 4300) as found:
        yield f"{found}/reader"
