"""A project of one's own on a cluster: initialized, built and installed by the commands that a user types."""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from kube import REPO, Cluster, command
from release import Release
from shop import write

SECRET = "shop-env"
_PAUSE = "retry_delay_seconds: 60"


def create(folder: Path, files: Mapping[str, str]) -> None:
    """Write a project and let `dbtpod init` write its three files beside it, with shorter pauses between two tries."""
    write(folder, files)
    given = {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT", "DBT", "SHOP"))}
    subprocess.run([Path(sys.executable).with_name("dbtpod"), "init"], cwd=folder, env=given, check=True)
    deployments = folder / "prefect.yaml"
    text = deployments.read_text()
    assert _PAUSE in text
    deployments.write_text(text.replace(_PAUSE, "retry_delay_seconds: 5"))


def image(cluster: Cluster, name: str, folder: Path, *base: str) -> str:
    """Build the base images with these arguments of `make base`, and the project's on them; it is on the node then."""
    of, tag = f"dbtpod:for-{name}", f"{name}:for-tests"
    # With other packages than those of the demo: minutes, the first time.
    command("make", "base", f"BASE={of}", *base, seconds=900)
    command("docker", "build", "--build-arg", f"DBTPOD={of}", "--tag", tag, str(folder), seconds=300)
    cluster.load(tag)
    return tag


def install(cluster: Cluster, name: str, folder: Path, *options: str) -> Release:
    """Install the chart with the project's values, in a namespace of its own; its Secret has to be there."""
    cluster.helm(
        *("install", name, str(REPO / "charts/dbtpod"), "--namespace", name, "--wait", "--timeout", "4m"),
        *("--values", str(REPO / "k8s/values-kind.yaml"), "--values", str(folder / "values.yaml")),
        *("--set-string", f"image.repository={name},image.tag=for-tests", *options),
        *("--set-json", f'jobs.envFrom=[{{"secretRef": {{"name": "{SECRET}"}}}}]'),
    )
    return Release(cluster, name, full_name=f"{name}-dbtpod")


def remove(release: Release) -> None:
    release.disconnect()
    release.cluster.kubectl("delete", "namespace", release.namespace, "--wait=false")


def give(cluster: Cluster, namespace: str, **variables: str) -> None:
    """Make or change the Secret that the runs get their variables from."""
    metadata = {"name": SECRET, "namespace": namespace}
    cluster.apply({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": variables})
