"""The automations that end a run whose pod vanished: Crashed without a heartbeat, Cancelled where it was cancelling.

They are the second line: the worker's observer reports a failed Job at once, but never sees one that failed and was
removed while the worker was down. Such a run would stay Running, and block the writers' queue.
"""

import logging
from collections.abc import Iterable
from datetime import timedelta
from uuid import UUID

from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.objects import StateType
from prefect.events.actions import ChangeFlowRunState
from prefect.events.schemas.automations import AutomationCore, EventTrigger, Posture
from prefect.events.schemas.events import ResourceSpecification
from prefect.exceptions import PrefectHTTPStatusError

from dbtpod.registration import automations as automations_

# Three of the pods' heartbeats, which come every 30 s. A server that is away for less loses no run.
HEARTBEAT_TIMEOUT = timedelta(seconds=90)
# After these no heartbeat is due: the run ended, or waits without a pod. A state of another name does no harm where it
# ends the run: the server never makes an ended run Crashed, nor a cancelling one, which has its own automation.
QUIET_STATES = (
    *("Completed", "Failed", "TimedOut", "Cancelled", "Crashed", "Cached", "RolledBack"),
    *("AwaitingRetry", "Scheduled", "Late", "Pending", "AwaitingConcurrencySlot", "Paused", "Suspended", "Resuming"),
    *("Cancelling", "Submitting", "InfrastructurePending"),
)

log = logging.getLogger("dbtpod.register")


def automations(pool: str, deployments: Iterable[UUID], timeout: timedelta = HEARTBEAT_TIMEOUT) -> list[AutomationCore]:
    """Make the automations for the runs of these deployments only: pods of others may send fewer heartbeats."""
    seconds = f"{timeout.total_seconds():.0f} s"
    ids = sorted(f"prefect.deployment.{key}" for key in deployments)
    quiet = {f"prefect.flow-run.{state}" for state in QUIET_STATES}
    beat = "prefect.flow-run.heartbeat"
    return [
        AutomationCore(
            name=f"{pool}: end runs whose pod is gone",
            description=_DESCRIPTION,
            trigger=_absence({beat}, {beat} | quiet, ids, timeout),
            actions=[
                _change(StateType.CRASHED, f"No heartbeat for {seconds}: its pod is gone, or does not reach Prefect.")
            ],
        ),
        AutomationCore(
            name=f"{pool}: end cancelled runs whose pod is gone",
            description=_DESCRIPTION,
            # The server lets a cancelling run go nowhere else.
            trigger=_absence({"prefect.flow-run.Cancelling"}, {"prefect.flow-run.Cancelled"}, ids, timeout),
            actions=[
                _change(
                    StateType.CANCELLED,
                    f"Not stopped within {seconds} of being cancelled; its process was not there to do it.",
                )
            ],
        ),
    ]


_DESCRIPTION = "Made by dbtpod.register, which writes it anew when it differs."


def _absence(after: set[str], expect: set[str], deployments: list[str], timeout: timedelta) -> EventTrigger:
    return EventTrigger(
        posture=Posture.Proactive,
        after=after,
        expect=expect,
        match=ResourceSpecification({"prefect.resource.id": ["prefect.flow-run.*"]}),
        match_related=ResourceSpecification(
            {"prefect.resource.role": ["deployment"], "prefect.resource.id": deployments}
        ),
        for_each={"prefect.resource.id"},
        threshold=1,
        within=timeout,
    )


def _change(state: StateType, message: str) -> ChangeFlowRunState:
    return ChangeFlowRunState(name=None, state=state, message=message, force=False)


async def ensure(client: PrefectClient, wanted: AutomationCore) -> None:
    """Create the automation or make it equal; a server that refuses it is no error."""
    try:
        await automations_.ensure(client, wanted, "runs whose pod vanishes stay Running")
    except PrefectHTTPStatusError as exc:
        # Prefect Cloud counts automations by plan, and a key may lack the right.
        log.warning(
            "automation %r: refused by the server (%s), so a run whose pod vanishes unseen stays Running until you "
            "end it in the Prefect UI",
            wanted.name,
            exc.response.status_code,
        )
