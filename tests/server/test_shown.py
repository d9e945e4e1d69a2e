"""What Prefect shows of a run is what dbt's artifacts and its own totals say: projects of all kinds of nodes, real dbt,
a real Prefect server."""

import json
import logging
import re
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import messages
import record
import shop
from dbtpod.dbt import node
from dbtpod.dbt.node import NodeStatus
from dbtpod.ui.node_states import STATES
from prefect_server import Server
from shop_flows import building, checking_freshness, run
from waiting import until

DONE = re.compile(r"Done\. PASS=(\d+) WARN=(\d+) ERROR=(\d+) SKIP=(\d+) NO-OP=(\d+) REUSED=(\d+) TOTAL=(\d+)")
COUNT = re.compile(r"(\d+) (success|warn|error|fail|skipped|no-op|reused)\b")
DAYS = ("--event-time-start", "2026-01-01", "--event-time-end", "2026-01-04")

# Every kind of node that dbt has, and all of them pass or warn.
ALL_KINDS = {
    "dbt_project.yml": """
name: shop
profile: shop
flags: {send_anonymous_usage_stats: false}
models: {+materialized: table}
on-run-start: ["create schema if not exists audit"]
on-run-end: ["select 1"]
""",
    "packages.yml": "packages: [{local: ./crm}]\n",
    "crm/dbt_project.yml": "name: crm\nmodels: {+materialized: table}\n",
    "crm/models/orders.sql": "{{ config(schema='crm') }} select 1 as id",
    "seeds/raw_orders.csv": "id,customer\n1,ann\n2,bob\n",
    "snapshots/history.yml": """
snapshots:
  - name: history
    relation: ref('raw_orders')
    config: {strategy: check, unique_key: id, check_cols: [customer]}
""",
    "models/orders.sql": "select id, customer, now() as loaded_at from {{ ref('raw_orders') }}",
    "models/small.sql": "{{ config(materialized='ephemeral') }} select * from {{ ref('shop', 'orders') }} where id < 9",
    "models/off.sql": "{{ config(enabled=false) }} select 1 as id",
    "models/totals.sql": "select count(*) as n from {{ ref('small') }}",
    "models/days.sql": "select date '2026-01-01' + cast(range as integer) as date_day from range(4)",
    "models/customer_v1.sql": "select 1 as id",
    "models/customer_v2.sql": "select 1 as id, 2 as level",
    "models/events.sql": record.MICROBATCH["models/events.sql"],
    "models/daily.sql": record.MICROBATCH["models/daily.sql"].replace("= 2", "= 31"),
    "models/after_daily.sql": "select * from {{ ref('daily') }}",
    "models/shop.yml": """
models:
  - name: customer
    latest_version: 2
    config: {contract: {enforced: true}}
    columns: [{name: id, data_type: integer, data_tests: [not_null]}]
    versions: [{v: 1}, {v: 2, columns: [{include: all}, {name: level, data_type: integer}]}]
  - name: days
    time_spine: {standard_granularity_column: date_day}
    columns: [{name: date_day, granularity: day}]
exposures:
  - {name: dashboard, type: dashboard, owner: {name: Ann}, depends_on: [ref('totals')]}
unit_tests:
  - name: counts_orders
    model: totals
    given: [{input: ref('small'), format: sql, rows: "select 1 as id"}]
    expect: {rows: [{n: 1}]}
semantic_models:
  - name: calendar
    model: ref('days')
    defaults: {agg_time_dimension: date_day}
    entities: [{name: whole_day, type: primary, expr: date_day}]
    dimensions: [{name: date_day, type: time, type_params: {time_granularity: day}}]
    measures: [{name: number_of_days, agg: count, expr: '1'}]
metrics:
  - {name: all_days, label: Days, type: simple, type_params: {measure: number_of_days}}
saved_queries:
  - name: calendar_export
    query_params: {metrics: [all_days], group_by: [TimeDimension('whole_day__date_day')]}
    exports: [{name: days_table, config: {export_as: table}}]
sources:
  - name: raw
    schema: main
    tables:
      - name: orders
        config:
          loaded_at_field: "loaded_at - interval 90 minute"
          freshness: {warn_after: {count: 1, period: hour}, error_after: {count: 3, period: hour}}
""",
    "tests/warns.sql": "{{ config(severity='warn', store_failures=true) }} select id from {{ ref('shop', 'orders') }}",
}
# What fails: a function that the adapter cannot make, a contract, a unit test, a batch, and more than dbt can count.
FAILING = ALL_KINDS | {
    "functions/plus_one.sql": "x + 1",
    "functions/functions.yml": (
        "functions: [{name: plus_one, arguments: [{name: x, data_type: integer}], returns: {data_type: integer}}]"
    ),
    "models/uses_function.sql": "select {{ function('plus_one') }}(1) as n",
    "models/customer_v2.sql": "select 1 as id, 'x' as level",
    "models/shop.yml": ALL_KINDS["models/shop.yml"].replace("expect: {rows: [{n: 1}]}", "expect: {rows: [{n: 2}]}"),
    "models/daily.sql": record.MICROBATCH["models/daily.sql"],
    **record.LEDGER,
}
FAILED_HOOK = record.ORDERS | {
    "dbt_project.yml": record.PROJECT["dbt_project.yml"] + 'on-run-end: ["select * from nowhere"]\n',
}
CASES = {
    "all kinds pass": (ALL_KINDS, ("build", *DAYS)),
    "all kinds, some fail": (FAILING, ("build", *DAYS)),
    "fails fast": (FAILING, ("build", "--fail-fast", *DAYS)),
    "a hook fails": (FAILED_HOOK, ("build",)),
    "an operation fails": (FAILED_HOOK | record.OPERATION, ("run-operation", "boom")),
}

pytestmark = pytest.mark.usefixtures("api")


@pytest.fixture
def logged() -> Iterator[list[str]]:
    with messages.kept(logging.INFO, "prefect.flow_runs", "prefect.task_runs") as texts:
        yield texts


@pytest.mark.parametrize("case", CASES)
def test_the_last_state_of_a_task_run_is_that_of_dbts_artifact_and_the_counts_are_dbts_own(
    api: Server, project: Path, logged: list[str], case: str
) -> None:
    files, args = CASES[case]
    write(project, files)

    state = run(building, *args)

    flow_run = str(state.state_details.flow_run_id)
    written = artifact(project, flow_run)
    assert written, "the run has an artifact to compare with"
    expected = {unique_id: STATES[node.outcome(status, "")[0]][1] for unique_id, status in written.items()}
    shown = task_runs(api, flow_run, len(expected))
    assert {unique_id: row["state_name"] for unique_id, row in shown.items()} == expected
    assert counted(str(state.message)) == Counter(node.outcome(status, "")[0] for status in written.values())
    totals = [[int(number) for number in found.groups()] for found in map(DONE.match, logged) if found]
    # dbt prints none after an operation, and none where it stopped at the first failure.
    assert totals == [] if case in ("fails fast", "an operation fails") else [dbts_groups(counted(str(state.message)))]
    assert state.is_completed() == (case == "all kinds pass")
    assert len(str(state.message)) <= 2000


def test_a_microbatch_model_has_one_final_state_with_the_error_of_its_batch(api: Server, project: Path) -> None:
    write(project, record.MICROBATCH)

    state = run(building, "build", *record.MICROBATCH_DAYS)

    row = task_runs(api, str(state.state_details.flow_run_id), 3)["model.shop.daily"]
    states = api.get(f"/task_run_states/?task_run_id={row['id']}")
    assert sorted(state["name"] for state in states) == ["Failed", "Pending", "Running"]
    assert row["state"]["message"].startswith("PARTIAL SUCCESS (3/4)\nbatch 2026-01-02: Conversion Error")
    assert "PARTIAL SUCCESS (3/4) batch 2026-01-02: Conversion Error" in str(state.message)


def test_a_quiet_dbt_is_shown_by_its_artifact(api: Server, project: Path) -> None:
    write(project, record.ORDERS)

    state = run(building, "build", "--quiet")

    assert state.message == "2 nodes: 2 success"
    rows = task_runs(api, str(state.state_details.flow_run_id), 2)
    assert {row["state_name"] for row in rows.values()} == {"Completed"}


def test_a_late_source_has_its_age_in_its_task_run(api: Server, project: Path) -> None:
    # dbt runs a project's hooks for a freshness check too, and these write.
    without_hooks = re.sub("on-run-.*\n", "", ALL_KINDS["dbt_project.yml"])
    write(project, ALL_KINDS | {"dbt_project.yml": without_hooks})
    built = run(building, "build", "--select", "raw_orders", "shop.orders")
    assert built.is_completed(), built.message

    state = run(checking_freshness)

    assert state.is_completed(), state.message
    [row] = task_runs(api, str(state.state_details.flow_run_id), 1, with_hooks=False).values()
    assert (row["name"], row["state_name"]) == ("source raw.orders (warn)", "Warn")
    assert re.match(r"is 1 h 3\d min old, warn after 1 h, error after 3 h", row["state"]["message"])


def test_two_packages_with_a_model_of_one_name_and_stored_failures_can_be_told_apart(
    api: Server, project: Path
) -> None:
    write(project, ALL_KINDS)

    state = run(building, "build", "--select", "raw_orders", "shop.orders", "crm.orders", "warns")

    flow_run = str(state.state_details.flow_run_id)
    rows = task_runs(api, flow_run, 5 + 1)
    assert {rows[id_]["name"] for id_ in ("model.shop.orders", "model.crm.orders")} == {
        "model shop.orders",
        "model crm.orders",
    }
    assert rows["seed.shop.raw_orders"]["name"] == "seed raw_orders"
    table = '"warehouse"."main_dbt_test__audit"."warns"'
    assert f"failing rows are in {table}" in rows["test.shop.warns"]["state"]["message"]
    assert f"failing rows are in {table}" in str(state.message)


def write(project: Path, files: dict[str, str]) -> None:
    # Two threads: nodes that run beside each other.
    profile = shop.PROFILE.replace("threads: 1", "threads: 2")
    shop.write(project, {"dbt_project.yml": record.PROJECT["dbt_project.yml"], "profiles.yml": profile} | files)
    if "packages.yml" in files:
        command = [record.DBT, "deps", "--project-dir", project, "--profiles-dir", project]
        subprocess.run(command, check=True, capture_output=True, timeout=120, cwd=project)


def artifact(project: Path, run: str) -> dict[str, str]:
    """Each node's status, as dbt wrote it."""
    [path] = (project.parent / "volume" / "runs" / run).glob("1-*/attempt-1/run_results.json")
    return {result["unique_id"]: result["status"] for result in json.loads(path.read_text())["results"]}


def task_runs(api: Server, run: str, expected: int, with_hooks: bool = True) -> dict[str, dict[str, Any]]:
    """The ended task run of each node, once there are as many as expected and none is open."""

    def ended() -> dict[str, dict[str, Any]] | None:
        rows = [row for row in api.filter("task_runs", run) if row["task_key"] == "dbt-node"]
        shown = {row["dynamic_key"].rsplit("/", 1)[0]: row for row in rows}
        if not with_hooks:
            shown = {unique_id: row for unique_id, row in shown.items() if not unique_id.startswith("operation.")}
        assert len(rows) >= len(shown), "one task run a node"
        return shown if len(shown) == expected and all(row["end_time"] for row in shown.values()) else None

    return until(ended) or {}


def counted(message: str) -> Counter[NodeStatus]:
    """What the state message says: its first line, before what it names in brackets."""
    first = message.split("\n")[0].split("(")[0]
    return Counter({NodeStatus(status): int(number) for number, status in COUNT.findall(first)})


def dbts_groups(counts: Counter[NodeStatus]) -> list[int]:
    one_each = [counts[status] for status in (NodeStatus.SKIPPED, NodeStatus.NO_OP, NodeStatus.REUSED)]
    failed = counts[NodeStatus.ERROR] + counts[NodeStatus.FAIL]
    return [counts[NodeStatus.SUCCESS], counts[NodeStatus.WARN], failed, *one_each, counts.total()]
