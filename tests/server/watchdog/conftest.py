"""What the tests of the watchdog share: a work pool."""

import pytest

from prefect_server import Server as PrefectServer
from watched import Pool


@pytest.fixture
def pool(server: PrefectServer, request: pytest.FixtureRequest) -> Pool:
    return Pool(server, f"pool-{abs(hash(request.node.name))}")
