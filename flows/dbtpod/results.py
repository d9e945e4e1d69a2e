"""dbt's artifacts run_results.json and sources.json to one RunReport; pure but for reading the two files."""

from dataclasses import dataclass

from dbtpod.events import NodeStatus


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
    compiled_path: str | None = None  # relative to the target folder
    # Freshness only: seconds since the newest row, and dbt's thresholds in seconds.
    age: float | None = None
    warn_after: float | None = None
    error_after: float | None = None


@dataclass(frozen=True)
class RunReport:
    """The results of one dbt command, or of all commands of a flow run merged."""

    invocation_id: str
    nodes: tuple[NodeResult, ...]
    elapsed: float  # seconds, dbt's own
