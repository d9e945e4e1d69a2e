"""dbt's nodes as task runs where the API is slow or away, a server was killed, or the run's process died."""

import os
import signal
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from httpx import ReadTimeout
from prefect import flow
from prefect.client.schemas.objects import TaskRun
from prefect.runtime import flow_run
from prefect.settings import PREFECT_API_URL, temporary_settings

from api_gate import ApiGate
from dbtpod.ui import earlier_runs
from dbtpod.ui.node_runs import NodeRuns
from following import FCT, RAW, STG, edges, final_rows, follow, node, write_manifest
from prefect_server import Server, running
from waiting import until

# How many seconds an answer takes from an API that is slow.
SLOW = 10.0


@pytest.fixture
def gate(server: Server) -> Iterator[ApiGate]:
    gate = ApiGate(server.port)
    with temporary_settings({PREFECT_API_URL: gate.url}):
        yield gate
    gate.close()


def test_a_rescheduled_run_ends_the_rows_of_the_process_that_died_and_links_to_them(
    api: Server, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    attempts = []

    @flow(name="dbt-build", retries=1)
    def build() -> str:
        attempts.append(flow_run.id)
        with NodeRuns() as nodes, nodes.command(target) as shown:
            if len(attempts) == 1:  # the process dies: its rows stay as they are
                monkeypatch.setattr(shown, "end_open", lambda *_: None)
            for event in [*node(RAW), *node(STG)[:1]] if len(attempts) == 1 else []:
                shown.observe(event)
            if len(attempts) == 2:
                until(lambda: nodes._shown.latest.get(RAW))
                for event in node(STG):
                    shown.observe(event)
        if len(attempts) == 1:
            until(lambda: len(api.filter("task_runs", str(flow_run.id))) == 2)
            raise OSError
        return str(flow_run.id)

    run = build()

    rows = final_rows(api, run, 3)
    assert Counter((row["name"], row["state_name"]) for row in rows) == {
        ("seed raw_orders", "Completed"): 1,
        ("model stg_orders", "Crashed"): 1,
        ("model stg_orders", "Completed"): 1,
    }
    assert edges(api, run) == {("seed raw_orders", "model stg_orders")}


def test_a_rescheduled_run_that_cannot_ask_for_its_earlier_rows_says_so_and_has_rows_all_the_same(
    api: Server, target: Path, warnings: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_answer(_: object) -> Iterator[TaskRun]:
        raise ReadTimeout("no answer")

    monkeypatch.setattr(earlier_runs, "_newest_first", no_answer)
    attempts = []

    @flow(name="dbt-build", retries=1)
    def build() -> str:
        attempts.append(flow_run.id)
        if len(attempts) == 1:
            raise OSError
        with NodeRuns() as nodes, nodes.command(target) as shown:
            for event in node(FCT):
                shown.observe(event)
        return str(flow_run.id)

    run = build()

    final_rows(api, run, 1)
    assert [text for text in warnings if "earlier pod" in text and "no answer" in text]


@pytest.mark.parametrize("trouble", ["slow", "stopped"])
def test_a_build_does_not_wait_for_an_api_that_is(
    server: Server, gate: ApiGate, target: Path, warnings: list[str], trouble: str
) -> None:
    def begin() -> None:
        if trouble == "slow":
            gate.delay = SLOW
        else:
            os.kill(server.process.pid, signal.SIGSTOP)

    def end() -> None:
        gate.delay = 0
        os.kill(server.process.pid, signal.SIGCONT)

    ids = [f"model.shop.m{number}" for number in range(100)]
    events = [event for id_ in ids for event in node(id_)]
    try:
        run = follow([events], target, at_the_start=begin, after=end, took=(took := []), left=(left := []))
    finally:
        end()

    assert took[0] < SLOW, "the dbt command waited for the API"
    assert left[0] < 45, "the end of the flow waited for the API without a bound"
    assert any("has not taken" in text for text in warnings)
    final_rows(server, run, 100, seconds=240)  # what was late still came, for the process lived on


@pytest.mark.soak
@pytest.mark.parametrize("is_back", ["before the next event", "after the next event", "without a next event"])
def test_what_a_server_lost_when_it_was_killed_is_told_again(target: Path, tmp_path: Path, is_back: str) -> None:
    after = [] if is_back == "without a next event" else node(STG)
    before = [event for number in range(100) for event in node(f"model.shop.m{number}")]

    @flow(name="dbt-build")
    def build() -> str:
        with NodeRuns() as nodes, nodes.command(target) as shown:
            for event in before:
                shown.observe(event)
            until(lambda: nodes._shown.sender._sent == nodes._shown.sender._put)
            first.process.kill()
            assert first.process.wait(60) == -signal.SIGKILL
            if is_back == "before the next event":
                second.enter_context(running(tmp_path, first.port))
            for event in after:
                shown.observe(event)
            if is_back == "after the next event":
                second.enter_context(running(tmp_path, first.port))
            until(lambda: nodes._shown.sender._sent == nodes._shown.sender._put)
        if is_back == "without a next event":
            second.enter_context(running(tmp_path, first.port))
        return str(flow_run.id)

    with running(tmp_path) as first, ExitStack() as second, temporary_settings({PREFECT_API_URL: first.url}):
        run = build()

        final_rows(first, run, 100 + len(after) // 2)


@pytest.mark.soak
def test_two_thousand_nodes_are_all_seen(api: Server, tmp_path: Path) -> None:
    ids = [f"model.shop.m{number}" for number in range(2000)]
    target = write_manifest(tmp_path, {id_: ids[max(0, at - 3) : at] for at, id_ in enumerate(ids)})

    run = follow([[event for id_ in ids for event in node(id_)]], target, took=(took := []))

    assert took[0] < 60, "the command waited for something"
    until(lambda: api.count("task_runs", run, "COMPLETED") == 2000, 450)
