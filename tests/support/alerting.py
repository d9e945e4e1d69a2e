"""Webhooks as the chart gives them to a registration, and runs that end as those of pods do."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from uuid import UUID

from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.objects import FlowRun, State, StateType

from dbtpod.dbt.node import NodeResult, NodeStatus
from dbtpod.dbt.results import RunReport
from dbtpod.ui import report
from registering import ask, deployments

# What Prefect's engine puts before an exception's text.
RAISED = "Flow run encountered an exception: DbtFailed: "
ERROR = "Binder Error: column \"größe\" {{ not }} in {% raw %} 'fct' ```<b>&"


def webhook(name: str, url: str, form: str = "json", deployments: Sequence[str] = (), **when: Any) -> dict[str, Any]:
    return {"name": name, "url": url, "format": form, "when": when, "deployments": list(deployments)}


def write_alerts(folder: Path, *webhooks: dict[str, Any], docs: str = "") -> Path:
    """The chart's file, with the addresses beside it as Kubernetes mounts them."""
    (folder / "urls").mkdir(parents=True, exist_ok=True)
    written = []
    for each in webhooks:
        (folder / "urls" / each["name"]).write_text(each["url"] + "\n")
        written.append({k: v for k, v in each.items() if k != "url"} | {"urlSecret": {"name": "hooks", "key": "url"}})
    file = folder / "alerts.json"
    file.write_text(json.dumps({"webhooks": written, "dbtDocsUrl": docs}))
    return file


def failure(owners: dict[str, str] | None = None) -> str:
    """The message of a run of which two nodes failed."""
    nodes = [
        NodeResult("model.shop.fct_orders", "model", "fct_orders", NodeStatus.ERROR, 1.0, None, ERROR),
        NodeResult("test.shop.not_null.ab12", "test", "not_null", NodeStatus.FAIL, 1.0, None, "Got 3 results"),
        NodeResult("model.shop.stg_orders", "model", "stg_orders", NodeStatus.SUCCESS, 1.0, 3, "OK"),
    ]
    args = ("build", "--select", "stg_orders+")
    return RAISED + report.failure_text(RunReport("1", tuple(nodes), 3.0), args, 1, "where", owners or {})


def begin(deployment: str) -> FlowRun:
    key = deployments()[deployment].id
    return ask(lambda client: client.create_flow_run_from_deployment(key))


def set_state(run: FlowRun, kind: str, name: str, message: str = "") -> None:
    async def send(client: PrefectClient) -> None:
        state = State[None](type=StateType(kind), name=name, message=message)
        await client.set_flow_run_state(run.id, state, force=True)

    ask(send)


def end(deployment: str, kind: str, name: str, message: str = "") -> FlowRun:
    """A run of that deployment that ends in that state."""
    run = begin(deployment)
    set_state(run, kind, name, message)
    return run


def blocks() -> dict[str, Any]:
    """The blocks with webhooks as anyone who may read them sees them: by name."""

    async def read(client: PrefectClient) -> dict[str, Any]:
        found = await client.read_block_documents(include_secrets=False)
        return {str(each.name): each.data for each in found}

    return ask(read)


def automations() -> dict[str, UUID]:
    return {each.name: each.id for each in ask(lambda client: client.read_automations())}
