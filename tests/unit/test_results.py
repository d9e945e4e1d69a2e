"""What dbt's artifacts and its log say of a command become one report."""

import json
import logging
import re
from datetime import UTC, datetime
from pathlib import Path

import pytest

import record
from dbtpod.dbt import results, stream
from dbtpod.dbt.events import InvocationStarted, LogLine
from dbtpod.dbt.failures import is_connection_error
from dbtpod.dbt.node import NodeStatus
from dbtpod.dbt.results import RunReport
from recordings import RECORDED, RUNS, artifact, node, parsed, read

SUCCESS, WARN, ERROR, FAIL, SKIPPED, NO_OP, REUSED = NodeStatus
NOW = datetime(2026, 1, 2, tzinfo=UTC)


def ended(report: RunReport) -> dict[str, NodeStatus]:
    return {result.name: result.status for result in report.nodes}


@pytest.mark.parametrize("name", [name for name in RECORDED if (record.DATA / f"{name}.json").exists()])
def test_the_log_and_the_artifact_tell_the_same_of_a_run(name: str, tmp_path: Path) -> None:
    from_log = results.from_events(parsed(name))

    report = results.merge(from_log, read(name, tmp_path))

    begun = {key: status for key, status in ended(report).items() if key in RUNS[name][1]} if report else {}
    assert begun == RUNS[name][1]


def test_a_node_carries_what_dbt_says_of_it(tmp_path: Path) -> None:
    nodes = {result.name: result for result in read("success", tmp_path).nodes}

    assert (nodes["raw_orders"].kind, nodes["raw_orders"].rows, nodes["raw_orders"].message) == ("seed", 3, "INSERT 3")
    assert nodes["raw_orders"].seconds > 0
    assert "from" in (nodes["stg_orders"].sql or "")


def test_names_are_short_for_people(tmp_path: Path) -> None:
    names = ended(read("success", tmp_path))

    assert {"not_null_stg_orders_id", "fct_orders::big_orders_only", "orders_history"} <= set(names)


def test_what_fail_fast_left_out_is_skipped(tmp_path: Path) -> None:
    nodes = {result.name: result for result in read("fail_fast", tmp_path).nodes}

    assert nodes["top_customer"].status is SKIPPED
    assert nodes["top_customer"].message == "Skipping due to fail_fast"


def test_freshness_has_ages_and_thresholds_in_seconds(tmp_path: Path) -> None:
    sources = {result.name: result for result in read("freshness_error", tmp_path).nodes}

    assert {name: source.status for name, source in sources.items()} == {
        "raw.fresh": SUCCESS,
        "raw.late": WARN,
        "raw.stale": ERROR,
    }
    assert sources["raw.late"].age == pytest.approx(30 * 3600 + 300, abs=120)
    assert (sources["raw.late"].warn_after, sources["raw.late"].error_after) == (24 * 3600, 72 * 3600)


def test_a_source_that_could_not_be_asked_is_known_from_the_log_only(tmp_path: Path) -> None:
    report = results.merge(results.from_events(parsed("freshness_error")), read("freshness_error", tmp_path))

    assert report
    [missing] = [result for result in report.nodes if result.name == "raw.missing"]
    assert missing.status is ERROR
    assert "missing does not exist" in missing.message


def test_the_compiled_file_of_a_failed_node_is_found(tmp_path: Path) -> None:
    invocation = artifact("failed_model", tmp_path)
    [failed] = [
        result
        for result in json.loads((tmp_path / "run_results.json").read_text())["results"]
        if result["status"] == "error"
    ]
    path = tmp_path / "compiled/shop/models/fct_orders.sql"
    path.parent.mkdir(parents=True)
    path.write_text(failed["compiled_code"])

    report = results.read(tmp_path, invocation)

    assert report
    paths = {result.name: result.compiled_path for result in report.nodes if result.compiled_path}
    assert paths == {"fct_orders": "compiled/shop/models/fct_orders.sql"}


def test_the_file_of_another_invocation_is_not_read(tmp_path: Path) -> None:
    artifact("success", tmp_path)

    assert results.read(tmp_path, "another") is None


def test_no_file_and_no_folder_are_no_report(tmp_path: Path) -> None:
    assert results.read(tmp_path, "any") is None
    assert results.read(tmp_path / "nowhere", "any") is None


def test_a_file_cut_short_anywhere_is_no_report(tmp_path: Path) -> None:
    invocation = artifact("success", tmp_path)
    path = tmp_path / "run_results.json"
    whole = path.read_text()

    for end in range(0, len(whole) - 2, 53):
        path.write_text(whole[:end])
        assert results.read(tmp_path, invocation) is None


@pytest.mark.parametrize("text", ["[]", "null", "7", '{"metadata": {"invocation_id": "a"}, "results": [{}]}'])
def test_a_file_of_another_form_is_no_report(text: str, tmp_path: Path) -> None:
    (tmp_path / "run_results.json").write_text(text)

    assert results.read(tmp_path, "a") is None


def test_a_killed_run_is_told_from_its_log() -> None:
    report = results.from_events(parsed("killed"))

    assert report
    assert ended(report) == {"raw_orders": SUCCESS, "stg_orders": SUCCESS}
    assert report.elapsed > 0


def test_a_dbt_that_did_not_come_up_has_no_report() -> None:
    assert results.from_events([]) is None


def test_the_later_result_of_a_node_wins_in_the_earlier_place() -> None:
    earlier = RunReport("1", (node("a"), node("b", ERROR), node("c", SKIPPED)), 10.0)
    later = RunReport("2", (node("b"), node("c"), node("d")), 4.0)

    merged = results.merge(earlier, later)

    assert merged == RunReport("2", (node("a"), node("b"), node("c"), node("d")), 14.0)


def test_the_log_and_the_artifact_of_one_invocation_count_its_time_once() -> None:
    merged = results.merge(RunReport("1", (), 10.0), RunReport("1", (), 9.0))

    assert merged == RunReport("1", (), 9.0)


def test_merging_with_nothing_changes_nothing() -> None:
    report = RunReport("1", (node("a"),), 1.0)

    assert results.merge(report, None) == results.merge(None, report) == report
    assert results.merge(None, None) is None


def test_a_retry_mends_the_run_before_it(tmp_path: Path) -> None:
    failed, retried = read("failed_model", tmp_path), read("retry", tmp_path)

    merged = results.merge(failed, retried)

    assert merged
    assert results.counts(merged) == dict.fromkeys(NodeStatus, 0) | {SUCCESS: 6}
    assert list(ended(merged)) == list(ended(failed))


def test_a_test_with_more_failures_than_dbts_log_can_count_ends_as_the_artifact_says(tmp_path: Path) -> None:
    artifact("ledger", tmp_path)

    report = results.of_command(parsed("ledger"), tmp_path)

    nodes = {result.name: (result.status, result.message) for result in report.nodes}
    assert nodes["fails"] == (FAIL, "Got 5000000000 results, configured to fail if != 0")
    assert nodes["warns"] == (WARN, "Got 5000000000 results, configured to warn if != 0")
    assert report.warning == ""


def test_a_node_that_started_and_is_nowhere_else_is_an_error_with_dbts_own_lines(tmp_path: Path) -> None:
    line = LogLine(logging.ERROR, "the disk is gone", NOW, "model.shop.slow")

    report = results.of_command([*parsed("killed"), line], tmp_path)

    [slow] = [result for result in report.nodes if result.name == "slow"]
    assert (slow.status, slow.failed, slow.is_finished) == (ERROR, True, False)
    assert slow.message == "dbt ended before it finished this node.\nthe disk is gone"


def test_a_microbatch_models_result_has_the_error_of_its_batch(tmp_path: Path) -> None:
    artifact("microbatch", tmp_path)

    report = results.of_command(parsed("microbatch"), tmp_path)

    [daily] = [result for result in report.nodes if result.name == "daily"]
    assert daily.message.startswith("PARTIAL SUCCESS (3/4)\nbatch 2026-01-02: Conversion Error")


def test_a_batch_that_lost_its_connection_can_be_seen_as_such(tmp_path: Path) -> None:
    lines = [
        re.sub(r"Conversion Error: .*?(?=\")", "Connection refused", line) if "GenericExceptionOnRun" in line else line
        for line in record.load("microbatch")[0]
    ]

    report = results.of_command(list(stream.read(lines)), tmp_path)

    [message] = [result.message for result in report.nodes if result.failed]
    assert is_connection_error(message)


def test_a_failed_operation_has_dbts_error_line_as_its_reason(tmp_path: Path) -> None:
    artifact("failed_operation", tmp_path)

    report = results.of_command(parsed("failed_operation"), tmp_path)

    [failed] = report.nodes
    assert "Catalog Error: Table with name nowhere does not exist!" in failed.message


@pytest.mark.parametrize("damage", ["missing", "cut short", "of another invocation"])
def test_without_its_artifact_the_log_stands_in_and_one_warning_says_why(damage: str, tmp_path: Path) -> None:
    artifact("success", tmp_path)
    path = tmp_path / "run_results.json"
    if damage == "missing":
        path.unlink()
    elif damage == "cut short":
        path.write_text(path.read_text()[:200])
    else:
        path.write_text(re.sub(r'"invocation_id": ?"[^"]*"', '"invocation_id": "another"', path.read_text()))

    report = results.of_command(parsed("success"), tmp_path)

    assert ended(report) == RUNS["success"][1]
    assert report.warning.startswith("What dbt did is known from its log alone, not from its artifacts: ")
    assert str(tmp_path) in report.warning


def test_an_artifact_is_used_although_the_log_said_nothing(tmp_path: Path) -> None:
    artifact("success", tmp_path)

    report = results.of_command([], tmp_path)

    assert ended(report) == RUNS["success"][1]
    assert report.warning == ""


def test_a_command_without_nodes_needs_no_artifact(tmp_path: Path) -> None:
    assert results.of_command(parsed("compile_error"), tmp_path) == RunReport(invocation_of("compile_error"), (), 0.0)


def test_artifacts_are_read_as_dbt_v2_writes_them(tmp_path: Path) -> None:
    metadata = {"invocation_id": "v2", "dbt_version": "2.0.0"}
    run_results = {
        "metadata": metadata,
        "results": [
            {"unique_id": "model.shop.a", "status": "Success"},
            {"unique_id": "model.shop.b", "status": "Error", "message": "no such column", "execution_time": 0.5},
            {"unique_id": "exposure.shop.d", "status": "NoOp", "adapter_response": None},
            {"unique_id": "model.shop.c", "status": "Quantum"},
        ],
    }
    freshness = {
        "metadata": metadata,
        "results": [{"unique_id": "source.shop.raw.orders", "status": "Warn", "max_loaded_at_time_ago_in_s": 7200.0}],
    }
    (tmp_path / "run_results.json").write_text(json.dumps(run_results))
    (tmp_path / "freshness.json").write_text(json.dumps(freshness))

    report = results.of_command([], tmp_path)

    assert ended(report) == {"a": SUCCESS, "b": ERROR, "d": NO_OP, "c": ERROR, "raw.orders": WARN}
    messages = {result.name: result.message for result in report.nodes}
    assert messages["b"] == "no such column"
    assert "Quantum" in messages["c"]
    assert report.warning == ""


def invocation_of(name: str) -> str:
    [started] = [event for event in parsed(name) if isinstance(event, InvocationStarted)]
    return started.invocation_id
