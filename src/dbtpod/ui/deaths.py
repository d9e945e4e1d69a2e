"""Why the earlier pods of a flow run died, as far as Prefect was given the reason."""

from datetime import UTC, datetime
from uuid import UUID

from prefect.client.schemas.filters import LogFilter, LogFilterFlowRunId, LogFilterLevel
from prefect.client.schemas.sorting import LogSort

from dbtpod.ui.event_sender import no_retry_client

# The worker's observer writes there what Kubernetes says of a pod.
_OBSERVER = "observer"
# The states in which a pod leaves its run.
_DEATHS = ("AwaitingRetry", "Crashed")
_MOST = 5


def causes(run_id: str) -> str:
    """Return one line for each known cause, the oldest first; empty where none is known or Prefect does not answer."""
    try:
        with no_retry_client() as client:
            logs = client.read_logs(
                LogFilter(flow_run_id=LogFilterFlowRunId(any_=[UUID(run_id)]), level=LogFilterLevel(ge_=30)),
                sort=LogSort.TIMESTAMP_ASC,
            )
            states = client.read_flow_run_states(UUID(run_id))
    except Exception:
        return ""
    found: list[tuple[datetime, str]] = [(log.timestamp, log.message) for log in logs if log.name.endswith(_OBSERVER)]
    found += [(state.timestamp, state.message) for state in states if state.name in _DEATHS and state.message]
    return "".join(f"\n{at.astimezone(UTC):%H:%M:%S} {message}" for at, message in sorted(found)[-_MOST:])
