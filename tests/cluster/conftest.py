"""One cluster for the whole session, with everything installed once; DBTPOD_KEEP_CLUSTER=1 keeps it for the next."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import images
import pytest
from kube import IMAGE, Cluster, CommandFailed, command
from release import Release

NAME = "dbtpod-test"
TOOLS = ("docker", "kind", "kubectl", "helm", "make")


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
    if reason := missing():
        if os.environ.get("CI") == "true":
            pytest.fail(f"the cluster tests cannot run: {reason}")
        pytest.skip(f"no cluster tests: {reason}")
    keep = os.environ.get("DBTPOD_KEEP_CLUSTER") == "1"
    one = Cluster(NAME, tmp_path_factory.mktemp("kind") / "kubeconfig")
    at = ("--name", NAME, "--kubeconfig", str(one.kubeconfig))
    up = NAME in command("kind", "get", "clusters").split()
    if up and not keep:
        command("kind", "delete", "cluster", *at)
    if up and keep:
        command("kind", "export", "kubeconfig", *at)
    else:
        command("kind", "create", "cluster", *at, "--config", "k8s/kind.yaml", "--wait", "90s", seconds=300)
    yield one
    if not keep:
        command("kind", "delete", "cluster", *at)


@pytest.fixture(scope="session")
def image(cluster: Cluster) -> str:
    command("make", "image", f"IMAGE={IMAGE}", seconds=580)
    cluster.load(IMAGE)
    return IMAGE


@pytest.fixture(scope="session")
def second_image(cluster: Cluster, image: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    folder: Path = tmp_path_factory.mktemp("image")
    images.build(folder)
    cluster.load(images.TEST_IMAGE)
    return images.TEST_IMAGE


@pytest.fixture(scope="session")
def release(cluster: Cluster, image: str) -> Iterator[Release]:
    """The chart, installed with its defaults on a small cluster's values."""
    one = Release(cluster, cluster.namespace("warehouse"))
    one.install()
    one.start_shell()
    yield one
    one.disconnect()


@pytest.fixture(scope="session")
def warehouse(release: Release) -> Release:
    """The release with a published warehouse."""
    if not release.generation():
        release.prefect.completed("dbt-build/dbt-build-daily")
    return release
