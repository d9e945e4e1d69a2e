"""PostgreSQL in a pod of the cluster, in a namespace of its own; its data outlives a restart of its container."""

from dataclasses import dataclass

from kube import Cluster
from waiting import until

IMAGE = "postgres:17"


@dataclass(frozen=True)
class PodPostgres:
    """A server at `postgres.NAMESPACE.svc`, port 5432."""

    cluster: Cluster
    namespace: str

    @property
    def host(self) -> str:
        return f"postgres.{self.namespace}.svc"

    def prepare(self) -> None:
        """Make its namespace, which admits a pod that runs as root, and bring its image to the node."""
        self.cluster.load(IMAGE)
        self.cluster.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": self.namespace}})

    def remove(self) -> None:
        self.cluster.kubectl("delete", "namespace", self.namespace, "--wait=false")

    def start(self, password: str) -> None:
        """Start it behind a service, and wait until it answers."""
        metadata = {"name": "postgres", "namespace": self.namespace, "labels": {"app": "postgres"}}
        data = "/var/lib/postgresql"
        container = {
            "name": "postgres",
            "image": IMAGE,
            "env": [{"name": "POSTGRES_PASSWORD", "value": password}, {"name": "PGDATA", "value": f"{data}/pg"}],
            "readinessProbe": {"exec": {"command": ["pg_isready", "-h", "127.0.0.1"]}, "periodSeconds": 1},
            "volumeMounts": [{"name": "data", "mountPath": data}],
        }
        spec = {"containers": [container], "volumes": [{"name": "data", "emptyDir": {}}]}
        # A probe that is late on a busy node cuts no connection off.
        service = {"selector": {"app": "postgres"}, "ports": [{"port": 5432}], "publishNotReadyAddresses": True}
        self.cluster.apply(
            {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec},
            {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": service},
        )
        self._kubectl("wait", "pod", "postgres", "--for=condition=Ready", "--timeout=90s")

    def sql(self, text: str) -> str:
        """Run it as the administrator; its rows, with | between the columns."""
        psql = ("psql", "--username=postgres", "--tuples-only", "--no-align", "--quiet", "--set=ON_ERROR_STOP=1")
        return self._kubectl("exec", "--stdin", "postgres", "--", *psql, stdin=text).strip()

    def crash(self) -> None:
        """End it as a crash does, in the middle of whatever it does; Kubernetes starts it again."""
        before = self._restarts()
        self._kubectl("exec", "postgres", "--", "su", "postgres", "-c", "pg_ctl stop --mode=immediate --no-wait")
        until(lambda: self._restarts() > before, 60, "PostgreSQL's restart")
        self._kubectl("wait", "pod", "postgres", "--for=condition=Ready", "--timeout=90s")

    def _restarts(self) -> int:
        [pod] = self.cluster.objects("pods", self.namespace, "app=postgres")
        return int(pod["status"]["containerStatuses"][0]["restartCount"])

    def _kubectl(self, *words: str, stdin: str | None = None) -> str:
        return self.cluster.kubectl(f"--namespace={self.namespace}", *words, stdin=stdin)
