"""Registration against a real Prefect server, which asks for a password as a shared one would."""

import asyncio
import json
import socket
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

import pytest
import yaml
from prefect.client.orchestration import PrefectClient, get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterId
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.client.schemas.responses import DeploymentResponse
from prefect.events import Event
from prefect.events.clients import get_events_client
from prefect.settings import (
    PREFECT_API_AUTH_STRING,
    PREFECT_API_KEY,
    PREFECT_API_URL,
    PREFECT_CLIENT_MAX_RETRIES,
    temporary_settings,
)
from prefect.states import AwaitingRetry, Cancelling, Completed, Running, State

from dbtpod import cli
from dbtpod.registration import heartbeat, schedules, work_pool
from prefect_server import running
from waiting import until

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


@pytest.fixture(scope="module")
def api_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with running(tmp_path_factory.mktemp("prefect-server"), PREFECT_SERVER_API_AUTH_STRING=PASSWORD) as server:
        yield server.url


@contextmanager
def connected(url: str | None, password: str | None = PASSWORD) -> Iterator[None]:
    """This process and the ones that it starts talk to this server."""
    settings = {PREFECT_API_URL: url, PREFECT_API_AUTH_STRING: password, PREFECT_API_KEY: None}
    with pytest.MonkeyPatch.context() as patch, temporary_settings({k: v for k, v in settings.items() if v}):
        patch.setenv("PREFECT_API_URL", url or "")
        patch.setenv("PREFECT_API_AUTH_STRING", password or "")
        yield


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


def ask(question: Callable[[PrefectClient], Awaitable[T]]) -> T:
    async def answer() -> T:
        async with get_client() as client:
            return await question(client)

    return asyncio.run(answer())


def deployments() -> dict[str, DeploymentResponse]:
    return {item.name: item for item in ask(lambda client: client.read_deployments())}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A folder with flows, a prefect.yaml of two deployments, and the job template of a pool."""
    (tmp_path / "flows").mkdir()
    (tmp_path / "flows/flows.py").write_text(FLOWS)
    (tmp_path / "template.json").write_text(json.dumps(TEMPLATE))
    write(tmp_path, daily(), hourly())
    return tmp_path


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


def test_this_repositorys_file_becomes_pool_queues_deployments_and_scheduled_runs(
    api: None, project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = register(REPO / "prefect.yaml", "--base-job-template", str(project / "template.json"))

    assert code == 0, capsys.readouterr().err
    assert ask(lambda client: client.read_work_pool("dbtpod")).base_job_template == TEMPLATE
    for queue, limit in (("duckdb-writer", 1), ("duckdb-reader", None)):
        assert ask(lambda c, q=queue: c.read_work_queue_by_name(q, "dbtpod")).concurrency_limit == limit  # type: ignore
    found = deployments()
    assert {
        name: (item.work_queue_name, [s.schedule.cron for s in item.schedules]) for name, item in found.items()
    } == {
        "dbt-build-daily": ("duckdb-writer", ["0 6 * * *"]),
        "dbt-smoke-hourly": ("duckdb-writer", ["0 * * * *"]),
        "dbt-source-freshness": ("duckdb-reader", ["0 */6 * * *"]),
        "dbt-fact-orders-full-refresh": ("duckdb-writer", []),
    }
    for item in found.values():
        # Nothing of this machine's paths may reach the pod.
        assert item.path is None
        assert item.pull_steps == [{"prefect.deployments.steps.set_working_directory": {"directory": "."}}]
        assert item.job_variables == {}
    for name, hours in (
        ("dbt-build-daily", {6}),
        ("dbt-smoke-hourly", {*range(24)}),
        ("dbt-source-freshness", {0, 6, 12, 18}),
    ):
        runs = until(lambda key=found[name].id: scheduled_runs(key))  # type: ignore
        assert {(at.hour in hours, at.minute) for at in runs} == {(True, 0)}
    table = capsys.readouterr().out
    assert "dbt-build/dbt-build-daily" in table and "06:00 UTC" in table and "WARNING" not in table


def test_what_was_registered_is_written_into_the_pool_and_goes_with_it(api: None, project: Path) -> None:
    assert run(project, "--digest", "1a2b3c4d") == 0
    assert ask(lambda client: client.read_work_pool("shop")).description == "Registered by dbtpod: 1a2b3c4d"

    # By hand, without a digest: what the chart registered is still what it compares with.
    assert run(project) == 0
    assert ask(lambda client: client.read_work_pool("shop")).description == "Registered by dbtpod: 1a2b3c4d"

    write(project, daily(entrypoint="flows/flows.py:no_such_flow"))
    assert run(project, "--digest", "5e6f7a8b") == 1
    assert "5e6f7a8b" not in str(ask(lambda client: client.read_work_pool("shop")).description)


def scheduled_runs(deployment_id: Any) -> list[Any]:
    runs = ask(
        lambda client: client.read_flow_runs(
            deployment_filter=DeploymentFilter(id=DeploymentFilterId(any_=[deployment_id]))
        )
    )
    return [item.next_scheduled_start_time for item in runs]


def test_a_second_registration_changes_nothing(api: None, project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(project) == 0
    daily_id = deployments()["shop-daily"].id
    run_id = ask(lambda client: client.create_flow_run_from_deployment(daily_id)).id
    before, first = snapshot(), capsys.readouterr().out

    assert run(project) == 0

    assert snapshot() == before
    assert ask(lambda client: client.read_flow_run(run_id)).deployment_id == daily_id
    table = first[first.index("deployment  ") :]
    assert capsys.readouterr().out == table


def snapshot() -> dict[str, Any]:
    """The identity of everything that registration makes."""
    return {
        "deployments": {
            name: (item.id, item.paused, sorted((s.id, s.slug, s.active) for s in item.schedules))
            for name, item in deployments().items()
        },
        "pools": [(pool.id, pool.updated) for pool in ask(lambda client: client.read_work_pools())],
        "automations": [(item.id, item.name) for item in ask(lambda client: client.read_automations())],
    }


def test_what_left_the_file_leaves_the_server_and_is_told(
    api: None, project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(project) == 0
    ask(_deploy_by_hand)
    write(project, {**hourly(), "schedules": [hourly()["schedules"][0]]})

    assert run(project) == 0

    assert {name: [s.slug for s in item.schedules] for name, item in deployments().items()} == {
        "shop-hourly": ["hourly"]
    }
    told = capsys.readouterr().out
    assert "deployment shop-build/shop-daily: removed" in told
    assert "deployment by-hand/mine: removed" in told
    assert "schedule late of shop-smoke/shop-hourly: removed" in told


async def _deploy_by_hand(client: PrefectClient) -> None:
    flow_id = await client.create_flow_from_name("by-hand")
    await client.create_deployment(flow_id, "mine", work_pool_name="shop")


def test_a_pause_on_the_page_stays_unless_the_file_says_otherwise(
    api: None, project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(project) == 0
    ask(_pause)

    assert run(project) == 0

    assert deployments()["shop-hourly"].paused
    assert not deployments()["shop-daily"].schedules[0].active
    assert "paused" in capsys.readouterr().out

    write(project, daily(schedules=[{**daily()["schedules"][0], "active": True}]), {**hourly(), "paused": False})
    assert run(project) == 0

    assert deployments()["shop-daily"].schedules[0].active
    assert not deployments()["shop-hourly"].paused
    assert "schedule daily of shop-build/shop-daily: active now" in capsys.readouterr().out


async def _pause(client: PrefectClient) -> None:
    for item in await client.read_deployments():
        if item.name == "shop-hourly":
            await client.pause_deployment(item.id)
        else:
            await client.update_deployment_schedule(item.id, item.schedules[0].id, active=False)


def test_a_changed_job_template_reaches_the_pool_that_a_worker_may_have_made(api: None, project: Path) -> None:
    ask(
        lambda client: client.create_work_pool(
            WorkPoolCreate(name="shop", type="kubernetes", base_job_template=TEMPLATE)
        )
    )
    changed = {**TEMPLATE, "job_configuration": {"image": "{{ image }}", "command": "true"}}
    (project / "template.json").write_text(json.dumps(changed))

    assert run(project) == 0
    assert ask(lambda client: client.read_work_pool("shop")).base_job_template == changed

    assert register(project / "prefect.yaml") == 0
    assert ask(lambda client: client.read_work_pool("shop")).base_job_template == changed


def refused(project: Path, capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The message of a registration that must fail, without a traceback."""
    assert register(project / "prefect.yaml", *arguments) == 1
    message = capsys.readouterr().err
    assert "Traceback" not in message
    return message


def test_mistakes_in_the_file_change_nothing_on_the_server(
    api: None, project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(project, daily(descripton="x"))
    template = ("--base-job-template", str(project / "template.json"))
    assert "descripton is an unknown key" in refused(project, capsys, *template)

    write(project, daily(work_pool={**daily()["work_pool"], "job_variables": {"imagee": "x"}}))
    assert "job_variables.imagee" in refused(project, capsys, *template)

    write(project, daily())
    assert (
        "is not a base job template" in refused(project, capsys, "--base-job-template", str(project / "prefect.yaml"))
        or "cannot be read"
    )
    assert "There is no work pool 'shop'" in refused(project, capsys)
    assert not ask(lambda client: client.read_work_pools())


def test_a_pool_that_starts_no_pods_is_refused(api: None, project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ask(lambda client: client.create_work_pool(WorkPoolCreate(name="shop", type="process")))

    assert "of type 'process', not 'kubernetes'" in refused(project, capsys)


def test_a_deployment_that_prefect_refuses_gives_its_reason(
    api: None, project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(project, daily(parameters={"day": {"not": "text"}}))

    message = refused(project, capsys, "--base-job-template", str(project / "template.json"))

    assert "prefect deploy --all ended with exit code 1" in message and "is not of type 'string'" in message


def test_a_wrong_password_a_wrong_address_and_no_server_are_told_apart(
    api_url: str, project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with connected(api_url, "admin:wrong"):
        message = refused(project, capsys)
        assert "401" in message and api_url in message and "PREFECT_API_AUTH_STRING" in message

    with connected(api_url.removesuffix("/api")):
        assert "does PREFECT_API_URL end in /api?" in refused(project, capsys)

    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        nobody = f"http://127.0.0.1:{closed.getsockname()[1]}/api"
        with connected(nobody):
            begin = time.monotonic()
            message = refused(project, capsys, "--wait-seconds", "2")
            assert nobody in message and "could not be reached within 2 s" in message
            assert time.monotonic() - begin < 30


def test_a_server_that_plans_no_runs_is_told_once_for_all_deployments(
    tmp_path: Path, project: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schedules, "WAIT_SECONDS", 2)

    with running(tmp_path, PREFECT_SERVER_SERVICES_SCHEDULER_ENABLED="false") as server, connected(server.url, None):
        assert run(project) == 0

    said = capsys.readouterr().out
    assert said.count("the server made no run of the schedule within 2 s") == 1
    assert "shop-build/shop-daily, shop-smoke/shop-hourly: the server made no run" in said


def test_a_server_that_goes_away_in_the_middle_is_told_without_a_traceback(
    tmp_path: Path, project: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    ensure = work_pool.ensure

    with (
        running(tmp_path) as server,
        connected(server.url, None),
        temporary_settings({PREFECT_CLIENT_MAX_RETRIES: 0}),
    ):

        async def ensure_and_kill(*arguments: Any) -> None:
            await ensure(*arguments)
            server.process.kill()
            server.process.wait()

        monkeypatch.setattr(work_pool, "ensure", ensure_and_kill)

        message = refused(project, capsys, "--base-job-template", str(project / "template.json"))

    assert f"Prefect's API at {server.url} went away in the middle" in message and "register again" in message


def test_a_run_whose_pod_is_gone_is_ended_and_no_healthy_one(api: None, project: Path) -> None:
    assert run(project) == 0
    daily_id, hourly_id = (deployments()[name].id for name in ("shop-daily", "shop-hourly"))

    async def start(client: PrefectClient) -> dict[str, FlowRun]:
        for automation in heartbeat.automations("shop", [daily_id], timedelta(seconds=10)):
            await heartbeat.ensure(client, automation)
        afterwards: dict[str, State[Any] | None] = {
            "gone": None,
            "cancelling": Cancelling(),
            "completed": Completed(),
            "rescheduled": AwaitingRetry(),
            "of another deployment": None,
        }
        runs = {}
        for name, state in afterwards.items():
            of = hourly_id if name == "of another deployment" else daily_id
            runs[name] = await client.create_flow_run_from_deployment(of, state=Running())
            await beat(runs[name])
            if state:
                await client.set_flow_run_state(runs[name].id, state, force=True)
        return runs

    runs = ask(start)

    def state(name: str) -> StateType | None:
        return ask(lambda client: client.read_flow_run(runs[name].id)).state_type

    until(lambda: state("gone") == StateType.CRASHED)
    until(lambda: state("cancelling") == StateType.CANCELLED)
    assert state("completed") == StateType.COMPLETED
    assert state("rescheduled") == StateType.SCHEDULED
    assert state("of another deployment") == StateType.RUNNING


async def beat(run: FlowRun) -> None:
    """A heartbeat as Prefect's flow engine sends it."""
    async with get_events_client() as events:
        await events.emit(
            Event(
                event="prefect.flow-run.heartbeat",
                resource={"prefect.resource.id": f"prefect.flow-run.{run.id}"},
                related=[
                    {"prefect.resource.id": f"prefect.flow.{run.flow_id}", "prefect.resource.role": "flow"},
                    {
                        "prefect.resource.id": f"prefect.deployment.{run.deployment_id}",
                        "prefect.resource.role": "deployment",
                    },
                ],
            )
        )
