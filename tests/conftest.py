"""What several test files share: the rendered chart, and a Prefect server."""

from collections.abc import Iterator

import pytest
from prefect.events.worker import EventsWorker
from prefect.logging.handlers import APILogWorker
from prefect.settings import PREFECT_API_URL, temporary_settings

from prefect_server import Server, running
from rendering import Render, render_chart


@pytest.fixture(scope="session")
def render() -> Render:
    """Give the function from values to manifests."""
    return render_chart


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Start a Prefect server for the whole session: it takes longer than most tests."""
    with running(tmp_path_factory.mktemp("prefect-server")) as server:
        yield server
        # Or the interpreter's end waits minutes for a server that is gone.
        for worker in (EventsWorker, APILogWorker):
            worker.drain_all(timeout=20)


@pytest.fixture
def api(server: Server) -> Iterator[Server]:
    """Have flows of this process report to that server."""
    with temporary_settings({PREFECT_API_URL: server.url}):
        yield server
