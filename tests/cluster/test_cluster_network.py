"""Who reaches whom: every pair of components and strangers, in both directions, against the chart's policies.

Each pod has the labels of one component and listens on the same ports; only the policies are the chart's.
"""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from kube import Cluster, pod
from rendering import render_chart
from waiting import until

pytestmark = pytest.mark.cluster

HERE, ELSEWHERE = "network", "network-elsewhere"
COMPONENTS = ("server", "worker", "register", "flow-run", "warehouse", "test", "auth", "reader")
STRANGERS = ("stranger", "neighbour")
API, DNS = "kubernetes.default.svc:443", "kube-dns.kube-system.svc:53"
# Prefect's, the reader's, one of any program, and the one on which OpenShift's DNS listens.
PORTS = (4200, 4300, 8000, 5353)

# More that is opened by values: each to one pod, on one port.
VALUES = {
    "reader": {
        "enabled": True,
        "from": [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": ELSEWHERE}}}],
    },
    "networkPolicy": {
        "serverEgress": [
            {"to": [{"podSelector": {"matchLabels": {"app": "stranger"}}}], "ports": [{"port": 8000}]},
        ],
        "workerEgress": [
            {"to": [{"podSelector": {"matchLabels": {"app": "stranger"}}}], "ports": [{"port": 4200}]},
        ],
        "extraEgress": [
            {
                "to": [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": ELSEWHERE}}}],
                "ports": [{"port": 8000}],
            },
        ],
    },
}
# The whole table: what each may open beside the cluster's DNS. All else is shut.
ARROWS = {
    "server": {"stranger:8000"},
    "worker": {"server:4200", API, "stranger:4200"},
    "register": {"server:4200", API, "stranger:4200"},
    "flow-run": {"server:4200", "neighbour:8000"},
    "warehouse": set(),
    "test": {"server:4200", "stranger:4200", "reader:4300"},
    "auth": {API},
    "reader": {"server:4200"},
    **{one: {API} | {f"{two}:{port}" for two in STRANGERS for port in PORTS if one != two} for one in STRANGERS},
}
ARROWS["neighbour"].add("reader:4300")

LISTEN = """
import http.server, sys, threading
for port in map(int, sys.argv[1:]):
    server = http.server.ThreadingHTTPServer(("", port), http.server.BaseHTTPRequestHandler)
    threading.Thread(target=server.serve_forever).start()
"""
CONNECT = """
import concurrent.futures, json, socket, sys
def opens(target):
    host, _, port = target[1].rpartition(":")
    try:
        socket.create_connection((host, int(port)), 4).close()
    except OSError:
        return []
    return [target[0]]
targets = json.loads(sys.argv[1])
with concurrent.futures.ThreadPoolExecutor(len(targets)) as pool:
    print(json.dumps(sum(pool.map(opens, targets.items()), [])))
"""


@pytest.fixture(scope="module")
def addresses(cluster: Cluster) -> Iterator[dict[str, str]]:
    """The pods' addresses by their names; each of them is ready."""
    for namespace in (HERE, ELSEWHERE):
        cluster.namespace(namespace)
    policies = [each for each in render_chart(VALUES, kind="NetworkPolicy") if each["metadata"].pop("namespace")]
    cluster.apply(*({**each, "metadata": {**each["metadata"], "namespace": HERE}} for each in policies))
    cluster.apply(*(listening(name) for name in (*COMPONENTS, *STRANGERS)))
    for name in (*COMPONENTS, *STRANGERS):
        cluster.kubectl(
            "wait", "pod", name, f"--namespace={namespace_of(name)}", "--for=condition=Ready", "--timeout=90s"
        )
    found = [each for namespace in (HERE, ELSEWHERE) for each in cluster.objects("pods", namespace)]
    yield {each["metadata"]["name"]: each["status"]["podIP"] for each in found}
    cluster.kubectl("delete", "namespace", HERE, ELSEWHERE, "--wait=false")


def listening(name: str) -> dict[str, Any]:
    labels = {"app": name}
    if name in COMPONENTS:
        labels |= {"app.kubernetes.io/instance": "dbtpod", "app.kubernetes.io/component": name}
    one = pod(name, ["python", "-c", LISTEN, *map(str, PORTS)], labels, {})
    one["metadata"]["namespace"] = namespace_of(name)
    return one


def namespace_of(name: str) -> str:
    return ELSEWHERE if name == "neighbour" else HERE


@pytest.mark.parametrize("source", ARROWS)
def test_a_pod_opens_what_its_arrows_say_and_nothing_else(
    cluster: Cluster, addresses: dict[str, str], source: str
) -> None:
    targets = {f"{name}:{port}": f"{ip}:{port}" for name, ip in addresses.items() for port in PORTS if name != source}
    targets |= {API: API, DNS: DNS}
    expected = ARROWS[source] | {DNS}
    seen: set[str] = set()

    def agrees() -> bool:
        nonlocal seen
        argv = ("python", "-c", CONNECT, json.dumps(targets))
        seen = set(json.loads(cluster.kubectl("exec", source, f"--namespace={namespace_of(source)}", "--", *argv)))
        return seen == expected

    try:
        until(agrees, 40, "the policies of a pod that has just started")
    finally:
        assert seen == expected


def test_the_table_has_every_component_that_a_policy_names(addresses: dict[str, str]) -> None:
    named = {
        value
        for each in render_chart(VALUES, kind="NetworkPolicy")
        for expression in each["spec"]["podSelector"].get("matchExpressions", [])
        for value in expression["values"]
    }

    assert named | {"auth"} == set(COMPONENTS)
    assert set(addresses) == set(ARROWS)
