"""Links from the report of a failed run to the form of the deployment that runs any selection, filled in.

Prefect's UI fills the form from `?parameters=`, a JSON object. Its first UI decodes the text once more than its second
one, so the JSON has no percent sign: an encoding that both read.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import quote

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.objects import FlowRun
from prefect.settings import PREFECT_UI_URL

from dbtpod.dbt.node import NodeResult, name_of
from dbtpod.dbt.results import RunReport
from dbtpod.dbt.source_times import selector
from dbtpod.ui import owners, report
from dbtpod.ui.lineage import Parents
from dbtpod.ui.text import escape_markdown

# The ready flow whose one parameter is `request`; its deployment may have the same name, or one for an environment.
FLOW = "dbt-run"
_BUILT = ("model", "seed", "snapshot")
_TESTS = ("test", "unit_test")
_MOST_NODES = 10
# The report waits for it, and a report without links is better than none.
_SECONDS = 4.0

Request = Mapping[str, Any]


class Maker(Protocol):
    """Makes the links, in the thread that sends the report."""

    def __call__(self, client: SyncPrefectClient, flow_run: FlowRun) -> str:
        """Return them in markdown, before the report; "" where there is no such form. It never raises."""


@dataclass(frozen=True)
class OfFailure:
    """The links of a run that failed."""

    report: RunReport
    parents: Parents
    target_dir: Path
    # Whether its working copy is kept.
    can_continue: bool

    def __call__(self, client: SyncPrefectClient, flow_run: FlowRun) -> str:
        """Return them in markdown: see Maker."""
        try:
            ui = PREFECT_UI_URL.value()
            deployment = _deployment(client, flow_run) if ui else None
            return self._markdown(f"{ui}/deployments/deployment/{deployment}/run", flow_run) if deployment else ""
        except Exception:
            return ""

    def _markdown(self, form: str, flow_run: FlowRun) -> str:
        lines = []
        if self.can_continue and self.report.nodes:
            lines.append(f"- {_link('Continue from this failure', form, {'continue_from': str(flow_run.id)})}")
        manifest = owners.manifest(self.target_dir)
        for node in report.failures(self.report)[:_MOST_NODES]:
            if found := _of_node(node, self.parents, manifest):
                links = " or ".join(_link(text, form, request) for text, request in found.items())
                lines.append(f"- {escape_markdown(f'{node.kind} {node.name}')}: {links}")
        return "\n".join([*lines, "", ""]) if lines else ""


def address(form: str, request: Request) -> str:
    """Return the form's address with the request filled in.

    >>> address("/run", {"select": ["orders+"]})
    '/run?parameters=%7B%22request%22%3A%7B%22select%22%3A%5B%22orders%2B%22%5D%7D%7D'
    """
    text = json.dumps({"request": request}, separators=(",", ":")).replace("%", "\\u0025")
    return f"{form}?parameters={quote(text, safe='')}"


def _of_node(node: NodeResult, parents: Parents, manifest: str) -> dict[str, Request]:
    """Return the requests that make sense for a node that failed, by what the link says."""
    if node.kind in _TESTS:
        tested = [select for parent in parents.get(node.node_id, ()) if (select := _select(parent))]
        return {"run what it tests and its descendants": {"command": "build", "select": tested}} if tested else {}
    if node.kind not in _BUILT:
        return {}
    found: dict[str, Request] = {
        f"run this {node.kind} and its descendants": {"command": "build", "select": [_select(node.node_id)]}
    }
    if (owners.entry(manifest, node.node_id).get("config") or {}).get("materialized") == "incremental":
        request = {"command": "run", "select": [name_of(node.node_id)], "full_refresh": True}
        found[f"full refresh of this {node.kind}"] = request
    return found


def _select(node_id: str) -> str:
    kind = node_id.split(".", 1)[0]
    return selector(node_id) if kind == "source" else f"{name_of(node_id)}+" if kind in _BUILT else ""


def _deployment(client: SyncPrefectClient, flow_run: FlowRun) -> str | None:
    """Find the deployment with the form: in the run's own work pool, or by its name for a run without one."""
    which: dict[str, Any] = {"flows": {"name": {"any_": [FLOW]}}}
    if flow_run.work_pool_name:
        which["work_pools"] = {"name": {"any_": [flow_run.work_pool_name]}}
    else:
        which["deployments"] = {"name": {"any_": [FLOW]}}
    found: Sequence[Mapping[str, str]] = client.request(
        "POST", "/deployments/filter", json=which, timeout=_SECONDS
    ).json()
    return min(found, key=lambda each: (each["name"] != FLOW, each["name"]))["id"] if found else None


def _link(text: str, form: str, request: Request) -> str:
    return f"[{text}]({address(form, request)})"
