"""What `dbtpod register` does, by the chart's hook Job or by hand: make a Prefect server equal to prefect.yaml.

Each step may be repeated: run it again after a failure, or twice in a row, and nothing changes that is right already.
"""

import asyncio
import logging
import sys
from pathlib import Path
from typing import Any

import httpx
from prefect.client.orchestration import PrefectClient, get_client
from prefect.exceptions import PrefectHTTPStatusError
from prefect.settings import PREFECT_API_URL

from dbtpod import settings
from dbtpod.errors import SettingsError
from dbtpod.one_try import one_try_each
from dbtpod.registration import alerts, deployments, heartbeat, registered, schedules, wanted, work_pool
from dbtpod.registration.alerts import Alerts
from dbtpod.registration.deployments import PrefectFile
from dbtpod.registration.variant import Variant
from dbtpod.timeout import Timeout
from dbtpod.watchdog.owner import Mark

NO_MARK = Mark()

log = logging.getLogger("dbtpod.register")


def from_file(
    path: Path,
    variant: Variant,
    base_job_template: Path | None,
    wait_seconds: float,
    mark: Mark = NO_MARK,
    alerts_file: Path | None = None,
) -> None:
    """Register what prefect.yaml says, and print what changed; see `register`. DbtPodError says what is wrong."""
    template = work_pool.read_template(base_job_template) if base_job_template else None
    asked = alerts.read(alerts_file) if alerts_file else None
    environment = settings.environment()
    folder = path.absolute().parent
    writers = settings.writers(environment, folder)
    run(deployments.read(path, variant, template), template, wait_seconds, mark, asked=asked, writers=writers)


def run(
    file: PrefectFile,
    template: dict[str, Any] | None,
    wait_seconds: float,
    mark: Mark = NO_MARK,
    kind: str = work_pool.KIND,
    asked: Alerts | None = None,
    writers: int = 1,
) -> None:
    """Register a file that was read with this template, and print what changed; see `register`."""
    log.handlers, log.propagate = [logging.StreamHandler(sys.stdout)], False
    log.setLevel(logging.INFO)
    if not PREFECT_API_URL.value():
        raise SettingsError("PREFECT_API_URL is not set: give the server's, such as http://127.0.0.1:4200/api.")
    try:
        asyncio.run(register(file, template, wait_seconds, mark, kind, asked, writers))
    except PrefectHTTPStatusError as error:
        raise SettingsError(_refusal(error)) from error
    except httpx.TransportError as error:  # Prefect's client has tried again by then
        raise SettingsError(_interruption(error)) from error


async def register(
    file: PrefectFile,
    template: dict[str, Any] | None,
    wait_seconds: float,
    mark: Mark = NO_MARK,
    kind: str = work_pool.KIND,
    asked: Alerts | None = None,
    writers: int = 1,
) -> None:
    """Bring the server's pool, queues, deployments and automations in line with the file, and log what changed.

    Without a job template the pool must exist, and keeps its own. What differs is written, nothing else. A pool of
    another owner is refused before anything changes. Deployments of this pool that were registered like this and are
    no longer in the file are removed. So are alerts that are not `asked` for, unless that is None, as for a
    registration by hand. At the end the digest is written down on the server. The server ends the pods' runs of which
    it hears nothing; a pool of another kind looks after its own.
    So many runs that write are in a pod at once as `writers` says.
    """
    async with get_client(httpx_settings=registered.HTTPX) as client:
        await _wait_for_api(client, wait_seconds)
        if not template:  # else it was checked with all the rest
            await _check_job_variables(client, file, kind)
        before = await registered.read(client, file.pool)
        entries = await wanted.all_of(file, client)
        await work_pool.claim(client, file.pool, mark.owner, kind)
        await registered.check_elsewhere(client, file.pool, mark.owner, [each.full_name for each in entries])
        await work_pool.ensure(client, file.pool, template, mark.owner, kind)
        await work_pool.claim(client, file.pool, mark.owner, kind)  # which the worker may have made meanwhile
        await work_pool.ensure_queues(client, file.pool, writers)
        after = await registered.write(client, entries, before)
        await registered.remove_others(client, after, before, file.pool, file.path)
        schedules.log_changes(file, before, after)
        if kind == work_pool.KIND:
            for automation in heartbeat.automations(file.pool, [found.id for found in after.values()]):
                await heartbeat.ensure(client, automation)
        if asked is not None:
            await alerts.ensure(client, file.pool, asked, after)
        if mark.digest:
            await work_pool.mark(client, file.pool, mark, kind)
        await schedules.log_table(client, entries, after)


async def _wait_for_api(client: PrefectClient, seconds: float) -> None:
    wait = Timeout(seconds)
    with one_try_each():
        while reason := await _unreachable(client):
            if wait.is_over:
                raise SettingsError(
                    f"Prefect's API at {client.api_url} could not be reached within {seconds:.0f} s: {reason}. "
                    "Check PREFECT_API_URL, that the server runs, and that a network policy lets this pod reach it."
                )
            await asyncio.sleep(1)


async def _unreachable(client: PrefectClient) -> str | None:
    """Say why the API does not answer yet, None where it does; SettingsError where waiting cannot help."""
    try:
        await client.read_work_pools(limit=1)
    except PrefectHTTPStatusError as exc:
        if exc.response.status_code < 500 and exc.response.status_code != 429:
            raise SettingsError(_refusal(exc)) from exc
        return f"it answers {exc.response.status_code}"
    except httpx.TransportError as exc:
        return f"{type(exc).__name__} {exc}".strip()
    except ValueError as exc:  # HTML, where JSON should be
        raise SettingsError(f"{client.api_url} is not Prefect's API: does PREFECT_API_URL end in /api?") from exc
    return None


def _refusal(error: PrefectHTTPStatusError) -> str:
    status, url = error.response.status_code, PREFECT_API_URL.value()
    match status:
        case 401:
            advice = "check PREFECT_API_AUTH_STRING (a server with a password) or PREFECT_API_KEY (Prefect Cloud)"
        case 403:
            advice = "the key is known, but may not do this: give its account the right to edit pools and deployments"
        case 404 | 405:
            advice = "there is no such API: does PREFECT_API_URL end in /api?"
        case _:
            advice = error.response.text.strip()[:500]
    return f"Prefect's API at {url} refuses {error.request.method} {error.request.url.path} with {status}: {advice}."


def _interruption(error: httpx.TransportError) -> str:
    return (
        f"Prefect's API at {PREFECT_API_URL.value()} went away in the middle: {type(error).__name__} {error}".rstrip()
        + ". What is registered by now stays: register again when the server runs."
    )


async def _check_job_variables(client: PrefectClient, file: PrefectFile, kind: str) -> None:
    if pool := await work_pool.find(client, file.pool, kind):  # else work_pool.ensure says what is missing
        deployments.check_job_variables(file, pool.base_job_template)
