"""An S3 server in a pod of the cluster, in a namespace of its own; its files outlive the pod."""

from dataclasses import dataclass

import s3
from kube import Cluster
from release import claim

PORT = 7070


@dataclass(frozen=True)
class PodS3:
    """A server with one bucket; it can go away and come back."""

    cluster: Cluster
    namespace: str
    name: str = s3.BUCKET

    @property
    def address(self) -> str:
        """Host and port."""
        return f"s3.{self.namespace}.svc:{PORT}"

    def start(self) -> None:
        """Make the namespace and the service, start the server with an empty bucket, and wait until it answers."""
        self.cluster.load(s3.IMAGE)
        metadata = {"name": "s3", "namespace": self.namespace}
        self.cluster.apply(
            {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": self.namespace}},
            {
                "apiVersion": "v1",
                "kind": "Service",
                "metadata": metadata,
                # A probe that is late on a busy node cuts no connection off.
                "spec": {"selector": {"app": "s3"}, "ports": [{"port": PORT}], "publishNotReadyAddresses": True},
            },
            claim("s3", self.namespace),
        )
        self.come_back()
        self.shell(f"mkdir /data/{self.name}")

    def go_away(self) -> None:
        """End the server as a lost node does."""
        self._kubectl("delete", "pod", "s3", "--grace-period=0", "--force")

    def come_back(self) -> None:
        """Start the server, and wait until it answers."""
        environment = {"ROOT_ACCESS_KEY": s3.KEY, "ROOT_SECRET_KEY": s3.SECRET}
        container = {
            "name": "s3",
            "image": s3.IMAGE,
            "imagePullPolicy": "IfNotPresent",
            "env": [{"name": name, "value": value} for name, value in environment.items()],
            "readinessProbe": {"tcpSocket": {"port": PORT}, "periodSeconds": 1},
            "volumeMounts": [{"name": "data", "mountPath": "/data"}],
        }
        volume = {"name": "data", "persistentVolumeClaim": {"claimName": "s3"}}
        spec = {"containers": [container], "volumes": [volume], "terminationGracePeriodSeconds": 0}
        metadata = {"name": "s3", "namespace": self.namespace, "labels": {"app": "s3"}}
        self.cluster.apply({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec})
        self._kubectl("wait", "pod", "s3", "--for=condition=Ready", "--timeout=90s")

    def shell(self, line: str) -> str:
        """Run a line in the server's container, where the objects are files below /data."""
        return self._kubectl("exec", "s3", "--", "sh", "-c", line)

    def remove(self) -> None:
        self.cluster.kubectl("delete", "namespace", self.namespace, "--wait=false")

    def _kubectl(self, *words: str) -> str:
        return self.cluster.kubectl(f"--namespace={self.namespace}", *words)
