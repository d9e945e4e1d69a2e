"""The ready flow: a prefect.yaml without Python, registered on a real server and run as in a pod, with real dbt."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any
from uuid import UUID

import duckdb
import pytest
import yaml
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.responses import DeploymentResponse
from prefect.exceptions import PrefectHTTPStatusError
from prefect.states import Pending

from booted import FAST
from dbtpod import cli
from prefect_server import Server

PROJECT = {
    "dbt_project.yml": "name: shop\nprofile: shop\nmodels: {+materialized: table}\n",
    "profiles.yml": "shop: {target: dev, outputs: {dev: {type: duckdb, path: \"{{ env_var('DUCKDB_PATH') }}\"}}}\n",
    "models/orders.sql": "select 1 as id",
    "models/totals.sql": "select count(*) as n from {{ ref('orders') }}",
}
TEMPLATE = {"job_configuration": {"image": "{{ image }}"}, "variables": {"type": "object", "properties": {"image": {}}}}
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
    """The deployment, registered from a folder that has a dbt project and no flow."""
    for name, text in PROJECT.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    pull = [{"prefect.deployments.steps.set_working_directory": {"directory": str(tmp_path)}}]
    (tmp_path / "prefect.yaml").write_text(yaml.safe_dump({"pull": pull, "deployments": [DEPLOYMENT]}))
    (tmp_path / "template.json").write_text(json.dumps(TEMPLATE))
    monkeypatch.setenv("PREFECT_API_URL", api.url)
    files = ["--file", str(tmp_path / "prefect.yaml"), "--base-job-template", str(tmp_path / "template.json")]
    assert cli.main(["register", *files]) == 0
    return client.read_deployment_by_name("dbt/orders")


def run_in_a_pod(client: SyncPrefectClient, run: UUID, folder: Path) -> str:
    """Start the flow run as its pod does; what it printed."""
    client.set_flow_run_state(run, Pending(), force=True)
    volume = folder / "volume"
    volume.mkdir()
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")} | {
        "PREFECT_API_URL": str(client.api_url),
        "PREFECT_HOME": str(folder / "prefect"),
        "PREFECT__FLOW_RUN_ID": str(run),
        "DUCKDB_PATH": str(volume / "work" / "warehouse.duckdb"),
        "DBT_PROJECT_DIR": str(folder),
    }
    done = subprocess.run(FAST, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    return done.stdout + done.stderr


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
