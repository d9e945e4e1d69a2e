"""From what runs left in their folders to rows: of recorded dbt commands, as dbt wrote them."""

from datetime import UTC, datetime, timedelta

import run_folders as folders
import warehouse
from dbtpod.history import record
from dbtpod.history.record import Record, Start
from dbtpod.warehouse import run_lock
from dbtpod.warehouse.warehouse import DuckDBFile
from run_folders import Ask, Update

RUN = "0f6c9a52-6e0f-4c1b-9a3e-2f6f0d4f7a11"
LATER = "7b0d7b1e-1f0a-4b57-8a4f-51f0b5f4d3c2"


def test_a_run_that_failed_has_its_nodes_with_dbts_words_and_what_was_skipped(
    kept: DuckDBFile, update: Update, ask: Ask
) -> None:
    folders.of_recorded(kept.volume.runs / RUN, "failed_model", ["build", "-s", "+top_customer"], 1)

    assert update() == []

    assert ask("SELECT node_id, kind, status, rows, message LIKE '%\"amout\" not found%' FROM nodes ORDER BY ALL") == [
        ("model.shop.fct_orders", "model", "error", None, True),
        ("model.shop.rich_customers", "model", "skipped", None, False),
        ("model.shop.stg_orders", "model", "success", None, None),
        ("model.shop.top_customer", "model", "skipped", None, None),
        ("seed.shop.raw_orders", "seed", "success", 3, None),
    ]
    assert ask("SELECT name, status FROM tests") == [("not_null_top_customer_customer", "skipped")]
    assert ask("SELECT number, attempt, args, exit_code, invocation_id, round(seconds) FROM commands") == [
        (1, 1, "dbt build -s +top_customer", 1, "ecb466a7-9f2f-4c26-b9ba-a0d98fefd19c", 24)
    ]


def test_an_older_run_that_says_nothing_of_itself_has_what_can_be_known(
    kept: DuckDBFile, update: Update, ask: Ask
) -> None:
    warehouse.build(kept, 1, RUN)
    folders.of_recorded(kept.volume.runs / RUN, "success", ["build"], 0)
    folders.of_recorded(kept.volume.runs / LATER, "freshness_warn", ["source", "freshness"], 0)

    assert update() == []

    assert ask("SELECT state, generation, only_reads, dbt, name, starts, pod_seconds FROM runs ORDER BY started") == [
        ("completed", 1, False, "1.12.6", None, None, None),
        ("completed", None, True, "1.12.6", None, None, None),
    ]
    assert ask("SELECT count(*) FROM runs WHERE ended > started") == [(2,)]


def test_tests_and_hooks_are_where_they_belong(kept: DuckDBFile, update: Update, ask: Ask) -> None:
    folders.of_recorded(kept.volume.runs / "run", "failed_test", ["build"], 1)
    folders.of_recorded(kept.volume.runs / "hooks", "success", ["build"], 0)

    assert update() == []

    assert ask("SELECT name, status, failures FROM tests WHERE run_id = 'run' ORDER BY name") == [
        ("only_ann", "warn", 1),
        ("unique_stg_orders_customer", "fail", 1),
    ]
    assert ask("SELECT kind, count(*) FROM nodes WHERE run_id = 'hooks' GROUP BY kind ORDER BY kind") == [
        ("exposure", 1),
        ("model", 2),
        ("operation", 2),
        ("seed", 1),
        ("snapshot", 1),
    ]
    assert ask("SELECT name FROM tests WHERE run_id = 'hooks' ORDER BY name") == [
        ("fct_orders::big_orders_only",),
        ("not_null_stg_orders_id",),
    ]


def test_a_source_that_could_not_be_asked_is_there_too(kept: DuckDBFile, update: Update, ask: Ask) -> None:
    folders.of_recorded(kept.volume.runs / "run", "freshness_error", ["source", "freshness"], 1)

    assert update() == []

    assert ask("SELECT name, status, age_seconds, loaded_at IS NULL FROM source_checks ORDER BY name") == [
        ("raw.fresh", "pass", 1800.0, False),
        ("raw.late", "warn", 108300.0, False),
        ("raw.missing", "runtime error", None, True),
        ("raw.stale", "error", 360000.0, False),
    ]
    assert ask("SELECT checked_at - loaded_at FROM source_checks WHERE name = 'raw.fresh'") == [
        (timedelta(minutes=30),)
    ]


def test_a_run_that_was_killed_runs_until_its_folder_stays_and_its_lock_is_free(
    kept: DuckDBFile, update: Update, ask: Ask
) -> None:
    folders.of_recorded(kept.volume.runs / RUN, "killed", ["build"], None)
    begun = Start("pod-1", datetime(2026, 11, 25, 21, 5, 30, tzinfo=UTC))
    record.write(kept.volume.runs / RUN, Record(RUN, "slow-owl", starts=(begun,)))
    file = run_lock.path(kept.volume.runs, RUN)
    held = run_lock.take(file)
    assert held is not None
    seen = []

    for _ in range(2):
        assert update() == []
        seen += ask("SELECT state, ended FROM runs")
    run_lock.drop(file, held)
    assert update() == []

    assert seen == [("running", None)] * 2
    assert ask("SELECT state, ended, round(pod_seconds, 3) FROM runs") == [
        ("crashed", datetime(2026, 11, 25, 21, 6, 23, 125260, tzinfo=UTC), 53.125)
    ]
    assert not file.exists()


def test_a_node_that_was_running_when_dbt_was_killed_is_interrupted_and_did_not_fail(
    kept: DuckDBFile, update: Update, ask: Ask
) -> None:
    folders.of_recorded(kept.volume.runs / "run", "killed", ["build"], None)

    assert update() == []

    assert ask("SELECT name, status, seconds FROM nodes WHERE status <> 'success'") == [("slow", "interrupted", None)]
    assert ask("SELECT state FROM runs") == [("running",)]
    assert ask("SELECT * FROM failing_since") == []


def test_what_a_run_continues_stays_the_other_runs(kept: DuckDBFile, update: Update, ask: Ask) -> None:
    """Its folder begins as a copy of the other one's, run.json included."""
    first, second = folders.NOON, folders.NOON + timedelta(hours=1)
    nodes: dict[str, folders.Ending] = {"model.shop.a": ("success", 2), "model.shop.b": ("error", 1, "no")}
    for run_id in (RUN, LATER):
        folders.build(kept.volume.runs, run_id, first, nodes, state="failed")
        results = kept.volume.runs / run_id / "1-build" / "attempt-1" / "run_results.json"
        results.write_text(results.read_text().replace(f"of-{run_id}", "of-the-first"))
    folders.build(kept.volume.runs / "made", LATER, second, {"model.shop.b": ("success", 3)})
    made = kept.volume.runs / "made" / LATER
    (made / "1-build" / "attempt-1").rename(kept.volume.runs / LATER / "1-build" / "attempt-2")
    (made / "run.json").replace(kept.volume.runs / LATER / "run.json")

    assert update() == []

    assert ask("SELECT run_id, attempt, name, status FROM nodes WHERE run_id <> 'made' ORDER BY run_id, name") == [
        (RUN, 1, "a", "success"),
        (RUN, 1, "b", "error"),
        (LATER, 2, "b", "success"),
    ]


def test_what_a_run_read_before_it_built_is_its_command_number_zero(kept: DuckDBFile, update: Update, ask: Ask) -> None:
    folders.of_recorded(kept.volume.runs / f"{RUN}-freshness", "freshness_warn", ["source", "freshness"], 0)
    folders.build(kept.volume.runs, RUN, folders.NOON, {"model.shop.a": ("success", 2)})

    assert update() == []

    assert ask("SELECT run_id, number, args FROM commands ORDER BY number") == [
        (RUN, 0, "dbt source freshness"),
        (RUN, 1, "dbt build"),
    ]
    assert ask("SELECT run_id, state, only_reads FROM runs") == [(RUN, "completed", False)]


def test_each_pod_of_a_run_counts_a_killed_one_until_its_last_word(kept: DuckDBFile, update: Update, ask: Ask) -> None:
    folders.build(kept.volume.runs, "run", folders.NOON, {"model.shop.a": ("success", 55)})
    at = folders.NOON
    starts = (
        Start("pod-1", at),
        Start("pod-2", at + timedelta(seconds=40), at + timedelta(seconds=70)),
    )
    record.write(kept.volume.runs / "run", Record("run", state="completed", starts=starts))

    assert update() == []

    assert ask("SELECT starts, pod_seconds FROM runs") == [(2, 70.0)]


def test_garbage_in_a_run_folder_costs_that_run_alone_what_is_unreadable(
    kept: DuckDBFile, update: Update, ask: Ask
) -> None:
    folders.build(kept.volume.runs, "good", folders.NOON, {"model.shop.a": ("success", 2)})
    bad = folders.build(kept.volume.runs, "bad", folders.NOON, {"model.shop.a": ("success", 2)})
    (bad / "run_results.json").write_text('{"results": [')
    (bad / "attempt.json").write_text("[]")
    (bad.parents[1] / "run.json").write_text('{"starts": 3}')

    assert update() == []

    assert ask("SELECT run_id FROM nodes") == [("good",)]
    assert ask("SELECT run_id, state FROM runs ORDER BY run_id") == [("bad", "running"), ("good", "completed")]
