"""The deployments of a work pool on the server: read, compared with what is wanted, and written where they differ."""

import asyncio
import logging
from collections.abc import Mapping
from contextvars import ContextVar
from typing import Any, Literal
from uuid import UUID

import httpx
from httpx import codes
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.actions import DeploymentScheduleCreate
from prefect.client.schemas.filters import (
    DeploymentFilter,
    DeploymentFilterName,
    FlowFilter,
    FlowFilterId,
    WorkPoolFilter,
    WorkPoolFilterName,
)
from prefect.client.schemas.objects import DeploymentSchedule
from prefect.client.schemas.responses import DeploymentResponse
from prefect.exceptions import PrefectHTTPStatusError

from dbtpod.errors import DeploymentsInvalid
from dbtpod.registration.wanted import Wanted
from dbtpod.timeout import Timeout
from dbtpod.watchdog.owner import Mark, Owner

# The deployment's label that holds the digest of what it was made of.
LABEL = "dbtpod.registered"
# A server on SQLite answers 503 while another of its transactions writes. That is over in moments.
BUSY, BUSY_SECONDS, BUSY_PAUSE_SECONDS = (codes.SERVICE_UNAVAILABLE, codes.TOO_MANY_REQUESTS), 60.0, 0.2
_PAGE = 200
# What is compared beside the digest, which does not know of changes in the Prefect UI.
_PLAIN = ("description", "tags", "entrypoint", "parameters", "enforce_parameter_schema", "job_variables", "pull_steps")
_asks_again: ContextVar[bool] = ContextVar("asks_again", default=False)

Registered = Mapping[str, DeploymentResponse]

log = logging.getLogger("dbtpod.register")


class _Busy(Exception):
    """The server asks for a pause of so many seconds."""

    def __init__(self, pause: float) -> None:
        super().__init__(pause)
        self.pause = pause


async def _refuse_busy(response: httpx.Response) -> None:
    """Have `send` ask a busy server again.

    Prefect's client waits for two seconds or more before it gives such an answer back, also where it is to try once.
    """
    if _asks_again.get() and response.status_code in BUSY:
        pause = response.headers.get("Retry-After", "")
        raise _Busy(float(pause) if pause.isdecimal() else BUSY_PAUSE_SECONDS)


# For the client that `write` is given.
HTTPX: dict[str, Any] = {"event_hooks": {"response": [_refuse_busy]}}


async def read(client: PrefectClient, pool: str) -> dict[str, DeploymentResponse]:
    """Read the deployments of the pool, by full name as flow/deployment."""
    return await _named(client, work_pool_filter=WorkPoolFilter(name=WorkPoolFilterName(any_=[pool])))


async def _named(client: PrefectClient, **filters: Any) -> dict[str, DeploymentResponse]:
    found: list[DeploymentResponse] = []
    while page := await client.read_deployments(**filters, limit=_PAGE, offset=len(found)):
        found += page
        if len(page) < _PAGE:
            break
    flows = await _flow_names(client, sorted({item.flow_id for item in found}))
    return {f"{flows[item.flow_id]}/{item.name}": item for item in found}


async def _flow_names(client: PrefectClient, ids: list[UUID]) -> dict[UUID, str]:
    names: dict[UUID, str] = {}
    for start in range(0, len(ids), _PAGE):
        some = FlowFilter(id=FlowFilterId(any_=ids[start : start + _PAGE]))
        names |= {flow.id: flow.name for flow in await client.read_flows(flow_filter=some, limit=_PAGE)}
    return names


async def write(client: PrefectClient, wanted: list[Wanted], before: Registered) -> dict[str, DeploymentResponse]:
    """Create the deployments that are missing and change those that differ; return all of them as they are then."""
    flows: dict[str, UUID] = {}
    after: dict[str, DeploymentResponse] = {}
    for each in wanted:
        found = before.get(each.full_name)
        if found is None or differs(each, found):
            if each.flow not in flows:
                flows[each.flow] = UUID((await send(client, "/flows/", {"name": each.flow}))["id"])
            found = await _write(client, each, flows[each.flow], found)
        after[each.full_name] = found
    return after


def differs(wanted: Wanted, found: DeploymentResponse) -> bool:
    """Return whether the file, the flow, or someone in the Prefect UI has changed the deployment."""
    content, limit = wanted.content, found.global_concurrency_limit
    return (
        found.labels.get(LABEL) != wanted.digest
        or any(getattr(found, name) != content[name] for name in _PLAIN)
        or found.work_queue_name != content["work_queue_name"]
        or (limit.limit if limit else None) != content["concurrency_limit"]
        or found.paused != _paused(wanted, found)
        or _schedules(found.schedules) != _schedules(_as_switched(wanted, found))
    )


def _schedules(given: list[DeploymentSchedule] | list[DeploymentScheduleCreate]) -> dict[str | None, Any]:
    """Return what says when and with what each schedule starts runs; an anchor that the file does not give is any."""
    return {
        each.slug: (each.schedule.model_dump(exclude={"anchor_date"}), bool(each.active), each.parameters or {})
        for each in given
    }


def _paused(wanted: Wanted, found: DeploymentResponse | None) -> bool:
    """Return whether it is to be paused: where the file says nothing, the Prefect UI decides."""
    if wanted.entry.paused is not None:
        return wanted.entry.paused
    return bool(found and found.paused)


def _as_switched(wanted: Wanted, found: DeploymentResponse | None) -> list[DeploymentScheduleCreate]:
    """Return the schedules, each switched as the file says or, where it says nothing, as in the Prefect UI."""
    was = {each.slug: each.active for each in found.schedules} if found else {}
    return [
        schedule.model_copy(
            update={
                "active": was.get(entry.slug, was.get(entry.replaces, True)) if entry.active is None else entry.active
            }
        )
        for schedule, entry in zip(wanted.schedules, wanted.entry.schedules, strict=True)
    ]


async def _write(
    client: PrefectClient, wanted: Wanted, flow: UUID, found: DeploymentResponse | None
) -> DeploymentResponse:
    """Send the deployment whole: the server creates it, or changes it and plans its runs anew."""
    schedules = [each.model_dump(mode="json") for each in _as_switched(wanted, found)]
    switched = {"paused": _paused(wanted, found), "schedules": schedules}
    body = {"flow_id": str(flow), **wanted.content, **switched, "labels": {LABEL: wanted.digest}}
    try:
        made = DeploymentResponse.model_validate(await send(client, "/deployments/", body))
        if found:
            await client.delete_resource_owned_automations(f"prefect.deployment.{made.id}")
        for trigger in wanted.triggers:
            trigger.set_deployment_id(made.id)
            await client.create_automation(trigger.as_automation())
    except PrefectHTTPStatusError as error:
        if error.response.status_code in (codes.UNAUTHORIZED, codes.FORBIDDEN):
            raise
        raise DeploymentsInvalid(
            f"The deployment {wanted.full_name} is refused by the server: correct this, then register again.\n"
            + _detail(error)
        ) from error
    return made


def _detail(error: PrefectHTTPStatusError) -> str:
    try:
        detail = error.response.json()["detail"]
    except (ValueError, LookupError, TypeError):
        detail = error.response.text
    return str(detail).strip()[:600]


async def send(client: PrefectClient, path: Literal["/flows/", "/deployments/"], body: Mapping[str, Any]) -> Any:
    """Post something that may be sent twice; a server that is busy is asked again soon, at last by Prefect's client."""
    wait = Timeout(BUSY_SECONDS)
    while True:
        token = _asks_again.set(not wait.is_over)
        try:
            return (await client.request("POST", path, json=body)).json()
        except _Busy as busy:
            await asyncio.sleep(busy.pause)
        finally:
            _asks_again.reset(token)


async def remove_others(client: PrefectClient, wanted: Registered, before: Registered, pool: str, file: object) -> None:
    """Remove the pool's deployments that were registered and are not in the file; log the schedules that went."""
    for name in sorted(set(before) - set(wanted)):
        if LABEL not in before[name].labels:
            log.warning(
                "deployment %s: left as it is, as dbtpod did not register it; remove it if it is of no use", name
            )
            continue
        await client.delete_deployment(before[name].id)
        log.info("deployment %s: removed, %s does not have it and work pool %s is its own", name, file, pool)
    for name, item in wanted.items():
        kept = {schedule.slug for schedule in item.schedules}
        for schedule in before[name].schedules if name in before else []:
            if schedule.slug not in kept:
                log.info("schedule %s of %s: removed, %s does not have it", schedule.slug, name, file)


async def check_elsewhere(client: PrefectClient, pool: str, own: Owner | None, names: list[str]) -> None:
    """Raise DeploymentsInvalid where a deployment of the same flow and name is in another owner's pool.

    For Prefect it is the same deployment: to write it would take it out of the other's pool.
    """
    short = sorted({name.partition("/")[2] for name in names})
    moved: dict[str, list[str]] = {}
    for start in range(0, len(short), _PAGE):
        some = DeploymentFilter(name=DeploymentFilterName(any_=short[start : start + _PAGE]))
        for name, item in (await _named(client, deployment_filter=some)).items():
            if name in names and item.work_pool_name not in (None, pool):
                moved.setdefault(str(item.work_pool_name), []).append(name)
    for other_pool, of_it in moved.items():
        other = Mark.written((await client.read_work_pool(other_pool)).description).owner
        if other and not (own and other.is_same(own)):
            raise DeploymentsInvalid(
                f"{', '.join(sorted(of_it))}: in the work pool {other_pool!r} already, which belongs to {other}. "
                f"Prefect would move it to {pool!r}: give this release other names by environment.deploymentSuffix, "
                "or remove that deployment."
            )
        log.info("work pool %s: %s moves from work pool %s", pool, ", ".join(sorted(of_it)), other_pool)
