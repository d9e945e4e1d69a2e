"""What a run published, noted on the run: on a real server, from a real flow."""

import logging
import threading
from dataclasses import dataclass
from uuid import UUID, uuid4

import pytest
from prefect import flow
from prefect.client.orchestration import SyncPrefectClient
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect.states import AwaitingRetry, Completed, Crashed

import messages
from api_gate import ApiGate
from dbtpod.ui import deaths, mark
from prefect_server import Server, free_port
from waiting import until


@dataclass
class Generation:
    number: int
    run: str


@pytest.fixture
def client(api: Server) -> SyncPrefectClient:
    return SyncPrefectClient(api.url)


@pytest.fixture
def ended(client: SyncPrefectClient) -> UUID:
    return client.create_flow_run(idle).id


@flow
def idle() -> None:
    pass


@flow
def publishes(run: str) -> None:
    mark.published(run, 7)


@flow
def writes(generations: list[Generation]) -> None:
    mark.amend(lambda: generations)


def message(client: SyncPrefectClient, run: UUID) -> str:
    state = client.read_flow_run(run).state
    return str(state and state.message)


def test_a_run_that_published_has_the_generation_as_a_label(client: SyncPrefectClient, ended: UUID) -> None:
    publishes(str(ended))

    until(lambda: client.read_flow_run(ended).labels.get(mark.GENERATION) == 7, 20)


@pytest.mark.parametrize("status", ["503 Service Unavailable", "500 Internal Server Error"])
def test_a_label_that_a_busy_server_refuses_is_written_again(
    api: Server, client: SyncPrefectClient, ended: UUID, status: str
) -> None:
    gate = ApiGate(api.port)

    @flow
    def publishes_to_a_busy_server() -> None:
        with gate.away(status):
            mark.published(str(ended), 7)
            until(lambda: gate.refused, 20)

    with temporary_settings({PREFECT_API_URL: gate.url}):
        publishes_to_a_busy_server()
        until(lambda: client.read_flow_run(ended).labels.get(mark.GENERATION) == 7, 20)
    gate.close()


def test_a_label_that_cannot_be_written_is_a_line_in_the_debug_log_and_not_the_runs_failure(
    api: Server, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "prefect.flow_runs")
    with messages.kept(logging.DEBUG, "prefect.flow_runs") as said:
        states = [publishes(run, return_state=True) for run in (str(uuid4()), "not an id")]
        until(lambda: len([text for text in said if "could not be labelled with the generation 7" in text]) == 2, 20)

    assert [state.name for state in states] == ["Completed", "Completed"]


def test_the_next_writing_run_says_of_a_crashed_one_that_it_published(client: SyncPrefectClient, ended: UUID) -> None:
    client.set_flow_run_state(ended, Crashed(message="The pod is gone."), force=True)

    writes([Generation(6, str(uuid4())), Generation(7, str(ended))])

    until(lambda: message(client, ended) == "The pod is gone. Generation 7 was published before.", 20)
    state = client.read_flow_run(ended).state_id
    writes([Generation(7, str(ended))])
    until(lambda: "dbtpod-mark" not in {thread.name for thread in threading.enumerate()}, 20)
    assert client.read_flow_run(ended).state_id == state


def test_a_run_that_is_not_crashed_is_left_as_it_is(client: SyncPrefectClient, ended: UUID) -> None:
    client.set_flow_run_state(ended, Completed(message="28 nodes"), force=True)

    mark._amend(Generation(7, str(ended)))
    mark._amend(Generation(7, "imported"))

    assert message(client, ended) == "28 nodes"


def test_the_known_causes_of_the_earlier_deaths_are_listed_in_order(client: SyncPrefectClient, ended: UUID) -> None:
    for number in (1, 2):
        client.set_flow_run_state(ended, AwaitingRetry(message=f"Kubernetes ended the pod p{number}."), force=True)
    client.create_logs(
        [
            {
                "name": f"prefect.flow_runs.{name}",
                "level": 30,
                "message": f"said by the {name}",
                "timestamp": "2026-01-31T06:00:00Z",
                "flow_run_id": str(ended),
            }
            for name in ("observer", "worker")
        ]
    )

    found = deaths.causes(str(ended))

    assert [line[9:] for line in found.splitlines()[1:]] == [
        "said by the observer",
        "Kubernetes ended the pod p1.",
        "Kubernetes ended the pod p2.",
    ]


def test_causes_are_none_where_the_server_is_away() -> None:
    with temporary_settings({PREFECT_API_URL: f"http://127.0.0.1:{free_port()}/api"}):
        assert deaths.causes(str(uuid4())) == ""
