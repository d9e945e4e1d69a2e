"""The automation that ends a run whose pod vanished: no heartbeat for a while, so the run is marked Crashed.

It is the second line: the worker's observer reports a failed Job at once, but never sees one that failed and was
removed while the worker was down. Such a run would stay Running, and hold the writers' queue, for ever.
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

# Three of the pods' heartbeats, which come every 30 s. A server that is away for less loses no run.
SILENCE = timedelta(seconds=90)
# After these no heartbeat is due: the run ended, or waits without a pod. Cancelling is not among them: a pod that dies
# while it cancels would leave its run Cancelling for ever. Prefect itself never makes an ended run Crashed.
QUIET_STATES = (
    *("Completed", "Failed", "TimedOut", "Cancelled", "Crashed", "Cached", "RolledBack"),
    *("AwaitingRetry", "Scheduled", "Late", "Pending", "AwaitingConcurrencySlot", "Paused", "Suspended", "Resuming"),
)

log = logging.getLogger("dbtpod.register")


def automation(pool: str, deployments: Iterable[UUID], silence: timedelta = SILENCE) -> AutomationCore:
    """The automation for the runs of these deployments only: pods of others may send fewer heartbeats."""
    return AutomationCore(
        name=f"{pool}: end runs whose pod is gone",
        description="Made by dbtpod.register, which writes it anew when it differs.",
        trigger=EventTrigger(
            posture=Posture.Proactive,
            after={"prefect.flow-run.heartbeat"},
            expect={"prefect.flow-run.heartbeat", *(f"prefect.flow-run.{state}" for state in QUIET_STATES)},
            match=ResourceSpecification({"prefect.resource.id": ["prefect.flow-run.*"]}),
            match_related=ResourceSpecification(
                {
                    "prefect.resource.role": ["deployment"],
                    "prefect.resource.id": sorted(f"prefect.deployment.{key}" for key in deployments),
                }
            ),
            for_each={"prefect.resource.id"},
            threshold=1,
            within=silence,
        ),
        actions=[
            ChangeFlowRunState(
                name=None,
                force=False,
                state=StateType.CRASHED,
                message=f"No heartbeat for {silence.total_seconds():.0f} s: the pod is gone. The next run goes on.",
            )
        ],
    )


async def ensure(client: PrefectClient, wanted: AutomationCore) -> None:
    """Create the automation or make it equal; one that was switched off on Prefect's page stays off."""
    try:
        found = await client.read_automations_by_name(wanted.name)
        if not found:
            await client.create_automation(wanted)
            log.info("automation %r: created", wanted.name)
            return
        existing, *copies = found
        for copy in copies:
            await client.delete_automation(copy.id)
        wanted = wanted.model_copy(update={"enabled": existing.enabled})
        if _comparable(existing) != _comparable(wanted):
            await client.update_automation(existing.id, wanted)
            log.info("automation %r: updated", wanted.name)
        if not existing.enabled:
            log.warning(
                "automation %r is switched off on Prefect's page: runs whose pod vanishes stay Running", wanted.name
            )
    except PrefectHTTPStatusError as exc:
        # Prefect Cloud counts automations by plan, and a key may lack the right.
        log.warning(
            "automation %r: refused by the server (%s), so a run whose pod vanishes unseen stays Running until you "
            "end it on its page",
            wanted.name,
            exc.response.status_code,
        )


def _comparable(automation: AutomationCore) -> dict[str, object]:
    fields = {"description", "enabled", "trigger", "actions"}
    dumped = AutomationCore.model_validate(automation.model_dump()).model_dump(mode="python", include=fields)
    dumped["trigger"].pop("id", None)
    return dumped
