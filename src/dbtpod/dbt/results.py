"""dbt's artifacts, and where they are missing its log, to one RunReport."""

import logging
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from dbtpod.dbt import artifact
from dbtpod.dbt.events import Event, InvocationStarted, LogLine, NodeFinished, NodeStarted
from dbtpod.dbt.node import NodeResult, NodeStatus

# What dbt writes of a node where the reason is in its log alone.
_NO_REASON = re.compile(r"\s*(error|fail|partial success.*)?\s*", re.IGNORECASE)
# dbt's last words on a node that has no message of its own.
_MOST_LINES = 5


@dataclass(frozen=True)
class RunReport:
    """The results of one dbt command, or of all commands of a flow run merged."""

    invocation_id: str
    nodes: tuple[NodeResult, ...]
    elapsed: float  # seconds, dbt's own
    warning: str = ""  # why the log had to stand in for dbt's artifacts


def of_command(seen: Sequence[Event], target_dir: Path) -> RunReport:
    """Report what a command that has ended did: as its artifacts say, and by its log what they leave out.

    The artifacts are in `target_dir`, a folder of its own. A node that dbt began and of which neither says how it ended
    is an error.
    """
    logged = from_events(seen)
    written, problems = _artifacts(target_dir, logged.invocation_id if logged else "")
    found = merge(logged, written) or RunReport("", (), 0.0)
    nodes = tuple(_with_reason(node, logged, seen) for node in (*found.nodes, *_unfinished(seen, found)))
    if nodes and not written and not problems:
        problems = [f"{target_dir} has none of {', '.join(artifact.FILES[:2])}"]
    warning = f"What dbt did is known from its log alone, not from its artifacts: {'; '.join(problems)}"
    return replace(found, nodes=nodes, warning=warning if problems else "")


def read(target_dir: Path, invocation_id: str) -> RunReport | None:
    """Read what that invocation wrote, or any for an empty id; None where all files are missing, broken or another's.

    sources.json leaves out a source whose freshness query failed.
    """
    return _artifacts(target_dir, invocation_id)[0]


def from_events(events: Iterable[Event]) -> RunReport | None:
    """Report what the log alone says, for a dbt that was killed; None where dbt did not come up."""
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
    return RunReport(started.invocation_id, tuple(map(of_event, finished.values())), (end - started.at).total_seconds())


def of_event(event: NodeFinished, place: str = "this run's log") -> NodeResult:
    """Return what the event says as a result; `place` is where the whole of its message will be."""
    return NodeResult(
        event.node_id,
        event.kind,
        event.name,
        event.status,
        event.seconds,
        event.rows,
        event.message,
        failures_table=event.failures_table,
        ended=event.at,
        place=place,
    )


def merge(earlier: RunReport | None, later: RunReport | None) -> RunReport | None:
    """Merge two reports: the later result of a node wins, in the earlier one's place; None only where both are None."""
    if earlier is None or later is None:
        return later or earlier
    nodes = {node.node_id: node for node in (*earlier.nodes, *later.nodes)}
    same = earlier.invocation_id == later.invocation_id
    elapsed = later.elapsed if same else earlier.elapsed + later.elapsed
    return RunReport(later.invocation_id, tuple(nodes.values()), elapsed)


def counts(report: RunReport) -> dict[NodeStatus, int]:
    """Count the nodes of each status, those with none included."""
    return {status: sum(node.status is status for node in report.nodes) for status in NodeStatus}


def is_only_stale(report: RunReport) -> bool:
    """Whether all that failed are sources whose newest row is too old; one that could not be asked has no age."""
    return all(node.age is not None for node in report.nodes if node.failed)


def _artifacts(target_dir: Path, invocation_id: str) -> tuple[RunReport | None, list[str]]:
    """Read all artifacts of the folder into one report; and say what is wrong with those that cannot be used."""
    report: RunReport | None = None
    problems = []
    for file_name in artifact.FILES:
        path = target_dir / file_name
        try:
            found = artifact.read(path)
        except FileNotFoundError:
            continue
        except artifact.UNREADABLE as error:
            problems.append(f"{path} cannot be read ({type(error).__name__}: {error})")
            continue
        if invocation_id and found.invocation_id not in ("", invocation_id):
            problems.append(f"{path} is of another invocation, {found.invocation_id}")
            continue
        report = merge(report, RunReport(found.invocation_id or invocation_id, found.nodes, found.elapsed))
    return report, problems


def _unfinished(seen: Sequence[Event], found: RunReport) -> tuple[NodeResult, ...]:
    ended = {node.node_id for node in found.nodes}
    begun = {event.node_id: event for event in seen if isinstance(event, NodeStarted) and event.node_id not in ended}
    return tuple(
        NodeResult(
            event.node_id,
            event.kind,
            event.name,
            NodeStatus.ERROR,
            seconds=0.0,
            rows=None,
            message="\n".join(["dbt ended before it finished this node.", *_last_words(seen, event.node_id)]),
            is_finished=False,
        )
        for event in begun.values()
    )


def _with_reason(node: NodeResult, logged: RunReport | None, seen: Sequence[Event]) -> NodeResult:
    """Add why the node failed, where the log says more of it than the artifact: of batches, and of a run-operation."""
    said = next((n.message for n in logged.nodes if n.node_id == node.node_id), "") if logged and node.failed else ""
    if said.startswith(node.message) and said != node.message:
        return replace(node, message=said)
    if node.failed and node.age is None and _NO_REASON.fullmatch(node.message):
        lines = _last_words(seen, node.node_id) or _last_words(seen, None)
        return replace(node, message="\n".join([*([node.message] if node.message.strip() else []), *lines]))
    return node


def _last_words(seen: Sequence[Event], node_id: str | None) -> list[str]:
    """Return the error lines that dbt logged of a node; for None, those of no node."""
    errors = (event for event in seen if isinstance(event, LogLine) and event.level >= logging.ERROR)
    return [error.text for error in errors if error.node_id == node_id][-_MOST_LINES:]
