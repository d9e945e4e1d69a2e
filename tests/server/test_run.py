"""A flow run's story, from the lock to the published generation: real dbt on a small project, a real Prefect API."""

import logging
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

import duckdb
import pytest
from prefect import State, flow

import messages
from dbtpod import run_dbt
from dbtpod.errors import BuildIncomplete, DbtFailed, DbtUnusable, SettingsError, WarehouseUnusable
from dbtpod.run import writing
from shop import ORDERS, PROFILE, write
from shop_flows import building, commands_of, run

pytestmark = pytest.mark.usefixtures("api")


@pytest.fixture
def project(project: Path) -> Path:
    write(project, ORDERS)
    return project


@flow
def seeding_then_building() -> State[Any]:
    return run_dbt("seed", "build")


def query(path: Path, sql: str) -> Any:
    with duckdb.connect(path, read_only=True) as connection:
        return connection.sql(sql).fetchall()


def test_a_build_that_passes_is_published_and_its_counts_are_the_state(project: Path, published: Path) -> None:
    state = run(building)

    assert state.is_completed()
    assert state.message == "2 nodes: 2 success"
    assert query(published, "select n from totals") == [(1,)]
    assert {file.name for file in published.parent.iterdir()} >= {"manifest.json", "run_results.json"}


def test_a_failed_model_fails_the_run_is_not_tried_again_and_publishes_nothing(project: Path, published: Path) -> None:
    run(building)
    (project / "models" / "totals.sql").write_text("select amout from {{ ref('orders') }}")
    (project / "models" / "orders.sql").write_text("select 2 as id, now() as loaded_at")

    state = run(building, retries=2)

    assert state.is_failed()
    assert "model.shop.totals" in str(state.message)
    assert '"amout" not found' in str(state.message)
    assert isinstance(state.result(raise_on_failure=False), DbtFailed)
    assert [command.run_count for command in commands_of(state)] == [1]
    assert query(published, "select id from orders") == [(1,)]


def test_a_failed_seed_ends_the_flow_before_the_next_command(project: Path) -> None:
    (project / "seeds").mkdir()
    (project / "seeds" / "raw_orders.csv").write_text("id\nnot a number\n")
    (project / "seeds" / "seeds.yml").write_text("seeds: [{name: raw_orders, config: {column_types: {id: integer}}}]")

    with messages.kept(logging.INFO, "prefect.task_runs") as of_commands:
        state = run(seeding_then_building)

    assert state.is_failed()
    assert [command.name for command in commands_of(state)] == ["dbt seed"]
    # The server may write down a second command later than the first.
    assert [text for text in of_commands if text.startswith("Starting dbt")] == ["Starting dbt seed"]


def test_an_unknown_selector_is_dbts_own_word_and_no_reason_to_try_again(project: Path) -> None:
    state = run(building, "build", "--selector", "smok", retries=2)

    assert isinstance(state.result(raise_on_failure=False), DbtUnusable)
    assert "Could not find selector named smok" in str(state.message)


@pytest.mark.parametrize(("name", "text"), [("profiles.yml", ""), ("dbt_project.yml", "name: shop\nprofile: nobody\n")])
def test_a_profile_that_cannot_be_used_is_named_before_dbt_starts(project: Path, name: str, text: str) -> None:
    (project / name).write_text(text)

    with messages.kept(logging.INFO, "prefect.task_runs") as of_commands:
        state = run(building)

    assert isinstance(state.result(raise_on_failure=False), SettingsError)
    assert str(project / "profiles.yml") in str(state.message)
    assert of_commands == []


def test_a_project_that_dbt_cannot_read_is_told_in_its_words(project: Path) -> None:
    (project / "models" / "orders.sql").write_text("{{ ref( }}")

    state = run(building)

    assert isinstance(state.result(raise_on_failure=False), DbtUnusable)
    assert "exit code 2" in str(state.message)


def test_a_file_that_is_not_a_database_is_named_and_left_as_it_is(project: Path, tmp_path: Path) -> None:
    path = tmp_path / "volume" / "work" / "warehouse.duckdb"
    path.parent.mkdir()
    path.write_bytes(b"not a database, but somebody's" * 300)

    state = run(building, retries=2)

    assert isinstance(state.result(raise_on_failure=False), WarehouseUnusable)
    assert str(path) in str(state.message)
    assert path.read_bytes().startswith(b"not a database")


def test_braces_of_a_user_are_no_template(project: Path) -> None:
    (project / "models" / "orders.sql").write_text("select '{{ var('day') }}' as day")

    state = run(building, "build", "--vars", "{day: 2026-01-31}")

    assert state.is_completed(), state.message
    assert [command.name for command in commands_of(state)] == ["dbt build --vars '{day: 2026-01-31}'"]


@pytest.mark.parametrize("path", ["':memory:'", "dev.duckdb", "/elsewhere/warehouse.duckdb"])
def test_a_command_that_writes_elsewhere_is_refused_before_dbt_starts(
    project: Path, published: Path, path: str
) -> None:
    (project / "conf").mkdir()
    (project / "conf" / "profiles.yml").write_text(PROFILE.replace("warehouse.duckdb", path))

    with messages.kept(logging.INFO, "prefect.task_runs") as of_commands:
        state = run(building, "build", "--profiles-dir", "conf")

    assert isinstance(state.result(raise_on_failure=False), SettingsError)
    assert path.strip("'") in str(state.message)
    assert str(project / "conf" / "profiles.yml") in str(state.message)
    assert "Leave --profiles-dir" in str(state.message)
    assert not published.exists()
    assert of_commands == []


@pytest.mark.parametrize("name", ["dev.duckdb", "warehouse.duckdb"])
def test_a_command_whose_path_only_dbt_can_tell_publishes_nothing_when_it_writes_elsewhere(
    project: Path, published: Path, tmp_path: Path, name: str
) -> None:
    run(building)
    elsewhere = f"\"{{{{ modules.re.sub('x', '', '{tmp_path / name}') }}}}\""
    (project / "conf").mkdir()
    (project / "conf" / "profiles.yml").write_text(PROFILE.replace("warehouse.duckdb", elsewhere))

    state = run(building, "build", "--profiles-dir", "conf")

    assert isinstance(state.result(raise_on_failure=False), BuildIncomplete)
    assert "the target writes elsewhere" in str(state.message)
    assert [path.name for path in published.parents[1].iterdir() if path.name.isdecimal()] == ["000001"]


def test_a_typo_in_the_selection_completes_with_that_message_and_publishes_nothing(
    project: Path, published: Path
) -> None:
    run(building)

    state = run(building, "build", "--select", "ordres")

    assert state.is_completed()
    assert state.message == "no node was selected; nothing was published"
    assert [path.name for path in published.parents[1].iterdir() if path.name.isdecimal()] == ["000001"]


def test_tests_alone_publish_what_they_stored_and_else_nothing(project: Path, published: Path) -> None:
    tested = "models: [{name: orders, columns: [{name: id, data_tests: [{unique: {config: {alias: twice}}}]}]}]"
    (project / "models" / "tests.yml").write_text(tested)
    run(building)

    plain = run(building, "test")
    storing = run(building, "test", "--store-failures")

    assert plain.message == "1 node: 1 success; nothing was published"
    assert storing.message == "1 node: 1 success"
    numbers = sorted(path.name for path in published.parents[1].iterdir() if path.name.isdecimal())
    assert numbers == ["000001", "000002"]
    assert query(published, "select count(*) from main_dbt_test__audit.twice") == [(0,)]


@pytest.mark.parametrize(
    ("args", "environment"),
    [
        (("--quiet",), {}),
        (("--log-level", "none"), {}),
        (("--log-format=text",), {}),
        ((), {"DBT_QUIET": "1"}),
        ((), {"DBT_ENGINE_LOG_FORMAT": "text"}),
        ((), {"DBT_ENGINE_WRITE_JSON": "false"}),
    ],
)
def test_what_is_shown_does_not_depend_on_how_a_user_likes_dbts_log(
    project: Path, monkeypatch: pytest.MonkeyPatch, args: tuple[str, ...], environment: dict[str, str]
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)

    state = run(building, "build", *args)

    assert state.message == "2 nodes: 2 success"


@flow
def failing_on_purpose() -> State[Any]:
    with writing() as dbt:
        with suppress(DbtFailed):
            dbt("build")
        dbt("build", "--select", "orders")
    return dbt.state


def test_a_failure_that_a_flow_passes_over_is_never_published(project: Path, published: Path) -> None:
    (project / "models" / "totals.sql").write_text("select amout from {{ ref('orders') }}")

    state = run(failing_on_purpose)

    assert isinstance(state.result(raise_on_failure=False), BuildIncomplete)
    assert "model.shop.totals" in str(state.message)
    assert not published.exists()


@flow
def replacing() -> State[Any]:
    with writing() as dbt:
        dbt("build")
        path = Path(os.environ["DUCKDB_PATH"])
        path.rename(path.with_name("mine.duckdb"))
        duckdb.connect(path).close()
    return dbt.state


def test_a_working_copy_that_somebody_replaced_is_not_published(project: Path, published: Path) -> None:
    state = run(replacing)

    assert isinstance(state.result(raise_on_failure=False), BuildIncomplete)
    assert "is another file than the one that this run built on" in str(state.message)
    assert not published.exists()


def test_dbt_is_run_inside_a_flow(project: Path) -> None:
    with pytest.raises(SettingsError, match="decorate the function that calls it with @flow"):
        run_dbt("build")


@pytest.mark.parametrize("commands", [(), ("",), ("build", [])])
def test_a_run_without_a_command_says_what_is_missing(commands: tuple[str, ...]) -> None:
    with pytest.raises(SettingsError, match="needs a dbt command"):
        run_dbt(*commands)


@flow
def looking_after_building() -> State[Any]:
    return run_dbt("build", "show --select totals")


def test_a_command_that_reads_sees_what_one_before_it_built(project: Path, published: Path) -> None:
    state = run(looking_after_building)

    assert state.is_completed(), state.message
    assert query(published, "select n from totals") == [(1,)]
