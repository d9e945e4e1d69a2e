"""The work pool and its queues on the server: made or brought up to date; what changed is logged."""

import json
import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.actions import WorkPoolCreate, WorkPoolUpdate
from prefect.client.schemas.objects import WorkPool
from prefect.exceptions import ObjectAlreadyExists, ObjectNotFound

from dbtpod.errors import DeploymentsInvalid
from dbtpod.registration.prefect_yaml import QUEUES, WRITER_QUEUE
from dbtpod.watchdog.owner import Mark, Owner, taken

KIND = "kubernetes"

log = logging.getLogger("dbtpod.register")


def read_template(path: Path) -> dict[str, Any]:
    """Read a base job template; DeploymentsInvalid where the file is not one."""
    try:
        template = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as exc:
        raise DeploymentsInvalid(f"The base job template {path} cannot be read: {exc}") from exc
    if not isinstance(template, dict) or not {"job_configuration", "variables"} <= set(template):
        raise DeploymentsInvalid(f"{path} is not a base job template: it needs job_configuration and variables.")
    return template


async def find(client: PrefectClient, name: str, kind: str = KIND) -> WorkPool | None:
    """Read the pool from the server, None where there is none; DeploymentsInvalid where it is of another type."""
    try:
        pool = await client.read_work_pool(name)
    except ObjectNotFound:
        return None
    if pool.type != kind:
        raise DeploymentsInvalid(
            f"The work pool {name!r} is of type {pool.type!r}, not {kind!r}: remove it or rename it."
        )
    return pool


async def ensure(
    client: PrefectClient, name: str, template: dict[str, Any] | None, own: Owner | None = None, kind: str = KIND
) -> None:
    """Create the pool for this owner, or give it this template where it has another; None leaves the template."""
    pool = await find(client, name, kind)
    if pool is None and template is None:
        raise DeploymentsInvalid(
            f"There is no work pool {name!r} on the server: install the chart, which makes it, "
            "or give its job template with --base-job-template FILE."
        )
    if pool is None and template is not None:
        try:
            new = WorkPoolCreate(name=name, type=kind, base_job_template=template, description=str(Mark(own)))
            await client.create_work_pool(new)
            log.info("work pool %s: created", name)
        except ObjectAlreadyExists:  # by the worker, which starts at the same time
            pool = await find(client, name, kind)
    if pool is not None and template is not None and pool.base_job_template != template:
        await client.update_work_pool(name, WorkPoolUpdate(base_job_template=template))
        log.info("work pool %s: job template updated", name)


async def claim(client: PrefectClient, name: str, own: Owner | None, kind: str = KIND) -> None:
    """Take a pool for this release that has no owner; DeploymentsInvalid where it is another's.

    A pool has none that the worker or a person made, or a version of dbtpod that wrote none.
    """
    if own is None or (pool := await find(client, name, kind)) is None:
        return
    mark = Mark.written(pool.description)
    if mark.owner is None:
        await _describe(client, name, Mark(own, mark.digest))
        log.info("work pool %s: belongs to %s now; it had no owner", name, own)
    elif not mark.owner.is_same(own):
        raise DeploymentsInvalid(taken(name, mark.owner, own))


async def mark(client: PrefectClient, name: str, what: Mark, kind: str = KIND) -> None:
    """Write down in the pool what was registered last, where the watchdog looks for it."""
    pool = await find(client, name, kind)
    if pool is None or pool.description != str(what):
        await _describe(client, name, what if what.owner or not pool else replace(what, owner=_owner(pool)))


def _owner(pool: WorkPool) -> Owner | None:
    return Mark.written(pool.description).owner


async def _describe(client: PrefectClient, name: str, mark: Mark) -> None:
    await client.update_work_pool(name, WorkPoolUpdate(description=str(mark)))


async def ensure_queues(client: PrefectClient, pool: str, writers: int = 1) -> None:
    """Create the queues that are missing and set each limit: so many runs that write are in a pod at once."""
    limits = dict(QUEUES) | {WRITER_QUEUE: writers}
    for name, limit in limits.items():
        try:
            queue = await client.read_work_queue_by_name(name, work_pool_name=pool)
        except ObjectNotFound:
            await client.create_work_queue(name, concurrency_limit=limit, work_pool_name=pool)
            log.info("queue %s: created, limit %s", name, limit or "none")
            continue
        if queue.concurrency_limit != limit:
            await client.update_work_queue(queue.id, concurrency_limit=limit)
            log.info("queue %s: limit %s, was %s", name, limit or "none", queue.concurrency_limit or "none")
