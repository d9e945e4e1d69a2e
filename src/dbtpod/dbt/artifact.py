"""One of the files in which dbt writes how its nodes ended, of dbt 1 and, as far as it is known, of dbt v2."""

import json
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from dbtpod.dbt.events import plain, time_of
from dbtpod.dbt.node import NodeResult, failures_table, kind_of, name_of, outcome, rows_affected

RUN_RESULTS = "run_results.json"
# The last is what dbt v2 calls sources.json.
FILES = (RUN_RESULTS, "sources.json", "freshness.json")
# What goes wrong when a file is cut short, or not of a form that dbt writes.
UNREADABLE = (ArithmeticError, AttributeError, LookupError, OSError, RecursionError, TypeError, ValueError)
_SECONDS = {"minute": 60.0, "hour": 3600.0, "day": 86400.0}


@dataclass(frozen=True)
class Artifact:
    """What one file says."""

    invocation_id: str  # empty where it does not say
    nodes: tuple[NodeResult, ...]
    elapsed: float


def read(path: Path) -> Artifact:
    """Read one of FILES; one of UNREADABLE where that is not possible."""
    artifact = json.loads(path.read_text(encoding="utf-8"))
    convert = _run_result if path.name == RUN_RESULTS else _freshness
    nodes = tuple(replace(convert(result), place=str(path)) for result in artifact["results"])
    invocation_id = artifact["metadata"].get("invocation_id") or ""
    return Artifact(invocation_id, _located(nodes, path.parent), float(artifact.get("elapsed_time") or 0))


# By its text: dbt shortens the file names of tests, and its artifacts name the files only in the whole manifest.
def _located(nodes: tuple[NodeResult, ...], target_dir: Path) -> tuple[NodeResult, ...]:
    if not any(node.failed and node.sql for node in nodes):
        return nodes
    try:
        files = {path.read_text(encoding="utf-8"): path for path in (target_dir / "compiled").rglob("*.sql")}
    except (OSError, ValueError):
        return nodes
    paths = {text: str(path.relative_to(target_dir)) for text, path in files.items()}
    return tuple(replace(node, compiled_path=paths.get(node.sql or "")) if node.failed else node for node in nodes)


def _run_result(result: Any) -> NodeResult:
    node = _node(result, result.get("message"))
    return replace(
        node,
        rows=rows_affected(node.node_id, result.get("adapter_response") or {}),
        sql=result.get("compiled_code"),
        failures_table=failures_table(node.node_id, node.status, result.get("relation_name")),
    )


def _freshness(result: Any) -> NodeResult:
    criteria = result.get("criteria") or {}
    return replace(
        _node(result, result.get("error")),
        age=result.get("max_loaded_at_time_ago_in_s"),
        warn_after=_threshold(criteria.get("warn_after")),
        error_after=_threshold(criteria.get("error_after")),
    )


# dbt v2 leaves out what is empty.
def _node(result: Any, text: Any) -> NodeResult:
    node_id = result["unique_id"]
    status, message = outcome(str(result["status"]), plain(str(text or "")))
    return NodeResult(
        node_id=node_id,
        kind=kind_of(node_id),
        name=name_of(node_id),
        status=status,
        seconds=float(result.get("execution_time") or 0),
        rows=None,
        message=message,
        ended=_ended(result),
    )


def _ended(result: Any) -> datetime | None:
    times = [step["completed_at"] for step in result.get("timing") or () if step.get("completed_at")]
    try:
        return time_of(max(times)) if times else None
    except ValueError:
        return None


def _threshold(after: Any) -> float | None:
    return after["count"] * _SECONDS[after["period"]] if after and after.get("count") is not None else None
