"""What `dbtpod register` does, by the chart's hook Job or by hand: make a Prefect server equal to prefect.yaml.

Each step may be repeated: run it again after a failure, or twice in a row, and nothing changes that is right already.
"""

import asyncio
import logging
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import httpx
import yaml
from prefect.client.orchestration import PrefectClient, get_client
from prefect.client.schemas.filters import WorkPoolFilter, WorkPoolFilterName
from prefect.client.schemas.responses import DeploymentResponse
from prefect.exceptions import PrefectHTTPStatusError
from prefect.settings import PREFECT_API_URL, PREFECT_CLIENT_MAX_RETRIES, temporary_settings

from dbtpod.errors import DeploymentsInvalid, SettingsError
from dbtpod.registration import alerts, deployments, heartbeat, schedules, work_pool
from dbtpod.registration.alerts import Alerts
from dbtpod.registration.deployments import PrefectFile
from dbtpod.registration.variant import Variant
from dbtpod.settings import environment
from dbtpod.timeout import Timeout

log = logging.getLogger("dbtpod.register")


def from_file(
    path: Path,
    variant: Variant,
    base_job_template: Path | None,
    wait_seconds: float,
    digest: str | None = None,
    alerts_file: Path | None = None,
) -> None:
    """Register what prefect.yaml says, and print what changed; see `register`. DbtPodError says what is wrong."""
    template = work_pool.read_template(base_job_template) if base_job_template else None
    wanted = alerts.read(alerts_file) if alerts_file else None
    run(deployments.read(path, variant, template), template, wait_seconds, digest, wanted=wanted)


def run(
    file: PrefectFile,
    template: dict[str, Any] | None,
    wait_seconds: float,
    digest: str | None = None,
    kind: str = work_pool.KIND,
    wanted: Alerts | None = None,
) -> None:
    """Register a file that was read with this template, and print what changed; see `register`."""
    log.handlers, log.propagate = [logging.StreamHandler(sys.stdout)], False
    log.setLevel(logging.INFO)
    if not PREFECT_API_URL.value():
        raise SettingsError("PREFECT_API_URL is not set: give the server's, such as http://127.0.0.1:4200/api.")
    try:
        asyncio.run(register(file, template, wait_seconds, digest, kind, wanted))
    except PrefectHTTPStatusError as error:
        raise SettingsError(_refusal(error)) from error
    except httpx.TransportError as error:  # Prefect's client has tried again by then
        raise SettingsError(_interruption(error)) from error


async def register(
    file: PrefectFile,
    template: dict[str, Any] | None,
    wait_seconds: float,
    digest: str | None = None,
    kind: str = work_pool.KIND,
    wanted: Alerts | None = None,
) -> None:
    """Bring the server's pool, queues, deployments and automations in line with the file, and log what changed.

    Without a job template the pool must exist, and keeps its own. Deployments of this pool that the file does not
    have are removed: the pool belongs to the file. So are alerts that are not `wanted`, unless that is None, as for
    a registration by hand. At the end the digest is written down on the server. The server ends the pods' runs of
    which it hears nothing; a pool of another kind looks after its own.
    """
    async with get_client() as client:
        await _wait_for_api(client, wait_seconds)
        if not template:  # else it was checked with all the rest
            await _check_job_variables(client, file, kind)
        await work_pool.ensure(client, file.pool, template, kind)
        await work_pool.ensure_queues(client, file.pool)
        before = await _registered(client, file.pool)
        _deploy_all(file)
        await _prune(client, file)
        await schedules.keep_pauses(client, file, before)
        after = await _registered(client, file.pool)
        schedules.log_changes(file, before, after)
        if kind == work_pool.KIND:
            for automation in heartbeat.automations(file.pool, [found.id for found in after.values()]):
                await heartbeat.ensure(client, automation)
        if wanted is not None:
            await alerts.ensure(client, file.pool, wanted, after)
        if digest:
            await work_pool.mark(client, file.pool, digest, kind)
        await schedules.log_table(client, file, after)


async def _wait_for_api(client: PrefectClient, seconds: float) -> None:
    wait = Timeout(seconds)
    with temporary_settings({PREFECT_CLIENT_MAX_RETRIES: 0}):  # Prefect's own retries know no deadline
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


async def _registered(client: PrefectClient, pool: str) -> dict[str, DeploymentResponse]:
    """Read the deployments of the pool, by full name as flow/deployment."""
    of_pool = WorkPoolFilter(name=WorkPoolFilterName(any_=[pool]))
    found: list[DeploymentResponse] = []
    while page := await client.read_deployments(work_pool_filter=of_pool, limit=_PAGE, offset=len(found)):
        found += page
    flows = {flow_id: (await client.read_flow(flow_id)).name for flow_id in {item.flow_id for item in found}}
    return {f"{flows[item.flow_id]}/{item.name}": item for item in found}


_PAGE = 100


def _deploy_all(file: PrefectFile) -> None:
    """Have Prefect's own command deploy, so that a deployment is what `prefect deploy` makes of the file."""
    with tempfile.NamedTemporaryFile("w", suffix=".yaml", encoding="utf-8") as filled:
        yaml.safe_dump(file.draft.content, filled, sort_keys=False, allow_unicode=True)
        filled.flush()
        done = subprocess.run(
            [sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--all", "--prefect-file", filled.name],
            cwd=file.path.parent,  # entrypoints are relative to it
            env={**environment(), "COLUMNS": "120", "PREFECT_CLI_COLORS": "false"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
    if done.returncode:
        raise DeploymentsInvalid(
            f"prefect deploy --all ended with exit code {done.returncode}: correct this, then register again.\n"
            + _reasons(done.stdout)
        )


def _reasons(output: str) -> str:
    """Return the last lines that say something: no frames of a traceback, no boxes, no body of a request."""
    noise = ("Traceback", "The above exception", "During handling", "An exception occurred", "Deploying ")
    lines = [line for line in output.splitlines() if line[:1].isalnum() and not line.startswith(noise)]
    return "\n".join(line[:600] for line in lines[-3:]) or output


async def _prune(client: PrefectClient, file: PrefectFile) -> None:
    """Remove from the server the pool's deployments and schedules that the file does not have."""
    registered = await _registered(client, file.pool)
    kept = {name: item for name, item in registered.items() if any(entry.is_called(name) for entry in file.deployments)}
    if len(kept) < len(file.deployments):
        raise DeploymentsInvalid(f"The server lists only {sorted(kept)} of {file.path}: nothing was removed.")
    for name in sorted(set(registered) - set(kept)):
        await client.delete_deployment(registered[name].id)
        log.info("deployment %s: removed, %s does not have it and work pool %s is its own", name, file.path, file.pool)
    for name, item in kept.items():
        wanted = {schedule.slug for entry in file.deployments if entry.is_called(name) for schedule in entry.schedules}
        for schedule in item.schedules:
            if schedule.slug not in wanted:
                await client.delete_deployment_schedule(item.id, schedule.id)
                log.info("schedule %s of %s: removed, %s does not have it", schedule.slug, name, file.path)
