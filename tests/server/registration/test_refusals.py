"""Registrations that are refused or fail: the message names the cause, and nothing was changed."""

import socket
import time
from pathlib import Path
from typing import Any

import pytest
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.settings import (
    PREFECT_CLIENT_MAX_RETRIES,
    temporary_settings,
)

from dbtpod.registration import schedules, work_pool
from prefect_server import running
from registering import ask, connected, daily, refused, run, write


def test_mistakes_in_the_file_change_nothing_on_the_server(
    api: None, project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(project, daily(descripton="x"))
    template = ("--base-job-template", str(project / "template.json"))
    assert "descripton is an unknown key" in refused(project, capsys, *template)

    write(project, daily(work_pool={**daily()["work_pool"], "job_variables": {"imagee": "x"}}))
    assert "job_variables.imagee" in refused(project, capsys, *template)

    write(project, daily())
    assert "prefect.yaml cannot be read" in refused(
        project, capsys, "--base-job-template", str(project / "prefect.yaml")
    )
    (project / "part.json").write_text('{"variables": {}}')
    assert "is not a base job template" in refused(project, capsys, "--base-job-template", str(project / "part.json"))
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

    assert (
        "The deployment shop-build/shop-daily is refused by the server" in message
        and "is not of type 'string'" in message
    )


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
