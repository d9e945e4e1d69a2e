"""What registration logs about schedules: what the file overruled, and when each deployment runs next."""

import asyncio
import logging
from collections.abc import Mapping, Sequence, Set
from datetime import datetime
from uuid import UUID

from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.filters import (
    DeploymentFilter,
    DeploymentFilterId,
    FlowRunFilter,
    FlowRunFilterState,
    FlowRunFilterStateType,
    FlowRunFilterTags,
)
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.client.schemas.responses import DeploymentResponse
from prefect.client.schemas.sorting import FlowRunSort

from dbtpod import tables
from dbtpod.registration.deployments import PrefectFile
from dbtpod.registration.prefect_yaml import Deployment
from dbtpod.registration.wanted import Wanted

# The server's scheduler looks at changed deployments every 5 s.
WAIT_SECONDS = 30

log = logging.getLogger("dbtpod.register")


def log_changes(
    file: PrefectFile, before: Mapping[str, DeploymentResponse], after: Mapping[str, DeploymentResponse]
) -> None:
    """Log what is new or changed, and where the file overrules how a schedule was switched in the Prefect UI."""
    for name, item in after.items():
        if name not in before:
            log.info("deployment %s: created", name)
            continue
        if item is not before[name]:
            log.info("deployment %s: changed", name)
        was = {schedule.slug: schedule.active for schedule in before[name].schedules}
        for schedule in item.schedules:
            if was.get(schedule.slug, schedule.active) != schedule.active:
                now = "active" if schedule.active else "inactive"
                log.info("schedule %s of %s: %s now, as %s says", schedule.slug, name, now, file.path)


async def log_table(
    client: PrefectClient, entries: Sequence[Wanted], registered: Mapping[str, DeploymentResponse]
) -> None:
    """Log each deployment with its schedule, next run and queue; warn where the server schedules nothing."""
    due = {item.id for item in registered.values() if _is_due(item)}
    next_runs = await _next_runs(client, due)
    rows = [("deployment", "schedule", "next run", "queue")]
    for each in entries:
        name, item = each.full_name, registered[each.full_name]
        rows.append((name, _when(each.entry), _next_run(item, next_runs), each.entry.queue))
    for line in tables.lines(rows):
        log.info(line)
    if missing := sorted(name for name, item in registered.items() if item.id in due - set(next_runs)):
        log.warning(
            "%s: the server made no run of the schedule within %s s: its scheduler does not work, see the server's log",
            ", ".join(missing),
            WAIT_SECONDS,
        )


def _when(entry: Deployment) -> str:
    return ", ".join(f"{schedule.when} {schedule.timezone}" for schedule in entry.schedules) or "by hand"


def _is_due(item: DeploymentResponse) -> bool:
    return not item.paused and any(schedule.active for schedule in item.schedules)


def _next_run(item: DeploymentResponse, next_runs: Mapping[UUID, datetime]) -> str:
    if not item.schedules:
        return "-"
    if not _is_due(item):
        return "paused"
    return f"{next_runs[item.id]:%Y-%m-%d %H:%M} UTC" if item.id in next_runs else "none"


async def _next_runs(client: PrefectClient, due: Set[UUID]) -> dict[UUID, datetime]:
    """When each of the deployments runs next, as far as the server plans it within the time for that.

    One that has many runs may fill a whole answer; the next question leaves it out.
    """
    found: dict[UUID, datetime] = {}
    waited = 0
    while (missing := due - set(found)) and waited < WAIT_SECONDS:
        runs = await _planned(client, missing)
        for run in reversed(runs):  # so that the earliest stays
            if run.deployment_id and run.next_scheduled_start_time:
                found[run.deployment_id] = run.next_scheduled_start_time
        if not runs:
            await asyncio.sleep(1)
            waited += 1
    return found


async def _planned(client: PrefectClient, deployments: Set[UUID]) -> Sequence[FlowRun]:
    """Read the planned runs of these deployments, the earliest first; as many as the server gives at once."""
    return await client.read_flow_runs(
        deployment_filter=DeploymentFilter(id=DeploymentFilterId(any_=sorted(deployments))),
        flow_run_filter=FlowRunFilter(
            state=FlowRunFilterState(type=FlowRunFilterStateType(any_=[StateType.SCHEDULED])),
            tags=FlowRunFilterTags(all_=["auto-scheduled"]),  # Prefect's own mark, so no run made by hand
        ),
        sort=FlowRunSort.NEXT_SCHEDULED_START_TIME_ASC,
    )
