"""A pod whose Prefect or dbt is another than the fast start was written for: its run completes, by supported ways."""

import json
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import pytest

import changed_packages
import gated_project as small
from booted import Api, Pod, Start, starting
from dbtpod.faststart import boot
from dbtpod.settings import Settings
from prefect_server import Server


@pytest.fixture(scope="module")
def prefect(server: Server) -> Api:
    return Api(server.url)


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return small.create(tmp_path_factory.mktemp("other"))


@pytest.fixture
def start(prefect: Api, settings: Settings, tmp_path: Path) -> Iterator[Start]:
    with starting(prefect, settings, tmp_path) as start:

        def start_with(flow: str, package: str, before: str, after: str) -> Pod:
            python = changed_packages.environment(tmp_path / "environment", package, before, after)
            return start(flow, command=(python, boot.__file__))

        yield start_with


def pids(pod: Pod) -> list[int]:
    """Of the engine and of the two commands."""
    found: list[int] = json.loads(Path(f"{pod.gate}.pids").read_text())
    return found


def of_version(package: str, other: str) -> tuple[str, str, str]:
    """What makes a package have another version: where, and which text is replaced by which."""
    installed = version(package)
    return f"{package.replace('-', '_')}-{installed}.dist-info", f"Version: {installed}", f"Version: {other}"


def said(pod: Pod) -> list[str]:
    return [line for line in pod.log().splitlines() if line.startswith("dbtpod: fast start without ")]


@pytest.mark.parametrize(
    ("package", "before", "after", "why"),
    [
        # Of a method's parameter, and where Prefect itself calls it.
        (
            "prefect",
            "propose_submitting",
            "proposes_submitting",
            "FlowRunExecutorContext.create_executor takes (self, ",
        ),
        ("prefect", "ControlSignalStatus", "ControlStatus", "ControlSignalStatus"),
        (*of_version("prefect", "3.10.0"), "prefect 3.10.0 was never tried"),
    ],
    ids=["a parameter has another name", "a name is gone", "the version is unknown"],
)
def test_another_prefect_runs_the_flow_by_its_own_command(
    prefect: Api, start: Start, package: str, before: str, after: str, why: str
) -> None:
    pod = start("no_command", package, before, after)

    assert pod.boot.wait(300) == 0

    assert prefect.state(pod.run) == "Completed"
    [line] = said(pod)
    assert line.startswith("dbtpod: fast start without supervisor (")
    assert why in line
    assert "Prefect's own command starts this run" in line


@pytest.mark.parametrize(
    ("package", "before", "after", "why"),
    [
        ("dbt", "close_all_connections", "close_each_connection", "close_all_connections is gone"),
        (*of_version("dbt-core", "1.13.0"), "dbt-core 1.13.0 was never tried"),
    ],
    ids=["a name is gone", "the version is unknown"],
)
def test_another_dbt_is_the_executable_for_each_command(
    prefect: Api, start: Start, package: str, before: str, after: str, why: str
) -> None:
    pod = start("two_commands", package, before, after)

    assert pod.boot.wait(300) == 0

    assert prefect.state(pod.run) == "Completed"
    _, first, second = pids(pod)
    assert first != second
    line = said(pod)[-1]
    assert line.startswith("dbtpod: fast start without preload")
    assert why in line


def test_a_patch_that_does_not_fit_is_left_out_and_no_other(prefect: Api, start: Start) -> None:
    pod = start("two_commands", "dbt_common", "force_warn_or_error_handling", "forced")

    assert pod.boot.wait(300) == 0

    assert prefect.state(pod.run) == "Completed"
    _, first, second = pids(pod)
    assert first == second
    [line] = said(pod)
    assert line.startswith("dbtpod: fast start without debug-events (")
    assert "EventManager.fire_event takes (self, " in line
