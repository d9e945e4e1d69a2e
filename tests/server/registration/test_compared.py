"""A registration compares first: it writes what differs, and that is what `prefect deploy` would write."""

import asyncio
import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import httpx
import pytest
from prefect.client.base import PrefectHttpxAsyncClient
from prefect.client.orchestration import PrefectClient, get_client
from prefect.client.schemas.actions import DeploymentUpdate
from prefect.settings import (
    PREFECT_API_URL,
    PREFECT_CLIENT_CSRF_SUPPORT_ENABLED,
    PREFECT_CLIENT_SERVER_VERSION_CHECK_ENABLED,
    temporary_settings,
)

from dbtpod.registration import registered
from registering import ask, daily, deployments, hourly, run, write
from serving import serving

PLAIN_CLIENT = {PREFECT_CLIENT_CSRF_SUPPORT_ENABLED: False, PREFECT_CLIENT_SERVER_VERSION_CHECK_ENABLED: False}
POOL = {"name": "shop", "work_queue_name": "duckdb-writer"}
EVERYTHING = (
    daily(
        description="Builds the shop.",
        version="7",
        tags=["shop", 1],
        parameters={"day": "monday"},
        concurrency_limit={"limit": 3, "collision_strategy": "CANCEL_NEW"},
        enforce_parameter_schema=False,
        paused=True,
        work_pool={**POOL, "job_variables": {"image": "shop:1"}},
        triggers=[
            {
                "type": "event",
                "enabled": True,
                "match": {"prefect.resource.id": "shop.*"},
                "expect": ["shop.closed"],
                "parameters": {"day": "{{ event.resource.id }}"},
            }
        ],
    ),
    daily(
        name="shop-often",
        concurrency_limit=2,
        pull=[{"prefect.deployments.steps.set_working_directory": {"directory": "{{ $HOME }}/shop"}}],
        schedules=[
            {"slug": "quarter", "interval": 900, "anchor_date": "2026-01-01T00:00:00+00:00", "timezone": "Europe/Rome"},
            {"slug": "week", "rrule": "FREQ=WEEKLY;BYDAY=MO", "timezone": "Asia/Tokyo", "active": False},
            {"slug": "noon", "cron": "0 12 1 * 1", "day_or": False, "parameters": {"day": "noon"}},
        ],
    ),
    {"name": "shop-by-hand", "entrypoint": "flows/flows.py:shop_smoke", "work_pool": POOL},
    {
        "name": "shop-ready",
        "entrypoint": "dbtpod.flows.commands",
        "parameters": {"commands": ["build"]},
        "work_pool": POOL,
    },
)


@pytest.fixture
def writes(monkeypatch: pytest.MonkeyPatch) -> Iterator[Counter[str]]:
    """The requests of this process that change something on the server; those of a deployment with its name.

    One that is sent again, because SQLite was busy, counts again.
    """
    found: Counter[str] = Counter()
    send = PrefectHttpxAsyncClient.send

    async def recorded(self: PrefectHttpxAsyncClient, request: httpx.Request, **options: Any) -> Any:
        if request.method != "GET" and not request.url.path.endswith(("/filter", "/count")):
            name = json.loads(request.content).get("name", "") if request.url.path == "/api/deployments/" else ""
            found[f"{request.method} {request.url.path.removeprefix('/api')}{name}"] += 1
        return await send(self, request, **options)

    monkeypatch.setattr(PrefectHttpxAsyncClient, "send", recorded)
    yield found


def deployed(writes: Counter[str]) -> set[str]:
    return {each.removeprefix("POST /deployments/") for each in writes if each.startswith("POST /deployments/")}


def many(count: int) -> list[dict[str, Any]]:
    return [daily(name=f"shop-{number:02}") for number in range(count)]


def test_an_unchanged_file_writes_nothing_and_one_changed_entry_one_deployment(
    api: None, project: Path, writes: Counter[str]
) -> None:
    write(project, *many(36))
    assert run(project) == 0
    assert deployed(writes) == {f"shop-{number:02}" for number in range(36)}
    assert "POST /flows/" in writes
    ids = {name: item.id for name, item in deployments().items()}

    writes.clear()
    assert run(project) == 0
    assert not writes

    write(project, *many(35), daily(name="shop-35", parameters={"day": "monday"}))
    assert run(project) == 0
    assert deployed(writes) == {"shop-35"}
    assert deployments()["shop-35"].parameters == {"day": "monday"}
    assert {name: item.id for name, item in deployments().items()} == ids


def test_a_flow_that_changed_is_a_change_of_its_deployments_alone(
    api: None, project: Path, writes: Counter[str]
) -> None:
    assert run(project) == 0
    flows = project / "flows/flows.py"
    flows.write_text(flows.read_text() + "\n\n@flow\ndef shop_other(hour: int = 1):\n    pass\n")
    write(project, daily(version="1"), hourly() | {"version": "1"})
    assert run(project) == 0

    flows.write_text(flows.read_text().replace('day: str = "today"', 'day: str = "today", hour: int = 1'))
    writes.clear()
    assert run(project) == 0

    assert deployed(writes) == {"shop-daily"}
    schema = deployments()["shop-daily"].parameter_openapi_schema
    assert schema and list(schema["properties"]) == ["day", "hour"]


def test_what_was_edited_in_the_prefect_ui_is_as_the_file_says_again(api: None, project: Path) -> None:
    write(project, *EVERYTHING)
    assert run(project) == 0
    item = deployments()["shop-often"]

    async def edit(client: PrefectClient) -> None:
        await client.update_deployment(item.id, DeploymentUpdate(description="Mine now.", tags=["mine"]))
        [noon] = [each for each in item.schedules if each.slug == "noon"]
        await client.update_deployment_schedule(item.id, noon.id, active=False)
        await client.create_deployment_schedules(item.id, [(noon.schedule, True)])

    ask(edit)
    assert run(project) == 0

    found = deployments()["shop-often"]
    assert (found.description, found.tags) == (item.description, [])
    # Switched off in the UI, and the file does not say.
    assert {each.slug: each.active for each in found.schedules} == {"quarter": True, "week": False, "noon": False}


def test_a_deployment_is_what_prefect_deploy_makes_of_the_file(api: None, project: Path) -> None:
    write(project, *EVERYTHING)
    assert run(project) == 0
    ours, our_automations = made(), automations()

    environment = {**os.environ, "PREFECT_DEPLOYMENTS_CLEAR_SCHEDULES_ON_EMPTY": "true"}
    ask(_delete_all)
    subprocess.run(
        [sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--all"], cwd=project, env=environment, check=True
    )

    theirs = made()
    assert ours.keys() == theirs.keys()
    assert [differences(ours[name], theirs[name]) for name in ours] == [{} for _ in ours]
    assert our_automations == automations()
    for labels in (item.labels for item in deployments().values()):
        assert registered.LABEL not in labels


def differences(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    return {key: (one.get(key), other.get(key)) for key in one | other if one.get(key) != other.get(key)}


async def _delete_all(client: PrefectClient) -> None:
    for found in await client.read_deployments():
        await client.delete_deployment(found.id)
    for automation in await client.read_automations():  # the server removes a deployment's own a moment later
        if "__automation_" in automation.name:
            await client.delete_automation(automation.id)


def made() -> dict[str, Any]:
    """All that the server has of each deployment, but what is another each time."""
    own = {"id", "created", "updated", "labels", "status", "last_polled", "created_by", "updated_by", "version_id"}
    found = {}
    for name, item in deployments().items():
        content = item.model_dump(mode="json", exclude=own)
        if content["description"] == "None":  # what Prefect's command writes where there is none
            content["description"] = None
        if limit := content["global_concurrency_limit"]:
            content["global_concurrency_limit"] = limit["limit"]
        for schedule in content["schedules"]:
            for key in ("id", "created", "updated", "deployment_id"):
                schedule.pop(key)
        content["schedules"].sort(key=lambda schedule: schedule["slug"])
        found[name] = content
    return found


def automations() -> list[Any]:
    found = ask(lambda client: client.read_automations())
    kept = {"name", "description", "enabled", "trigger", "actions"}
    dumped = [item.model_dump(mode="json", include=kept) for item in found if "__automation_" in item.name]
    for item in dumped:
        item["trigger"].pop("id", None)
        for action in item["actions"]:
            action.pop("deployment_id", None)
    return dumped


def test_a_busy_server_is_asked_again_soon_and_not_after_the_pauses_of_prefects_client(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[str] = []

    class Busy(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked.append(self.path)
            self.rfile.read(int(self.headers["content-length"]))
            self.send_response(503 if len(asked) < 4 else 201)
            self.send_header("content-length", "2")
            self.end_headers()
            self.wfile.write(b"{}")

    async def never(_: float) -> None:
        raise AssertionError("Prefect's client waits")

    monkeypatch.setattr("prefect.client.base.anyio.sleep", never)

    async def send() -> object:
        async with get_client(httpx_settings=registered.HTTPX) as client:
            return await registered.send(client, "/flows/", {"name": "shop"})

    with serving(Busy) as port:
        api = {PREFECT_API_URL: f"http://127.0.0.1:{port}/api", **PLAIN_CLIENT}
        with temporary_settings(api):
            assert asyncio.run(send()) == {}
    assert asked == ["/api/flows/"] * 4
