"""What registration tells about schedules: what the file overruled, and when each deployment runs next."""

import asyncio
import logging
from collections.abc import Mapping
from datetime import datetime

from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.filters import (
    DeploymentFilter,
    DeploymentFilterId,
    FlowRunFilter,
    FlowRunFilterState,
    FlowRunFilterStateType,
    FlowRunFilterTags,
)
from prefect.client.schemas.objects import StateType
from prefect.client.schemas.responses import DeploymentResponse
from prefect.client.schemas.sorting import FlowRunSort

from dbtpod.deployments import Deployment, PrefectFile

# The server's scheduler looks at changed deployments every 5 s.
WAIT_SECONDS = 30

log = logging.getLogger("dbtpod.register")


async def keep_pauses(client: PrefectClient, file: PrefectFile, before: Mapping[str, DeploymentResponse]) -> None:
    """Pause again what Prefect's page paused and the file says nothing of: `prefect deploy` ends such a pause."""
    for entry in file.deployments:
        for name, item in before.items():
            if entry.paused is None and item.paused and entry.is_called(name):
                await client.pause_deployment(item.id)
                log.info("deployment %s: still paused, as on Prefect's page", name)


def tell_changes(
    file: PrefectFile, before: Mapping[str, DeploymentResponse], after: Mapping[str, DeploymentResponse]
) -> None:
    """Log which deployments are new, and where the file switched a schedule that the page had switched otherwise."""
    for name, item in after.items():
        if name not in before:
            log.info("deployment %s: created", name)
            continue
        was = {schedule.slug: schedule.active for schedule in before[name].schedules}
        for schedule in item.schedules:
            if was.get(schedule.slug, schedule.active) != schedule.active:
                now = "active" if schedule.active else "inactive"
                log.info("schedule %s of %s: %s now, as %s says", schedule.slug, name, now, file.path)


async def tell_table(client: PrefectClient, file: PrefectFile, registered: Mapping[str, DeploymentResponse]) -> None:
    """Log each deployment with its schedule, next run and queue; warn where the server schedules nothing."""
    rows = [("deployment", "schedule", "next run", "queue")]
    for name, item in registered.items():
        entry = next(entry for entry in file.deployments if entry.is_called(name))
        rows.append((name, _when(entry), await _next_run(client, item), entry.queue))
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    for row in rows:
        log.info("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def _when(entry: Deployment) -> str:
    return ", ".join(f"{schedule.when} {schedule.timezone}" for schedule in entry.schedules) or "by hand"


async def _next_run(client: PrefectClient, item: DeploymentResponse) -> str:
    if not item.schedules:
        return "-"
    if item.paused or not any(schedule.active for schedule in item.schedules):
        return "paused"
    for _ in range(WAIT_SECONDS):
        if at := await _first_scheduled(client, item):
            return f"{at:%Y-%m-%d %H:%M} UTC"
        await asyncio.sleep(1)
    log.warning(
        "%s: the server made no run of its schedule within %s s: its scheduler does not work, see the server's log",
        item.name,
        WAIT_SECONDS,
    )
    return "none"


async def _first_scheduled(client: PrefectClient, item: DeploymentResponse) -> datetime | None:
    runs = await client.read_flow_runs(
        deployment_filter=DeploymentFilter(id=DeploymentFilterId(any_=[item.id])),
        flow_run_filter=FlowRunFilter(
            state=FlowRunFilterState(type=FlowRunFilterStateType(any_=[StateType.SCHEDULED])),
            tags=FlowRunFilterTags(all_=["auto-scheduled"]),  # Prefect's own mark, so no run made by hand
        ),
        sort=FlowRunSort.NEXT_SCHEDULED_START_TIME_ASC,
        limit=1,
    )
    return runs[0].next_scheduled_start_time if runs else None
