"""A deployment of a ready flow: registered on a real server, and run as its pod does."""

import json
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from uuid import UUID

import yaml
from prefect.client.orchestration import SyncPrefectClient
from prefect.states import Pending

import shop
from booted import FAST
from dbtpod import cli

_TEMPLATE = {
    "job_configuration": {"image": "{{ image }}"},
    "variables": {"type": "object", "properties": {"image": {}}},
}


def registered(deployment: Mapping[str, Any], project: Mapping[str, str], folder: Path) -> None:
    """Register the deployment from a folder that has a dbt project and no flow."""
    shop.write(folder, project)
    pull = [{"prefect.deployments.steps.set_working_directory": {"directory": str(folder)}}]
    (folder / "prefect.yaml").write_text(yaml.safe_dump({"pull": pull, "deployments": [dict(deployment)]}))
    (folder / "template.json").write_text(json.dumps(_TEMPLATE))
    files = ["--file", str(folder / "prefect.yaml"), "--base-job-template", str(folder / "template.json")]
    assert cli.main(["register", *files]) == 0


def run_in_a_pod(client: SyncPrefectClient, run: UUID, folder: Path) -> str:
    """Start the flow run as its pod does; what it printed."""
    client.set_flow_run_state(run, Pending(), force=True)
    volume = folder / "volume"
    volume.mkdir(exist_ok=True)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")} | {
        "PREFECT_API_URL": str(client.api_url),
        "PREFECT_HOME": str(folder / "prefect"),
        "PREFECT__FLOW_RUN_ID": str(run),
        "DUCKDB_PATH": str(volume / "work" / "warehouse.duckdb"),
        "DBT_PROJECT_DIR": str(folder),
    }
    done = subprocess.run(FAST, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    return done.stdout + done.stderr
