"""dbt's artifacts run_results.json and sources.json to one RunReport; pure but for reading the two files."""

import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from dbtpod.dbt.events import (
    STATUSES,
    Event,
    InvocationStarted,
    NodeFinished,
    NodeStatus,
    kind_of,
    name_of,
    plain,
    rows_affected,
)

_SECONDS = {"minute": 60.0, "hour": 3600.0, "day": 86400.0}
# What goes wrong when a file is missing, cut short, or not of a form that dbt 1.11 writes.
_UNREADABLE = (ArithmeticError, AttributeError, LookupError, OSError, RecursionError, TypeError, ValueError)


@dataclass(frozen=True)
class NodeResult:
    """How one node ended, as dbt's artifact says."""

    node_id: str
    kind: str
    name: str
    status: NodeStatus
    seconds: float
    rows: int | None
    message: str
    sql: str | None = None  # compiled
    compiled_path: str | None = None  # relative to the target folder; only of what failed
    # Freshness only: seconds since the newest row, and dbt's thresholds in seconds.
    age: float | None = None
    warn_after: float | None = None
    error_after: float | None = None

    @property
    def failed(self) -> bool:
        """Whether it is a cause of dbt's exit code 1; what was skipped because of it is not."""
        return self.status in (NodeStatus.ERROR, NodeStatus.FAIL)


@dataclass(frozen=True)
class RunReport:
    """The results of one dbt command, or of all commands of a flow run merged."""

    invocation_id: str
    nodes: tuple[NodeResult, ...]
    elapsed: float  # seconds, dbt's own


def read(target_dir: Path, invocation_id: str) -> RunReport | None:
    """What that invocation wrote; None where both files are missing, broken, or another invocation's.

    sources.json leaves out a source whose freshness query failed: merge this onto `from_events` to keep it.
    """
    files = (("run_results.json", _run_result), ("sources.json", _freshness))
    for file_name, convert in files:
        try:
            artifact = json.loads((target_dir / file_name).read_text(encoding="utf-8"))
            if artifact["metadata"]["invocation_id"] == invocation_id:
                nodes = tuple(convert(result) for result in artifact["results"])
                return RunReport(invocation_id, _located(nodes, target_dir), float(artifact["elapsed_time"]))
        except _UNREADABLE:
            continue
    return None


def from_events(events: Iterable[Event]) -> RunReport | None:
    """What the log alone tells, for a dbt that was killed; None where dbt did not come up."""
    started: InvocationStarted | None = None
    finished: dict[str, NodeFinished] = {}
    for event in events:
        if isinstance(event, InvocationStarted):
            started = event
        elif isinstance(event, NodeFinished):
            finished[event.node_id] = event
    if started is None:
        return None
    end = max((event.at for event in finished.values()), default=started.at)
    nodes = tuple(
        NodeResult(e.node_id, e.kind, e.name, e.status, e.seconds, e.rows, e.message) for e in finished.values()
    )
    return RunReport(started.invocation_id, nodes, (end - started.at).total_seconds())


def merge(earlier: RunReport | None, later: RunReport | None) -> RunReport | None:
    """Both as one: the later result of a node wins, in the earlier one's place; None only where both are."""
    if earlier is None or later is None:
        return later or earlier
    nodes = {node.node_id: node for node in (*earlier.nodes, *later.nodes)}
    same = earlier.invocation_id == later.invocation_id
    elapsed = later.elapsed if same else earlier.elapsed + later.elapsed
    return RunReport(later.invocation_id, tuple(nodes.values()), elapsed)


def counts(report: RunReport) -> dict[NodeStatus, int]:
    """How many nodes ended in each status, those with none included."""
    return {status: sum(node.status is status for node in report.nodes) for status in NodeStatus}


# By its text: dbt shortens the file names of tests, and its artifacts name the files only in the whole manifest.
def _located(nodes: tuple[NodeResult, ...], target_dir: Path) -> tuple[NodeResult, ...]:
    if not any(node.failed and node.sql for node in nodes):
        return nodes
    files = {path.read_text(encoding="utf-8"): path for path in (target_dir / "compiled").rglob("*.sql")}
    paths = {text: str(path.relative_to(target_dir)) for text, path in files.items()}
    return tuple(replace(node, compiled_path=paths.get(node.sql or "")) if node.failed else node for node in nodes)


def _run_result(result: Any) -> NodeResult:
    node_id = result["unique_id"]
    return NodeResult(
        node_id=node_id,
        kind=kind_of(node_id),
        name=name_of(node_id),
        status=STATUSES[result["status"]],
        seconds=float(result["execution_time"]),
        rows=rows_affected(node_id, result["adapter_response"]),
        message=plain(result["message"] or ""),
        sql=result.get("compiled_code"),
    )


def _freshness(result: Any) -> NodeResult:
    node_id, criteria = result["unique_id"], result.get("criteria") or {}
    return NodeResult(
        node_id=node_id,
        kind=kind_of(node_id),
        name=name_of(node_id),
        status=STATUSES[result["status"]],
        seconds=float(result.get("execution_time", 0)),
        rows=None,
        message=plain(str(result.get("error") or "")),
        age=result.get("max_loaded_at_time_ago_in_s"),
        warn_after=_threshold(criteria.get("warn_after")),
        error_after=_threshold(criteria.get("error_after")),
    )


def _threshold(after: Any) -> float | None:
    return after["count"] * _SECONDS[after["period"]] if after and after.get("count") is not None else None
