"""The report of a flow run as Prefect artifacts: a table whose history Prefect keeps, and a report in markdown."""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from uuid import UUID

from prefect import get_run_logger
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.objects import FlowRun
from prefect.context import FlowRunContext

from dbtpod import settings
from dbtpod.timeout import Timeout
from dbtpod.ui.event_sender import background, no_retry_client

# Two answers of a slow server.
_SECONDS = 12.0
# The variable in which the engine, which has asked for it already, leaves the deployment's name.
DEPLOYMENT = "DBTPOD_DEPLOYMENT"


def send(table: Sequence[Mapping[str, object]], markdown: str) -> None:
    """Create the artifacts `<deployment>-results` and `<deployment>-report`, with the flow's name where there is none.

    It never raises and takes seconds at most: what Prefect did not take by then is given up with one warning.
    """
    context = FlowRunContext.get()
    if context is None or context.flow_run is None:
        return
    flow_run, flow_name = context.flow_run, context.flow.name if context.flow else "dbt"
    failures: list[Exception] = []

    def create(kind: str, suffix: str, data: str) -> None:
        try:
            with no_retry_client() as client:
                key = f"{_slug(_name(client, flow_run, flow_name))}-{suffix}"
                # Not client.create_artifact(), which has an event sent too, by a worker that a slow API holds up.
                artifact = {"type": kind, "key": key, "data": data, "flow_run_id": str(flow_run.id)}
                client.request("POST", "/artifacts/", json=artifact)
        except Exception as error:
            failures.append(error)

    in_time = _together(
        lambda: create("table", "results", json.dumps([dict(row) for row in table], default=str)),
        lambda: create("markdown", "report", markdown),
    )
    if failures or not in_time:
        why = f"{type(failures[0]).__name__}: {failures[0]}" if failures else f"no answer in {_SECONDS:.0f} s"
        get_run_logger().warning("The report did not reach Prefect (%s); dbt's own artifacts are on the volume.", why)


def _together(*calls: Callable[[], None]) -> bool:
    """Whether all calls ended in time; none of them holds up the process's end."""
    threads = [background(call, "dbtpod-artifact") for call in calls]
    timeout = Timeout(_SECONDS)
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout.left)
    return not any(thread.is_alive() for thread in threads)


def _name(client: SyncPrefectClient, flow_run: FlowRun, flow_name: str) -> str:
    deployment: UUID | None = flow_run.deployment_id
    if not deployment:
        return flow_name
    return settings.environment().get(DEPLOYMENT) or client.read_deployment(deployment).name


def _slug(name: str) -> str:
    """Write a name as Prefect allows it in a key: lowercase letters, digits and dashes."""
    return re.sub("[^a-z0-9]+", "-", name.lower()).strip("-")
