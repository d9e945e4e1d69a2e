"""When Prefect sends an alert: each kind of event as the trigger of an automation."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

from prefect.client.schemas.responses import DeploymentResponse
from prefect.events.schemas.automations import EventTrigger, Posture

from dbtpod.ui import stale

# The watchdog adds the reason to a crashed run's message, and puts back a run whose Job could not be created.
CRASHED_SECONDS = 30.0
# How long a deployment may fail, and its next success still be an alert.
RECOVERY = timedelta(days=90)
# From when on a deployment without any run has not succeeded: its registration.
WATCHED = "dbtpod.deployment.watched"

_RUN = "prefect.flow-run"
_DEPLOYMENT = "related:deployment:prefect.resource.id"


def of(
    when: Mapping[str, Any], pool: UUID, deployments: Sequence[DeploymentResponse], only_these: bool
) -> Iterator[tuple[str, EventTrigger]]:
    """Yield each kind of event that `when` asks for, of the pool's runs or only of those of these deployments."""
    of_ours = [_related("work-pool", [pool])]
    if only_these:
        of_ours.append(_related("deployment", [item.id for item in deployments]))
    run, each_run = {"prefect.resource.id": f"{_RUN}.*"}, {"prefect.resource.id"}
    if when.get("failed"):
        # By its type: a flow may give the state another name.
        failed = {**run, "prefect.state-type": "FAILED"}
        yield "failed", _event({f"{_RUN}.*"}, match=failed, match_related=of_ours)
    if when.get("crashed"):
        # The last of several, once nothing follows.
        yield (
            "crashed",
            _event(
                {f"{_RUN}.{state}" for state in ("Crashed", "AwaitingRetry", "Scheduled", "Pending", "Running")},
                after={f"{_RUN}.Crashed"},
                absent_for=timedelta(seconds=CRASHED_SECONDS),
                match=run,
                match_related=of_ours,
                for_each=each_run,
            ),
        )
    if minutes := when.get("lateMinutes"):
        yield (
            "late",
            _event(
                {f"{_RUN}.*"},
                after={f"{_RUN}.Late"},
                absent_for=timedelta(minutes=minutes),
                match=run,
                match_related=of_ours,
                for_each=each_run,
            ),
        )
    # What runs by hand only may rest for weeks.
    scheduled = [item.id for item in deployments if is_scheduled(item)]
    if (hours := when.get("noSuccessHours")) and scheduled:
        yield (
            "noSuccess",
            _event(
                {f"{_RUN}.Completed"},
                after={f"{_RUN}.Completed", WATCHED},
                absent_for=timedelta(hours=hours),
                match_related=[_related("deployment", scheduled)],
                for_each={_DEPLOYMENT},
            ),
        )
    if when.get("freshness"):
        yield "freshness", _event({stale.EVENT}, match=run, match_related=of_ours)
    if when.get("recovered"):
        yield (
            "recovered",
            _event(
                {f"{_RUN}.Completed"},
                after={f"{_RUN}.{state}" for state in ("Failed", "TimedOut", "Crashed")},
                match=run,
                match_related=of_ours,
                for_each={_DEPLOYMENT},
                within=RECOVERY,
            ),
        )


def _event(expect: set[str], absent_for: timedelta | None = None, **rest: Any) -> EventTrigger:
    """Return a trigger for an event, or for its absence."""
    if absent_for is None:
        return EventTrigger(posture=Posture.Reactive, expect=expect, threshold=1, **rest)
    return EventTrigger(posture=Posture.Proactive, expect=expect, threshold=1, within=absent_for, **rest)


def _related(kind: str, ids: Sequence[UUID]) -> dict[str, Any]:
    return {"prefect.resource.role": kind, "prefect.resource.id": sorted(f"prefect.{kind}.{key}" for key in ids)}


def is_scheduled(item: DeploymentResponse) -> bool:
    """Return whether a schedule starts runs of it."""
    return any(schedule.active for schedule in item.schedules)
