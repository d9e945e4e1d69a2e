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
    """Write a project, and initialize it."""
    write(folder, files)
    init(folder)


def init(folder: Path) -> None:
    """Let `dbtpod init` write its three files beside a project, with shorter pauses between two tries."""
    given = {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT", "DBT", "SHOP"))}
    subprocess.run([Path(sys.executable).with_name("dbtpod"), "init"], cwd=folder, env=given, check=True)
    deployments = folder / "prefect.yaml"
    text = deployments.read_text()
    assert _PAUSE in text
    deployments.write_text(text.replace(_PAUSE, "retry_delay_seconds: 5"))


def base(name: str, *arguments: str) -> str:
    """Build the base images with these arguments of `make base`; return the tag of the one that runs."""
    tag = f"dbtpod:for-{name}"
    # With other packages than those of the demo: minutes, the first time.
    command("make", "base", f"BASE={tag}", *arguments, seconds=900)
    return tag


def image(name: str, folder: Path, of: str) -> str:
    """Build the project's image on that base; return its tag."""
    tag = f"{name}:for-tests"
    command("docker", "build", "--build-arg", f"DBTPOD={of}", "--tag", tag, str(folder), seconds=300)
    return tag


def install(cluster: Cluster, name: str, folder: Path, *options: str, namespace: str = "") -> Release:
    """Install or upgrade the chart with the project's values, in a namespace of its own, with the Secret in it."""
    namespace = namespace or name
    cluster.helm(
        *("upgrade", "--install", name, str(REPO / "charts/dbtpod"), "--namespace", namespace),
        *("--wait", "--timeout", "4m"),
        *("--values", str(REPO / "k8s/values-kind.yaml"), "--values", str(folder / "values.yaml")),
        *("--set-string", f"image.repository={name},image.tag=for-tests", *options),
        *("--set-json", f'jobs.envFrom=[{{"secretRef": {{"name": "{SECRET}"}}}}]'),
    )
    return Release(cluster, namespace, full_name=f"{name}-dbtpod")


def remove(release: Release) -> None:
    release.disconnect()
    release.cluster.kubectl("delete", "namespace", release.namespace, "--wait=false")


def give(cluster: Cluster, namespace: str, **variables: str) -> None:
    """Make or change the Secret that the runs get their variables from."""
    metadata = {"name": SECRET, "namespace": namespace}
    cluster.apply({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": variables})
