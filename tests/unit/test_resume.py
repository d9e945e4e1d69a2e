"""A run that was stopped half-way finds what it left, or restarts and says why; its commands: test_attempts."""

import logging
from collections.abc import Callable
from pathlib import Path

import duckdb
import pytest
from prefect.settings import PREFECT_API_URL, temporary_settings

import warehouse
from dbtpod import resume
from dbtpod.dbt import effective_profile, parse_state, record
from dbtpod.dbt.project import Project
from dbtpod.errors import RunGivenUp, SettingsError
from dbtpod.warehouse import housekeeping
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


def begin(kept: DuckDBFile, project: Project, run_id: str = "run") -> Path:
    return resume.begin(WorkingCopy(kept.publisher, run_id, LOG), project, run_id, LOG)


def begin_then_begin_again(
    kept: DuckDBFile, project: Project, between: Callable[[], None] | None = None
) -> tuple[Path, Path]:
    first = begin(kept, project)
    with duckdb.connect(kept.volume.database) as connection:
        connection.execute("create table half_built as select 1 as id")
    (first / "1-build" / "attempt-1").mkdir(parents=True)
    if between:
        between()
    return first, begin(kept, project)


def test_the_tenth_attempt_is_the_last_of_ten(kept: DuckDBFile) -> None:
    for number in range(1, 11):
        (kept.volume.runs / "run" / "1-build" / f"attempt-{number}").mkdir(parents=True)

    assert record.history(kept.volume.runs / "run" / "1-build").attempts[-1].target_dir.name == "attempt-10"


def test_a_run_that_comes_back_finds_its_half_built_working_copy(kept: DuckDBFile, project: Project) -> None:
    first, second = begin_then_begin_again(kept, project)

    assert (second / "1-build" / "attempt-1").is_dir()
    assert first == second
    with duckdb.connect(kept.volume.database, read_only=True) as connection:
        assert connection.sql("select * from half_built").fetchall() == [(1,)]


def test_other_settings_of_the_project_than_before_start_over_and_says_so(
    kept: DuckDBFile, project: Project, caplog: pytest.LogCaptureFixture
) -> None:
    def another_image() -> None:
        (project.folder / "dbt_project.yml").write_text("name: shop\nprofile: shop\n")
        effective_profile.write(project.folder, {})
        baked = parse_state.baked_path(project, "dev")
        baked.parent.mkdir(parents=True)
        baked.write_bytes(b"parsed from other models")

    with caplog.at_level(logging.INFO):
        _, second = begin_then_begin_again(kept, project, another_image)

    assert "restarting, because dbt_project.yml, the packages or the profile are others than before" in caplog.text
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

    assert "restarting, because generation 1 was published since it began from nothing" in caplog.text
    with duckdb.connect(kept.volume.database, read_only=True) as connection:
        assert connection.sql("select * from newer").fetchall() == [(1,)]


def test_a_run_whose_pods_die_again_and_again_is_given_up(kept: DuckDBFile, project: Project) -> None:
    for _ in range(resume.MOST_STARTS):
        begin(kept, project)

    # Nor is there a server that knows the causes; without an address Prefect would start one.
    with (
        temporary_settings({PREFECT_API_URL: "http://127.0.0.1:1/api"}),
        pytest.raises(RunGivenUp, match="started 5 times"),
    ):
        begin(kept, project)


def test_a_run_that_a_person_retries_is_never_given_up(kept: DuckDBFile, project: Project) -> None:
    for _ in range(resume.MOST_STARTS + 1):
        resume.ended(begin(kept, project))


def test_a_failed_run_finds_its_working_copy_after_others_built_and_published_nothing(
    kept: DuckDBFile, project: Project
) -> None:
    def others() -> None:
        for name in ("second", "third"):
            begin(kept, project, name)
            with duckdb.connect(kept.volume.database) as connection:
                connection.execute(f"create table {name} as select 1 as id")
        with warehouse.alone(kept):
            housekeeping.clean(kept.publisher, "run")

    begin_then_begin_again(kept, project, others)

    with duckdb.connect(kept.volume.database, read_only=True) as connection:
        assert connection.sql("select table_name from duckdb_tables()").fetchall() == [("half_built",)]
    assert sorted(path.name for path in kept.volume.failed.iterdir()) == ["second", "third"]


def test_working_copies_that_cannot_be_continued_any_more_are_removed(kept: DuckDBFile, project: Project) -> None:
    for name in ("first", "second", "third", "fourth"):
        begin(kept, project, name)
        with duckdb.connect(kept.volume.database) as connection:
            connection.execute(f"create table {name} as select 1 as id")

    housekeeping.clean(kept.publisher, "fourth")
    assert sorted(path.parent.name for path in kept.volume.failed.glob("*/*.duckdb")) == ["second", "third"]

    warehouse.publish_as(kept, "fourth")
    housekeeping.clean(kept.publisher, "fifth")
    assert list(kept.volume.failed.glob("*/*.duckdb")) == []


def test_another_run_takes_over_what_a_failed_one_built(kept: DuckDBFile, project: Project) -> None:
    run_id = "9b1deb4d-3b7d-4bad-9bdd-2b0d7b3dcb6d"
    first = begin(kept, project, run_id)
    resume.note_commands(first, [["build", "--vars", "{a: {b}}"]])
    with duckdb.connect(kept.volume.database) as connection:
        connection.execute("create table half_built as select 1 as id")
    (first / "1-build" / "attempt-1").mkdir(parents=True)

    assert resume.commands_of(kept.volume, run_id) == [["build", "--vars", "{a: {b}}"]]
    second = resume.begin(WorkingCopy(kept.publisher, "next", LOG), project, "next", LOG, continues=run_id)

    assert (second / "1-build" / "attempt-1").is_dir()
    with duckdb.connect(kept.volume.database, read_only=True) as connection:
        assert connection.sql("select * from half_built").fetchall() == [(1,)]


@pytest.mark.parametrize("run_id", ["../../etc", "no", "9b1deb4d-3b7d-4bad-9bdd-2b0d7b3dcb6d"])
def test_a_run_that_left_nothing_cannot_be_continued(kept: DuckDBFile, run_id: str) -> None:
    with pytest.raises(SettingsError, match=r"no flow run"):
        resume.commands_of(kept.volume, run_id)
