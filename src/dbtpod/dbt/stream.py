"""All lines of one dbt command to its events, each node with one end: what belongs to a batch is kept apart here.

dbt runs each batch of a microbatch model as a node with the model's id, one after another or several at once. Only the
time of the start separates their ends from the model's own. The model's result says "PARTIAL SUCCESS (3/4)" or "ERROR"
and not why: its message gets the errors of its batches.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace

from dbtpod.dbt.events import BatchAnnounced, BatchFinished, Event, NodeFinished, NodeRaised, parse
from dbtpod.dbt.node import NodeStatus

_Attempt = tuple[str, str]  # a node's id, and when dbt started it
# What dbt says of a failed batch: the reason is in the NodeRaised before it.
_NO_REASON = ("", "ERROR")


@dataclass
class _Batches:
    """What was said so far of the batches of a command's models."""

    announced: dict[_Attempt, BatchAnnounced] = field(default_factory=dict)
    raised: dict[_Attempt, str] = field(default_factory=dict)
    # Of each model: an error, and the batches that have it.
    errors: dict[str, dict[str, list[str]]] = field(default_factory=dict)


def read(lines: Iterable[str]) -> Iterator[Event]:
    """Yield the events of the lines in their order; it never raises."""
    batches = _Batches()
    for line in lines:
        for event in parse(line):
            if isinstance(event, BatchAnnounced):
                batches.announced[event.node_id, event.attempt] = event
            elif isinstance(event, NodeRaised):
                batches.raised[event.node_id, event.attempt] = event.message
            elif isinstance(event, NodeFinished):
                yield _batch_finished(batches, event) or _with_errors(batches, event)
            else:
                yield event


def _batch_finished(batches: _Batches, event: NodeFinished) -> BatchFinished | None:
    """Return the end of a batch, None where the event is the model's own end; keep its error for the model."""
    batch = batches.announced.get((event.node_id, event.attempt))
    if batch is None:
        return None
    message = ""
    if event.status is NodeStatus.ERROR:
        raised = batches.raised.get((event.node_id, event.attempt), "")
        message = raised if event.message in _NO_REASON and raised else event.message
        message = message.removeprefix("Exception on worker thread. ").removeprefix("Runtime Error\n").lstrip()
        batches.errors.setdefault(event.node_id, {}).setdefault(message, []).append(batch.name)
    return BatchFinished(event.node_id, batch.index, batch.total, event.status, message)


def _with_errors(batches: _Batches, event: NodeFinished) -> NodeFinished:
    errors = batches.errors.get(event.node_id)
    if not errors or event.status is not NodeStatus.ERROR:
        return event
    parts = [f"{_these(names)}: {message}" for message, names in errors.items()]
    return replace(event, message="\n".join([event.message, *parts]))


def _these(names: list[str]) -> str:
    return names[0] + (f" and {len(names) - 1} more" if names[1:] else "")
