"""A node of dbt: what its id, its status and its result say; pure."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any


class NodeStatus(StrEnum):
    """How a dbt node ended; `pass` of a test and `success` of a model are both SUCCESS.

    dbt counts ERROR and FAIL, and a microbatch model's partial success, as one; each other status by its own name.
    """

    SUCCESS = "success"
    WARN = "warn"
    ERROR = "error"
    FAIL = "fail"
    SKIPPED = "skipped"
    NO_OP = "no-op"  # an exposure or a saved query in a build: dbt did nothing, and its exit code is 0
    REUSED = "reused"  # dbt v2: built already, from the same inputs


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
    failures_table: str | None = None  # where `store_failures` has the rows that a test found
    ended: datetime | None = None
    place: str = ""  # where the whole message is
    is_finished: bool = True  # False: dbt began the node, and says nowhere how it ended

    @property
    def failed(self) -> bool:
        """Whether it is a cause of dbt's exit code 1; what was skipped because of it is not."""
        return self.status in (NodeStatus.ERROR, NodeStatus.FAIL)


# By the letters alone: dbt v2 writes some with a capital, or in one word.
_STATUSES = {
    "success": NodeStatus.SUCCESS,
    "pass": NodeStatus.SUCCESS,
    "noop": NodeStatus.NO_OP,
    "reused": NodeStatus.REUSED,
    "warn": NodeStatus.WARN,
    "error": NodeStatus.ERROR,
    "runtimeerror": NodeStatus.ERROR,
    "partialsuccess": NodeStatus.ERROR,
    "fail": NodeStatus.FAIL,
    "skipped": NodeStatus.SKIPPED,
}
_TEST_HASH = re.compile(r"\.[0-9a-f]{10}$")
TESTS = ("test", "unit_test")


def outcome(status: str, message: str) -> tuple[NodeStatus, str]:
    """Read the status and the message of a node; a status that is not known here is an error that says so.

    What is not known to be good must not be published as good.

    >>> outcome("pass", "")
    (<NodeStatus.SUCCESS: 'success'>, '')
    """
    known = _STATUSES.get("".join(letter for letter in status.lower() if letter.isalpha()))
    if known:
        return known, message
    return NodeStatus.ERROR, f'dbt ended this node with the unknown status "{status}". {message}'.rstrip()


def kind_of(node_id: str) -> str:
    """Return dbt's resource type: model, seed, snapshot, function, test, unit_test, source, operation, exposure.

    >>> kind_of("model.shop.fct_orders")
    'model'
    """
    return node_id.split(".", 1)[0]


def name_of(node_id: str) -> str:
    """Return the node's name as dbt's own log has it: without its package, and without a test's hash.

    >>> name_of("test.shop.not_null_orders_id.0a1b2c3d4e"), name_of("unit_test.shop.orders.adds_up")
    ('not_null_orders_id', 'orders::adds_up')
    """
    kind, *_, name = node_id.split(".", 2)
    if kind == "unit_test":
        return name.replace(".", "::", 1)
    return _TEST_HASH.sub("", name) if kind == "test" else name


def names(node_ids: Iterable[str]) -> dict[str, str]:
    """Name each node: with its package where two nodes of a kind have one name, with its whole id if need be.

    >>> names(["model.shop.orders", "model.crm.orders", "seed.shop.orders"])
    {'model.shop.orders': 'shop.orders', 'model.crm.orders': 'crm.orders', 'seed.shop.orders': 'orders'}
    """
    result = {node_id: name_of(node_id) for node_id in node_ids}
    for longer in (_with_package, _without_kind):
        seen = Counter((kind_of(node_id), name) for node_id, name in result.items())
        result = {
            node_id: longer(node_id) if seen[kind_of(node_id), name] > 1 else name for node_id, name in result.items()
        }
    return result


def rows_affected(node_id: str, adapter_response: Mapping[str, Any]) -> int | None:
    """Return the rows that a node wrote, as the database says; None where it does not, and for what writes none."""
    rows = adapter_response.get("rows_affected")
    writes = kind_of(node_id) in ("model", "seed", "snapshot")
    return int(rows) if writes and rows is not None and rows >= 0 else None


def failures_table(node_id: str, status: NodeStatus, relation: str | None) -> str | None:
    """Return the table with the rows that a test found; None unless `store_failures` has dbt keep them."""
    found_some = status in (NodeStatus.FAIL, NodeStatus.WARN)
    return relation if relation and found_some and kind_of(node_id) == "test" else None


def _with_package(node_id: str) -> str:
    return ".".join([*node_id.split(".", 2)[1:-1], name_of(node_id)])


def _without_kind(node_id: str) -> str:
    return node_id.split(".", 1)[-1]
