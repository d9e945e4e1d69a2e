"""Prefect's server as the chart starts it: its command and its environment, with a folder in place of its volumes."""

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from prefect_server import free_port
from rendered import environment, server_container
from rendering import Render
from waiting import until

PATH = "/tools/prefect"


@dataclass
class Started:
    """Where it answers, its process, and the mounted password."""

    http: httpx.Client
    process: subprocess.Popen[bytes]
    login: Path


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory, render: Render) -> Iterator[Started]:
    folder, port = tmp_path_factory.mktemp("chart-server"), free_port()
    login = folder / "login"
    login.write_text("admin:old")
    container = server_container(render, {"server": {"path": PATH}})
    replaced = {"/etc/dbtpod-secrets": str(folder), "=4200": f"={port}"}
    argv = [*container["command"], *container["args"]]
    for old, new in replaced.items():
        assert any(old in each for each in argv), old
        argv = [each.replace(old, new) for each in argv]
    argv = ["--host=127.0.0.1" if each.startswith("--host=") else each for each in argv]
    plain = {name: value for name, value in environment(container).items() if isinstance(value, str)}
    given = {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PREFECT_HOME": str(folder / "home"),
        "PREFECT_SERVER_UI_STATIC_DIRECTORY": str(folder / "ui"),
        "PREFECT_SERVER_API_AUTH_STRING": "admin:old",
    }
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    with (
        (folder / "log").open("w") as log,
        subprocess.Popen(argv, env={**inherited, **plain, **given}, stdout=log, stderr=log) as process,
        httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30, headers={"Accept": "text/html"}) as http,
    ):
        try:
            until(lambda: answers(http, f"{PATH}/api/health", process), 300, "a healthy Prefect server")
            yield Started(http, process, login)
        finally:
            process.terminate()


def answers(http: httpx.Client, path: str, process: subprocess.Popen[bytes]) -> bool:
    assert process.poll() is None
    try:
        return http.get(path).is_success
    except httpx.HTTPError:
        return False


@pytest.mark.timeout(400)
def test_ui_and_api_are_under_the_path_of_the_values_and_nothing_is_beside_it(started: Started) -> None:
    get = started.http.get

    assert get(f"{PATH}/ui-settings").json()["api_url"] == f"{PATH}/api"
    for page in ("/v2/runs", "/dashboard"):
        html = get(f"{PATH}{page}")
        script = html.text.split('src="')[1].split('"')[0]
        assert script.startswith(f"{PATH}/")
        assert get(script).headers["content-type"].startswith("text/javascript")
    assert started.http.post(f"{PATH}/api/work_pools/filter", auth=("admin", "old"), json={}).json() == []
    assert started.http.post(f"{PATH}/api/work_pools/filter", json={}).status_code == 401
    assert get("/api/health").status_code == 404


def test_a_changed_password_ends_it_well(started: Started) -> None:
    started.login.write_text("admin:new")

    assert started.process.wait(60) == 0
