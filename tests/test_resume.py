"""A run that was stopped half-way goes on where it stopped, or starts over and says why: real dbt, real SIGINT."""

import json
import logging
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import duckdb
import pytest
import warehouse

from dbtpod import resume
from dbtpod.dbt import parse_state, process
from dbtpod.errors import RunGivenUp
from dbtpod.settings import Settings
from dbtpod.warehouse import checkout

LOG = logging.getLogger("test")
PROFILE = "shop: {target: w, outputs: {w: {type: duckdb, path: \"{{ env_var('DUCKDB_PATH') }}\", threads: 1}}}"
SLOW = "select count(*) as n from range(300000) x, range(300000) y, {{ ref('a_first') }}"


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    project = tmp_path / "project"
    (project / "models").mkdir(parents=True)
    (project / "dbt_project.yml").write_text("name: shop\nprofile: shop\nmodels: {+materialized: table}\n")
    (project / "profiles.yml").write_text(PROFILE)
    (project / "models" / "a_first.sql").write_text("select 1 as id")
    (project / "models" / "b_slow.sql").write_text(SLOW)
    (project / "models" / "c_last.sql").write_text("select * from {{ ref('b_slow') }}")
    (project / "models" / "not_chosen.sql").write_text("select 1 as id")
    (tmp_path / "volume").mkdir()
    return Settings(tmp_path / "volume" / "work" / "warehouse.duckdb", project)


def dbt(settings: Settings, args: Sequence[str], target_dir: Path, stop_at: str = "never") -> int | None:
    """Run dbt; stop it, as a flow does, one second after the line that contains `stop_at`: None then."""
    target_dir.mkdir(parents=True)
    with process.start(args, settings, target_dir) as running:
        for line in running.lines():
            if stop_at in line:
                time.sleep(1)  # dbt loses a SIGINT that comes before the query has begun
                return None
        return running.wait()


def statuses(target_dir: Path) -> dict[str, str]:
    found = json.loads((target_dir / "run_results.json").read_text())
    return {result["unique_id"].rsplit(".")[-1]: result["status"] for result in found["results"]}


def test_what_was_stopped_half_way_is_finished_by_dbt_retry(settings: Settings) -> None:
    folder = settings.runs_dir / "run" / "1-build"
    args = ("build", "--exclude", "not_chosen")
    checkout.check_out(settings, "run", LOG)
    assert dbt(settings, args, folder / "attempt-1", stop_at="START sql table model main.b_slow") is None
    (settings.project_dir / "models" / "b_slow.sql").write_text("select 2 as n, id from {{ ref('a_first') }}")

    [stopped] = resume.attempts(folder)
    command = resume.command(settings, args, [], stopped)

    assert stopped.exit_code is None
    assert command is not None
    assert dbt(settings, command, folder / "attempt-2") == 0
    assert statuses(folder / "attempt-2") == {"b_slow": "success", "c_last": "success"}
    with duckdb.connect(settings.duckdb_path, read_only=True) as connection:
        assert connection.sql("select n from c_last").fetchall() == [(2,)]


def test_results_of_a_command_that_ended_by_itself_are_gone_on_from_as_they_are(settings: Settings) -> None:
    (settings.project_dir / "models" / "b_slow.sql").write_text("select nothing from {{ ref('a_first') }}")
    folder = settings.runs_dir / "run" / "1-run"
    checkout.check_out(settings, "run", LOG)
    code = dbt(settings, ("run",), folder / "attempt-1")
    assert code == 1
    resume.record(folder / "attempt-1", code)
    before = (folder / "attempt-1" / "run_results.json").read_text()

    [failed] = resume.attempts(folder)
    command = resume.command(settings, ("run",), [], failed)

    assert command == ["retry", "--state", str(folder / "attempt-1")]
    assert (folder / "attempt-1" / "run_results.json").read_text() == before


@pytest.mark.parametrize("left", [None, "{ half a fi", json.dumps({"results": [], "args": {}})])
def test_an_attempt_that_left_no_results_is_not_gone_on_from(settings: Settings, left: str | None) -> None:
    attempt = settings.runs_dir / "run" / "1-build" / "attempt-1"
    attempt.mkdir(parents=True)
    if left is not None:
        (attempt / "run_results.json").write_text(left)

    [found] = resume.attempts(attempt.parent)

    assert resume.command(settings, ("build",), [], found) is None


def test_the_tenth_attempt_is_the_last_of_ten(settings: Settings) -> None:
    for number in range(1, 11):
        (settings.runs_dir / "run" / "1-build" / f"attempt-{number}").mkdir(parents=True)

    assert resume.attempts(settings.runs_dir / "run" / "1-build")[-1].target_dir.name == "attempt-10"


def begin_then_begin_again(settings: Settings, between: Any = None, starts: int = 2) -> tuple[Path, Path]:
    first = resume.begin(settings, "run", 1, LOG)
    with duckdb.connect(settings.duckdb_path) as connection:
        connection.execute("create table half_built as select 1 as id")
    (first / "1-build" / "attempt-1").mkdir(parents=True)
    if between:
        between()
    return first, resume.begin(settings, "run", starts, LOG)


def test_a_run_that_comes_back_finds_its_half_built_working_copy(settings: Settings) -> None:
    first, second = begin_then_begin_again(settings)

    assert (second / "1-build" / "attempt-1").is_dir()
    assert first == second
    with duckdb.connect(settings.duckdb_path, read_only=True) as connection:
        assert connection.sql("select * from half_built").fetchall() == [(1,)]


def test_another_project_than_before_starts_over_and_says_so(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    def another_image() -> None:
        baked = parse_state.baked_path(settings, parse_state.WRITER)
        baked.parent.mkdir(parents=True)
        baked.write_bytes(b"parsed from other models")

    with caplog.at_level(logging.INFO):
        _, second = begin_then_begin_again(settings, another_image)

    assert "starting over, because the dbt project is another than before" in caplog.text
    assert not (second / "1-build").exists()
    assert not settings.duckdb_path.exists()


def test_a_working_copy_that_another_run_took_starts_over(settings: Settings, caplog: pytest.LogCaptureFixture) -> None:
    def another_run() -> None:
        resume.begin(settings, "other", 1, LOG)
        with duckdb.connect(settings.duckdb_path) as connection:
            connection.execute("create table newer as select 1 as id")
        warehouse.publish_as(settings, "other")

    with caplog.at_level(logging.INFO):
        begin_then_begin_again(settings, another_run)

    assert "starting over, because its working copy is gone or older than what is published" in caplog.text
    with duckdb.connect(settings.duckdb_path, read_only=True) as connection:
        assert connection.sql("select * from newer").fetchall() == [(1,)]


def test_a_run_whose_pods_die_again_and_again_is_given_up(settings: Settings) -> None:
    with pytest.raises(RunGivenUp, match="started 5 times"):
        begin_then_begin_again(settings, starts=6)
