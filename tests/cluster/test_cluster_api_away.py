"""Prefect's server or DNS away while a run's pod starts, and a server that cannot write when the run ends."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from faults import CONTENT, PUBLISHED_BY, Content, in_the_middle, is_settled, open_gate, state
from kube import CommandFailed, command
from release import BUILD, FRESHNESS, Release
from waiting import until

pytestmark = pytest.mark.cluster

PROXY = {
    "HTTP_PROXY": "http://192.0.2.10:3128",
    "HTTPS_PROXY": "http://192.0.2.10:3128",
    "NO_PROXY": "localhost,127.0.0.1,.svc,.cluster.local,10.0.0.0/8",
}


@pytest.fixture(scope="module")
def content(warehouse: Release) -> Content:
    return warehouse.rows(CONTENT)


@contextmanager
def scaled_down(release: Release, deployment: str, namespace: str) -> Iterator[None]:
    def scale(replicas: int) -> None:
        release.cluster.kubectl("--namespace", namespace, "scale", f"deployment/{deployment}", f"--replicas={replicas}")

    before = release.cluster.kubectl(
        "--namespace", namespace, "get", f"deployment/{deployment}", "--output=jsonpath={.spec.replicas}"
    )
    scale(0)
    try:
        yield
    finally:
        scale(int(before))
        release.cluster.kubectl(
            *("--namespace", namespace, "rollout", "status", f"deployment/{deployment}", "--timeout=180s"), seconds=200
        )


def pods_that_answer(release: Release, deployment: str, namespace: str) -> bool:
    """Whether there are pods of the deployment, be they on their way out."""
    found = release.cluster.objects("pods", namespace)
    return any(pod["metadata"]["name"].startswith(f"{deployment}-") for pod in found)


def pod_log(release: Release, run: str) -> str:
    try:
        return release.kubectl("logs", release.pods_of(run)[-1]["metadata"]["name"])
    except (CommandFailed, IndexError):
        return ""


@pytest.mark.parametrize("away", ["the server", pytest.param("DNS", marks=pytest.mark.soak)])
def test_a_pod_that_starts_while_this_is_away_waits_for_it_and_completes(
    warehouse: Release, content: Content, away: str
) -> None:
    deployment = {"the server": ("dbtpod-server", warehouse.namespace), "DNS": ("coredns", "kube-system")}[away]
    node = f"{warehouse.cluster.name}-control-plane"
    # The pod is there, and does not start before it has nobody to talk to.
    warehouse.kubectl("cordon", node)
    try:
        run = warehouse.prefect.start(BUILD)
        until(lambda: warehouse.pods_of(run), 60, "the pod")
        with scaled_down(warehouse, *deployment):
            warehouse.disconnect()
            until(lambda: not pods_that_answer(warehouse, *deployment), 60, "its pods' end")
            warehouse.kubectl("uncordon", node)
            until(lambda: "cannot be reached" in pod_log(warehouse, run), 150, "the pod's word")
    finally:
        warehouse.kubectl("uncordon", node)

    warehouse.disconnect()
    warehouse.prefect.ended(run, 180)
    assert state(warehouse, run) == "Completed", warehouse.prefect.page(run)
    assert warehouse.prefect.flow_run(run)["run_count"] == 1
    is_settled(warehouse, content, published=run)


def test_a_run_behind_a_proxy_that_it_must_not_use_for_services_completes(warehouse: Release) -> None:
    run = warehouse.prefect.run(FRESHNESS, env=PROXY)

    assert run["state"]["name"] == "Completed", warehouse.prefect.page(run["id"])
    [pod] = warehouse.pods_of(run["id"])
    given = {each["name"]: each.get("value") for each in pod["spec"]["containers"][0]["env"]}
    assert PROXY.items() <= given.items(), "the pod had no proxy to leave aside"


@contextmanager
def small_server_volume(release: Release) -> Iterator[str]:
    """The server's files on a small filesystem of the node; yields its folder there."""
    claim = release.kubectl("get", "pvc/dbtpod-server", "--output=jsonpath={.spec.volumeName}")
    folder = release.kubectl("get", f"pv/{claim}", "--output=jsonpath={.spec.hostPath.path}{.spec.local.path}")
    with scaled_down(release, "dbtpod-server", release.namespace):
        until(lambda: not release.pods("server"), 60, "the server's end")
        on_node(
            release,
            f"cp -a {folder} {folder}.kept && mount -t tmpfs -o size=96m,mode=0777 tmpfs {folder} && "
            f"cp -a {folder}.kept/. {folder}",
        )
    release.disconnect()
    try:
        yield folder
    finally:
        with scaled_down(release, "dbtpod-server", release.namespace):
            until(lambda: not release.pods("server"), 60, "the server's end")
            on_node(
                release,
                f"rm -f {folder}/filler; rm -rf {folder}.kept && cp -a {folder} {folder}.kept && umount {folder} && "
                f"cp -a {folder}.kept/. {folder} && rm -rf {folder}.kept",
            )
        release.disconnect()


def on_node(release: Release, script: str) -> None:
    command("docker", "exec", f"{release.cluster.name}-control-plane", "sh", "-c", script)


@pytest.mark.soak
def test_a_run_that_ends_while_prefects_volume_is_full_is_completed_when_there_is_room(
    warehouse: Release, content: Content
) -> None:
    with small_server_volume(warehouse) as folder:
        with in_the_middle(warehouse) as run:
            on_node(warehouse, f"dd if=/dev/zero of={folder}/filler bs=1M 2>/dev/null; test -s {folder}/filler")
            try:
                open_gate(warehouse)
                until(lambda: run in warehouse.shell(PUBLISHED_BY).split(), 90, "publishing")
                with pytest.raises(AssertionError):
                    until(lambda: state(warehouse, run) == "Completed", 20)
            finally:
                on_node(warehouse, f"rm {folder}/filler")
        assert state(warehouse, run) == "Completed", warehouse.prefect.page(run)
    is_settled(warehouse, content, published=run)
    # The worker polls again: it pauses for longer after it has met no server.
    warehouse.prefect.completed(FRESHNESS)
