"""The reader of the release: who is let in, what another pod reads there, and what a rollback shows."""

import json
import re

import httpx
import pytest

from kube import CommandFailed, pod
from release import READERS, Release
from waiting import until

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]

# What a notebook does: it gets the file, and queries it. The login comes from stdin, and is in no list of processes.
QUERY = """
import json, sys, duckdb, httpx
address, sql = sys.argv[1:]
login = tuple(sys.stdin.read().split(":", 1))
with httpx.Client(auth=login, follow_redirects=True, timeout=20, trust_env=False) as client:
    answer = client.get(f"{address}/data/current/warehouse.duckdb").raise_for_status()
with open("/tmp/read.duckdb", "wb") as file:
    file.write(answer.content)
with duckdb.connect("/tmp/read.duckdb", read_only=True) as db:
    print(json.dumps({"from": str(answer.url), "rows": db.execute(sql).fetchall()}, default=float))
"""
CONNECT = """
import socket, sys
try:
    socket.create_connection((sys.argv[1], 4300), 4).close()
    print("open")
except OSError as error:
    print("shut", error)
"""
ORDERS = "select count(*), max(order_id)::varchar from fct_orders"


@pytest.fixture(scope="module")
def notebook(reading: Release) -> str:
    """The namespace of the pod `notebook`, which may reach the reader."""
    one = pod("notebook", ("sleep", "infinity"), {"app": "notebook"}, {})
    one["metadata"]["namespace"] = READERS
    reading.cluster.apply(one)
    reading.cluster.kubectl(
        "wait", "pod", "notebook", f"--namespace={READERS}", "--for=condition=Ready", "--timeout=90s"
    )
    return READERS


def shown(address: str, who: tuple[str, str]) -> int:
    """The number of the generation that the reader says is current."""
    answer = httpx.get(f"{address}/data/current/warehouse.duckdb", auth=who, timeout=20)
    assert answer.status_code == httpx.codes.TEMPORARY_REDIRECT, answer.text
    return int(re.fullmatch(r".*/reader/data/(\d+)/warehouse\.duckdb", answer.headers["location"])[1])  # type: ignore[index]


def test_helm_test_runs_a_flow_beside_the_reader_and_asks_for_its_health(reading: Release) -> None:
    """Also that Kubernetes places such a run: its pod has to be on the reader's node."""
    before = reading.generation()

    said = reading.cluster.helm("test", "dbtpod", "--namespace", reading.namespace, "--timeout", "3m", "--logs")

    assert "reader: healthy" in said
    assert reading.generation() > before
    newest = max(reading.pods("flow-run"), key=lambda each: str(each["metadata"]["creationTimestamp"]))
    [reader] = reading.pods("reader")
    assert newest["spec"]["nodeName"] == reader["spec"]["nodeName"]
    assert "podAffinity" in newest["spec"]["affinity"]


def test_the_overview_opens_with_prefects_login_alone_and_health_with_none(reading: Release, address: str) -> None:
    with httpx.Client(timeout=20) as client:
        assert client.get(f"{address}/health").status_code == httpx.codes.OK
        for wrong in (None, ("admin", "guessed")):
            answer = client.get(f"{address}/", auth=wrong)
            assert answer.status_code == httpx.codes.UNAUTHORIZED
            assert answer.headers["www-authenticate"].startswith("Basic")

        overview = client.get(f"{address}/", auth=reading.login)

    assert overview.status_code == httpx.codes.OK
    assert re.search(rf"\b{int(reading.generation())}\b", overview.text)


def test_its_pod_cannot_write_to_the_volume_and_has_no_token(reading: Release) -> None:
    [found] = reading.pods("reader")
    name = found["metadata"]["name"]
    write = "open('/data/published/from-the-reader', 'w')"

    with pytest.raises(CommandFailed, match="Read-only file system"):
        reading.shell(write, name=name)
    with pytest.raises(CommandFailed, match="Read-only file system"):
        reading.shell("open('/opt/written', 'w')", name=name)
    assert "kube-api-access" not in str(found)
    there = "import os; print(os.path.exists('/var/run/secrets/kubernetes.io'), os.getuid() > 0)"
    assert reading.shell(there, name=name).split() == ["False", "True"]


def test_a_pod_that_is_admitted_reads_the_data_and_another_reaches_nothing(reading: Release, notebook: str) -> None:
    host = f"dbtpod-reader.{reading.namespace}.svc"
    argv = ("exec", "--stdin", "notebook", f"--namespace={notebook}", "--", "python", "-c", QUERY)

    said = reading.cluster.kubectl(*argv, f"http://{host}:4300/reader", ORDERS, stdin=reading.prefect.auth)

    read = json.loads(said)
    assert read["rows"] == reading.rows(ORDERS)
    assert read["from"].endswith(f"/reader/data/{int(reading.generation())}/warehouse.duckdb")
    # The suite's own pod is in the release's namespace, and no peer.
    assert reading.shell(CONNECT, host).startswith("shut")
    # The reader itself reaches Prefect, and no other pod.
    [reader] = reading.pods("reader")
    [shell] = reading.cluster.objects("pods", reading.namespace, "app=shell")
    reach = CONNECT.replace("4300", "int(sys.argv[2])")
    name = reader["metadata"]["name"]
    assert reading.shell(reach, "dbtpod-server", "4200", name=name).startswith("open")
    assert reading.shell(reach, shell["status"]["podIP"], "8000", name=name).startswith("shut")


def test_a_rollback_changes_what_the_reader_shows(reading: Release, address: str) -> None:
    newest, who = int(reading.generation()), reading.login
    assert shown(address, who) == newest
    listed = reading.dbtpod("generations", "list")
    earlier = max(int(each) for each in re.findall(r"^\*? +(\d+) ", listed, re.MULTILINE) if int(each) < newest)

    reading.dbtpod("generations", "rollback", str(earlier))
    try:
        until(lambda: shown(address, who) == earlier, 30, "the generation that readers see")
        overview = httpx.get(f"{address}/", auth=who, timeout=20).text
        assert re.search(rf"\b{earlier}\b", overview)
        # Its address is fixed, and its data is there as long as it is kept.
        fixed = f"{address}/data/{newest}/warehouse.duckdb"
        part = httpx.get(fixed, auth=who, headers={"Range": "bytes=0-99"}, timeout=20)
        assert part.status_code == httpx.codes.PARTIAL_CONTENT
        assert len(part.content) == 100
    finally:
        reading.dbtpod("generations", "rollback", str(newest))
    until(lambda: shown(address, who) == newest, 30, "the generation that readers see again")
