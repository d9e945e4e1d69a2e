"""Other work on the cluster's node: pods that take all the CPU they get."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from kube import Cluster, pod

NAMESPACE = "neighbours"
# As much as the server asks for in k8s/values-kind.yaml. All pods without a request share the weight of one small pod:
# a server with a request would not notice any number of them.
CPU = "50m"
LOOPS = "for loop in $(seq {loops}); do (while :; do :; done) & done; wait"


@contextmanager
def busy(cluster: Cluster, pods: int, loops: int) -> Iterator[None]:
    """Run that many pods with that many busy loops each until the block ends."""
    cluster.namespace(NAMESPACE)
    cluster.apply(_deployment(pods, loops))
    try:
        _kubectl(cluster, "rollout", "status", "deployment/busy", "--timeout=300s")
        yield
    finally:
        _kubectl(cluster, "delete", "deployment/busy", "--cascade=foreground", "--timeout=300s")


def _deployment(pods: int, loops: int) -> dict[str, Any]:
    labels = {"app": "busy"}
    spec = pod("busy", ("sh", "-c", LOOPS.format(loops=loops)), labels, {})["spec"]
    spec["containers"][0]["resources"] = {"requests": {"cpu": CPU, "memory": "16Mi"}}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "busy", "namespace": NAMESPACE},
        "spec": {
            "replicas": pods,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": spec},
        },
    }


def _kubectl(cluster: Cluster, *args: str) -> None:
    cluster.kubectl("--namespace", NAMESPACE, *args, seconds=320)
