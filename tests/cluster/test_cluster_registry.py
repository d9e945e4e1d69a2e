"""What a release does, on this machine: image and chart are pushed to a registry, and installed from there."""

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from kube import IMAGE, REPO, Cluster, CommandFailed, command
from release import SMOKE, Release
from rendering import script
from waiting import until

pytestmark = [pytest.mark.cluster, pytest.mark.soak, pytest.mark.timeout(600)]

REGISTRY = "registry:3"
CONTAINER = "dbtpod-test-registry"
SOURCE = "https://git.example.com/dbtpod"


@dataclass(frozen=True)
class Published:
    """A registry with the demo's image and the chart in it."""

    address: str  # "localhost:32768"
    digest: str  # of the image: "sha256:…"

    @property
    def image(self) -> str:
        return f"{self.address}/dbtpod-demo@{self.digest}"


@pytest.fixture(scope="module")
def published(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Published]:
    """The image by its digest, and the chart as charts/publish.py packages it, in a registry that the node reaches."""
    need_registry()
    command("docker", "rm", "--force", "--volumes", CONTAINER)
    at = ("--network", "kind", "--publish", "127.0.0.1::5000")
    command("docker", "run", "--detach", "--name", CONTAINER, *at, REGISTRY)
    try:
        address = f"localhost:{command('docker', 'port', CONTAINER, '5000').split(':')[-1].strip()}"
        point_node_to_registry(cluster, address)
        digest = pushed(address)
        chart = packaged(tmp_path_factory.mktemp("chart"), f"{address}/dbtpod-demo@{digest}")
        command("helm", "push", str(chart), f"oci://{address}/charts", "--plain-http")
        yield Published(address, digest)
        command("docker", "rmi", f"{address}/dbtpod-demo:released")
    finally:
        command("docker", "rm", "--force", "--volumes", CONTAINER)


def need_registry() -> None:
    try:
        if not command("docker", "images", "--quiet", REGISTRY).strip():
            command("docker", "pull", "--quiet", REGISTRY)
    except CommandFailed as error:
        reason = f"no container registry: {REGISTRY} is not here and cannot be pulled: {error}"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)


def point_node_to_registry(cluster: Cluster, address: str) -> None:
    """Have containerd on the node find the registry under the name that this machine has for it: kind's own recipe."""
    [network] = json.loads(command("docker", "inspect", CONTAINER))[0]["NetworkSettings"]["Networks"].values()
    folder = f"/etc/containerd/certs.d/{address}"
    hosts = f'[host."http://{network["IPAddress"]}:5000"]\n'
    node = f"{cluster.name}-control-plane"
    command("docker", "exec", node, "mkdir", "-p", folder)
    command("docker", "exec", "--interactive", node, "cp", "/dev/stdin", f"{folder}/hosts.toml", stdin=hosts)


def pushed(address: str) -> str:
    """Push the suite's image and give its digest."""
    name = f"{address}/dbtpod-demo:released"
    command("docker", "tag", IMAGE, name)
    until(lambda: pushes(name), 60, "the registry takes the image")
    digests = json.loads(command("docker", "inspect", "--format", "{{json .RepoDigests}}", name))
    [digest] = [each.partition("@")[2] for each in digests if each.startswith(f"{address}/")]
    return str(digest)


def pushes(name: str) -> bool:
    """Push; false while the registry does not listen yet."""
    try:
        command("docker", "push", "--quiet", name, seconds=240)
    except CommandFailed as error:
        if "connection refused" in str(error) or "EOF" in str(error):
            return False
        raise
    return True


def packaged(folder: Path, demo: str) -> Path:
    publish = script("publish")
    file: Path = publish.package(folder, SOURCE, demo, [], (REPO / "CHANGELOG.md").read_text())
    return file


@pytest.fixture(scope="module")
def installed(cluster: Cluster, published: Published) -> Iterator[Release]:
    """The published chart, with no value that says where the image is: only its digest is given."""
    one = Release(cluster, cluster.namespace("from-registry"))
    one.install(
        *("--plain-http", "--set-string", f"image.digest={published.digest}"),
        chart=f"oci://{published.address}/charts/dbtpod",
    )
    yield one
    one.uninstall()
    cluster.kubectl("delete", "namespace", one.namespace, "--wait=false")


def test_the_chart_in_the_registry_says_where_it_is_from(published: Published) -> None:
    chart = command("helm", "show", "chart", f"oci://{published.address}/charts/dbtpod", "--plain-http")

    assert f"home: {SOURCE}" in chart
    assert f"image: {published.image}" in chart


def test_each_pod_has_the_image_that_was_pushed_by_its_digest(installed: Release, published: Published) -> None:
    pods = installed.pods("server") + installed.pods("worker") + installed.pods("register")

    images = [container["image"] for pod in pods for container in pod["spec"]["containers"]]
    assert len(images) >= 4
    assert set(images) == {published.image}
    # The node had no image of that name.
    pulled = installed.kubectl("get", "events", "--field-selector", "reason=Pulled", "--output", "yaml")
    assert f'Successfully pulled image "{published.image}"' in pulled


def test_a_run_has_that_image_too(installed: Release, published: Published) -> None:
    run = installed.prefect.completed(SMOKE)

    [pod] = installed.pods_of(run["id"])
    assert [each["image"] for each in pod["spec"]["containers"]] == [published.image]
