"""What the tests of registration share: a server with a password, and a project."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from prefect.client.orchestration import PrefectClient

from prefect_server import running
from registering import FLOWS, PASSWORD, TEMPLATE, ask, connected, daily, hourly, write


@pytest.fixture(scope="session")
def api_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with running(tmp_path_factory.mktemp("prefect-server"), PREFECT_SERVER_API_AUTH_STRING=PASSWORD) as server:
        yield server.url


@pytest.fixture
def api(api_url: str) -> Iterator[None]:
    """The server, emptied of what an earlier test made."""
    with connected(api_url):
        yield
        ask(_empty)


async def _empty(client: PrefectClient) -> None:
    for found in await client.read_deployments():
        await client.delete_deployment(found.id)
    for pool in await client.read_work_pools():
        await client.delete_work_pool(pool.name)
    for automation in await client.read_automations():
        await client.delete_automation(automation.id)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A folder with flows, a prefect.yaml of two deployments, and the job template of a pool."""
    (tmp_path / "flows").mkdir()
    (tmp_path / "flows/flows.py").write_text(FLOWS)
    (tmp_path / "template.json").write_text(json.dumps(TEMPLATE))
    write(tmp_path, daily(), hourly())
    return tmp_path
