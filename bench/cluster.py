"""A kind cluster for measuring, with the chart installed; DBTPOD_KEEP_CLUSTER=1 keeps it."""

import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import waiting
from kube import IMAGE, Cluster, CommandFailed, command
from release import BUILD, Release
from waiting import until

NAME = "dbtpod-bench"
NAMESPACE = "bench"
ARTICLE_IMAGE = f"{IMAGE}-article"
# What looks at a run loads the machine that it runs on.
waiting.FIRST_PAUSE_SECONDS = waiting.PAUSE_SECONDS = 1.0
# Who may reach the server beside the release's own pods.
_VALUES = ("--set", "networkPolicy.serverFrom[0].podSelector.matchLabels.app=article")


@contextmanager
def installed() -> Iterator[Release]:
    """Give a release that has run once, so that its warehouse is there; the images are built and on the node."""
    with tempfile.TemporaryDirectory() as folder:
        cluster = Cluster(NAME, Path(folder) / "kubeconfig")
        at = ("--name", NAME, "--kubeconfig", str(cluster.kubeconfig))
        command("make", "image", f"IMAGE={IMAGE}", seconds=600)
        command(
            "docker", "build", "--build-arg", f"IMAGE={IMAGE}", "--tag", ARTICLE_IMAGE, "bench/article", seconds=300
        )
        if NAME in command("kind", "get", "clusters").split():
            command("kind", "delete", "cluster", *at)
        try:
            command("kind", "create", "cluster", *at, "--config", "k8s/kind.yaml", "--wait", "90s", seconds=300)
            cluster.load(IMAGE, ARTICLE_IMAGE)
            cluster.kubectl("create", "namespace", NAMESPACE)
            release = Release(cluster, NAMESPACE)
            release.install(*_VALUES)
            # The first request of all may find the server still writing its registration down.
            release.prefect.completed(BUILD)
            yield release
            release.disconnect()
        finally:
            if os.environ.get("DBTPOD_KEEP_CLUSTER") != "1":
                command("kind", "delete", "cluster", *at)


def set_query_interval(release: Release, seconds: int) -> None:
    """Have the worker look for work that often."""
    release.install(*_VALUES, "--set", f"worker.queryInterval={seconds}")


def container_start(release: Release, pod: str) -> float:
    """When the pod's container was started, in seconds since the epoch; a pod's status has whole seconds only."""
    return _in_journal(release, pod, r'StartContainer for \\?"{container}\\?" returns successfully')


def container_end(release: Release, pod: str) -> float:
    """When the pod's container had ended, in seconds since the epoch."""
    return _in_journal(release, pod, 'msg="shim disconnected" id={container}')


def _in_journal(release: Release, pod: str, text: str) -> float:
    """When the node's containerd said that of the pod's container."""
    status = "jsonpath={.status.containerStatuses[0].containerID}"
    container = release.kubectl("get", "pod", pod, "--output", status).partition("://")[2]
    line = re.compile(rf"^(\d+\.\d+) .*{text.format(container=container)}", re.MULTILINE)

    def found() -> re.Match[str] | None:
        node = f"{NAME}-control-plane"
        return line.search(command("docker", "exec", node, "journalctl", "-u", "containerd", "-o", "short-unix"))

    return float(until(found, 30, f"{text!r} of {pod}'s container in the node's journal")[1])


def peak_memory(release: Release, pod: str) -> float:
    """The most memory that the pod's container used, in MiB; it must have said so at its end."""
    said = re.findall(r"^peak (\d+)$", release.kubectl("logs", pod), re.MULTILINE)
    if not said:
        raise CommandFailed(f"{pod} did not say its peak")
    return int(said[-1]) / 2**20
