"""A task run's new state as the event that Prefect's task engine would send; the one place that knows its private form.

Prefect has no public way to record work that it did not run itself. A test compares these events with those of its
engine (`prefect.utilities.engine.emit_task_run_state_change_event`), so that an upgrade that changes them is noticed.
"""

from datetime import timedelta
from typing import Any

from prefect.client.schemas.objects import FlowRun, State, TaskRun
from prefect.events import Event

# The server takes a state only if it is later than the one it has.
TICK = timedelta(microseconds=1)
# What the server takes from elsewhere in the event, or makes itself.
_NOT_SENT = {
    *("id", "created", "updated", "flow_run_id", "state_id", "state_type", "state_name", "state"),
    *("estimated_start_time_delta", "estimated_run_time"),
}


def related(flow_run: FlowRun, flow_name: str) -> list[dict[str, str]]:
    """Return what the events of a flow run's task runs belong to; without it they would belong to no flow run."""
    resources = (("flow-run", flow_run.id, flow_run.name), ("flow", flow_run.flow_id, flow_name))
    return [
        {
            "prefect.resource.id": f"prefect.{kind}.{kind_id}",
            "prefect.resource.role": kind,
            "prefect.resource.name": name,
        }
        for kind, kind_id, name in resources
    ]


def state_change(run: TaskRun, state: State[Any], belongs_to: list[dict[str, str]]) -> Event:
    """Move the task run to the state, a little later than its state before, and make the event that says so."""
    before = run.state
    _enter(run, state)
    return Event.model_validate(
        {
            "id": state.id,
            "occurred": state.timestamp,
            "event": f"prefect.task-run.{state.name}",
            "resource": {
                "prefect.resource.id": f"prefect.task-run.{run.id}",
                "prefect.resource.name": run.name,
                "prefect.run-count": str(run.run_count),
                "prefect.state-message": state.message or "",
                "prefect.state-name": state.name or "",
                "prefect.state-timestamp": state.timestamp.isoformat(),
                "prefect.state-type": state.type.value,
                # What has the server's recorder take the event for a task run's state.
                "prefect.orchestration": "client",
            },
            "related": belongs_to,
            "payload": {
                "intended": {"from": before.type.value if before else None, "to": state.type.value},
                "initial_state": _state(before) if before else None,
                "validated_state": _state(state) | {"data": None},
                "task_run": run.model_dump(mode="json", exclude_none=True, exclude=_NOT_SENT),
            },
        }
    )


def _enter(run: TaskRun, state: State[Any]) -> None:
    """Change the task run as Prefect's server does when it takes a state."""
    if run.state and state.timestamp <= run.state.timestamp:
        state.timestamp = run.state.timestamp + TICK
    changes: dict[str, Any] = {
        "state": state,
        "state_id": state.id,
        "state_type": state.type,
        "state_name": state.name,
        "expected_start_time": run.expected_start_time or state.timestamp,
    }
    if state.is_running():
        changes |= {"run_count": run.run_count + 1, "start_time": state.timestamp}
    if state.is_final():
        took = state.timestamp - run.start_time if run.start_time else timedelta()
        changes |= {"end_time": state.timestamp, "total_run_time": took}
    for name, value in changes.items():
        setattr(run, name, value)


def _state(state: State[Any]) -> dict[str, Any]:
    details = state.state_details.model_dump(mode="json", exclude_none=True, exclude_unset=True)
    return {"type": state.type.value, "name": state.name, "message": state.message or "", "state_details": details}
