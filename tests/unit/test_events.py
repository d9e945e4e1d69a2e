"""dbt's log lines become events: recordings of dbt 1.11 and 1.12."""

import json
import logging
import re
from collections import Counter
from datetime import UTC, datetime

import pytest

import record
from dbtpod.dbt import events, stream
from dbtpod.dbt.events import BatchFinished, InvocationStarted, LogLine, NodeFinished, NodeStarted
from dbtpod.dbt.failures import is_connection_error
from dbtpod.dbt.node import NodeStatus, names, outcome
from recordings import RECORDED, RUNS, parsed

SUCCESS, WARN, ERROR, FAIL, SKIPPED, NO_OP, REUSED = NodeStatus
TOTALS = re.compile(r"Done\. PASS=(\d+) WARN=(\d+) ERROR=(\d+) SKIP=(\d+) NO-OP=(\d+)(?: REUSED=0)? TOTAL=(\d+)")


def finished(name: str) -> dict[str, NodeFinished]:
    return {event.name: event for event in parsed(name) if isinstance(event, NodeFinished)}


def log(name: str) -> list[LogLine]:
    return [event for event in parsed(name) if isinstance(event, LogLine)]


@pytest.mark.parametrize("name", RECORDED)
def test_each_node_of_a_recorded_run_ends_as_dbt_says(name: str) -> None:
    expected_code, expected = RUNS[name]

    ended = {event.name: event.status for event in finished(name).values()}

    assert (record.load(name)[1], ended) == (expected_code, expected)


@pytest.mark.parametrize("name", RECORDED)
def test_the_nodes_by_status_add_up_to_dbts_own_totals(name: str) -> None:
    totals = [TOTALS.fullmatch(line.text) for line in log(name) if line.text.startswith("Done. ")]
    if not totals:
        pytest.skip("dbt printed no totals in this run")
    [match] = totals
    assert match
    passed, warned, failed, skipped, no_op, total = map(int, match.groups())

    count = Counter(event.status for event in finished(name).values())
    never_begun = total - sum(count.values()) if name.endswith(("fail_fast", "failed_hook")) else 0
    # dbt adds up before the node that it interrupts has ended.
    failed += name == "interrupted"

    if name == "ledger":  # its tests are in the artifact alone
        warned, failed = 0, 0
    assert count[SUCCESS] == passed
    assert count[NO_OP] == no_op
    assert count[WARN] == warned
    assert count[ERROR] + count[FAIL] == failed
    assert count[SKIPPED] + never_begun == skipped


@pytest.mark.parametrize("name", RECORDED)
def test_a_node_starts_once_before_it_ends_unless_it_was_skipped(name: str) -> None:
    started: list[str] = []

    for event in parsed(name):
        if isinstance(event, NodeStarted):
            started.append(event.node_id)
        elif isinstance(event, NodeFinished):
            ran = event.status is not SKIPPED and event.kind != "exposure"
            assert started.count(event.node_id) == (1 if ran else 0)


def test_a_node_that_was_killed_started_and_did_not_end() -> None:
    started = [event.name for event in parsed("killed") if isinstance(event, NodeStarted)]

    assert started == ["raw_orders", "stg_orders", "slow"]
    assert "slow" not in finished("killed")


def test_a_node_that_was_interrupted_says_so() -> None:
    assert "Interrupted!" in finished("interrupted")["slow"].message


def test_the_start_of_a_node_says_how_many_there_are() -> None:
    starts = [event for event in parsed("success") if isinstance(event, NodeStarted)]

    nodes = [(event.index, event.total) for event in starts if event.kind != "operation"]

    assert nodes == [(index, 7) for index in range(1, 7)]  # the exposure is the seventh and does not start
    assert {event.total for event in starts if event.kind == "operation"} == {None}


def test_a_nodes_start_comes_before_the_log_line_of_its_start() -> None:
    [line] = [line for line in record.load("success")[0] if '"LogStartLine"' in line and "seed.shop.raw_orders" in line]

    start, text = events.parse(line)

    assert isinstance(start, NodeStarted)
    assert isinstance(text, LogLine)
    assert text.node_id == start.node_id == "seed.shop.raw_orders"


def test_times_are_dbts_own_and_in_utc() -> None:
    [seed] = [event for event in parsed("success") if isinstance(event, NodeStarted) and event.kind == "seed"]
    end = finished("success")["raw_orders"]

    assert seed.at.tzinfo is UTC
    assert 0 < (end.at - seed.at).total_seconds() < end.seconds + 1


def test_rows_are_those_that_the_database_counted() -> None:
    assert finished("success")["raw_orders"].rows == 3
    assert finished("success")["not_null_stg_orders_id"].rows is None


def test_a_failed_nodes_message_says_why() -> None:
    assert 'Referenced column "amout" not found' in finished("failed_model")["fct_orders"].message
    assert finished("failed_test")["unique_stg_orders_customer"].message == "Got 1 result, configured to fail if != 0"


def test_a_failed_model_under_an_ephemeral_one_is_named_by_whom_it_skipped() -> None:
    assert "ephemeral model" in finished("failed_model")["rich_customers"].message


@pytest.mark.parametrize("name", RECORDED)
def test_log_lines_have_dbts_level_and_no_colours(name: str) -> None:
    assert {line.level for line in log(name)} <= {logging.INFO, logging.WARNING, logging.ERROR}
    assert not [line for line in log(name) if "\x1b" in line.text or not line.text.strip()]


def test_a_warning_is_logged_as_a_warning_and_a_failure_as_an_error() -> None:
    levels = {line.text.split(" ....")[0]: line.level for line in log("failed_test")}

    assert levels["3 of 5 WARN 1 only_ann"] == logging.WARNING
    assert levels["4 of 5 FAIL 1 unique_stg_orders_customer"] == logging.ERROR


def test_the_invocation_has_the_id_that_dbt_writes_into_its_artifact() -> None:
    [invocation] = [event for event in parsed("success") if isinstance(event, InvocationStarted)]

    artifact = json.loads((record.DATA / "success.json").read_text())

    assert invocation.invocation_id == artifact["metadata"]["invocation_id"]


@pytest.mark.parametrize(
    "line",
    [
        "Traceback (most recent call last):",
        "03:18:07  Running with dbt=1.11.16",
        '{"info": {"name": "NodeFinished", "level": "debug", "msg": "cut o',
        "{}",
        "[1, 2]",
        "null",
        "12",
        '"text"',
        '{"data": {}}',
        '{"info": null, "data": null}',
        '{"info": {"name": ["a"], "level": "info", "msg": "x", "ts": "2026-01-01T00:00:00Z"}, "data": {}}',
        '{"info": {"name": "Note", "level": "info", "msg": 7, "ts": "2026-01-01T00:00:00Z"}, "data": {}}',
        '{"info": {"name": "Note", "level": "info", "msg": "x", "ts": "yesterday"}, "data": {}}',
        '{"info": {"name": "NodeFinished", "level": "debug", "msg": "x", "ts": ""}, "data": {"node_info": {}}}',
        "[" * 100_000,
        "1" * 5000,
    ],
)
def test_a_line_that_is_not_dbts_json_comes_back_as_text(line: str) -> None:
    assert events.parse(line) == (LogLine(logging.INFO, line, None),)


def test_every_cut_of_every_recorded_line_loses_nothing() -> None:
    for line in record.load("failed_model")[0]:
        for end in range(1, len(line), 97):
            assert events.parse(line[:end]) == (LogLine(logging.INFO, line[:end].rstrip(), None),)


def test_a_recorded_event_without_one_of_its_fields_is_never_an_exception() -> None:
    for line in record.load("success")[0]:
        whole = json.loads(line)
        for part in ("info", "data"):
            for missing in whole[part]:
                for value in (None, [], "x", 1e400):
                    assert events.parse(json.dumps(whole | {part: whole[part] | {missing: value}})) is not None


def test_binary_rubbish_becomes_text_that_a_database_can_hold() -> None:
    [line] = events.parse("a\x00b\ud800c\x1b[31md\x1b[0m\te\n")

    assert line == LogLine(logging.INFO, "a\N{REPLACEMENT CHARACTER}b\N{REPLACEMENT CHARACTER}cd\te", None)


def test_a_huge_line_is_passed_on_whole_in_several() -> None:
    huge = "".join(str(number % 10) for number in range(2_500_000))

    lines = events.parse(huge)

    assert "".join(line.text for line in lines if isinstance(line, LogLine)) == huge
    assert len(lines) == 25


def test_a_blank_line_and_a_debug_line_of_no_node_say_nothing() -> None:
    debug = {"info": {"name": "SQLQuery", "level": "debug", "msg": "select 1", "ts": ""}, "data": {}}

    assert events.parse("\n") == events.parse(json.dumps(debug)) == ()


def test_a_level_that_dbt_does_not_have_yet_is_shown() -> None:
    note = {"info": {"name": "Note", "level": "notice", "msg": "x", "ts": "2026-01-01T00:00:00Z"}, "data": {}}

    assert events.parse(json.dumps(note)) == (LogLine(logging.INFO, "x", datetime(2026, 1, 1, tzinfo=UTC)),)


def test_a_microbatch_model_has_one_start_and_one_end_and_its_batches_are_counted_as_batches() -> None:
    seen = [event for event in parsed("microbatch") if getattr(event, "node_id", "") == "model.shop.daily"]

    batches = [(event.index, event.total, event.status) for event in seen if isinstance(event, BatchFinished)]
    assert batches == [(1, 4, SUCCESS), (2, 4, ERROR), (3, 4, SUCCESS), (4, 4, SUCCESS)]
    assert [type(event) for event in seen if isinstance(event, NodeStarted | NodeFinished)] == [
        NodeStarted,
        NodeFinished,
    ]


def test_a_microbatch_models_message_has_the_error_of_the_batch_that_failed() -> None:
    message = finished("microbatch")["daily"].message

    assert message.startswith("PARTIAL SUCCESS (3/4)\nbatch 2026-01-02: Conversion Error: Could not convert string 'x'")


def test_batches_that_ran_at_once_are_told_apart_in_whatever_order_they_end() -> None:
    lines, _ = record.load("microbatch")
    of_batches = [line for line in lines if '"LogStartBatch"' in line or '"LogBatchResult"' in line]
    ends = [line for line in lines if '"NodeFinished"' in line and "model.shop.daily" in line]
    others = [line for line in lines if line not in of_batches and line not in ends]

    seen = list(stream.read([*others, *of_batches, *reversed(ends[:4]), ends[4]]))

    assert [event.index for event in seen if isinstance(event, BatchFinished)] == [4, 3, 2, 1]
    [model] = [event for event in seen if isinstance(event, NodeFinished) and event.name == "daily"]
    assert model.message.startswith("PARTIAL SUCCESS (3/4)\nbatch 2026-01-02: Conversion Error")


def test_an_event_that_dbt_could_not_write_is_said_once_and_not_with_its_whole_data() -> None:
    notes = [line for line in log("ledger") if "Unable to parse logging event" in line.text]

    assert notes
    assert all(len(line.text) < 300 for line in notes)
    assert not [line for line in log("ledger") if line.text.startswith("{")]


@pytest.mark.parametrize(
    ("written", "status"),
    [
        *[
            ("Success", SUCCESS),
            ("PASS", SUCCESS),
            ("No-Op", NO_OP),
            ("NoOp", NO_OP),
            ("Warn", WARN),
            ("reused", REUSED),
        ],
        *[("Runtime Error", ERROR), ("RuntimeError", ERROR), ("partial success", ERROR), ("Fail", FAIL)],
        ("Skipped", SKIPPED),
    ],
)
def test_a_status_is_known_in_any_case(written: str, status: NodeStatus) -> None:
    assert outcome(written, "said") == (status, "said")


def test_an_unknown_status_is_an_error_that_names_it() -> None:
    assert outcome("deferred", "why") == (ERROR, 'dbt ended this node with the unknown status "deferred". why')


def test_a_name_has_its_package_only_where_two_nodes_of_a_kind_have_it() -> None:
    one, two, seed = "model.shop.orders", "model.crm.orders", "seed.shop.orders"
    tests = ("test.shop.only_ann.aaaaaaaaaa", "test.shop.only_ann.bbbbbbbbbb")

    assert names([one, two, seed, "model.shop.fct", *tests]) == {
        one: "shop.orders",
        two: "crm.orders",
        seed: "orders",
        "model.shop.fct": "fct",
        tests[0]: "shop.only_ann.aaaaaaaaaa",
        tests[1]: "shop.only_ann.bbbbbbbbbb",
    }


def test_a_locked_database_is_a_connection_error() -> None:
    [said] = [line.text for line in log("locked") if "Conflicting lock" in line.text][:1]

    assert is_connection_error(said)


@pytest.mark.parametrize("name", ["failed_model", "failed_test", "compile_error", "no_profile", "freshness_error"])
def test_no_other_recorded_failure_is_a_connection_error(name: str) -> None:
    assert not [line.text for line in log(name) if is_connection_error(line.text)]


@pytest.mark.parametrize(
    "message",
    [
        'IO Error: Could not set lock on file "/data/w.duckdb": Conflicting lock is held in python (PID 7)',
        'IO Error: Cannot open file "/data/w.duckdb": Input/output error',
        'connection to server at "db" (10.0.0.1), port 5432 failed: Connection refused',
        "could not connect to server: Connection timed out",
        "server closed the connection unexpectedly",
        "FATAL: the database system is starting up",
        "[Errno 104] Connection reset by peer",
        'could not translate host name "db" to address: Temporary failure in name resolution',
    ],
)
def test_a_database_out_of_reach_is_a_connection_error(message: str) -> None:
    assert is_connection_error(f"Runtime Error in model a (models/a.sql)\n  {message}")


@pytest.mark.parametrize(
    "message",
    [
        "Catalog Error: Table with name connection does not exist!",
        "Binder Error: Referenced column \"x\" not found\nLINE 1: select 'connection refused', x",
        'Parser Error: syntax error at or near "could not connect to server"',
        'Constraint Error: Duplicate key "id: 1" violates primary key constraint',
        'IO Error: No files found that match the pattern "s3://a/*.parquet"',
        'IO Error: The file "/data/w.duckdb" exists, but it is not a valid DuckDB database file!',
        "IO Error: Trying to read a database file with version number 70, but we can only read versions 64 to 68.",
        'IO Error: Cannot open file "/nowhere/w.duckdb": No such file or directory',
        'IO Error: Cannot open file "/data/w.duckdb": Permission denied',
        "Out of Memory Error: could not allocate block",
        "Got 3 results, configured to fail if != 0",
        "",
    ],
)
def test_a_wrong_query_or_file_is_no_connection_error(message: str) -> None:
    assert not is_connection_error(message)
