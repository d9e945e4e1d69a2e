"""A run that was stopped half-way finds what it left, or starts over and says why; its commands: test_attempts."""

import logging
from pathlib import Path
from typing import Any

import duckdb
import pytest
from prefect.settings import PREFECT_API_URL, temporary_settings

import warehouse
from dbtpod import resume
from dbtpod.dbt import parse_state, record
from dbtpod.errors import RunGivenUp
from dbtpod.settings import Settings

LOG = logging.getLogger("test")


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    project = tmp_path / "project"
    project.mkdir()
    (tmp_path / "volume").mkdir()
    return Settings(tmp_path / "volume" / "work" / "warehouse.duckdb", project)


def test_the_tenth_attempt_is_the_last_of_ten(settings: Settings) -> None:
    for number in range(1, 11):
        (settings.runs_dir / "run" / "1-build" / f"attempt-{number}").mkdir(parents=True)

    assert record.attempts(settings.runs_dir / "run" / "1-build")[-1].target_dir.name == "attempt-10"


def begin_then_begin_again(settings: Settings, between: Any = None, starts: int = 2) -> tuple[Path, Path]:
    first = resume.begin(settings, "run", 1, LOG).run_dir
    with duckdb.connect(settings.duckdb_path) as connection:
        connection.execute("create table half_built as select 1 as id")
    (first / "1-build" / "attempt-1").mkdir(parents=True)
    if between:
        between()
    return first, resume.begin(settings, "run", starts, LOG).run_dir


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
    # Nor is there a server that knows the causes; without an address Prefect would start one.
    with (
        temporary_settings({PREFECT_API_URL: "http://127.0.0.1:1/api"}),
        pytest.raises(RunGivenUp, match="started 5 times"),
    ):
        begin_then_begin_again(settings, starts=6)
