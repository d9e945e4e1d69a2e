"""How a node's end is shown by its task run: state, message and name; pure.

dbt says       | state         | its type  | why
success, pass  | Completed     | the same  |
warn           | Warn          | COMPLETED | the node did its work and holds nothing back; badge and name say it
no-op, reused  | No-op, Reused | COMPLETED | dbt had nothing to do; each is counted by itself, as dbt does
error, fail    | Failed        | the same  | the message says why; of a microbatch model, for its failed batches
skipped        | Skipped       | CANCELLED | final and grey: never green, and not PENDING, as if it were to come
not how it did | Crashed       | the same  | dbt ended and has written nowhere how the node ended
- (stopped)    | Cancelled     | the same  | the flow run was stopped while dbt ran the node
"""

from prefect.client.schemas.objects import StateType

from dbtpod.dbt.node import NodeResult, NodeStatus
from dbtpod.ui.text import freshness, truncate

STATES = {
    NodeStatus.SUCCESS: (StateType.COMPLETED, "Completed"),
    NodeStatus.WARN: (StateType.COMPLETED, "Warn"),
    NodeStatus.NO_OP: (StateType.COMPLETED, "No-op"),
    NodeStatus.REUSED: (StateType.COMPLETED, "Reused"),
    NodeStatus.ERROR: (StateType.FAILED, "Failed"),
    NodeStatus.FAIL: (StateType.FAILED, "Failed"),
    NodeStatus.SKIPPED: (StateType.CANCELLED, "Skipped"),
}
_LONGEST_MESSAGE = 2000
# The graph colours by type, so only the label can say it.
_SUFFIXES = {NodeStatus.WARN: " (warn)", NodeStatus.NO_OP: " (no-op)", NodeStatus.REUSED: " (reused)"}


def state_of(node: NodeResult) -> tuple[StateType, str]:
    """Return the type and the name of the node's last state."""
    return STATES[node.status] if node.is_finished else (StateType.CRASHED, "Crashed")


def has_run(node: NodeResult) -> bool:
    """Return whether dbt ran the node at all; it only reports on one that it skips."""
    return node.status not in (NodeStatus.SKIPPED, NodeStatus.NO_OP, NodeStatus.REUSED)


def message_of(node: NodeResult) -> str:
    """Say what dbt says of the node or how old a source is, where failing rows are, its rows and its time."""
    table = [f"failing rows are in {node.failures_table}"] if node.failures_table else []
    rows = [] if node.rows is None else [f"{node.rows:,} row{'s' if node.rows != 1 else ''}"]
    seconds = [f"{node.seconds:.2f} s"] if node.is_finished else []
    said = truncate(freshness(node) or node.message, _LONGEST_MESSAGE - 200, node.place)
    return truncate("; ".join([*([said] if said else []), *table, *rows, *seconds]), _LONGEST_MESSAGE)


def name_of(label: str, node: NodeResult) -> str:
    """Name the task run, with what its colour does not show."""
    return label + _SUFFIXES.get(node.status, "")


def is_news(node: NodeResult, shown: NodeResult) -> bool:
    """Return whether a task run that shows `shown` has to be given another state for `node`."""
    if state_of(node) != state_of(shown):
        return True
    # The log has no message of a hook: that it passed needs none.
    passed_hook = node.kind == "operation" and not node.failed
    return not passed_hook and _words(node) != _words(shown)


def _words(node: NodeResult) -> tuple[str, str | None]:
    return freshness(node) or node.message, node.failures_table
