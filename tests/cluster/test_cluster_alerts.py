"""An alert of a run that failed on a cluster: it arrives at a webhook there, whose address nothing else shows."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from images import case
from kube import CommandFailed, pod
from release import BUILD, Release
from waiting import until

pytestmark = [pytest.mark.cluster, pytest.mark.soak]

PATH = "/services/T0/B0/s3cr3t"
RECEIVE = """
import http.server
class Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        print(self.path, self.rfile.read(int(self.headers["content-length"])).decode(), flush=True)
        self.send_response(200)
        self.end_headers()
    def log_message(self, *_):
        pass
http.server.ThreadingHTTPServer(("", 8080), Handler).serve_forever()
"""


def values(key: str) -> tuple[str, ...]:
    webhook = {
        "name": "data-team",
        "urlSecret": {"name": "webhooks", "key": key},
        "format": "json",
        "when": {"failed": True, "noSuccessHours": 26},
    }
    # The server reaches this pod, and nothing else that it did not before.
    to_receiver = [
        {"to": [{"podSelector": {"matchLabels": {"app": "receiver"}}}], "ports": [{"protocol": "TCP", "port": 8080}]}
    ]
    return (
        *("--set-json", f"alerts.webhooks={json.dumps([webhook])}"),
        *("--set-json", f"networkPolicy.serverEgress={json.dumps(to_receiver)}"),
    )


@pytest.fixture(scope="module")
def receiver(warehouse: Release) -> Iterator[str]:
    """A pod that is written to, and the Secret with its address."""
    warehouse.start_pod(pod("receiver", ("python", "-c", RECEIVE), {"app": "receiver"}, {}))
    address = f"http://receiver.{warehouse.namespace}.svc:8080{PATH}"
    at = {"namespace": warehouse.namespace}
    service = {"selector": {"app": "receiver"}, "ports": [{"port": 8080}]}
    warehouse.cluster.apply(
        {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "receiver", **at}, "spec": service},
        {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "webhooks", **at}, "stringData": {"url": address}},
    )
    yield "receiver"
    warehouse.kubectl("delete", "pod/receiver", "service/receiver", "secret/webhooks", "--wait=false")
    warehouse.install()


@pytest.fixture(scope="module")
def alerting(warehouse: Release, receiver: str) -> Release:
    warehouse.install(*values("url"))
    return warehouse


def test_a_failed_run_arrives_at_the_webhook_with_its_failed_model(alerting: Release, receiver: str) -> None:
    warehouse = alerting
    failed = warehouse.prefect.run(BUILD, **case("fails"))

    line = until(lambda: warehouse.kubectl("logs", receiver).strip(), 90, "the alert")
    path, _, body = line.partition(" ")
    said: dict[str, Any] = json.loads(body)
    assert path == PATH
    assert (said["event"], said["deployment"], said["run"]["id"]) == ("failed", BUILD, failed["id"])
    assert "broken" in said["nodes"][0]["node"]
    assert "no_such_table" in said["error"]
    assert said["page"] == f"http://localhost:4200/runs/flow-run/{failed['id']}"


def test_the_address_is_nowhere_but_in_its_secret(alerting: Release) -> None:
    warehouse = alerting
    seen = [
        warehouse.kubectl("get", "configmaps,pods,jobs,deployments,events", "--output", "yaml"),
        warehouse.cluster.helm("get", "all", "dbtpod", "--namespace", warehouse.namespace),
        warehouse.registration(),
        warehouse.kubectl("logs", "deploy/dbtpod-server", "--all-containers"),
        warehouse.kubectl("logs", "deploy/dbtpod-worker", "--all-containers"),
        json.dumps(warehouse.prefect.all("automations") + warehouse.prefect.all("block_documents")),
    ]

    assert "data-team" in seen[0]
    assert [text for text in seen if "s3cr3t" in text] == []


def test_a_secret_without_that_key_fails_the_release_and_is_named(warehouse: Release, receiver: str) -> None:
    with pytest.raises(CommandFailed) as failed:
        warehouse.install(*values("no-such-key"))

    assert "The webhook 'data-team' of alerts.webhooks has its address in the Secret 'webhooks'" in str(failed.value)
