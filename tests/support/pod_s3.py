"""An S3 server in a pod of the cluster, in a namespace of its own, with an empty bucket."""

from dataclasses import dataclass

import s3
from kube import Cluster

PORT = 7070


@dataclass(frozen=True)
class PodS3:
    """A server at `s3.NAMESPACE.svc`, port 7070."""

    cluster: Cluster
    namespace: str

    @property
    def address(self) -> str:
        """Host and port."""
        return f"s3.{self.namespace}.svc:{PORT}"

    def start(self) -> None:
        self.cluster.load(s3.IMAGE)
        metadata = {"name": "s3", "namespace": self.namespace, "labels": {"app": "s3"}}
        environment = {"ROOT_ACCESS_KEY": s3.KEY, "ROOT_SECRET_KEY": s3.SECRET}
        container = {
            "name": "s3",
            "image": s3.IMAGE,
            "imagePullPolicy": "IfNotPresent",
            "env": [{"name": name, "value": value} for name, value in environment.items()],
            "readinessProbe": {"tcpSocket": {"port": PORT}, "periodSeconds": 1},
        }
        spec = {"containers": [container], "terminationGracePeriodSeconds": 0}
        # A probe that is late on a busy node takes nobody's connection away.
        service = {"selector": {"app": "s3"}, "ports": [{"port": PORT}], "publishNotReadyAddresses": True}
        self.cluster.apply(
            {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": self.namespace}},
            {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec},
            {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": service},
        )
        self._kubectl("wait", "pod", "s3", "--for=condition=Ready", "--timeout=90s")
        self.shell(f"mkdir /data/{s3.BUCKET}")

    def shell(self, line: str) -> str:
        return self._kubectl("exec", "s3", "--", "sh", "-c", line)

    def remove(self) -> None:
        self.cluster.kubectl("delete", "namespace", self.namespace, "--wait=false")

    def _kubectl(self, *words: str) -> str:
        return self.cluster.kubectl(f"--namespace={self.namespace}", *words)
