"""The dbt process that runs several commands: each as if it were alone, and none left hanging."""

import json
import os
import re
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest

import gated_project as small
from dbtpod.dbt import events, parse_state, process
from dbtpod.dbt.project import Project
from dbtpod.faststart import boot, preload, preloaded
from dbtpod.faststart.preloaded import Preloaded


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    return small.create(tmp_path_factory.mktemp("warm"))


@pytest.fixture
def gate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GATE", str(tmp_path / "gate"))
    return tmp_path / "gate"


@pytest.fixture
def pid_of_dbt() -> Iterator[int]:
    flow_end, pid = boot._start_dbt()
    status, to_flow = os.pipe()
    process.launch_by(Preloaded(flow_end, os.pidfd_open(pid), status).launch)
    yield pid
    process.launch_by(None)
    flow_end.close()
    os.waitpid(pid, 0)
    os.close(status)
    os.close(to_flow)


def run(project: Project, folder: Path, *args: str) -> tuple[int, list[str]]:
    with process.start(args, project, small.target_dir(project, folder)) as dbt:
        lines = list(dbt.lines())
        return dbt.wait(), lines


def pid_of(lines: list[str]) -> int:
    return int(json.loads(lines[0])["info"]["pid"])


def test_commands_of_one_process_are_each_as_if_alone(project: Project, tmp_path: Path, pid_of_dbt: int) -> None:
    everything = ["build", "--exclude", "gate", "killed", "endless"]
    code, unused = run(project, tmp_path / "usage", "run", "--no-such-option")
    assert code == 2, unused
    run(project, tmp_path / "first", *everything)

    code, lines = run(project, tmp_path / "warm", *everything)

    # The file is closed: another process may write it.
    with duckdb.connect(str(project.writes)) as connection:
        connection.execute("checkpoint")
    assert pid_of(lines) == pid_of_dbt
    process.launch_by(None)
    plain_code, plain_lines = run(project, tmp_path / "plain", *everything)
    assert pid_of(plain_lines) != pid_of_dbt
    assert code == plain_code == 1
    assert small.node_statuses(tmp_path / "warm") == small.node_statuses(tmp_path / "plain")
    assert read(lines) == read(plain_lines)
    assert manifest(tmp_path / "warm") == manifest(tmp_path / "plain")


def test_a_line_that_nobody_reads_is_not_written(project: Project, tmp_path: Path, pid_of_dbt: int) -> None:
    _, lines = run(project, tmp_path / "warm", "build", "--select", "plain", "plain_too")

    infos = [json.loads(line)["info"] for line in lines]
    assert [info["name"] for info in infos if info["level"] == "debug"] == ["NodeFinished"] * 2


def test_the_arguments_of_a_data_test_are_what_plain_dbt_makes_of_them(tmp_path: Path, pid_of_dbt: int) -> None:
    arguments = {
        "text": "5",
        "of a macro": "{{ next(1) }}",
        "of one in a package": "{{ small.next(small.next(1)) }}",
        "a relation": "{{ ref('plain_too').identifier }}",
        "as a function": "var('n', 3)",
        "listed": ["{{ target.name }}", "{{ var('n', [7, 8]) }}", 2.5, None],
        "of the whole context": "{{ context['next'](7) }}",
        "what there is not": "{{ nothing is defined }}",
    }
    model = {"name": "tested", "data_tests": [{"shows": {"arguments": {"what": arguments}}}]}
    more = {
        "macros/next.sql": "{% macro next(n) %}{{ return(n + 1) }}{% endmacro %}",
        "macros/shows.sql": "{% test shows(model, what) %}select '{{ tojson(what) if execute }}' limit 0{% endtest %}",
        "models/tested.sql": "select 1 as id",
        "models/tests.yml": json.dumps({"models": [model]}),
    }
    project = small.create(tmp_path / "files", more)

    warm = compiled_test(project, tmp_path / "warm")
    process.launch_by(None)
    plain = compiled_test(project, tmp_path / "plain")

    assert warm == plain
    assert json.loads(warm.split("'")[1]) == arguments | {
        "of a macro": 2,
        "of one in a package": 3,
        "a relation": "plain_too",
        "as a function": 3,
        "listed": ["dev", [7, 8], 2.5, None],
        "of the whole context": 8,
        "what there is not": False,
    }


def compiled_test(project: Project, folder: Path) -> str:
    """Build the model `tested`, and return the SQL of its data test."""
    code, lines = run(project, folder, "build", "--select", "tested")
    assert code == 0, lines
    [file] = folder.glob("compiled/small/models/tests.yml/*.sql")
    return file.read_text()


def read(lines: list[str]) -> list[str]:
    """Return the kinds of dbt's events that are read, in an order that no thread decides."""
    return sorted(json.loads(line)["info"]["name"] for line in lines if line.startswith("{") and events.parse(line))


def manifest(folder: Path) -> str:
    """Return the manifest without what no two runs share; its bytes tell how it was written."""
    text = (folder / "manifest.json").read_text().replace(str(folder), "")
    return re.sub(r'"(invocation_id|invocation_started_at|generated_at|created_at)": [^,}]*', "", text)


SHARING = """
from multiprocessing import get_context

def model(dbt, session):
    with get_context("spawn").Lock():
        found = session.sql("select 1 as id")
    return found
"""


def test_neither_dbt_nor_a_model_of_several_processes_leaves_one_behind(tmp_path: Path, pid_of_dbt: int) -> None:
    project = small.create(tmp_path / "own", {"models/sharing.py": SHARING})
    children = Path(f"/proc/{pid_of_dbt}/task/{pid_of_dbt}/children")

    # A process that is left keeps the command's output open: it would never end.
    for folder, select in (("first", "plain"), ("second", "sharing"), ("third", "plain")):
        code, lines = run(project, tmp_path / folder, "run", "--select", select)
        assert code == 0, lines
        assert pid_of(lines) == pid_of_dbt
        assert children.read_text() == ""


def test_a_command_that_is_left_is_interrupted_and_its_process_not_used_again(
    project: Project, tmp_path: Path, pid_of_dbt: int
) -> None:
    target = small.target_dir(project, tmp_path / "left")

    with process.start(["run", "--select", "endless"], project, target) as dbt:
        small.read_until_a_query_runs(dbt.lines())

    assert dbt.wait() == 2
    assert (target / "run_results.json").is_file()
    small.until(lambda: not small.is_alive(pid_of_dbt), seconds=30)


def test_a_crash_is_the_end_of_the_command_by_a_signal(
    project: Project, tmp_path: Path, pid_of_dbt: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preloaded, "DEATH_SECONDS", 0.2)

    code, _ = run(project, tmp_path / "crash", "run", "--select", "killed")

    assert code == -signal.SIGKILL
    _, lines = run(project, tmp_path / "next", "ls")
    assert pid_of(lines) != pid_of_dbt


def test_a_second_command_beside_the_first_gets_a_process_of_its_own(
    project: Project, tmp_path: Path, gate: Path, pid_of_dbt: int
) -> None:
    target = small.target_dir(project, tmp_path / "target")
    with process.start(["run", "--select", "gate"], project, target) as dbt:
        small.seen(gate)

        _, lines = run(project, tmp_path / "beside", "ls")

        assert pid_of(lines) != pid_of_dbt
        gate.touch()
        list(dbt.lines())
        assert dbt.wait() == 0


def test_a_dbt_that_cannot_be_imported_is_run_as_the_executable(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bare = tmp_path / "bin" / "python"
    bare.parent.mkdir()
    bare.symlink_to(Path(sys.base_prefix) / "bin" / "python3")
    monkeypatch.setattr(boot.sys, "executable", str(bare))
    flow_end, pid = boot._start_dbt()
    monkeypatch.undo()
    monkeypatch.setattr(process, "_launch", Preloaded(flow_end, os.pidfd_open(pid), 0).launch)

    code, lines = run(project, tmp_path / "target", "ls")

    assert code == 0
    assert pid_of(lines) != pid
    os.waitpid(pid, 0)


@pytest.fixture
def warming(project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> int:
    """A warm dbt in the middle of its warm-up; its process id."""
    project.writes.unlink(missing_ok=True)
    monkeypatch.setenv("TMPDIR", str(tmp_path / "scratch"))
    (tmp_path / "scratch").mkdir()
    monkeypatch.setenv("DUCKDB_PATH", str(project.writes))
    monkeypatch.setenv("DBT_PROJECT_DIR", str(project.folder))
    pid: int = request.getfixturevalue("pid_of_dbt")
    small.until(lambda: any((tmp_path / "scratch").glob(f"*/{parse_state.FILE}")), seconds=60)
    return pid


@pytest.mark.parametrize("called", ["in the middle", "afterwards"])
def test_a_dbt_without_a_command_warms_up_and_opens_no_database(
    project: Project, tmp_path: Path, warming: int, called: str
) -> None:
    scratch = tmp_path / "scratch"
    if called == "afterwards":
        small.until(lambda: not any(scratch.iterdir()), seconds=60)
        assert not project.writes.exists()

    code, lines = run(project, tmp_path / "called", "build", "--exclude", "gate", "killed", "endless")

    assert pid_of(lines) == warming
    assert code == 1
    assert sorted(small.node_statuses(tmp_path / "called").values()) == ["error", "success", "success"]
    assert not any(scratch.iterdir())


@pytest.mark.parametrize(
    ("size", "called_after", "has_time"),
    [(1000, None, True), (1000, 0.0, False), (5_000_000, 0.2, False), (5_000_000, None, True)],
    ids=["small", "small, called already", "large, called soon", "large, not called"],
)
def test_a_large_project_warms_up_only_in_a_long_wait(size: int, called_after: float | None, has_time: bool) -> None:
    flow, dbt = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with flow, dbt:
        if called_after == 0:
            flow.send(b"{}")
        elif called_after:
            threading.Timer(called_after, flow.send, [b"{}"]).start()

        assert preload._has_time(dbt, size) is has_time


def test_a_command_that_is_left_before_the_warm_up_ends_is_never_run(
    project: Project, tmp_path: Path, warming: int
) -> None:
    target = small.target_dir(project, tmp_path / "left")

    with process.start(["run", "--select", "plain"], project, target) as dbt:
        pass

    assert dbt.wait() < 0
    assert not (target / "run_results.json").exists()
    small.until(lambda: not small.is_alive(warming), seconds=30)


def test_an_idle_dbt_ends_with_its_flow() -> None:
    flow_end, pid = boot._start_dbt()

    flow_end.close()

    small.until(lambda: not small.is_alive(pid), seconds=30)
    os.waitpid(pid, 0)
