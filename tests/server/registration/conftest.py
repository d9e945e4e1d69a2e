"""What the tests of registration share: a server with a password, and a project."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from prefect.client.orchestration import PrefectClient

from prefect_server import running
from registering import PASSWORD, ask, connected, create


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
    for block in await client.read_block_documents():
        await client.delete_block_document(block.id)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A folder with flows, a prefect.yaml of two deployments, and the job template of a pool."""
    return create(tmp_path)
