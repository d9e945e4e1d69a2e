"""The ready flow: a prefect.yaml without Python, registered on a real server and run as in a pod, with real dbt."""

from pathlib import Path
from typing import Any

import duckdb
import pytest
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.responses import DeploymentResponse
from prefect.exceptions import PrefectHTTPStatusError

from prefect_server import Server
from ready_flows import registered, run_in_a_pod
from shop import ORDERS

DEPLOYMENT: dict[str, Any] = {
    "name": "orders",
    "entrypoint": "dbtpod.flows.commands",
    "parameters": {"commands": ["dbt run --select orders", ["test"]], "retries": 1},
    "work_pool": {"name": "ready", "work_queue_name": "duckdb-writer"},
}


@pytest.fixture
def client(server: Server) -> SyncPrefectClient:
    return SyncPrefectClient(server.url)


@pytest.fixture
def deployment(
    api: Server, client: SyncPrefectClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> DeploymentResponse:
    monkeypatch.setenv("PREFECT_API_URL", api.url)
    registered(DEPLOYMENT, ORDERS, tmp_path)
    return client.read_deployment_by_name("dbt/orders")


def test_the_commands_of_a_deployment_are_run_and_what_they_build_is_published(
    client: SyncPrefectClient, deployment: DeploymentResponse, tmp_path: Path
) -> None:
    run = client.create_flow_run_from_deployment(deployment.id).id

    said = run_in_a_pod(client, run, tmp_path)

    state = client.read_flow_run(run).state
    assert state and state.is_completed(), said
    with duckdb.connect(str(tmp_path / "volume/published/current/warehouse.duckdb"), read_only=True) as published:
        assert published.sql("select table_name from duckdb_tables()").fetchall() == [("orders",)]


def test_the_form_of_a_custom_run_explains_what_it_takes_and_refuses_the_rest(
    client: SyncPrefectClient, deployment: DeploymentResponse
) -> None:
    form = deployment.parameter_openapi_schema or {}

    assert deployment.description and deployment.description.startswith("Runs dbt commands, one after the other.")
    assert list(form["properties"]) == ["commands", "retries", "retry_delay_seconds"]
    assert all(each["description"] for each in form["properties"].values())
    for wrong in ({"commands": []}, {"commands": "build"}, {"retries": -1}):
        with pytest.raises(PrefectHTTPStatusError, match="409"):
            client.create_flow_run_from_deployment(deployment.id, parameters=wrong)
