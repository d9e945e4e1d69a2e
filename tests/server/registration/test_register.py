"""What a registration makes on a real Prefect server, and what it leaves as it is."""

import json
from pathlib import Path
from typing import Any

import pytest
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterId

from registering import REPO, TEMPLATE, ask, daily, deployments, hourly, register, run, write
from waiting import until


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
        "dbt-run": ("duckdb-writer", []),
        "dbt-build-if-fresher": ("duckdb-writer", []),
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


def test_so_many_runs_that_write_get_a_pod_at_once_as_the_warehouse_takes_writers(
    api: None, project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def limit() -> int | None:
        return ask(lambda client: client.read_work_queue_by_name("duckdb-writer", "shop")).concurrency_limit

    monkeypatch.setenv("DBTPOD_WAREHOUSE_KIND", "remote")
    monkeypatch.setenv("DBTPOD_WAREHOUSE_WRITERS", "3")
    assert run(project) == 0
    assert limit() == 3

    monkeypatch.setenv("DBTPOD_WAREHOUSE_KIND", "file")
    assert run(project) == 1
    assert "DBTPOD_WAREHOUSE_WRITERS is 3, and warehouse.kind is file" in capsys.readouterr().err
    assert limit() == 3

    monkeypatch.delenv("DBTPOD_WAREHOUSE_WRITERS")
    assert run(project) == 0
    assert limit() == 1


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
        "shop-hourly": ["hourly"],
        "mine": [],
    }
    told = capsys.readouterr().out
    assert "deployment shop-build/shop-daily: removed" in told
    assert "deployment by-hand/mine: left as it is, as dbtpod did not register it" in told
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
