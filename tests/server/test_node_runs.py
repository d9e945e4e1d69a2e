"""dbt's nodes as task runs, on a real Prefect server; the events are recorded runs of dbt, and some made by hand."""

import json
import logging
import os
import shutil
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any
from uuid import uuid4

import prefect.utilities.engine
import pytest
from httpx import ReadTimeout
from prefect import flow
from prefect.client.schemas.objects import State, StateType, TaskRun
from prefect.events import Event as PrefectEvent
from prefect.runtime import flow_run
from prefect.settings import PREFECT_API_URL, temporary_settings

from dbtpod.dbt import results, stream
from dbtpod.dbt.events import Event, LogLine, NodeFinished, NodeStarted
from dbtpod.dbt.node import NodeStatus, kind_of, name_of
from dbtpod.dbt.results import RunReport
from dbtpod.ui import earlier_runs, node_states, task_events
from dbtpod.ui.lineage import nearest, read_parents
from dbtpod.ui.node_runs import NodeRuns
from prefect_server import Proxy, Server, running
from record import DATA
from waiting import until

START = datetime(2026, 1, 2, 3, 4, 5, 600, tzinfo=UTC)
NAMES = {
    "success": "Completed",
    "pass": "Completed",
    "no-op": "No-op",
    "warn": "Warn",
    "error": "Failed",
    "fail": "Failed",
}
RAW, STG, FCT = "seed.shop.raw_orders", "model.shop.stg_orders", "model.shop.fct_orders"
TEST = "test.shop.not_null_fct_orders_order_id.cf6c17daed"
PARENTS = {
    RAW: [],
    "source.shop.raw.orders": [RAW],
    STG: ["source.shop.raw.orders"],
    "model.shop.ephemeral": [STG],
    FCT: ["model.shop.ephemeral", STG],
    TEST: [FCT],
}


@pytest.fixture
def proxy(server: Server) -> Iterator[Proxy]:
    proxy = Proxy(server.port)
    with temporary_settings({PREFECT_API_URL: proxy.url}):
        yield proxy
    proxy.close()


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return write_manifest(tmp_path, PARENTS)


@pytest.fixture
def warnings() -> Iterator[list[str]]:
    texts: list[str] = []

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            texts.append(record.getMessage())

    handler = Keep(logging.WARNING)
    logging.getLogger("prefect.flow_runs").addHandler(handler)
    yield texts
    logging.getLogger("prefect.flow_runs").removeHandler(handler)


@pytest.mark.parametrize("build", ["success", "failed_model", "failed_test", "warning_test"])
def test_the_rows_agree_with_dbts_own_totals(api: Server, target: Path, build: str) -> None:
    results = json.loads((DATA / f"{build}.json").read_text())["results"]
    totals = Counter(NAMES.get(result["status"], "Skipped") for result in results)

    run = follow([recorded(build)], target)

    assert Counter(row["state_name"] for row in final_rows(api, run, len(results))) == totals


def test_a_row_has_the_times_and_the_message_that_dbt_gave(api: Server, target: Path) -> None:
    started, finished = START, START + timedelta(seconds=2.5)

    run = follow([node(FCT, NodeStatus.SUCCESS, started, finished, "OK", rows=2000)], target)

    [row] = final_rows(api, run, 1)
    assert row["name"] == "model fct_orders"
    assert [time_of(row["start_time"]), time_of(row["end_time"])] == [started, finished]
    assert row["total_run_time"] == 2.5
    assert row["state"]["message"] == "OK; 2,000 rows; 2.50 s"
    states = api.get(f"/task_run_states/?task_run_id={row['id']}")
    assert [state["name"] for state in sorted(states, key=lambda s: s["timestamp"])] == [
        "Pending",
        "Running",
        "Completed",
    ]


def test_a_warning_and_a_skipped_node_do_not_look_like_success(api: Server, target: Path) -> None:
    events = [*node(FCT, NodeStatus.WARN), NodeFinished(TEST, "test", "t", NodeStatus.SKIPPED, START, 0.0, "", None)]

    run = follow([events], target)

    rows = {row["name"]: (row["state_type"], row["state_name"]) for row in final_rows(api, run, 2)}
    assert rows == {
        "model fct_orders (warn)": ("COMPLETED", "Warn"),
        "test not_null_fct_orders_order_id": ("CANCELLED", "Skipped"),
    }


def test_the_run_graph_is_the_lineage_over_two_commands(api: Server, target: Path) -> None:
    seed, build = node(RAW), [*node(STG), *node(FCT), *node(TEST)]

    run = follow([seed, build], target)

    final_rows(api, run, 4)
    assert edges(api, run) == {
        ("seed raw_orders", "model stg_orders"),
        ("model stg_orders", "model fct_orders"),
        ("model fct_orders", "test not_null_fct_orders_order_id"),
    }


def test_a_second_attempt_has_rows_of_its_own_and_is_what_comes_after_it_is_linked_to(
    api: Server, target: Path
) -> None:
    run = follow([node(STG, NodeStatus.ERROR), [*node(STG), *node(FCT)]], target)

    rows = final_rows(api, run, 3)
    [fct] = [row for row in rows if row["name"] == "model fct_orders"]
    [stg] = [row for row in rows if row["name"] == "model stg_orders" and row["state_name"] == "Completed"]
    assert [parent["id"] for parent in fct["task_inputs"]["upstream"]] == [stg["id"]]


def test_a_nodes_line_is_on_its_row_and_once_in_the_run_with_dbts_time(api: Server, target: Path) -> None:
    lines = [LogLine(logging.WARNING, "of the node", START, FCT), LogLine(logging.INFO, "of the run", START)]

    run = follow([[*lines, *node(FCT)]], target)

    [row] = final_rows(api, run, 1)
    ours = ("of the node", "of the run")
    until(lambda: any(log["message"].startswith("Finished") for log in api.filter("logs", run)))
    logs = [log for log in api.filter("logs", run) if log["message"] in ours]
    assert len(logs) == 2
    assert {log["message"]: (log["level"], log["task_run_id"]) for log in logs} == {
        "of the node": (logging.WARNING, row["id"]),
        "of the run": (logging.INFO, None),
    }
    assert {time_of(log["timestamp"]) for log in logs} == {START}


@pytest.mark.parametrize("build", ["ledger", "failed_hook", "fail_fast", "microbatch", "freshness_error"])
def test_what_the_log_left_out_is_settled_by_the_artifact_when_the_command_ends(
    api: Server, target: Path, build: str
) -> None:
    events = recorded(build)
    artifact = "sources.json" if build.startswith("freshness") else "run_results.json"
    shutil.copy(DATA / f"{build}.json", target / artifact)
    report = results.of_command(events, target)

    run = follow([events], target, reconciled=report)

    rows = final_rows(api, run, len(report.nodes))
    shown = {row["dynamic_key"].rsplit("/", 1)[0]: row["state"] for row in rows}
    assert {id_: state["name"] for id_, state in shown.items()} == {
        result.node_id: node_states.state_of(result)[1] for result in report.nodes
    }
    for result in report.nodes:
        if result.failed or result.age is not None:
            assert shown[result.node_id]["message"].split("; ")[0] == node_states.message_of(result).split("; ")[0]


def test_a_node_that_is_in_no_artifact_ends_as_crashed_with_dbts_own_words(api: Server, target: Path) -> None:
    events = [*node(FCT)[:1], LogLine(logging.ERROR, "the disk is gone", START, FCT)]

    run = follow([events], target, reconciled=results.of_command(events, target))

    [row] = final_rows(api, run, 1)
    assert row["state_name"] == "Crashed"
    assert row["state"]["message"] == "dbt ended before it finished this node.\nthe disk is gone"


def test_results_without_dbts_artifact_are_one_warning(api: Server, target: Path, warnings: list[str]) -> None:
    events = recorded("success")

    follow([events], target, reconciled=results.of_command(events, target))

    assert len([text for text in warnings if "from its log alone" in text]) == 1


def test_a_long_error_is_cut_in_the_task_run_and_says_where_the_whole_of_it_is(api: Server, target: Path) -> None:
    run = follow([node(FCT, NodeStatus.ERROR, message="x" * 14_779)], target)

    [row] = final_rows(api, run, 1)
    assert len(row["state"]["message"]) <= 2000
    assert f"(whole text: {target}/run_results.json)" in row["state"]["message"]


def test_two_nodes_of_one_name_have_their_packages_in_it(api: Server, tmp_path: Path) -> None:
    target = write_manifest(tmp_path, {"model.shop.orders": [], "model.crm.orders": [], FCT: []})

    run = follow([[*node("model.shop.orders"), *node(FCT)]], target)

    assert {row["name"] for row in final_rows(api, run, 2)} == {"model shop.orders", "model fct_orders"}


def test_a_node_that_dbt_never_finished_is_ended_as_crashed(api: Server, target: Path) -> None:
    run = follow([node(FCT)[:1]], target)

    [row] = final_rows(api, run, 1)
    assert (row["state_name"], row["state"]["message"]) == ("Crashed", "dbt ended before it finished this node.")


def test_a_node_that_runs_while_the_run_is_stopped_is_ended_as_cancelled(api: Server, target: Path) -> None:
    def stop() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        follow([node(FCT)[:1]], target, at_the_end=stop, flow_run_id=(seen := []))

    [row] = final_rows(api, seen[0], 1)
    assert row["state_name"] == "Cancelled"


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
    server: Server, proxy: Proxy, target: Path, warnings: list[str], trouble: str
) -> None:
    def begin() -> None:
        if trouble == "slow":
            proxy.delay = 5
        else:
            os.kill(server.process.pid, signal.SIGSTOP)

    def end() -> None:
        proxy.delay = 0
        os.kill(server.process.pid, signal.SIGCONT)

    ids = [f"model.shop.m{number}" for number in range(100)]
    events = [event for id_ in ids for event in node(id_)]
    try:
        run = follow([events], target, at_the_start=begin, after=end, took=(took := []), left=(left := []))
    finally:
        end()

    assert took[0] < 2, "the dbt command waited for the API"
    assert left[0] < 12, "the end of the flow waited for the API without a bound"
    assert any("has not taken" in text for text in warnings)
    final_rows(server, run, 100, seconds=240)  # what was late still came, for the process lived on


def test_what_a_server_lost_when_it_was_killed_is_told_again(target: Path, tmp_path: Path) -> None:
    before = [event for number in range(100) for event in node(f"model.shop.m{number}")]

    @flow(name="dbt-build")
    def build() -> str:
        with NodeRuns() as nodes, nodes.command(target) as shown:
            for event in before:
                shown.observe(event)
            until(lambda: nodes._shown.sender._sent == nodes._shown.sender._put)
            first.process.kill()
            assert first.process.wait(10) == -signal.SIGKILL
            for event in node(STG):
                shown.observe(event)
            second.enter_context(running(tmp_path, first.port))
            until(lambda: nodes._shown.sender._sent == nodes._shown.sender._put)
        return str(flow_run.id)

    with running(tmp_path) as first, ExitStack() as second, temporary_settings({PREFECT_API_URL: first.url}):
        run = build()

        final_rows(first, run, 101)


def test_when_prefect_changes_under_us_one_warning_says_so_and_lines_go_on(
    api: Server, target: Path, warnings: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(task_events, "Event")

    run = follow([[*node(FCT), LogLine(logging.INFO, "still here", START, FCT)], node(STG)], target)

    assert any(log["message"] == "still here" for log in until(lambda: api.filter("logs", run)))
    assert len([text for text in warnings if "cannot follow dbt's nodes" in text]) == 1
    assert api.filter("task_runs", run) == []


def test_the_private_form_of_a_state_change_is_that_of_prefects_task_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    theirs: list[dict[str, Any]] = []
    monkeypatch.setattr(prefect.utilities.engine, "emit_event", lambda **event: theirs.append(event))
    run = TaskRun(id=uuid4(), name="model m", flow_run_id=uuid4(), task_key="dbt-node", dynamic_key="m")
    ours = []

    for at, kind in enumerate((StateType.PENDING, StateType.RUNNING, StateType.FAILED)):
        before = run.state
        state: State[None] = State(type=kind, timestamp=START + timedelta(seconds=at), message="why")
        ours.append(task_events.state_change(run, state, []))
        prefect.utilities.engine.emit_task_run_state_change_event(run, before, state)

    for our, their in zip(ours, theirs, strict=True):
        known = PrefectEvent(**{key: value for key, value in their.items() if key not in ("follows", "related")})
        assert form(our) == form(known), (
            "This version of Prefect writes task run events in another form: bring task_events.py in line with "
            "prefect.utilities.engine.emit_task_run_state_change_event, then see that the rows still appear."
        )


def test_ancestors_that_did_not_run_are_stepped_over_however_many() -> None:
    chain = [f"model.shop.m{number}" for number in range(5000)]
    parents = {below: [above] for above, below in pairwise(chain)}

    assert nearest(chain[-1], parents, {chain[0]}) == [chain[0]]


def test_the_parents_are_read_from_a_manifest_and_none_without_one(target: Path, tmp_path: Path) -> None:
    assert read_parents(target) == PARENTS
    assert read_parents(tmp_path / "elsewhere") == {}


def test_two_thousand_nodes_are_all_seen(api: Server, tmp_path: Path) -> None:
    ids = [f"model.shop.m{number}" for number in range(2000)]
    target = write_manifest(tmp_path, {id_: ids[max(0, at - 3) : at] for at, id_ in enumerate(ids)})

    run = follow([[event for id_ in ids for event in node(id_)]], target, took=(took := []))

    assert took[0] < 30, "the command waited for something"
    until(lambda: api.count("task_runs", run, "COMPLETED") == 2000, 240)


def follow(
    commands: Sequence[Sequence[Event]],
    target: Path,
    *,
    at_the_start: Callable[[], None] = lambda: None,
    at_the_end: Callable[[], None] = lambda: None,
    after: Callable[[], None] = lambda: None,
    took: list[float] | None = None,
    left: list[float] | None = None,
    flow_run_id: list[str] | None = None,
    reconciled: RunReport | None = None,
) -> str:
    """Run a flow that observes the events of each command; its flow run's id."""

    @flow(name="dbt-build")
    def build() -> str:
        if flow_run_id is not None:
            flow_run_id.append(str(flow_run.id))
        with timed(left), NodeRuns() as nodes:
            for events in commands:
                with timed(took), nodes.command(target) as shown:
                    at_the_start()
                    for event in events:
                        shown.observe(event)
                    if reconciled:
                        shown.reconcile(reconciled)
                    at_the_end()
        after()
        return str(flow_run.id)

    return build()


@contextmanager
def timed(seconds: list[float] | None) -> Iterator[None]:
    begun = time.monotonic()
    yield
    if seconds is not None:
        seconds.append(time.monotonic() - begun)


def node(
    node_id: str,
    status: NodeStatus = NodeStatus.SUCCESS,
    started: datetime = START,
    finished: datetime = START + timedelta(seconds=1),
    message: str = "",
    rows: int | None = None,
) -> list[Event]:
    kind, name, seconds = kind_of(node_id), name_of(node_id), (finished - started).total_seconds()
    return [
        NodeStarted(node_id, kind, name, started, 1, 1),
        NodeFinished(node_id, kind, name, status, finished, seconds, message, rows),
    ]


def recorded(build: str) -> list[Event]:
    return list(stream.read((DATA / f"{build}.jsonl").read_text().splitlines()))


def write_manifest(folder: Path, parents: Mapping[str, Sequence[str]]) -> Path:
    (folder / "manifest.json").write_text(json.dumps({"nodes": {}, "parent_map": parents, "child_map": {}}))
    return folder


def final_rows(server: Server, run: str, expected: int, seconds: float = 60) -> list[dict[str, Any]]:
    def all_ended() -> list[dict[str, Any]] | None:
        rows = server.filter("task_runs", run)
        # The server writes a row's state down after the row.
        ended = [row for row in rows if row["end_time"] and row["state"]]
        return ended if len(ended) == expected == len(rows) else None

    return until(all_ended, seconds) or []


def edges(server: Server, run: str) -> set[tuple[str, str]]:
    nodes = dict(server.get(f"/flow_runs/{run}/graph-v2")["nodes"])
    return {(nodes[parent["id"]]["label"], row["label"]) for row in nodes.values() for parent in row["parents"]}


def form(event: PrefectEvent) -> dict[str, Any]:
    return event.model_dump(mode="json", exclude={"related", "follows"})


def time_of(text: str) -> datetime:
    return datetime.fromisoformat(text.replace("Z", "+00:00"))
