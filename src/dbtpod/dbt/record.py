"""Our own record of a dbt command's attempts: what was asked, what dbt said of its nodes, and how it ended.

attempt-2/attempt.json   the command as it was given and as dbt got it; its exit code, once it ended by itself
attempt-2/events.jsonl   dbt's own lines about nodes, each written as it is read
change-2.json            the project is another since then: what the command is to run now, and what is void

dbt's artifacts come last, or never where it is killed. A line is there when the process that wrote it is not, and a
node that ended in it has been committed: dbt says so afterwards.
"""

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from dbtpod.dbt import events, results, stream
from dbtpod.dbt.events import Event, InvocationStarted, LogLine, NodeFinished, NodeStarted
from dbtpod.dbt.node import NodeStatus, kind_of
from dbtpod.dbt.results import RunReport

_FACTS, _EVENTS = "attempt.json", "events.jsonl"
# All others are not: an error, a failed test, what was skipped, and what a later version adds.
GOOD = frozenset({"success", "pass", "warn", "no-op", "reused"})
_NAME = re.compile(r'"name": ?"(\w+)"')
# The materializations that leave a table or a view of the node's name; a project's own may leave none.
_LASTING = frozenset({"table", "view", "incremental", "seed", "snapshot"})


@dataclass(frozen=True)
class Attempt:
    """One run of a dbt command, in this pod or in one before it."""

    target_dir: Path
    args: tuple[str, ...] | None  # as the flow gave them; None: the record cannot be read
    is_whole: bool  # from the command's beginning, not what an attempt before it left
    exit_code: int | None  # None: the flow was stopped or killed while dbt ran
    is_from_published: bool = False  # it began on what was published, and nothing else

    @cached_property
    def events(self) -> tuple[Event, ...]:
        """What dbt said of its nodes; the last line may be cut short by a kill."""
        path = self.target_dir / _EVENTS
        text = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
        return tuple(event for event in stream.read(text.splitlines()) if not isinstance(event, LogLine))

    @property
    def invocation_id(self) -> str:
        """The id by which dbt's artifacts are known to be this attempt's; empty where dbt did not come up."""
        return next((event.invocation_id for event in self.events if isinstance(event, InvocationStarted)), "")

    @property
    def total(self) -> int | None:
        """How many nodes dbt said it would run; None where it began none."""
        return next((e.total for e in self.events if isinstance(e, NodeStarted) and e.total is not None), None)

    @property
    def has_begun(self) -> bool:
        """Whether a node or a hook of it began, as far as is known."""
        return self.args is None or any(isinstance(event, NodeStarted | NodeFinished) for event in self.events)

    @property
    def seen(self) -> set[str]:
        """The nodes that began or ended, hooks left out."""
        found = {event.node_id for event in self.events if isinstance(event, NodeStarted | NodeFinished)}
        return {node_id for node_id in found if not is_hook(node_id)}

    @property
    def unfinished(self) -> set[str]:
        """The nodes that began, and of which neither dbt's log nor its artifact says how they ended."""
        finished = {event.node_id for event in self.events if isinstance(event, NodeFinished)}
        return self.seen - finished - statuses(self.artifact).keys()

    @cached_property
    def artifact(self) -> RunReport | None:
        """What dbt wrote of it."""
        return results.read(self.target_dir, self.invocation_id) if self.invocation_id else None

    @cached_property
    def report(self) -> RunReport | None:
        """What is known of it: dbt's artifact where there is one, and what its log alone said."""
        return results.of_command(self.events, self.target_dir) if self.events else None


def is_hook(node_id: str) -> bool:
    """Return whether it is an on-run-start or on-run-end, or the macro of a run-operation."""
    return kind_of(node_id) == "operation"


def statuses(report: RunReport | None) -> dict[str, NodeStatus]:
    """Return how each node ended, by its id."""
    return {node.node_id: node.status for node in report.nodes} if report else {}


class Recorder:
    """Writes the record of a running attempt."""

    def __init__(self, target_dir: Path, args: Sequence[str], command: Sequence[str], **facts: bool) -> None:
        self._path = target_dir / _FACTS
        self._facts: dict[str, Any] = {"args": list(args), "command": list(command), **facts}
        self._events = (target_dir / _EVENTS).open("w", encoding="utf-8", buffering=1)
        self._write()

    def passing(self, lines: Iterable[str]) -> Iterator[str]:
        """Pass dbt's lines on, and record those about nodes: a kill of this process does not undo that."""
        for line in lines:
            if any(events.is_read(name, "debug") for name in _NAME.findall(line)):
                self._events.write(line + "\n")
            yield line

    def end(self, exit_code: int) -> None:
        """Note that dbt ended by itself, and how."""
        self._facts["exit_code"] = exit_code
        self._write()

    def close(self) -> None:
        """Write no more."""
        self._events.close()

    def _write(self) -> None:
        # Torn by a power cut it is unreadable, which is read as stopped: no need to wait for the disk.
        fresh = self._path.with_name(f".{_FACTS}.tmp")
        fresh.write_text(json.dumps(self._facts, indent=2))
        fresh.replace(self._path)


@dataclass(frozen=True)
class Change:
    """The project became another between two attempts of a command."""

    # How many attempts there were.
    after: int
    # What the command is to run of the project as it is now.
    plan: frozenset[str]
    # What had ended well, and counts no more.
    void: frozenset[str]

    @property
    def name(self) -> str:
        """The name of its file, beside the command's attempts."""
        return f"change-{self.after}.json"

    def as_json(self) -> dict[str, object]:
        """Return what the file holds."""
        return {"plan": sorted(self.plan), "void": sorted(self.void)}


@dataclass(frozen=True)
class History:
    """The attempts of one command, the oldest first, and how the project changed between them."""

    attempts: tuple[Attempt, ...]
    changes: tuple[Change, ...] = ()

    @property
    def counted(self) -> tuple[Attempt, ...]:
        """Those since the command ran from its beginning: the work before that is not counted."""
        return self.attempts[self._start :]

    @property
    def change(self) -> Change | None:
        """The newest change since then."""
        found = [change for change in self.changes if change.after > self._start]
        return found[-1] if found else None

    def settled(self) -> dict[str, NodeStatus]:
        """Return how each node ended in the attempts that count; the latest attempt's word wins."""
        known: dict[str, NodeStatus] = {}
        void = {change.after: change.void for change in self.changes}
        for number, attempt in enumerate(self.counted, self._start + 1):
            known |= statuses(results.from_events(attempt.events)) | statuses(attempt.artifact)
            known = {node_id: status for node_id, status in known.items() if node_id not in void.get(number, ())}
        return known

    @property
    def _start(self) -> int:
        return max((index for index, attempt in enumerate(self.attempts) if attempt.is_whole), default=0)


def history(folder: Path) -> History:
    """Read what there is of one command."""
    folders = sorted(folder.glob("attempt-*"), key=_number)
    changes = sorted(folder.glob("change-*.json"), key=_number)
    return History(tuple(map(read, folders)), tuple(map(_change, changes)))


def _number(path: Path) -> int:
    return int(path.stem.rpartition("-")[2])


def _change(path: Path) -> Change:
    facts = json.loads(path.read_text())
    return Change(_number(path), frozenset(facts["plan"]), frozenset(facts["void"]))


def built(attempt: Attempt) -> dict[str, tuple[str, str, str]]:
    """Return the database, the schema and the name of each relation that the attempt made, by its node."""
    path = attempt.target_dir / _EVENTS
    found = {}
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines() if path.is_file() else ():
        if '"NodeFinished"' not in line:
            continue
        try:
            node = json.loads(line)["data"]["node_info"]
            relation = node["node_relation"]
            if node["materialized"] in _LASTING:
                found[node["unique_id"]] = (relation["database"], relation["schema"], relation["alias"])
        except (ValueError, KeyError, TypeError):
            continue
    return found


def read(target_dir: Path) -> Attempt:
    """Return the attempt with that folder; one whose record is unreadable has `args` None."""
    try:
        facts = json.loads((target_dir / _FACTS).read_text())
        code = facts.get("exit_code")
        code = None if code is None else int(code)
        return Attempt(target_dir, tuple(facts["args"]), facts["whole"], code, facts["from_published"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return Attempt(target_dir, None, True, None)
