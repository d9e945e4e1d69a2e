"""Says in an event of its own that sources are stale: a warning leaves the run Completed, and an alert reads events."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any
from uuid import NAMESPACE_URL, uuid5

from prefect import get_run_logger
from prefect.client.schemas.objects import FlowRun
from prefect.context import FlowRunContext
from prefect.events import Event

from dbtpod.dbt.node import NodeResult, NodeStatus
from dbtpod.dbt.results import RunReport
from dbtpod.ui import owners
from dbtpod.ui.event_sender import again_if_busy, background
from dbtpod.ui.text import freshness

EVENT = "dbtpod.sources.stale"
# An answer of a slow server; the run does not wait longer for it.
_SECONDS = 6.0
_MOST_NAMED = 10


def send(report: RunReport, target_dir: Path) -> Callable[[], None]:
    """Send the event where the run found a source that is older than a threshold; it never raises.

    What it returns waits some seconds until Prefect has it: the run sends its report meanwhile.
    """
    context = FlowRunContext.get()
    stale = [node for node in report.nodes if node.age is not None and node.status is not NodeStatus.SUCCESS]
    if not stale or context is None or context.flow_run is None:
        return lambda: None
    flow_run, log = context.flow_run, get_run_logger()
    whose = owners.read(target_dir, [node.node_id for node in stale])
    body = event(flow_run, text(stale, whose))

    def post() -> None:
        try:
            again_if_busy(lambda client: client.request("POST", "/events", json=[body]))
        except Exception as error:
            log.warning("That sources are stale did not reach Prefect, so no alert says so: %s", error)

    thread = background(post, "dbtpod-stale")
    thread.start()
    return partial(thread.join, _SECONDS)


def text(stale: list[NodeResult], whose: Mapping[str, str]) -> str:
    """Write the sources as in the message of a run that failed: a line for each, with its owner."""
    lines = [
        f"  {node.node_id}{f' (owner: {whose[node.node_id]})' if node.node_id in whose else ''}: {freshness(node)}"
        for node in stale[:_MOST_NAMED]
    ]
    rest = len(stale) - len(lines)
    head = "1 source is stale:" if len(stale) == 1 else f"{len(stale)} sources are stale:"
    return "\n".join([head, *lines, *([f"  and {rest} more"] if rest else [])])


def event(flow_run: FlowRun, message: str) -> dict[str, Any]:
    """Make the event as JSON."""
    belongs_to = {"flow": flow_run.flow_id, "deployment": flow_run.deployment_id, "work-pool": flow_run.work_pool_id}
    made = Event.model_validate(
        {
            # One for each run, also where a second pod of it looked again.
            "id": uuid5(NAMESPACE_URL, f"{EVENT}/{flow_run.id}"),
            "occurred": datetime.now(UTC),
            "event": EVENT,
            "resource": {
                "prefect.resource.id": f"prefect.flow-run.{flow_run.id}",
                "prefect.resource.name": flow_run.name,
            },
            "related": [
                {"prefect.resource.id": f"prefect.{kind}.{key}", "prefect.resource.role": kind}
                for kind, key in belongs_to.items()
                if key
            ],
            "payload": {"message": message},
        }
    )
    return made.model_dump(mode="json")
