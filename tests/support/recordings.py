"""What dbt wrote in the recorded runs (data/, made by record.py), and how each of them ended."""

import json
import shutil
from pathlib import Path

import record
from dbtpod.dbt import results, stream
from dbtpod.dbt.events import Event
from dbtpod.dbt.node import NodeResult, NodeStatus
from dbtpod.dbt.results import RunReport

SUCCESS, WARN, ERROR, FAIL, SKIPPED, NO_OP, REUSED = NodeStatus
HOOKS = {"shop-on-run-start-0": SUCCESS, "shop-on-run-end-0": SUCCESS}
ORDERS = {"raw_orders": SUCCESS, "stg_orders": SUCCESS}
FAILED_MODEL = {"fct_orders": ERROR, "rich_customers": SKIPPED, "top_customer": SKIPPED}
# The exit code, and how each node ended.
RUNS: dict[str, tuple[int, dict[str, NodeStatus]]] = {
    "success": (
        0,
        HOOKS
        | ORDERS
        | {"not_null_stg_orders_id": SUCCESS, "orders_history": SUCCESS}
        | {"fct_orders::big_orders_only": SUCCESS, "fct_orders": SUCCESS, "dashboard": NO_OP},
    ),
    "failed_model": (1, ORDERS | FAILED_MODEL | {"not_null_top_customer_customer": SKIPPED}),
    "retry": (
        0,
        {
            "fct_orders": SUCCESS,
            "rich_customers": SUCCESS,
            "top_customer": SUCCESS,
            "not_null_top_customer_customer": SUCCESS,
        },
    ),
    "failed_test": (
        1,
        ORDERS | {"unique_stg_orders_customer": FAIL, "only_ann": WARN, "fct_orders": SKIPPED},
    ),
    "failed_unit_test": (1, ORDERS | {"fct_orders::sums_amounts": FAIL, "fct_orders": SKIPPED}),
    "warning_test": (0, ORDERS | {"unique_stg_orders_customer": WARN, "fct_orders": SUCCESS}),
    "fail_fast": (1, ORDERS | {"fct_orders": ERROR}),
    "failed_hook": (1, {"shop-on-run-start-0": ERROR}),  # since 1.12 nothing runs after it; only the artifact says so
    "freshness_warn": (0, {"raw.fresh": SUCCESS, "raw.late": WARN}),
    "freshness_error": (1, {"raw.fresh": SUCCESS, "raw.late": WARN, "raw.stale": ERROR, "raw.missing": ERROR}),
    "no_partial_parse": (0, {"raw_orders": SUCCESS}),
    "compile_error": (2, {}),
    "no_profile": (2, {}),
    "locked": (2, {}),
    "microbatch": (1, {"events": SUCCESS, "daily": ERROR, "after_daily": SKIPPED}),
    "ledger": (1, {"ledger": SUCCESS}),  # dbt cannot write how the tests ended
    "failed_operation": (1, {}),
    "interrupted": (2, ORDERS | {"slow": ERROR}),
    "killed": (-9, ORDERS),
}
OLD = sorted(f"dbt-1.11/{path.stem}" for path in (record.DATA / "dbt-1.11").glob("*.jsonl"))
RUNS |= {name: RUNS[name.removeprefix("dbt-1.11/")] for name in OLD}
RUNS["dbt-1.11/failed_hook"] = (1, ORDERS | {"shop-on-run-start-0": ERROR})  # all ran
RECORDED = sorted(record.SCENARIOS) + OLD


def parsed(name: str) -> list[Event]:
    lines, _ = record.load(name)
    return list(stream.read(lines))


def artifact(name: str, tmp_path: Path) -> str:
    """Put the recorded artifact where dbt does; its invocation's id."""
    source = record.DATA / f"{name}.json"
    found = json.loads(source.read_text())
    kind = "sources.json" if "sources" in found["metadata"]["dbt_schema_version"] else "run_results.json"
    shutil.copy(source, tmp_path / kind)
    return str(found["metadata"]["invocation_id"])


def read(name: str, tmp_path: Path) -> RunReport:
    report = results.read(tmp_path, artifact(name, tmp_path))
    assert report
    return report


def node(name: str, status: NodeStatus = SUCCESS, seconds: float = 1.0) -> NodeResult:
    return NodeResult(f"model.shop.{name}", "model", name, status, seconds, None, "")
