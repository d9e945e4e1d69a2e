"""A project whose prefect.yaml is registered, at a server that asks for a password as a shared one would."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import pytest
import yaml
from prefect.client.orchestration import PrefectClient, get_client
from prefect.client.schemas.responses import DeploymentResponse
from prefect.events.worker import EventsWorker
from prefect.settings import (
    PREFECT_API_AUTH_STRING,
    PREFECT_API_KEY,
    PREFECT_API_URL,
    temporary_settings,
)

from dbtpod import cli

T = TypeVar("T")
REPO = Path(__file__).parents[2]
PASSWORD = "admin:secret"
TEMPLATE: dict[str, Any] = {
    "job_configuration": {"image": "{{ image }}"},
    "variables": {"type": "object", "properties": {"image": {"type": "string", "default": "dbtpod:0.1.0"}}},
}
FLOWS = """
from prefect import flow

@flow(name="shop-build")
def shop_build(day: str = "today"):
    pass

@flow(name="shop-smoke")
def shop_smoke():
    pass
"""


@contextmanager
def connected(url: str | None, password: str | None = PASSWORD) -> Iterator[None]:
    """This process and the ones that it starts talk to this server."""
    settings = {PREFECT_API_URL: url, PREFECT_API_AUTH_STRING: password, PREFECT_API_KEY: None}
    with pytest.MonkeyPatch.context() as patch, temporary_settings({k: v for k, v in settings.items() if v}):
        patch.setenv("PREFECT_API_URL", url or "")
        patch.setenv("PREFECT_API_AUTH_STRING", password or "")
        try:
            yield
        finally:
            # It keeps to the server that it first spoke to, and would send it the events of later tests too.
            EventsWorker.drain_all(timeout=20)


def ask(question: Callable[[PrefectClient], Awaitable[T]]) -> T:
    async def answer() -> T:
        async with get_client() as client:
            return await question(client)

    return asyncio.run(answer())


def deployments() -> dict[str, DeploymentResponse]:
    return {item.name: item for item in ask(lambda client: client.read_deployments())}


def create(project: Path) -> Path:
    """A folder with flows, a prefect.yaml of two deployments, and the job template of a pool."""
    (project / "flows").mkdir()
    (project / "flows/flows.py").write_text(FLOWS)
    (project / "template.json").write_text(json.dumps(TEMPLATE))
    write(project, daily(), hourly())
    return project


def write(project: Path, *entries: dict[str, Any]) -> None:
    pull = [{"prefect.deployments.steps.set_working_directory": {"directory": "."}}]
    (project / "prefect.yaml").write_text(yaml.safe_dump({"pull": pull, "deployments": list(entries)}))


def daily(**changes: Any) -> dict[str, Any]:
    return {
        "name": "shop-daily",
        "entrypoint": "flows/flows.py:shop_build",
        "schedules": [{"slug": "daily", "cron": "0 6 * * *", "timezone": "UTC"}],
        "work_pool": {"name": "shop", "work_queue_name": "duckdb-writer"},
        **changes,
    }


def hourly() -> dict[str, Any]:
    return daily(
        name="shop-hourly",
        entrypoint="flows/flows.py:shop_smoke",
        schedules=[{"slug": "hourly", "cron": "0 * * * *"}, {"slug": "late", "cron": "30 * * * *"}],
    )


def run(project: Path, *arguments: str) -> int:
    return register(project / "prefect.yaml", "--base-job-template", str(project / "template.json"), *arguments)


def register(file: Path, *arguments: str) -> int:
    return cli.main(["register", "--file", str(file), *arguments])


def refused(project: Path, capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The message of a registration that must fail, without a traceback."""
    assert register(project / "prefect.yaml", *arguments) == 1
    message = capsys.readouterr().err
    assert "Traceback" not in message
    return message
