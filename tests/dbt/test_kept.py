"""A dbt that lists nodes and then runs the next command, without another import: without the fast start, real dbt."""

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

import gated_project as small
from dbtpod.dbt import kept, listing, process
from dbtpod.dbt.listing import NotListed
from dbtpod.dbt.project import Project

LIST = ["ls", "--select", "plain", "--output-keys", "unique_id", "--output", "json", "--quiet", "--log-format", "text"]


@pytest.fixture(autouse=True)
def executable() -> Iterator[None]:
    """Start each dbt without the fast start, and leave none behind."""
    process.launch_by(None)
    yield
    while kept._waiting:
        kept._waiting.pop().discard()


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    return small.create(tmp_path_factory.mktemp("kept"))


def listed(project: Project, folder: Path, command: list[str] = LIST) -> list[str]:
    folder.mkdir(exist_ok=True)
    return listing.ids(command, project, folder)


def programs() -> dict[int, str]:
    """The processes that this one started, with their command lines."""
    found = [path.read_text().split() for path in Path(f"/proc/{os.getpid()}/task").glob("*/children")]
    return {int(pid): Path(f"/proc/{pid}/cmdline").read_text() for pids in found for pid in pids}


def test_the_command_after_a_listing_runs_in_the_same_process_which_ends_with_it(
    project: Project, tmp_path: Path
) -> None:
    before = programs().keys()
    assert listed(project, tmp_path / "one") == ["model.small.plain"]
    assert listed(project, tmp_path / "two") == ["model.small.plain"]
    [waiting] = programs().keys() - before

    with process.start(["build", "--select", "plain"], project, target := tmp_path / "target") as dbt:
        assert programs().keys() - before == {waiting}, "no dbt is imported again"
        lines = list(dbt.lines())

        assert dbt.wait() == 0, lines
    assert any('"CommandCompleted"' in line for line in lines), "and the log is JSON again"
    assert small.node_statuses(target) == {"plain": "success"}
    assert programs().keys() == before


def test_the_variables_of_a_file_dotenv_are_there_for_both(project: Project, tmp_path: Path) -> None:
    query = ["show", "--inline", "select '{{ env_var('OF_A_FILE') }}' as found", "--output", "json"]
    (file := project.folder / ".env").write_text("OF_A_FILE=there\n")
    try:
        listed(project, tmp_path / "listed")
        with process.start(query, project, tmp_path / "target") as dbt:
            lines = list(dbt.lines())
    finally:
        file.unlink()

    assert dbt.wait() == 0, lines
    assert any("there" in line for line in lines)


@pytest.mark.parametrize(
    ("command", "code"), [(["run", "--select", "failing"], 1), (["run", "--selecter", "x"], 2)], ids=["node", "usage"]
)
def test_a_command_that_fails_has_the_exit_code_of_dbt(
    project: Project, tmp_path: Path, command: list[str], code: int
) -> None:
    listed(project, tmp_path / "listed")

    with process.start(command, project, tmp_path / "target") as dbt:
        lines = list(dbt.lines())

        assert dbt.wait() == code, lines


def test_a_listing_that_fails_says_so_and_the_next_command_is_not_kept_from_running(
    project: Project, tmp_path: Path
) -> None:
    with pytest.raises(NotListed, match="exit code 2"):
        listed(project, tmp_path / "wrong", ["ls", "--selecter", "x"])

    assert listed(project, tmp_path / "right") == ["model.small.plain"]


def test_one_that_is_gone_is_replaced(project: Project, tmp_path: Path) -> None:
    listed(project, tmp_path / "listed")
    kept._waiting[0].kill()
    kept._waiting[0].wait()

    with process.start(["run", "--select", "plain"], project, tmp_path / "target") as dbt:
        lines = list(dbt.lines())

        assert dbt.wait() == 0, lines


def test_that_of_another_thread_is_not_taken_as_it_dies_with_it(project: Project, tmp_path: Path) -> None:
    thread = threading.Thread(target=listed, args=(project, tmp_path / "listed"))
    thread.start()
    thread.join()

    with process.start(["run", "--select", "plain"], project, tmp_path / "target") as dbt:
        assert "one_by_one" not in " ".join(programs().values())
        lines = list(dbt.lines())

        assert dbt.wait() == 0, lines


def test_a_listing_that_is_left_early_leaves_no_process(project: Project, tmp_path: Path) -> None:
    before = programs().keys()

    with process.start(LIST, project, tmp_path / "target", is_first=True):
        assert programs().keys() - before

    assert programs().keys() == before


def test_leaving_the_next_command_early_interrupts_dbt_which_then_writes_its_results(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A loaded machine takes longer than a pod may.
    monkeypatch.setattr(process, "STOP_SECONDS", 60.0)
    listed(project, tmp_path / "listed")

    with process.start(["run", "--select", "endless"], project, target := tmp_path / "target") as dbt:
        small.read_until_a_query_runs(dbt.lines())

    assert dbt.wait() == 2
    assert (target / "run_results.json").is_file()


def test_for_a_bug_report_each_command_is_the_plain_dbt(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DBTPOD_PLAIN_DBT", "1")

    assert listed(project, tmp_path / "listed") == ["model.small.plain"]
    assert not kept._waiting


def test_a_dbt_that_is_no_python_package_lists_by_itself(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As if dbt v2 were installed beside this Python: there is nothing to import.
    (tmp_path / "dbt").write_text("#!/bin/sh\necho '{\"unique_id\": \"model.small.'$3'\"}'\n")
    (tmp_path / "dbt").chmod(0o755)
    (tmp_path / "one_by_one.py").write_text(
        kept._ONE_BY_ONE.read_text().replace("from dbt.cli.main import cli", "raise ImportError")
    )
    monkeypatch.setattr(kept, "_ONE_BY_ONE", tmp_path / "one_by_one.py")
    monkeypatch.setattr(process, "executable", lambda: str(tmp_path / "dbt"))
    monkeypatch.setattr(process, "_beside", lambda: tmp_path / "dbt")

    assert listed(project, tmp_path / "listed") == ["model.small.plain"]
    assert not kept._waiting
