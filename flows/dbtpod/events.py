"""One line of dbt's JSON log to one frozen value; pure."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class NodeStatus(StrEnum):
    """How a dbt node ended; `PASS` of a test and `success` of a model are both SUCCESS."""

    SUCCESS = "success"
    WARN = "warn"
    ERROR = "error"
    FAIL = "fail"
    SKIPPED = "skipped"


@dataclass(frozen=True)
class LogLine:
    """A line for the reader of the log, at dbt's own level; `node_id` is None where it belongs to no node."""

    level: int  # logging's numbers
    text: str  # without colour codes
    at: datetime | None
    node_id: str | None = None


@dataclass(frozen=True)
class NodeStarted:
    """dbt began to run a node."""

    node_id: str  # "model.shop.fct_orders"
    kind: str  # dbt's resource type: model, seed, snapshot, test, unit_test, source, operation
    name: str
    at: datetime  # dbt's own clock, not the time we read the line


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


Event = LogLine | NodeStarted | NodeFinished
