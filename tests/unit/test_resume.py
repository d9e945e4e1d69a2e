"""A run that was stopped half-way finds what it left, or starts over and says why; its commands: test_attempts."""

import logging
from collections.abc import Callable
from pathlib import Path

import duckdb
import pytest
from prefect.settings import PREFECT_API_URL, temporary_settings

import warehouse
from dbtpod import resume
from dbtpod.dbt import parse_state, record
from dbtpod.dbt.project import Project
from dbtpod.errors import RunGivenUp
from dbtpod.warehouse.warehouse import DuckDBFile
from dbtpod.warehouse.working_copy import WorkingCopy

LOG = logging.getLogger("test")


@pytest.fixture
def kept(tmp_path: Path) -> DuckDBFile:
    (tmp_path / "volume").mkdir()
    return warehouse.new(tmp_path / "volume")


@pytest.fixture
def project(kept: DuckDBFile, tmp_path: Path) -> Project:
    (tmp_path / "project").mkdir()
    return Project(tmp_path / "project", kept.volume.database, kept.readable)


def begin(kept: DuckDBFile, project: Project, run_id: str = "run", starts: int = 1) -> Path:
    return resume.begin(WorkingCopy(kept.publisher, run_id, LOG), project, run_id, starts, LOG)


def begin_then_begin_again(
    kept: DuckDBFile, project: Project, between: Callable[[], None] | None = None, starts: int = 2
) -> tuple[Path, Path]:
    first = begin(kept, project)
    with duckdb.connect(kept.volume.database) as connection:
        connection.execute("create table half_built as select 1 as id")
    (first / "1-build" / "attempt-1").mkdir(parents=True)
    if between:
        between()
    return first, begin(kept, project, starts=starts)


def test_the_tenth_attempt_is_the_last_of_ten(kept: DuckDBFile) -> None:
    for number in range(1, 11):
        (kept.volume.runs / "run" / "1-build" / f"attempt-{number}").mkdir(parents=True)

    assert record.attempts(kept.volume.runs / "run" / "1-build")[-1].target_dir.name == "attempt-10"


def test_a_run_that_comes_back_finds_its_half_built_working_copy(kept: DuckDBFile, project: Project) -> None:
    first, second = begin_then_begin_again(kept, project)

    assert (second / "1-build" / "attempt-1").is_dir()
    assert first == second
    with duckdb.connect(kept.volume.database, read_only=True) as connection:
        assert connection.sql("select * from half_built").fetchall() == [(1,)]


def test_another_project_than_before_starts_over_and_says_so(
    kept: DuckDBFile, project: Project, caplog: pytest.LogCaptureFixture
) -> None:
    def another_image() -> None:
        baked = parse_state.baked_path(project, parse_state.WRITER)
        baked.parent.mkdir(parents=True)
        baked.write_bytes(b"parsed from other models")

    with caplog.at_level(logging.INFO):
        _, second = begin_then_begin_again(kept, project, another_image)

    assert "restarting, because the dbt project is another than before" in caplog.text
    assert not (second / "1-build").exists()
    assert not kept.volume.database.exists()


def test_a_working_copy_that_another_run_took_starts_over(
    kept: DuckDBFile, project: Project, caplog: pytest.LogCaptureFixture
) -> None:
    def another_run() -> None:
        begin(kept, project, "other")
        with duckdb.connect(kept.volume.database) as connection:
            connection.execute("create table newer as select 1 as id")
        warehouse.publish_as(kept, "other")

    with caplog.at_level(logging.INFO):
        begin_then_begin_again(kept, project, another_run)

    assert "restarting, because its working copy is gone or older than what is published" in caplog.text
    with duckdb.connect(kept.volume.database, read_only=True) as connection:
        assert connection.sql("select * from newer").fetchall() == [(1,)]


def test_a_run_whose_pods_die_again_and_again_is_given_up(kept: DuckDBFile, project: Project) -> None:
    # Nor is there a server that knows the causes; without an address Prefect would start one.
    with (
        temporary_settings({PREFECT_API_URL: "http://127.0.0.1:1/api"}),
        pytest.raises(RunGivenUp, match="started 5 times"),
    ):
        begin_then_begin_again(kept, project, starts=6)
