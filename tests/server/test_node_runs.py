"""dbt's nodes as task runs, on a real Prefect server; the events are recorded runs of dbt, and some made by hand."""

import json
import logging
import shutil
from collections import Counter
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import prefect.utilities.engine
import pytest
from prefect.client.schemas.objects import State, StateType, TaskRun
from prefect.events import Event as PrefectEvent

from dbtpod.dbt import results
from dbtpod.dbt.events import LogLine, NodeFinished
from dbtpod.dbt.node import NodeStatus
from dbtpod.ui import node_states, task_events
from following import (
    FCT,
    RAW,
    START,
    STG,
    TEST,
    edges,
    final_rows,
    follow,
    form,
    node,
    recorded,
    time_of,
    write_manifest,
)
from prefect_server import Server
from record import DATA
from waiting import until

NAMES = {
    "success": "Completed",
    "pass": "Completed",
    "no-op": "No-op",
    "warn": "Warn",
    "error": "Failed",
    "fail": "Failed",
}


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

    def shown() -> dict[str, tuple[str, str]]:
        """Name and message of each node's state; the artifact's may come after the log's."""
        states = {row["dynamic_key"].rsplit("/", 1)[0]: row["state"] for row in final_rows(api, run, len(report.nodes))}
        return {id_: (state["name"], said(state["message"]) if id_ in judged else "") for id_, state in states.items()}

    judged = {node.node_id for node in report.nodes if node.failed or node.age is not None}
    right = {
        node.node_id: (
            node_states.state_of(node)[1],
            said(node_states.message_of(node)) if node.node_id in judged else "",
        )
        for node in report.nodes
    }
    with suppress(AssertionError):
        until(lambda: shown() == right, 30)
    assert shown() == right


def said(message: str | None) -> str:
    """A state's message without rows and time."""
    return (message or "").split("; ")[0]


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
