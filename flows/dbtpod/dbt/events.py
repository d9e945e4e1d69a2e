"""One line of dbt's JSON log to frozen values; pure, and never an exception: what it cannot read is passed on as text.

dbt must run with `--log-format json --log-level debug`: NodeFinished is a debug event.
"""

import json
import logging
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any


class NodeStatus(StrEnum):
    """How a dbt node ended; `PASS` of a test and `success` of a model are both SUCCESS."""

    SUCCESS = "success"
    WARN = "warn"
    ERROR = "error"
    FAIL = "fail"
    SKIPPED = "skipped"


# dbt's own exit code decides: it is 1 for a partial success and 0 for a no-op (an exposure in a build).
STATUSES = {
    "success": NodeStatus.SUCCESS,
    "pass": NodeStatus.SUCCESS,
    "no-op": NodeStatus.SUCCESS,
    "warn": NodeStatus.WARN,
    "error": NodeStatus.ERROR,
    "runtime error": NodeStatus.ERROR,
    "partial success": NodeStatus.ERROR,
    "fail": NodeStatus.FAIL,
    "skipped": NodeStatus.SKIPPED,
}


@dataclass(frozen=True)
class LogLine:
    """A line for the reader of the log, at dbt's own level; `node_id` is None where it belongs to no node."""

    level: int  # logging's numbers
    text: str  # without colour codes
    at: datetime | None
    node_id: str | None = None


@dataclass(frozen=True)
class InvocationStarted:
    """dbt is up; its artifacts of this run will carry the same id."""

    invocation_id: str
    at: datetime


@dataclass(frozen=True)
class NodeStarted:
    """dbt began to run a node; `index` of `total` counts the command's nodes and is None for a hook."""

    node_id: str  # "model.shop.fct_orders"
    kind: str  # dbt's resource type: model, seed, snapshot, test, unit_test, source, operation
    name: str
    at: datetime  # dbt's own clock, not the time we read the line
    index: int | None = None
    total: int | None = None


@dataclass(frozen=True)
class NodeFinished:
    """dbt is done with a node; a skipped node has no NodeStarted before it."""

    node_id: str
    kind: str
    name: str
    status: NodeStatus
    at: datetime
    seconds: float
    message: str
    rows: int | None


Event = LogLine | InvocationStarted | NodeStarted | NodeFinished

_LEVELS = {"info": logging.INFO, "warn": logging.WARNING, "error": logging.ERROR}
_SILENT = ("debug", "test")
# Prefect cuts a log record at 1,000,000 bytes; a character is up to 6 of them.
_LONGEST_TEXT = 100_000
_COLOUR = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
# PostgreSQL, Prefect's database, has no text with a NUL, and JSON none with half a surrogate pair.
_UNPRINTABLE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f\ud800-\udfff]")
_TEST_HASH = re.compile(r"\.[0-9a-f]{10}$")
# What goes wrong when a field is missing or is not of the type that dbt 1.11 writes.
_UNREADABLE = (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError)


def parse(line: str) -> tuple[Event, ...]:
    """The events of one line, a node's start before the log line that says so; none for a debug line of no node.

    A line that is not dbt's JSON comes back as LogLine at INFO, whole: text that is too long for one record as several.
    """
    if not line.strip():
        return ()
    try:
        record = json.loads(line)
        return (*_node_events(record), *_log_lines(record))
    except _UNREADABLE:
        return tuple(LogLine(logging.INFO, text, None) for text in _pieces(line))


def is_read(name: str, level: str) -> bool:
    """Whether `parse` makes anything of dbt's event of that name and level."""
    return level not in _SILENT or name in _READERS


def kind_of(node_id: str) -> str:
    """dbt's resource type: model, seed, snapshot, test, unit_test, source, operation, exposure."""
    return node_id.split(".", 1)[0]


def name_of(node_id: str) -> str:
    """The node's name as dbt's own log has it: no package, no hash of a test; `source.table`; `model::unit_test`."""
    kind, _, name = node_id.split(".", 2)
    if kind == "unit_test":
        return name.replace(".", "::", 1)
    return _TEST_HASH.sub("", name) if kind == "test" else name


def plain(text: str) -> str:
    """The text without colour codes, and without characters that a log cannot hold."""
    return _UNPRINTABLE.sub("\N{REPLACEMENT CHARACTER}", _COLOUR.sub("", text.replace("\r\n", "\n"))).rstrip()


def rows_affected(node_id: str, adapter_response: dict[str, Any]) -> int | None:
    """The rows that a node wrote, as the database says; None where it does not, and for what writes none."""
    rows = adapter_response.get("rows_affected")
    writes = kind_of(node_id) in ("model", "seed", "snapshot")
    return int(rows) if writes and rows is not None and rows >= 0 else None


def _log_lines(record: Any) -> tuple[LogLine, ...]:
    info, data = record["info"], record["data"]
    if info["level"] in _SILENT or not info["msg"].strip():
        return ()
    node_id = (data.get("node_info") or {}).get("unique_id") or data.get("unique_id") or None
    level, at = _LEVELS.get(info["level"], logging.INFO), _time(info["ts"])
    return tuple(LogLine(level, text, at, node_id) for text in _pieces(info["msg"]))


def _node_events(record: Any) -> tuple[Event, ...]:
    reader = _READERS.get(record["info"]["name"])
    return () if reader is None else reader(record["info"], record["data"])


def _invocation(info: Any, _: Any) -> tuple[Event, ...]:
    return (InvocationStarted(info["invocation_id"], _time(info["ts"])),)


# Not NodeStart: dbt writes that one for a node that it is about to skip too, and for ephemeral models.
def _started(info: Any, data: Any) -> tuple[Event, ...]:
    node, node_id = data["node_info"], data["node_info"]["unique_id"]
    at = _time(node["node_started_at"] or info["ts"])
    return (NodeStarted(node_id, kind_of(node_id), name_of(node_id), at, data["index"], data["total"]),)


def _hook_started(info: Any, data: Any) -> tuple[Event, ...]:
    return _started(info, data | {"index": None, "total": None})


def _finished(info: Any, data: Any) -> tuple[Event, ...]:
    node, result = data["node_info"], data["run_result"]
    if node["materialized"] == "ephemeral":  # never runs, and has no row in dbt's results
        return ()
    node_id = node["unique_id"]
    return (
        NodeFinished(
            node_id=node_id,
            kind=kind_of(node_id),
            name=name_of(node_id),
            status=STATUSES[result["status"]],
            at=_time(node["node_finished_at"] or info["ts"]),
            seconds=float(result["execution_time"]),
            message=plain(result["message"] or ""),
            rows=rows_affected(node_id, result["adapter_response"]),
        ),
    )


# A hook has no NodeFinished, and only run_results.json has its message.
def _hook_finished(info: Any, data: Any) -> tuple[Event, ...]:
    result = {"status": data["status"], "execution_time": data["execution_time"], "message": "", "adapter_response": {}}
    return _finished(info, data | {"run_result": result})


_READERS: dict[str, Callable[[Any, Any], tuple[Event, ...]]] = {
    "MainReportVersion": _invocation,
    "LogStartLine": _started,
    "NodeFinished": _finished,
    "LogHookStartLine": _hook_started,
    "LogHookEndLine": _hook_finished,
}


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)  # dbt writes UTC, some of it without saying so


def _pieces(text: str) -> list[str]:
    text = plain(text)
    return [text[start : start + _LONGEST_TEXT] for start in range(0, len(text), _LONGEST_TEXT)]
