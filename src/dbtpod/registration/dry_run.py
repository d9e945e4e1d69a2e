"""What Kubernetes says of the Job that a run would get: a dry run at its API, before the first run is due.

Kubernetes takes any text for the pool's job template, and only the first run would show that it refuses the Job. The
registration says it, as its failure is what ends a release with a text in the terminal. A dry run needs the right to
create Jobs, for RBAC knows no right to dry runs alone; so a container of its own has the token, for seconds, before
the one that runs Prefect's `deploy` with the steps of a user's prefect.yaml. The watchdog has the right already, but
what it finds would be Helm's "context deadline exceeded" in the terminal; a hook before the install has no service
account yet. The Job is made by Prefect's own code, as the worker makes it, and has no password: the container that
makes it was given none.
"""

import asyncio
import json
import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.objects import Flow, FlowRun
from prefect_kubernetes.worker import KubernetesWorkerJobConfiguration
from pydantic import ValidationError

from dbtpod import settings
from dbtpod.registration import draft, work_pool
from dbtpod.registration.variant import Variant
from dbtpod.registration.yaml_file import Diagnostic

# No fault of the Job; the words are Kubernetes' own, for a service account without the right.
_NO_VERDICT = (httpx.codes.UNAUTHORIZED, httpx.codes.TOO_MANY_REQUESTS)
_NO_RIGHT = 'cannot create resource "jobs"'

log = logging.getLogger("dbtpod.register")


def refusals(path: Path, variant: Variant, base_job_template: Path, http: httpx.Client) -> str:
    """Return what Kubernetes refuses of the Jobs of these deployments, a text for a person; empty for nothing.

    Empty, too, where that cannot be known: a prefect.yaml with errors, which the registration reports, or an API that
    does not answer.
    """
    template = work_pool.read_template(base_job_template)
    said: dict[str, list[str]] = {}
    for variables, names in _distinct(path, variant):
        try:
            if reason := _refusal(http, _manifest(template, json.loads(variables))):
                said.setdefault(reason, []).extend(names)
        except httpx.HTTPError as error:
            log.warning("Kubernetes' API did not say whether it takes the Job of a run: %r", error)
            return ""
    if not said:
        return ""
    lines = [f"  {', '.join(names)}: {reason}" for reason, names in said.items()]
    what = "Kubernetes refuses the Job of a run, so nothing was registered. Correct the jobs values or job_variables:"
    return "\n".join([what, *lines])


def _distinct(path: Path, variant: Variant) -> Iterator[tuple[str, list[str]]]:
    """Yield each set of job variables that is given, as JSON, with the deployments that give it."""
    found = draft.read(path, settings.environment())
    if isinstance(found, Diagnostic):
        return
    sets: dict[str, list[str]] = {}
    for entry in variant.apply(found)[0].deployments:
        if not isinstance(entry, dict):
            continue
        pool = entry.get("work_pool")
        given = pool.get("job_variables") if isinstance(pool, dict) else None
        # What has {{ is filled in by Prefect when a run starts.
        known = {key: value for key, value in (given or {}).items() if "{{" not in str(value)}
        sets.setdefault(json.dumps(known, sort_keys=True, default=str), []).append(str(entry.get("name")))
    yield from sets.items()


def _manifest(template: Mapping[str, Any], variables: Mapping[str, Any]) -> dict[str, Any] | str:
    """Make the Job of one run; a text where Prefect refuses to."""
    flow = Flow(name="dry-run", id=uuid4(), labels={})
    run = FlowRun(id=uuid4(), name="dry-run", flow_id=flow.id)
    # A client that is not used: there is nothing to look up.
    client = PrefectClient(api="http://127.0.0.1")
    making = KubernetesWorkerJobConfiguration.from_template_and_values(dict(template), dict(variables), client=client)
    try:
        made = asyncio.run(making)
        made.prepare_for_flow_run(run, flow=flow)
    except ValidationError as error:
        return "; ".join(each["msg"] for each in error.errors())
    except ValueError as error:
        return str(error)
    job: dict[str, Any] = made.job_manifest
    # Prefect insists on them here, where Kubernetes knows no such fields.
    for name in ("parallelism", "completions"):
        job["spec"]["template"]["spec"].pop(name, None)
    return job


def _refusal(http: httpx.Client, job: dict[str, Any] | str) -> str:
    if isinstance(job, str):
        return job
    # Strict: what Kubernetes does not know it would leave out, such as a misspelt kind of volume.
    path = f"/apis/batch/v1/namespaces/{job['metadata']['namespace']}/jobs"
    answer = http.post(path, params={"dryRun": "All", "fieldValidation": "Strict"}, json=job)
    if answer.is_success:
        return ""
    status = answer.json() if answer.headers.get("content-type", "").startswith("application/json") else {}
    message = str(status.get("message") or answer.text)
    code = answer.status_code
    if code >= httpx.codes.INTERNAL_SERVER_ERROR or code in _NO_VERDICT or _NO_RIGHT in message:
        raise httpx.HTTPStatusError(message, request=answer.request, response=answer)
    causes = (status.get("details") or {}).get("causes") or []
    return "; ".join(f"{each.get('field')}: {each.get('message')}" for each in causes) or message
