"""What several test files share: the rendered chart, and a Prefect server."""

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from prefect.events.worker import EventsWorker
from prefect.logging.handlers import APILogWorker
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect_server import Server, running

ROOT = Path(__file__).parent.parent
CHART = ROOT / "charts" / "dbtpod"

Manifest = dict[str, Any]
Render = Callable[..., list[Manifest]]


def need(tool: str) -> None:
    """Skip the test where this program is missing, but let CI fail: there it must not go unseen."""
    if shutil.which(tool) is None:
        message = f"{tool} is not on PATH"
        if os.environ.get("CI") == "true":
            pytest.fail(message)
        pytest.skip(message)


def helm_template(values: Mapping[str, Any], *options: str) -> subprocess.CompletedProcess[str]:
    """Render the whole chart: --show-only would hide errors."""
    need("helm")
    command = ["helm", "template", "dbtpod", str(CHART), "--namespace", "dbtpod", "--kube-version", "1.34.0"]
    command += ["--values", "-", *options]
    return subprocess.run(command, input=yaml.safe_dump(dict(values)), capture_output=True, text=True, check=False)


@pytest.fixture(scope="session")
def render() -> Render:
    """Give a function from values to the manifests of one kind and component, or to all of them."""

    def rendered(values: Mapping[str, Any] | None = None, kind: str = "", component: str = "") -> list[Manifest]:
        done = helm_template(values or {})
        assert done.returncode == 0, done.stderr
        manifests = [each for each in yaml.safe_load_all(done.stdout) if each]
        return [
            each
            for each in manifests
            if kind in ("", each["kind"])
            and component in ("", each["metadata"]["labels"].get("app.kubernetes.io/component"))
        ]

    return rendered


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
