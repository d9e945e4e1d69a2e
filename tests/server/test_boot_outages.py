"""Prefect's API out of reach of a run's pod: real server, real engine; the way to the server is shut and opened."""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import httpx
import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import FlowRun
from prefect.settings import PREFECT_API_URL, temporary_settings

import gated_project as small
from api_gate import ApiGate
from booted import Api, Start, starting
from dbtpod.dbt.project import Project
from dbtpod.pod import contact
from following import final_rows
from prefect_server import Server, free_port
from rendering import Render

# A name that the resolver does not know until the file is there.
_RESOLVER = """
import os, socket
resolve = socket.getaddrinfo
def getaddrinfo(host, *rest, **options):
    if host in ("prefect.test", b"prefect.test"):
        if not os.path.exists(os.environ["RESOLVES"]):
            raise socket.gaierror(-3, "Temporary failure in name resolution")
        host = "127.0.0.1"
    return resolve(host, *rest, **options)
socket.getaddrinfo = getaddrinfo
"""


@pytest.fixture(scope="module")
def prefect(server: Server) -> Api:
    return Api(server.url)


@pytest.fixture(scope="module")
def gated(tmp_path_factory: pytest.TempPathFactory) -> Project:
    return small.create(tmp_path_factory.mktemp("outages"))


@pytest.fixture
def start(prefect: Api, gated: Project, tmp_path: Path) -> Iterator[Start]:
    with starting(prefect, gated, tmp_path) as start:
        yield start


@pytest.fixture
def gate(server: Server) -> Iterator[ApiGate]:
    gate = ApiGate(server.port)
    yield gate
    gate.close()


@pytest.mark.parametrize("status", ["", "500 Internal Server Error", "503 Service Unavailable"])
def test_a_pod_that_starts_while_the_api_is_away_waits_for_it_and_says_so(
    prefect: Api, start: Start, gate: ApiGate, status: str
) -> None:
    pod = start("no_command", started=False, PREFECT_API_URL=gate.url)

    with gate.away(status):
        pod.start()
        small.until(lambda: "cannot be reached" in pod.log(), seconds=120)
    assert pod.boot.wait(180) == 0

    assert prefect.state(pod.run) == "Completed"
    assert f"Prefect's API at {gate.url}" in pod.log()
    assert (status or "ConnectError") in pod.log()
    assert "TaskGroup" not in pod.log() and "BrokenPipe" not in pod.log()


def test_a_pod_that_starts_while_dns_is_away_waits_for_it(
    prefect: Api, server: Server, start: Start, tmp_path: Path
) -> None:
    (tmp_path / "sitecustomize.py").write_text(_RESOLVER)
    known = tmp_path / "known"
    pod = start(
        "no_command",
        PREFECT_API_URL=f"http://prefect.test:{server.port}/api",
        PYTHONPATH=str(tmp_path),
        RESOLVES=str(known),
    )

    small.until(lambda: "Temporary failure in name resolution" in pod.log(), seconds=120)
    known.touch()
    assert pod.boot.wait(180) == 0

    assert prefect.state(pod.run) == "Completed"


@pytest.mark.soak
def test_the_slow_way_waits_for_the_api_too(prefect: Api, start: Start, gate: ApiGate) -> None:
    pod = start("no_command", started=False, PREFECT_API_URL=gate.url, DBTPOD_FASTSTART_WITHOUT="supervisor")

    with gate.away():
        pod.start()
        small.until(lambda: "cannot be reached" in pod.log(), seconds=120)
    assert pod.boot.wait(180) == 0

    assert prefect.state(pod.run) == "Completed"


def test_a_pod_that_is_removed_while_it_waits_for_the_api_puts_its_run_back_when_it_can(
    prefect: Api, start: Start, gate: ApiGate
) -> None:
    pod = start("no_command", started=False, PREFECT_API_URL=gate.url)

    with gate.away():
        pod.start()
        small.until(lambda: "cannot be reached" in pod.log(), seconds=120)
        pod.boot.terminate()
    assert pod.boot.wait(150) == 0

    assert prefect.state(pod.run) == "AwaitingRetry"


def test_an_api_that_does_not_come_is_given_up_with_the_address_and_the_cause() -> None:
    url = f"http://user:secret@127.0.0.1:{free_port()}/api"
    said: list[str] = []
    patience = contact.Patience(httpx.URL(url), said.append, seconds=0)

    with temporary_settings({PREFECT_API_URL: url}), pytest.raises(contact.Unreachable) as raised:
        _read(UUID(int=0), patience)

    assert "/api cannot be reached (ConnectError: " in str(raised.value)
    assert "secret" not in str(raised.value)


def _read(run: UUID, patience: contact.Patience) -> FlowRun:
    with get_client(sync_client=True) as client:
        try:
            return client.read_flow_run(run)
        except httpx.HTTPError as error:
            raise AssertionError(patience.pause(error)) from error


def test_a_refusal_that_waiting_cannot_change_is_raised_at_once() -> None:
    request = httpx.Request("GET", "http://prefect/api")
    refused = httpx.HTTPStatusError("", request=request, response=httpx.Response(403, request=request))

    with pytest.raises(httpx.HTTPStatusError):
        contact.Patience(request.url, print).pause(refused)


def test_a_password_that_the_server_does_not_know_yet_is_waited_for_and_not_for_long() -> None:
    request = httpx.Request("GET", "http://prefect/api")
    refused = httpx.HTTPStatusError("", request=request, response=httpx.Response(401, request=request))
    said: list[str] = []

    assert contact.Patience(request.url, said.append).pause(refused) > 0
    assert said == [
        "Prefect's API at http://prefect/api cannot be reached (HTTP 401 Unauthorized). Waiting for it, 150 s at most."
    ]


@pytest.mark.parametrize("status", ["", "500 Internal Server Error"])
def test_the_last_states_of_a_run_and_of_its_nodes_are_sent_again_until_the_server_takes_them(
    prefect: Api, server: Server, start: Start, gate: ApiGate, render: Render, status: str
) -> None:
    pod = start("waits_in_a_node", PREFECT_API_URL=gate.url, **_of_the_chart(render))
    small.until(lambda: pod.starts() == 1, seconds=150)

    with gate.away(status):
        pod.open_gate()
        if status:
            small.until(lambda: gate.refused > 3)
        small.until(lambda: "has not taken" in pod.log())
        small.until(lambda: _seconds_since_gate(pod.gate) > 25)
    assert pod.boot.wait(180) == 0

    small.until(lambda: prefect.state(pod.run) == "Completed")
    assert {row["state_name"] for row in final_rows(server, str(pod.run), 1)} == {"Completed"}


def _seconds_since_gate(gate: Path) -> float:
    return time.time() - gate.stat().st_mtime


def _of_the_chart(render: Render) -> dict[str, str]:
    """What the chart tells Prefect's client in a run's pod."""
    [pool] = [each for each in render(kind="ConfigMap") if "base-job-template.json" in each["data"]]
    manifest = json.loads(pool["data"]["base-job-template.json"])["job_configuration"]["job_manifest"]
    [container] = manifest["spec"]["template"]["spec"]["containers"]
    return {each["name"]: each["value"] for each in container["env"] if each["name"].startswith("PREFECT_CLIENT_")}


def test_a_flow_that_cannot_be_loaded_ends_its_run_with_the_reason(prefect: Api, start: Start) -> None:
    pod = start("no_command", started=False)
    (pod.folder / "flows.py").write_text("import no_such_module\n")

    pod.start().wait(120)

    run = prefect.client.read_flow_run(pod.run)
    assert run.state is not None
    assert run.state.is_crashed()
    assert "No module named 'no_such_module'" in str(run.state.message)
