"""What the tests with a Prefect server share: the server, a dbt project for flows, and pods as processes."""

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
from prefect.events.worker import EventsWorker
from prefect.logging.handlers import APILogWorker
from prefect.settings import PREFECT_API_URL, temporary_settings

import attempting
import following
import gated_project as small
import messages
import postgres
from booted import Api, Start, starting
from dbtpod.dbt import process
from dbtpod.dbt.project import Project
from postgres import Postgres
from prefect_server import Server, running


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


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where a flow of this process finds its dbt project, with an empty volume, and an imported dbt."""
    project = tmp_path / "project"
    project.mkdir()
    (tmp_path / "volume").mkdir()
    attempting.preload()
    monkeypatch.setenv("DBT_PROJECT_DIR", str(project))
    monkeypatch.setenv("DUCKDB_PATH", str(tmp_path / "volume" / "work" / "warehouse.duckdb"))
    yield project
    process.launch_by(None)


@pytest.fixture(scope="module")
def database() -> Iterator[Postgres]:
    """A database server for the data."""
    with postgres.running() as server:
        yield server


@pytest.fixture
def published(tmp_path: Path) -> Path:
    """Where the flows of that project publish."""
    return tmp_path / "volume" / "published" / "current" / "warehouse.duckdb"


@pytest.fixture(scope="session")
def prefect(server: Server) -> Api:
    return Api(server.url)


@pytest.fixture(scope="module")
def gated(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """The project whose models wait, parsed."""
    return small.create(tmp_path_factory.mktemp("gated"))


@pytest.fixture
def start(prefect: Api, gated: Project, tmp_path: Path) -> Iterator[Start]:
    """Start a flow run in a pod."""
    with starting(prefect, gated, tmp_path) as start:
        yield start


@pytest.fixture
def target(tmp_path: Path) -> Path:
    """A dbt command's target folder with the lineage in it."""
    return following.write_manifest(tmp_path, following.PARENTS)


@pytest.fixture
def warnings() -> Iterator[list[str]]:
    """The warnings in the logs of flow runs."""
    with messages.kept(logging.WARNING, "prefect.flow_runs") as texts:
        yield texts
