"""One running system: installed by Helm or by kubectl, with its Prefect, its pods, and a shell on its volume."""

import base64
import json
import os
import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from api import Prefect
from kube import REPO, Cluster, pod
from waiting import until

BUILD = "dbt-build/dbt-build-daily"
SMOKE = "dbt-smoke/dbt-smoke-hourly"
FRESHNESS = "dbt-source-freshness/dbt-source-freshness"
FULL_REFRESH = "dbt-fact-orders-full-refresh/dbt-fact-orders-full-refresh"
RUN = "dbt-run/dbt-run"
# Its pods may reach the reader, where there is one.
READERS = "bi"
OURS = "app.kubernetes.io/instance=dbtpod,app.kubernetes.io/component="
# What a person's notebook would do: it lists the folder over HTTP too, so that there is a pod to be reached.
SHELL = ("python", "-m", "http.server", "8000", "--directory", "/data")


# The same suite runs with false.
FAST_START = os.environ.get("DBTPOD_TEST_FAST_START", "true")


@dataclass
class Release:
    """The release `dbtpod` of one namespace."""

    cluster: Cluster
    namespace: str
    # The pod in which `shell` runs what it is given.
    shell_pod: str = "shell"
    # What its objects' names begin with.
    full_name: str = "dbtpod"
    _connection: ExitStack = field(default_factory=ExitStack)
    _prefect: Prefect | None = None

    def install(self, *options: str, chart: str = "charts/dbtpod") -> str:
        """Install or upgrade as the README says, on a small cluster's values; return what Helm said."""
        values = ["--values", str(REPO / "k8s/values-kind.yaml"), "--set", f"jobs.fastStart={FAST_START}"]
        said = self.cluster.helm(
            *("upgrade", "--install", "dbtpod", chart, "--namespace", self.namespace, *values),
            *("--wait", "--timeout", "4m", *options),
        )
        self.disconnect()
        return said

    def uninstall(self) -> None:
        self.disconnect()
        self.cluster.helm("uninstall", "dbtpod", "--namespace", self.namespace, "--wait", "--timeout", "2m")

    @property
    def login(self) -> tuple[str, str]:
        """User and password of Prefect's server, and of the reader."""
        user, _, password = self.prefect.auth.partition(":")
        return user, password

    @property
    def prefect(self) -> Prefect:
        """Its server; a new connection after each install, which may start another pod with another password."""
        if self._prefect is None:
            secret = json.loads(self.kubectl("get", "secret", f"{self.full_name}-auth", "--output", "json"))
            auth = base64.b64decode(secret["data"]["auth-string"]).decode()
            address = self._connection.enter_context(
                self.cluster.forwarded(self.namespace, f"{self.full_name}-server", 4200)
            )
            self._prefect = self._connection.enter_context(Prefect.connected(address, auth))
        return self._prefect

    def disconnect(self) -> None:
        self._connection.close()
        self._prefect = None

    def heartbeat(self) -> datetime:
        """When a worker was last heard of."""
        workers = self.prefect.call("POST", "work_pools/dbtpod/workers/filter")
        return max(datetime.fromisoformat(each["last_heartbeat_time"]) for each in workers)

    def kubectl(self, *args: str, stdin: str | None = None, seconds: float = 120) -> str:
        return self.cluster.kubectl("--namespace", self.namespace, *args, stdin=stdin, seconds=seconds)

    def pods(self, component: str) -> list[dict[str, Any]]:
        return self.cluster.objects("pods", self.namespace, OURS + component)

    def pods_of(self, run: str) -> list[dict[str, Any]]:
        """The pods of one flow run, the oldest first."""
        found = self.cluster.objects("pods", self.namespace, f"prefect.io/flow-run-id={run}")
        return sorted(found, key=lambda each: each["metadata"]["creationTimestamp"])

    def pod_log(self, run: str) -> str:
        [one] = self.pods_of(run)
        return self.kubectl("logs", one["metadata"]["name"])

    def totals(self, run: str) -> dict[str, int]:
        """The counts of dbt's last line, such as `Done. PASS=28 WARN=0 ERROR=0 SKIP=0 NO-OP=0 TOTAL=28`."""
        line = [line for line in self.pod_log(run).splitlines() if "Done. PASS=" in line][-1]
        return {key: int(count) for key, count in re.findall(r"([A-Z-]+)=(\d+)", line)}

    def registration(self) -> str:
        """What the newest registration logged, in all its pods."""
        return "".join(self.registration_logs())

    def registration_logs(self) -> list[str]:
        """The log of each pod of the newest registration's Job, which tries once more after a failure."""
        pods = [each["metadata"] for each in self.pods("register")]
        pods.sort(key=lambda each: each["creationTimestamp"])
        job = "batch.kubernetes.io/job-name"
        return [self.kubectl("logs", each["name"]) for each in pods if each["labels"][job] == pods[-1]["labels"][job]]

    def start_shell(self) -> None:
        """Start the pod that `shell` runs in: on the warehouse's volume, and none of the release's pods."""
        shell = pod("shell", SHELL, {"app": "shell"}, {"/data": "dbtpod-warehouse"})
        self.start_pod(shell)

    def start_pod(self, manifest: dict[str, Any]) -> None:
        manifest["metadata"]["namespace"] = self.namespace
        self.cluster.apply(manifest)
        self.kubectl("wait", "pod", manifest["metadata"]["name"], "--for=condition=Ready", "--timeout=90s")

    def shell(self, script: str, *args: str, stdin: str | None = None, name: str = "") -> str:
        """Run Python in a pod of ours and return what it printed."""
        return self.kubectl("exec", "--stdin", name or self.shell_pod, "--", "python", "-c", script, *args, stdin=stdin)

    def dbtpod(self, *arguments: str) -> str:
        """Run it in the pod of `shell`, on the volume."""
        return self.kubectl("exec", self.shell_pod, "--", "env", "DBTPOD_VOLUME=/data", "dbtpod", *arguments)

    def rows(self, sql: str) -> list[list[Any]]:
        """Query the published DuckDB file from another pod, as a report would."""
        script = """
import duckdb, json, sys
with duckdb.connect("/data/published/current/warehouse.duckdb", read_only=True) as db:
    print(json.dumps(db.execute(sys.argv[1]).fetchall(), default=float))
"""
        found: list[list[Any]] = json.loads(self.shell(script, sql))
        return found

    def generation(self) -> str:
        """The name of the generation that readers see; empty before the first."""
        link = "import os; print(os.path.realpath('/data/published/current').removeprefix('/data/published/'))"
        return self.shell(link).strip().removesuffix("current")


@contextmanager
def on_another_claim(release: Release, claim: str) -> Iterator[None]:
    """The pool's template with another claim, as warehouse.existingClaim gives it."""
    pool = release.prefect.call("GET", "work_pools/dbtpod")
    template: dict[str, Any] = pool["base_job_template"]
    changed = release.prefect.call("GET", "work_pools/dbtpod")["base_job_template"]
    spec = changed["job_configuration"]["job_manifest"]["spec"]["template"]["spec"]
    [volume] = [each for each in spec["volumes"] if each["name"] == "warehouse"]
    volume["persistentVolumeClaim"]["claimName"] = claim
    _give_template(release, changed)
    try:
        yield
    finally:
        _give_template(release, template)


def _give_template(release: Release, template: dict[str, Any]) -> None:
    """Change the pool's template and wait for the worker, which reads it before each heartbeat."""
    release.prefect.call("PATCH", "work_pools/dbtpod", base_job_template=template)
    since = datetime.now(UTC)
    until(lambda: release.heartbeat() > since, 120, "the worker's next look at its pool")


def claim(name: str, namespace: str) -> dict[str, Any]:
    """A claim of that name, for which the cluster makes a volume."""
    spec = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
    metadata = {"name": name, "namespace": namespace}
    return {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": metadata, "spec": spec}


def static_volume(name: str, path: str, namespace: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """A volume in a folder of the node, which is made where it is missing, and its claim, both of that name."""
    shared = {"accessModes": ["ReadWriteOnce"], "storageClassName": name}
    size = {"storage": "1Gi"}
    volume = {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": name},
        "spec": {**shared, "capacity": size, "hostPath": {"path": path, "type": "DirectoryOrCreate"}},
    }
    claim = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {**shared, "resources": {"requests": size}},
    }
    return volume, claim
