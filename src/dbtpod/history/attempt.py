"""One attempt of a dbt command as rows: by dbt's artifacts, and by what it logged where they leave something out."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from dbtpod.dbt import arguments, record
from dbtpod.dbt.artifact import UNREADABLE
from dbtpod.dbt.events import plain, time_of
from dbtpod.dbt.node import TESTS, kind_of, name_of, rows_affected

Row = dict[str, Any]

# What dbt logs that says when it came up, and how nodes began and ended.
_READ = ('"MainReportVersion"', '"LogStartLine"', '"NodeFinished"', '"LogHookStartLine"', '"LogHookEndLine"')
_ENDINGS = ("NodeFinished", "LogHookEndLine")
# What dbt says of nodes that ended well is no news.
_GOOD = ("success", "pass")
# Ours: dbt began the node, and was ended before it said how that went.
INTERRUPTED = "interrupted"
_LONGEST = 4000


@dataclass
class Found:
    """What is known of one attempt."""

    args: tuple[str, ...] | None
    exit_code: int | None
    # When the record of it was made, for a dbt that did not come up.
    made: datetime
    invocation_id: str = ""
    dbt: str = ""
    started: datetime | None = None
    last: datetime | None = None
    # By the node's id, in the form of run_results.json and sources.json.
    results: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    checks: dict[str, Mapping[str, Any]] = field(default_factory=dict)

    @property
    def only_reads(self) -> bool:
        """Whether the command is one that builds nothing."""
        return self.args is not None and arguments.parse(self.args).verb in arguments.READING

    def command(self) -> Row:
        """Return its row."""
        seconds = (self.last - self.started).total_seconds() if self.last and self.started else None
        return {
            "args": None if self.args is None else arguments.text(self.args),
            "started": self.started,
            "seconds": seconds,
            "exit_code": self.exit_code,
            "invocation_id": self.invocation_id or None,
        }

    def rows(self) -> dict[str, list[Row]]:
        """Return the rows of its nodes, by their table."""
        tables: dict[str, list[Row]] = {"nodes": [], "tests": [], "source_checks": []}
        for node_id, result in (self.results | self.checks).items():
            kind = kind_of(node_id)
            if kind == "source":
                tables["source_checks"].append(_check(node_id, result))
            elif kind in TESTS:
                tables["tests"].append(_node(node_id, result) | {"failures": result.get("failures")})
            else:
                rows = rows_affected(node_id, result.get("adapter_response") or {})
                tables["nodes"].append(_node(node_id, result) | {"kind": kind, "rows": rows})
        return tables


def read(folder: Path) -> Found:
    """Read what there is of an attempt; what cannot be read is left out."""
    facts = record.read(folder)
    known = folder / "attempt.json"
    made = datetime.fromtimestamp((known if known.is_file() else folder).stat().st_mtime, UTC)
    found = Found(facts.args, facts.exit_code, made)
    _read_events(folder / "events.jsonl", found)
    _read_artifact(folder / "run_results.json", found, found.results)
    _read_artifact(folder / "sources.json", found, found.checks)
    return found


def _read_events(path: Path, found: Found) -> None:
    text = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
    for line in text.splitlines():
        if any(name in line for name in _READ):
            # The last line may be cut short by a kill.
            try:
                event = json.loads(line)
                _read_event(event["info"], event["data"], found)
            except UNREADABLE:
                continue


def _read_event(info: Mapping[str, Any], data: Mapping[str, Any], found: Found) -> None:
    at = time_of(info["ts"])
    found.last = max(found.last or at, at)
    if info["name"] == "MainReportVersion":
        found.invocation_id, found.started = info["invocation_id"], at
        found.dbt = str(data["version"]).lstrip("=")
        return
    node = data["node_info"]
    if node["materialized"] == "ephemeral":
        return
    result: dict[str, Any] = {"thread_id": info.get("thread"), "started_at": node.get("node_started_at") or None}
    if info["name"] == "NodeFinished":
        said = data["run_result"]
        result |= {**said, "timing": said.get("timing_info"), "failures": said.get("num_failures")}
    elif info["name"] == "LogHookEndLine":
        result |= {"status": data["status"], "execution_time": data["execution_time"]}
    else:
        result["status"] = INTERRUPTED
    # A second word on a node's start is a batch's.
    if info["name"] in _ENDINGS or node["unique_id"] not in found.results:
        found.results[node["unique_id"]] = result


def _read_artifact(path: Path, found: Found, results: dict[str, Mapping[str, Any]]) -> None:
    try:
        artifact = json.loads(path.read_text(encoding="utf-8"))
        metadata = artifact["metadata"]
        invocation_id = metadata.get("invocation_id") or ""
        if found.invocation_id and invocation_id not in ("", found.invocation_id):
            return
        found.invocation_id, found.dbt = invocation_id or found.invocation_id, found.dbt or metadata["dbt_version"]
        at = time_of(metadata["generated_at"])
        found.last = max(found.last or at, at)
        found.started = found.started or time_of(metadata["invocation_started_at"])
        for each in artifact["results"]:
            logged = results.get(each["unique_id"], {})
            results[each["unique_id"]] = {"started_at": logged.get("started_at")} | each
    except UNREADABLE:
        return


def _node(node_id: str, result: Mapping[str, Any]) -> Row:
    status = str(result["status"]).lower()
    message = plain(str(result.get("message") or ""))[:_LONGEST]
    seconds = result.get("execution_time")
    return {
        "node_id": node_id,
        "name": name_of(node_id),
        "status": status,
        "started": None if status == "skipped" else _started(result),
        "seconds": None if status in ("skipped", INTERRUPTED) or seconds is None else float(seconds),
        "thread": result.get("thread_id") or None,
        "message": None if status in _GOOD else message or None,
    }


def _started(result: Mapping[str, Any]) -> datetime | None:
    times = [step["started_at"] for step in result.get("timing") or () if step.get("started_at")]
    text = min(times, default=None) or result.get("started_at")
    return time_of(text) if text else None


def _check(node_id: str, result: Mapping[str, Any]) -> Row:
    loaded, checked = (result.get(key) for key in ("max_loaded_at", "snapshotted_at"))
    age = result.get("max_loaded_at_time_ago_in_s")
    return {
        "node_id": node_id,
        "name": name_of(node_id),
        "status": str(result["status"]).lower(),
        # dbt has the year 1 for a source without rows.
        "loaded_at": time_of(loaded) if loaded and time_of(loaded).year > 1 else None,
        "checked_at": time_of(checked) if checked else None,
        "age_seconds": None if age is None else float(age),
    }
