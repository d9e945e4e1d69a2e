"""Folders of runs as runs leave them: of recorded dbt commands, and of made ones whose times are known."""

import json
import os
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import record as recorded
from dbtpod.history import record
from dbtpod.history.record import Record, Start

# A node's status and its seconds; with a message, where it failed.
Ending = tuple[str, float] | tuple[str, float, str]

# What the newest history answers to a query; the history brought up to date, and the warnings of that.
Ask = Callable[..., list[tuple[Any, ...]]]
Update = Callable[..., list[str]]

NOON = datetime(2026, 11, 1, 12, tzinfo=UTC)


def attempt(run: Path, args: Sequence[str], exit_code: int | None, number: int = 1, attempt: int = 1) -> Path:
    """Make the folder of an attempt, with its attempt.json."""
    folder = run / f"{number}-{args[0]}" / f"attempt-{attempt}"
    folder.mkdir(parents=True)
    facts = {"args": list(args), "command": list(args), "whole": True, "from_published": True}
    code = {} if exit_code is None else {"exit_code": exit_code}
    (folder / "attempt.json").write_text(json.dumps(facts | code))
    return folder


def of_recorded(run: Path, name: str, args: Sequence[str], exit_code: int | None, number: int = 1) -> Path:
    """Make an attempt of what dbt once wrote: its log, and its artifact if it came to write one."""
    folder = attempt(run, args, exit_code, number)
    (folder / "events.jsonl").write_text("\n".join(recorded.load(name)[0]))
    source = recorded.DATA / f"{name}.json"
    if source.is_file():
        text = source.read_text()
        kind = "sources.json" if "dbt/sources/" in text else "run_results.json"
        (folder / kind).write_text(text)
    return folder


def build(
    runs: Path,
    run_id: str,
    at: datetime,
    nodes: Mapping[str, Ending],
    *,
    deployment: str | None = "dbt-build",
    state: str = record.COMPLETED,
    seconds: float = 60,
    args: Sequence[str] = ("build",),
) -> Path:
    """Make a run of one command in which these nodes, one after the other, ended so."""
    results, began = [], at + timedelta(seconds=5)
    for node_id, (status, took, *message) in nodes.items():
        ended = began + timedelta(seconds=took)
        results.append(_result(node_id, status, began, ended, message[0] if message else "OK"))
        began = ended
    folder = attempt(runs / run_id, args, 1 if state == record.FAILED else 0)
    metadata = {
        "dbt_version": "1.12.6",
        "invocation_id": f"of-{run_id}",
        "invocation_started_at": _text(at + timedelta(seconds=2)),
        "generated_at": _text(began),
    }
    (folder / "run_results.json").write_text(json.dumps({"metadata": metadata, "results": results}))
    start = Start("pod", at, at + timedelta(seconds=seconds))
    said = Record(run_id, run_id, "dbt", deployment, state, "as it is", only_reads=False, dbtpod="0", starts=(start,))
    record.write(runs / run_id, said)
    return folder


def age(folder: Path, at: datetime) -> None:
    """Have all files of a folder, and the folder itself, written at that time."""
    for path in (*folder.rglob("*"), folder):
        os.utime(path, (at.timestamp(), at.timestamp()))


def _result(node_id: str, status: str, began: datetime, ended: datetime, message: str) -> dict[str, Any]:
    timing = [{"name": "execute", "started_at": _text(began), "completed_at": _text(ended)}]
    return {
        "unique_id": node_id,
        "status": status,
        "thread_id": "Thread-1 (worker)",
        "execution_time": (ended - began).total_seconds(),
        "timing": [] if status == "skipped" else timing,
        "message": message,
        "failures": 3 if status == "fail" else None,
        "adapter_response": {},
    }


def _text(at: datetime) -> str:
    return at.isoformat().replace("+00:00", "Z")
