"""One line of dbt's JSON log to frozen values; pure, and never an exception: what it cannot read is passed on as text.

dbt must run with `--log-format json --log-level debug`: NodeFinished is a debug event.
"""

import json
import logging
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from dbtpod.dbt.node import NodeStatus, failures_table, kind_of, name_of, outcome, rows_affected


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
    kind: str  # see kind_of
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
    failures_table: str | None = None
    attempt: str = ""  # dbt's time of its start: a microbatch model has another one than each of its batches


@dataclass(frozen=True)
class NodeRaised:
    """An error that dbt met while it ran a node, or a batch of it; for a batch, it is written nowhere else."""

    node_id: str
    attempt: str
    message: str


@dataclass(frozen=True)
class BatchAnnounced:
    """A batch of a microbatch model began or ended; its NodeFinished, with the model's id, comes later."""

    node_id: str
    attempt: str
    name: str  # "batch 2026-01-31"
    index: int
    total: int


@dataclass(frozen=True)
class BatchFinished:
    """dbt is done with the `index`th of the `total` batches of a microbatch model; see `stream`."""

    node_id: str
    index: int
    total: int
    status: NodeStatus
    message: str  # empty unless it failed


Event = LogLine | InvocationStarted | NodeStarted | NodeFinished | NodeRaised | BatchAnnounced | BatchFinished

_LEVELS = {"info": logging.INFO, "warn": logging.WARNING, "error": logging.ERROR}
_SILENT = ("debug", "test")
# Prefect cuts a log record at 1,000,000 bytes; a character is up to 6 of them.
_LONGEST_TEXT = 100_000
_COLOUR = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
# PostgreSQL, Prefect's database, has no text with a NUL, and JSON none with half a surrogate pair.
_UNPRINTABLE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f\ud800-\udfff]")
# dbt could not write an event and prints its whole data instead: of the last event of a build, all results.
_UNWRITTEN = re.compile(r"^(\[\w+\]: Unable to parse logging event dictionary\..*?) Dictionary: .*", re.DOTALL)
# What goes wrong when a field is missing or is not of the type that dbt 1.12 writes.
_UNREADABLE = (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError)


def parse(line: str) -> tuple[Event, ...]:
    """Read one line into its events, a node's start before the log line that says so; none for a debug line of no node.

    A line that is not dbt's JSON comes back as LogLine at INFO, whole: text that is too long for one record as several.

    >>> parse("Traceback (most recent call last):")
    (LogLine(level=20, text='Traceback (most recent call last):', at=None, node_id=None),)
    """
    if not line.strip():
        return ()
    try:
        record = json.loads(line)
        return (*_node_events(record), *_log_lines(record))
    except _UNREADABLE:
        return tuple(LogLine(logging.INFO, text, None) for text in _pieces(line))


def is_read(name: str, level: str) -> bool:
    """Return whether `parse` makes anything of dbt's event of that name and level."""
    return level not in _SILENT or name in _READERS


def plain(text: str) -> str:
    """Take out of the text its colour codes, and replace characters that a log cannot hold.

    >>> plain("\\x1b[32mOK\\x1b[0m")
    'OK'
    """
    return _UNPRINTABLE.sub("\N{REPLACEMENT CHARACTER}", _COLOUR.sub("", text.replace("\r\n", "\n"))).rstrip()


def time_of(text: str) -> datetime:
    """Read a time as dbt writes it: in UTC, which some of its times do not say."""
    at = datetime.fromisoformat(text)
    return at.astimezone(UTC) if at.tzinfo else at.replace(tzinfo=UTC)


def _log_lines(record: Any) -> tuple[LogLine, ...]:
    info, data = record["info"], record["data"]
    if info["level"] in _SILENT or not info["msg"].strip():
        return ()
    node_id = (data.get("node_info") or {}).get("unique_id") or data.get("unique_id") or None
    level, at = _LEVELS.get(info["level"], logging.INFO), time_of(info["ts"])
    return tuple(LogLine(level, text, at, node_id) for text in _pieces(_UNWRITTEN.sub(r"\1", info["msg"])))


def _node_events(record: Any) -> tuple[Event, ...]:
    reader = _READERS.get(record["info"]["name"])
    # Without data dbt could not write the event, and said so in a Note before it.
    return () if reader is None or record["data"] == {} else reader(record["info"], record["data"])


def _invocation(info: Any, _: Any) -> tuple[Event, ...]:
    return (InvocationStarted(info["invocation_id"], time_of(info["ts"])),)


# Not NodeStart: dbt writes that one for a node that it is about to skip too, and for ephemeral models.
def _started(info: Any, data: Any) -> tuple[Event, ...]:
    node, node_id = data["node_info"], data["node_info"]["unique_id"]
    at = time_of(node["node_started_at"] or info["ts"])
    return (NodeStarted(node_id, kind_of(node_id), name_of(node_id), at, data["index"], data["total"]),)


def _hook_started(info: Any, data: Any) -> tuple[Event, ...]:
    return _started(info, data | {"index": None, "total": None})


def _finished(info: Any, data: Any) -> tuple[Event, ...]:
    node, result = data["node_info"], data["run_result"]
    if node["materialized"] == "ephemeral":  # never runs, and has no row in dbt's results
        return ()
    node_id = node["unique_id"]
    status, message = outcome(result["status"], plain(result["message"] or ""))
    return (
        NodeFinished(
            node_id=node_id,
            kind=kind_of(node_id),
            name=name_of(node_id),
            status=status,
            at=time_of(node["node_finished_at"] or info["ts"]),
            seconds=float(result["execution_time"]),
            message=message,
            rows=rows_affected(node_id, result["adapter_response"]),
            failures_table=failures_table(node_id, status, (node.get("node_relation") or {}).get("relation_name")),
            attempt=node["node_started_at"],
        ),
    )


# A hook has no NodeFinished, and only run_results.json has its message.
def _hook_finished(info: Any, data: Any) -> tuple[Event, ...]:
    result = {"status": data["status"], "execution_time": data["execution_time"], "message": "", "adapter_response": {}}
    return _finished(info, data | {"run_result": result})


def _raised(_: Any, data: Any) -> tuple[Event, ...]:
    node = data["node_info"]
    return (NodeRaised(node["unique_id"], node["node_started_at"], plain(data["exc"])),)


def _batch(_: Any, data: Any) -> tuple[Event, ...]:
    node, name = data["node_info"], data["description"].split(" of ")[0]
    return (
        BatchAnnounced(node["unique_id"], node["node_started_at"], name, data["batch_index"], data["total_batches"]),
    )


_READERS: dict[str, Callable[[Any, Any], tuple[Event, ...]]] = {
    "MainReportVersion": _invocation,
    "LogStartLine": _started,
    "NodeFinished": _finished,
    "LogHookStartLine": _hook_started,
    "LogHookEndLine": _hook_finished,
    "GenericExceptionOnRun": _raised,
    "LogStartBatch": _batch,
    "LogBatchResult": _batch,
}


def _pieces(text: str) -> list[str]:
    text = plain(text)
    return [text[start : start + _LONGEST_TEXT] for start in range(0, len(text), _LONGEST_TEXT)]
