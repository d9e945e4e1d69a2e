"""dbt as a process of its own: its lines while it runs, its end by signals, and nothing left behind."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import gated_project as small
from dbtpod.dbt import process
from dbtpod.dbt.project import Project
from waiting import until

ENDLESS, GATE = ["run", "--select", "endless"], ["run", "--select", "gate"]


@pytest.fixture(autouse=True)
def executable() -> None:
    """Start each dbt as a process of its own, whatever other tests of this session had."""
    process.launch_by(None)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    return small.create(tmp_path_factory.mktemp("process"))


@pytest.fixture
def target(project: Project, tmp_path: Path) -> Path:
    return small.target_dir(project, tmp_path / "target")


@pytest.fixture
def gate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GATE", str(tmp_path / "gate"))
    return tmp_path / "gate"


def test_lines_arrive_while_dbt_runs(project: Project, target: Path, gate: Path) -> None:
    with process.start(GATE, project, target) as dbt:
        for line in dbt.lines():
            if '"LogStartLine"' in line and "model.small.gate" in line:
                break
        else:
            pytest.fail("dbt ended first")
        gate.touch()
        rest = list(dbt.lines())

        assert dbt.wait() == 0
    assert any('"NodeFinished"' in line for line in rest)
    assert small.node_statuses(target) == {"gate": "success"}


def test_dbt_sees_neither_pythonpath_nor_prefects_secrets(
    project: Project, target: Path, gate: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # dbt runs every module of its path whose name begins with dbt_, as a plugin.
    (tmp_path / "dbt_plugin.py").write_text("raise SystemExit(9)")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("PREFECT_API_AUTH_STRING", "user:secret")
    gate.touch()

    with process.start(GATE, project, target) as dbt:
        list(dbt.lines())
        assert dbt.wait() == 0

    environment = small.seen(gate)["environment"]
    assert not [name for name in environment if name == "PYTHONPATH" or name.startswith("PREFECT_")]
    assert environment["DUCKDB_PATH"] == str(project.writes)


@pytest.mark.parametrize(
    ("args", "code"),
    [(["run", "--select", "failing"], 1), (["run", "--no-such-option"], 2)],
)
def test_the_exit_code_is_dbts_own(project: Project, target: Path, args: list[str], code: int) -> None:
    with process.start(args, project, target) as dbt:
        list(dbt.lines())

        assert dbt.wait() == code


@pytest.mark.parametrize("parent", [signal.default_int_handler, signal.SIG_IGN], ids=["a terminal's", "started with &"])
def test_leaving_early_interrupts_dbt_which_then_writes_its_results(
    project: Project, target: Path, monkeypatch: pytest.MonkeyPatch, parent: Callable[..., Any] | signal.Handlers
) -> None:
    # A loaded machine takes longer than a pod may; one that had to be killed has another exit code.
    monkeypatch.setattr(process, "STOP_SECONDS", 60.0)

    before = signal.signal(signal.SIGINT, parent)
    try:
        with process.start(ENDLESS, project, target) as dbt:
            small.read_until_a_query_runs(dbt.lines())
    finally:
        signal.signal(signal.SIGINT, before)

    assert dbt.wait() == 2
    assert (target / "run_results.json").is_file()


def test_dbt_that_does_not_stop_is_killed(
    project: Project, target: Path, gate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process, "STOP_SECONDS", 0.5)

    with process.start(GATE, project, target) as dbt:
        pid = small.seen(gate)["pid"]

    assert dbt.wait() == -signal.SIGKILL
    assert not small.is_alive(pid)


def test_dbt_dies_with_a_flow_that_is_killed(project: Project, target: Path, gate: Path) -> None:
    flow = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import sys; from pathlib import Path\n"
            "from dbtpod.dbt import process; from dbtpod.dbt.project import Project\n"
            "folder, file, target, *args = sys.argv[1:]\n"
            "with process.start(args, Project(Path(folder), Path(file), Path(file)), Path(target)) as dbt:"
            " list(dbt.lines())",
            str(project.folder),
            str(project.writes),
            str(target),
            *GATE,
        ],
        env=small.gate_environment(gate),
    )
    pid = small.seen(gate)["pid"]

    assert small.is_alive(pid)
    os.kill(flow.pid, signal.SIGKILL)

    assert flow.wait() == -signal.SIGKILL
    until(lambda: not small.is_alive(pid), 30, "the end of dbt")


def test_a_dbt_that_is_no_python_package_is_run_as_it_is(
    project: Project, target: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # What dbt v2 looks like from here: an executable beside Python, and nothing to import.
    (tmp_path / "dbt").write_text('#!/bin/sh\necho "args: $*, target: $DBT_TARGET_PATH"\nexit 3\n')
    (tmp_path / "dbt").chmod(0o755)
    monkeypatch.setattr(process, "executable", lambda: str(tmp_path / "dbt"))

    with process.start(["build", "--select", "x"], project, target) as dbt:
        lines = list(dbt.lines())

    assert lines == [f"args: build --select x, target: {target}"]
    assert dbt.wait() == 3


def test_a_missing_dbt_is_named(
    project: Project, target: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(process.SettingsError, match="There is no dbt"), process.start(GATE, project, target):
        pass


def test_no_variable_is_taken_out_of_the_environment_that_threads_share() -> None:
    # Whoever iterates it in another thread would get a KeyError. dbt's own process has it to itself.
    package = Path(process.__file__).parents[1]
    taking = re.compile(r"environ\.(pop|popitem|clear)\(|del os\.environ|unsetenv")

    assert {path.name for path in package.rglob("*.py") if taking.search(path.read_text())} == {
        "one_by_one.py",
        "parse_process.py",
        "preload.py",
    }
