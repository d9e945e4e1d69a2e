"""Each view on runs whose answer is known."""

from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import duckdb
import pytest

import run_folders as folders
import warehouse
from dbtpod.history import schema
from dbtpod.warehouse.warehouse import DuckDBFile
from run_folders import NOON, Ask, Update

A, B = "model.shop.a", "model.shop.b"
TEST = "test.shop.not_null_a_id.0a1b2c3d4e"


def hours(number: float) -> datetime:
    return NOON + timedelta(hours=number)


def test_the_slowest_nodes_are_those_that_took_most_seconds_of_late(kept: DuckDBFile, update: Update, ask: Ask) -> None:
    folders.build(kept.volume.runs, "old", NOON - timedelta(days=40), {B: ("success", 1000)})
    for number, took in enumerate((2, 4, 9)):
        folders.build(kept.volume.runs, f"run-{number}", hours(number), {A: ("success", took), TEST: ("pass", 5)})
    folders.build(kept.volume.runs, "failed", hours(3), {A: ("error", 500, "no")}, state="failed")

    assert update() == []

    assert ask("SELECT * FROM slowest_nodes") == [
        (A, "model", "a", 3, 4.0, 9.0, 15.0, 0.5, 9.0, "run-2"),
        (TEST, "test", "not_null_a_id", 3, 5.0, 5.0, 15.0, 0.5, 5.0, "run-2"),
    ]


@pytest.mark.parametrize(
    ("before", "latest", "is_slower"),
    [
        ((10, 11, 9, 10, 12), 20, True),
        ((10, 11, 9, 10, 12), 13, False),  # within three spreads
        ((10, 10, 10, 10, 10), 11.9, False),  # within a fifth
        ((10, 10, 10, 10, 10), 12.1, True),
        ((1, 1, 1, 1, 1), 1.4, False),  # within half a second
        ((10, 11, 9, 300, 12), 20, True),  # one outlier does not make another one usual
        ((10, 11, 9, 10), 20, False),  # too few to compare with
    ],
)
def test_slower_than_usual_is_the_latest_execution_against_the_median_and_the_spread_before(
    kept: DuckDBFile, update: Update, ask: Ask, before: tuple[float, ...], latest: float, is_slower: bool
) -> None:
    for number, took in enumerate((*before, latest)):
        folders.build(kept.volume.runs, f"run-{number}", hours(number), {A: ("success", took), B: ("success", 3)})
    folders.build(kept.volume.runs, "failed", hours(-1), {A: ("error", 1, "no")}, state="failed")

    assert update() == []

    found = ask("SELECT node_id, seconds, compared_with, run_id FROM slower_than_usual")
    assert found == ([(A, float(latest), len(before), f"run-{len(before)}")] if is_slower else [])


def test_slower_than_usual_says_how_much(kept: DuckDBFile, update: Update, ask: Ask) -> None:
    for number, took in enumerate((10, 11, 9, 10, 12, 30)):
        folders.build(kept.volume.runs, f"run-{number}", hours(number), {A: ("success", took)})

    assert update() == []

    assert ask("SELECT usual_seconds, spread, times_slower, began FROM slower_than_usual") == [
        (10.0, 1.4826, 3.0, hours(5) + timedelta(seconds=5))
    ]


@pytest.mark.parametrize(
    ("statuses", "changes"),
    [
        (["pass", "fail", "pass"], 2),
        (["pass", "fail", "warn", "error"], 3),
        (["pass", "fail", "skipped", "fail", "pass"], 2),
        (["pass", "fail", "fail"], None),  # it broke
        (["fail", "pass"], None),  # it was repaired
        (["fail", "pass"] + 20 * ["pass"], None),
        (["pass", "fail"] + 20 * ["pass"], None),  # long ago
    ],
)
def test_a_test_is_flaky_that_changes_twice_within_its_last_twenty_executions(
    kept: DuckDBFile, update: Update, ask: Ask, statuses: list[str], changes: int | None
) -> None:
    for number, status in enumerate(statuses):
        folders.build(kept.volume.runs, f"run-{number}", hours(number), {A: ("success", 1), TEST: (status, 1)})

    assert update() == []

    assert ask("SELECT node_id, changes FROM flaky_tests") == ([(TEST, changes)] if changes else [])


def test_a_flaky_test_says_when_it_failed_last(kept: DuckDBFile, update: Update, ask: Ask) -> None:
    for number, status in enumerate(("pass", "fail", "pass")):
        folders.build(kept.volume.runs, f"run-{number}", hours(number), {TEST: (status, 1)})

    assert update() == []

    seconds = timedelta(seconds=5)
    assert ask(
        "SELECT name, executions, failed, last_status, last_failed, last_executed, last_run_id FROM flaky_tests"
    ) == [("not_null_a_id", 3, 1, "pass", hours(1) + seconds, hours(2) + seconds, "run-2")]


def test_failing_since_is_the_first_failure_after_the_last_good_execution(
    kept: DuckDBFile, update: Update, ask: Ask
) -> None:
    folders.build(kept.volume.runs, "gone", NOON - timedelta(days=40), {"model.shop.gone": ("error", 1, "no")})
    for number, status in enumerate(("fail", "pass", "fail", "skipped", "fail")):
        state = "completed" if status == "pass" else "failed"
        nodes: dict[str, folders.Ending] = {
            A: ("success" if number else "error", 1, "repaired"),
            B: ("error", 1, "never worked") if number > 2 else ("skipped", 0),
            TEST: (status, 1, f"Got {number} results"),
        }
        folders.build(kept.volume.runs, f"run-{number}", hours(number), nodes, state=state)

    assert update() == []

    assert ask("SELECT * FROM failing_since") == [
        (
            *(TEST, "test", "not_null_a_id", hours(2) + timedelta(seconds=6), "run-2", 2),
            *(hours(4) + timedelta(seconds=7), "run-4", "Got 4 results"),
        ),
        (
            *(B, "model", "b", hours(3) + timedelta(seconds=6), "run-3", 2),
            *(hours(4) + timedelta(seconds=6), "run-4", "never worked"),
        ),
    ]


def test_rows_over_time_has_each_table_of_each_generation_and_what_was_added(
    kept: DuckDBFile, update: Update, ask: Ask
) -> None:
    for rows, run in ((10, "first"), (25, "second"), (20, "third")):
        warehouse.build(kept, rows, run)
        assert update() == []

    found = ask("SELECT name, kind, generation, run_id, rows, rows_added FROM rows_over_time WHERE name <> 'orders'")
    assert found == [
        ("customers", "table", 1, "first", 10, None),
        ("customers", "table", 2, "second", 25, 15),
        ("customers", "table", 3, "third", 20, -5),
        ("per_order", "view", 1, "first", None, None),
        ("per_order", "view", 2, "second", None, None),
        ("per_order", "view", 3, "third", None, None),
    ]


def test_pod_seconds_are_added_up_for_each_day_in_utc_and_each_deployment(
    kept: DuckDBFile, update: Update, ask: Ask
) -> None:
    late = datetime(2026, 11, 1, 23, 59, 59, tzinfo=UTC)
    folders.build(kept.volume.runs, "one", NOON, {A: ("success", 1)}, seconds=60)
    folders.build(kept.volume.runs, "two", late, {A: ("error", 1, "no")}, seconds=30, state="failed")
    folders.build(kept.volume.runs, "next", late + timedelta(seconds=2), {A: ("success", 1)}, seconds=7)
    folders.build(kept.volume.runs, "other", NOON, {A: ("success", 1)}, deployment="smoke", seconds=5)

    assert update() == []

    found = [
        (date(2026, 11, 1), "dbt-build", "dbt", 2, 1, 90.0),
        (date(2026, 11, 1), "smoke", "dbt", 1, 0, 5.0),
        (date(2026, 11, 2), "dbt-build", "dbt", 1, 0, 7.0),
    ]
    assert ask("SELECT * FROM pod_seconds") == found
    with duckdb.connect(kept.volume.history / schema.FILE, read_only=True) as connection:
        connection.execute("SET TimeZone = 'Asia/Tokyo'")
        assert connection.sql("SELECT * FROM pod_seconds").fetchall() == found


def test_the_views_work_under_whatever_name_the_file_is_attached(kept: DuckDBFile, update: Update) -> None:
    folders.build(kept.volume.runs, "one", NOON, {A: ("success", 1)})
    assert update() == []
    text = Path(schema.__file__).with_name("views.sql").read_text()
    views = [line.split()[4] for line in text.splitlines() if line.startswith("CREATE OR REPLACE VIEW")]

    with duckdb.connect() as connection:
        connection.execute(f"ATTACH '{kept.volume.history / schema.FILE}' AS another (READ_ONLY)")
        for view in views:
            connection.execute(f"SELECT * FROM another.{view}").fetchall()

    assert len(views) == 7
