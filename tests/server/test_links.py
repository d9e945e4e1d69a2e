"""The links of a failed run's report: found on a real Prefect server, read as Prefect's two UIs read them."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit
from uuid import UUID

import pytest
from markdown_it import MarkdownIt
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.settings import PREFECT_UI_URL, temporary_settings

from dbtpod.dbt.node import NodeStatus
from dbtpod.dbt.results import RunReport
from dbtpod.ui import links
from dbtpod.ui.links import OfFailure
from prefect_server import Server
from recordings import node
from shop import write
from shop_flows import building, run
from waiting import until

UI = "https://prefect.shop.example/ui"
PROJECT = {
    "models/good.sql": "select 1 as id",
    "models/broken.sql": "{{ config(materialized='incremental') }} select nothing as id from {{ ref('good') }}",
    "models/checked.yml": "models: [{name: good, columns: [{name: id, data_tests: [{accepted_values: "
    "{arguments: {values: [2]}}}]}]}]\n",
}

pytestmark = pytest.mark.usefixtures("api")


@pytest.fixture
def client(server: Server) -> SyncPrefectClient:
    return SyncPrefectClient(server.url)


def test_a_failed_runs_report_begins_with_links_to_the_form_filled_in(
    project: Path, server: Server, client: SyncPrefectClient
) -> None:
    write(project, PROJECT)
    deployment = deploy(client, "dbt-run", pool=None)

    with temporary_settings({PREFECT_UI_URL: UI}):
        state = run(building, "run")

    run_id = str(state.state_details.flow_run_id)
    found = linked(report(server, run_id))
    assert {address.split("?")[0] for address in found.values()} == {f"{UI}/deployments/deployment/{deployment}/run"}
    assert {text: request(address) for text, address in found.items()} == {
        "Continue from this failure": {"continue_from": run_id},
        "run this model and its descendants": {"command": "build", "select": ["broken+"]},
        "full refresh of this model": {"command": "run", "select": ["broken"], "full_refresh": True},
    }
    assert report(server, run_id).startswith("- [Continue from this failure](")


def test_a_test_that_failed_is_linked_to_what_it_tests(
    project: Path, server: Server, client: SyncPrefectClient
) -> None:
    write(project, PROJECT)
    deploy(client, "dbt-run", pool=None)

    with temporary_settings({PREFECT_UI_URL: UI}):
        state = run(building, "build", "--select", "good")

    found = linked(report(server, str(state.state_details.flow_run_id)))
    assert request(found["run what it tests and its descendants"]) == {"command": "build", "select": ["good+"]}


def test_a_run_that_ended_well_has_no_links(project: Path, server: Server, client: SyncPrefectClient) -> None:
    write(project, PROJECT)
    deploy(client, "dbt-run", pool=None)

    with temporary_settings({PREFECT_UI_URL: UI}):
        state = run(building, "run", "--select", "good")

    assert state.is_completed()
    assert report(server, str(state.state_details.flow_run_id)).startswith("**1 done: 1 success**")


def test_the_deployment_is_that_of_the_runs_own_work_pool(client: SyncPrefectClient) -> None:
    deploy(client, "dbt-run", pool=None)
    ours = deploy(client, "dbt-run-dev", pool="links-dev")
    deploy(client, "dbt-run-prod", pool="links-prod")
    flow_run = client.create_flow_run_from_deployment(UUID(ours))

    with temporary_settings({PREFECT_UI_URL: UI}):
        found = failure()(client, client.read_flow_run(flow_run.id))

    assert {urlsplit(each).path for each in linked(found).values()} == {f"/ui/deployments/deployment/{ours}/run"}


@pytest.mark.soak
def test_there_are_no_links_without_the_form_or_the_uis_address_or_an_answer(
    client: SyncPrefectClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = client.read_flow_run(client.create_flow_run_from_deployment(UUID(deploy(client, "x", "links-x", "x"))).id)
    own = client.read_flow_run(client.create_flow_run_from_deployment(UUID(deploy(client, "dbt-run", "links-y"))).id)

    with temporary_settings({PREFECT_UI_URL: UI}):
        assert failure()(client, other) == ""
        assert failure()(client, own) != ""
        monkeypatch.setattr(links, "_SECONDS", 0.000001)
        assert failure()(client, own) == ""
    monkeypatch.undo()
    with temporary_settings({PREFECT_UI_URL: ""}):
        assert failure()(client, own) == ""


def test_what_was_only_begun_or_cannot_be_run_has_no_link_of_its_own(client: SyncPrefectClient) -> None:
    flow_run = client.read_flow_run(
        client.create_flow_run_from_deployment(UUID(deploy(client, "dbt-run", "links-hook"))).id
    )
    failed = replace(node("end", NodeStatus.ERROR), node_id="operation.shop.end", kind="operation")
    hook = RunReport("1", (failed,), 1.0)

    with temporary_settings({PREFECT_UI_URL: UI}):
        found = OfFailure(hook, {}, Path("nowhere"), can_continue=True)(client, flow_run)
        in_place = OfFailure(hook, {}, Path("nowhere"), can_continue=False)(client, flow_run)

    assert [*linked(found)] == ["Continue from this failure"]
    assert in_place == ""


def test_of_many_failed_nodes_ten_are_linked(client: SyncPrefectClient) -> None:
    flow_run = client.read_flow_run(
        client.create_flow_run_from_deployment(UUID(deploy(client, "dbt-run", "links-many"))).id
    )

    with temporary_settings({PREFECT_UI_URL: UI}):
        found = failure(*(f"m{number}" for number in range(12)))(client, flow_run)

    assert found.count("run this model and its descendants") == 10


@pytest.mark.parametrize("text", ["100 % (a) [b] +c&d=e", 'he said "{{ ref }}"', "Заказы\\u0025", "a\nb", "'<script>'"])
def test_both_uis_read_any_text_as_it_was(text: str) -> None:
    address = links.address(f"{UI}/deployments/deployment/1/run", {"select": [text]})

    assert request(address) == {"select": [text]}
    [(_, found)] = linked(f"[run]({address})").items() or [("", "")]
    assert found == address, "markdown takes it as it is"


def failure(*models: str) -> OfFailure:
    nodes = tuple(node(name, NodeStatus.ERROR) for name in models or ("orders",))
    return OfFailure(RunReport("1", nodes, 1.0), {}, Path("nowhere"), can_continue=True)


def deploy(client: SyncPrefectClient, name: str, pool: str | None, flow: str = links.FLOW) -> str:
    if pool:
        client.create_work_pool(WorkPoolCreate(name=pool, type="process"), overwrite=True)
    flow_id = client.create_flow_from_name(flow)
    return str(client.create_deployment(flow_id=flow_id, name=name, work_pool_name=pool))


def report(server: Server, run_id: str) -> str:
    def found() -> list[str]:
        return [each["data"] for each in server.filter("artifacts", run_id) if each["type"] == "markdown"]

    return str(until(found)[0])


def linked(markdown: str) -> dict[str, str]:
    """The links of a text in markdown: what each says, and where it leads."""
    tokens = [token for block in MarkdownIt().parse(markdown) for token in block.children or ()]
    return {
        tokens[at + 1].content: str(token.attrs["href"]) for at, token in enumerate(tokens) if token.type == "link_open"
    }


def request(address: str) -> Any:
    """What the form is filled with, by the rules of the second UI, and of the first, which decodes twice."""
    [text] = parse_qs(urlsplit(address).query, strict_parsing=True)["parameters"]
    assert json.loads(unquote(text, errors="strict")) == json.loads(text)
    return json.loads(text)["request"]
