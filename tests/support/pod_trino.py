"""Trino in pods of the cluster: a coordinator and two workers, on Iceberg tables in PostgreSQL and S3.

Its settings are those of its documentation for production, but for the memory. A query is not tried again by Trino
itself (`retry-policy` is NONE, as by default): that is what the runs have to bear.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import httpx

import s3
from kube import Cluster
from pod_postgres import PodPostgres
from pod_s3 import PodS3
from waiting import until

IMAGE = "trinodb/trino:476"
CATALOG = "lake"
PORT = 8080
WORKERS = 2
READY_SECONDS = 480
_WORKERS = "select node_id from system.runtime.nodes where not coordinator and state = 'active'"
# The tables of Iceberg's JDBC catalog, which Trino does not make.
_CATALOG_TABLES = """
create table iceberg_tables (
    catalog_name varchar(255), table_namespace varchar(255), table_name varchar(255), metadata_location varchar(1000),
    previous_metadata_location varchar(1000), iceberg_type varchar(5),
    primary key (catalog_name, table_namespace, table_name));
create table iceberg_namespace_properties (
    catalog_name varchar(255), namespace varchar(255), property_key varchar(255), property_value varchar(1000),
    primary key (catalog_name, namespace, property_key));
"""
_JVM = """
-server
-Xmx{megabytes}M
-XX:+ExitOnOutOfMemoryError
-XX:-OmitStackTraceInFastThrow
-XX:ReservedCodeCacheSize=256M
-Djdk.attach.allowAttachSelf=true
-Djdk.nio.maxCachedBufferSize=2000000
-Dfile.encoding=UTF-8
--add-modules=jdk.incubator.vector
"""
_NODE = "node.environment=test\nnode.data-dir=/data/trino\n"


@dataclass(frozen=True)
class PodTrino:
    """A Trino at `trino.NAMESPACE.svc`, port 8080."""

    cluster: Cluster
    namespace: str
    postgres: PodPostgres
    password: str
    bucket: PodS3
    worker_megabytes: int = 768

    @property
    def host(self) -> str:
        return f"trino.{self.namespace}.svc"

    def start(self) -> None:
        """Start it, and wait until it runs queries; PostgreSQL and the bucket are there."""
        self.postgres.sql(_CATALOG_TABLES)
        self.cluster.load(IMAGE)
        metadata = {"name": "trino", "namespace": self.namespace}
        spec = {"selector": {"app": "coordinator"}, "ports": [{"port": PORT}]}
        self.cluster.apply(
            {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": self.namespace}},
            {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec},
            *self._nodes("coordinator", 1, megabytes=1024, coordinator="true"),
        )
        self._wait_for_the_coordinator()
        # A worker that announces itself before that may do so once, and never again.
        self.cluster.apply(*self._nodes("worker", WORKERS, megabytes=self.worker_megabytes, coordinator="false"))
        self.wait()

    def wait(self) -> None:
        """Wait until the coordinator answers and each worker has registered."""
        self._wait_for_the_coordinator()
        with self.cluster.forwarded(self.namespace, "trino", PORT) as address:
            until(lambda: len(_asked(address, _WORKERS)) == WORKERS, READY_SECONDS, "Trino's workers")
            until(lambda: _asked(address, f"show schemas from {CATALOG}"), 120, "Trino's way to PostgreSQL")

    def _wait_for_the_coordinator(self) -> None:
        self._kubectl("rollout", "status", "deployment/coordinator", f"--timeout={READY_SECONDS}s")
        with self.cluster.forwarded(self.namespace, "trino", PORT) as address:
            until(lambda: _has_started(address), READY_SECONDS, "Trino's coordinator")

    def remove(self) -> None:
        self.cluster.kubectl("delete", "namespace", self.namespace, "--wait=false")

    def sql(self, text: str) -> list[list[Any]]:
        """Return the rows of a query."""
        with self.cluster.forwarded(self.namespace, "trino", PORT) as address:
            return _rows(address, text)

    def busy_worker(self, text: str) -> str:
        """Return the pod of a worker that runs a part of a query of dbt with this text; "" for none."""
        query = f"""
            select node_id from system.runtime.tasks join system.runtime.queries using (query_id)
            where source like 'dbt-trino%' and query like '%{text}%' and tasks.state = 'RUNNING'
                and running_splits > 0 and node_id like 'worker%' limit 1
        """
        return next((str(row[0]) for row in self.sql(query)), "")

    def kill(self, pod: str) -> None:
        """End a pod as a lost node does; another one takes its place."""
        self._kubectl("delete", "pod", pod, "--grace-period=0", "--force")

    def kill_coordinator(self) -> None:
        [pod] = self.cluster.objects("pods", self.namespace, "app=coordinator")
        self.kill(pod["metadata"]["name"])

    def _nodes(self, name: str, replicas: int, *, megabytes: int, coordinator: str) -> list[dict[str, Any]]:
        discovery = "localhost" if coordinator == "true" else self.host
        files = {
            "config.properties": f"coordinator={coordinator}\nnode-scheduler.include-coordinator=false\n"
            f"http-server.http.port={PORT}\ndiscovery.uri=http://{discovery}:{PORT}\n",
            "jvm.config": _JVM.strip().format(megabytes=megabytes) + "\n",
            "node.properties": _NODE,
            f"{CATALOG}.properties": self._catalog(),
            "tpch.properties": "connector.name=tpch\n",
        }
        metadata = {"name": name, "namespace": self.namespace, "labels": {"app": name}}
        deployment = {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": metadata,
            "spec": {
                "replicas": replicas,
                "selector": {"matchLabels": {"app": name}},
                "template": {"metadata": {"labels": {"app": name}}, "spec": _pod(name, files)},
            },
        }
        return [{"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": files}, deployment]

    def _catalog(self) -> str:
        return f"""
connector.name=iceberg
iceberg.catalog.type=jdbc
iceberg.jdbc-catalog.driver-class=org.postgresql.Driver
iceberg.jdbc-catalog.connection-url=jdbc:postgresql://{self.postgres.host}:5432/postgres
iceberg.jdbc-catalog.connection-user=postgres
iceberg.jdbc-catalog.connection-password={self.password}
iceberg.jdbc-catalog.catalog-name={CATALOG}
iceberg.jdbc-catalog.default-warehouse-dir=s3://{self.bucket.name}/warehouse
fs.native-s3.enabled=true
s3.endpoint=http://{self.bucket.address}
s3.region=us-east-1
s3.path-style-access=true
s3.aws-access-key={s3.KEY}
s3.aws-secret-key={s3.SECRET}
"""

    def _kubectl(self, *words: str) -> str:
        return self.cluster.kubectl(f"--namespace={self.namespace}", *words, seconds=READY_SECONDS + 10)


def _pod(name: str, files: Mapping[str, str]) -> dict[str, Any]:
    catalogs = ("lake.properties", "tpch.properties")
    paths = [{"key": file, "path": f"catalog/{file}" if file in catalogs else file} for file in files]
    container = {
        "name": "trino",
        "image": IMAGE,
        "imagePullPolicy": "IfNotPresent",
        "resources": {"requests": {"cpu": "100m", "memory": "512Mi"}},
        # It answers here before it runs queries.
        "readinessProbe": {"httpGet": {"path": "/v1/info", "port": PORT}, "periodSeconds": 2},
        "volumeMounts": [{"name": "settings", "mountPath": "/etc/trino"}, {"name": "data", "mountPath": "/data/trino"}],
    }
    return {
        "terminationGracePeriodSeconds": 0,
        "securityContext": {"runAsUser": 1000, "fsGroup": 1000},
        "containers": [container],
        "volumes": [
            {"name": "settings", "configMap": {"name": name, "items": paths}},
            {"name": "data", "emptyDir": {}},
        ],
    }


def _has_started(address: str) -> bool:
    """Return whether the coordinator takes queries and workers; without a worker it runs no query."""
    try:
        return httpx.get(f"{address}/v1/info", timeout=30).json()["starting"] is False
    except (httpx.HTTPError, ValueError):
        return False


def _asked(address: str, text: str) -> list[list[Any]]:
    """Return the rows of a query; none while Trino starts."""
    try:
        return _rows(address, text)
    except (httpx.HTTPError, AssertionError):
        return []


def _rows(address: str, text: str) -> list[list[Any]]:
    found: list[list[Any]] = []
    headers = {"X-Trino-User": "test"}
    answer = httpx.post(f"{address}/v1/statement", content=text, headers=headers, timeout=30)
    while True:
        answer.raise_for_status()
        page = answer.json()
        assert "error" not in page, page["error"]["message"]
        found += page.get("data", [])
        if "nextUri" not in page:
            return found
        answer = httpx.get(page["nextUri"], headers=headers, timeout=30)
