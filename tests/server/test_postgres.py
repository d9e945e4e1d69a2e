"""The flows of a project whose data is in a database server: a real PostgreSQL, a real Prefect API."""

import contextvars
import logging
import os
import shutil
import signal
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from prefect import State, flow

import messages
import postgres
import reading
from dbtpod import cli, run_dbt, settings
from dbtpod.dbt import effective_profile, process, reachable
from dbtpod.dbt.project import MADE
from dbtpod.errors import BuildIncomplete, ConnectionLost, DbtFailed, DbtUnusable, SettingsError
from dbtpod.faststart import boot, preloaded
from dbtpod.fresher import build_if_fresher
from dbtpod.warehouse import warehouse
from dbtpod.warehouse.remote import Remote
from dbtpod.warehouse.volume import Volume
from postgres import Postgres
from shop import write
from shop_flows import building, commands_of, continuing_from, keeping_aside, run, smoking
from waiting import until

pytestmark = [pytest.mark.usefixtures("api"), pytest.mark.xdist_group("postgres")]


DEMO = Path(__file__).parents[2] / "dbt_project"
_CONNECTIONS = "select count(*) from pg_stat_activity where application_name = 'dbt'"


@pytest.fixture
def schema(request: pytest.FixtureRequest) -> str:
    """One for each test: a name that PostgreSQL takes."""
    return request.node.name.split("[")[0].removeprefix("test_")[:50]


@pytest.fixture
def project(project: Path, database: Postgres, schema: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    write(project, postgres.FILES)
    monkeypatch.setenv("DBTPOD_WAREHOUSE_KIND", "remote")
    for name, value in database.environment(schema).items():
        monkeypatch.setenv(name, value)
    return project


@pytest.fixture
def volume(tmp_path: Path) -> Volume:
    return Volume(tmp_path / "volume" / "work" / "warehouse.duckdb", is_remote=True)


@flow
def freshness() -> State[Any]:
    return run_dbt("source freshness")


def started(pool: ThreadPoolExecutor, *args: str) -> "Future[State[Any]]":
    """Run a flow beside this thread, with its Prefect settings."""
    return pool.submit(contextvars.copy_context().run, run, building, *args)


def test_the_four_flows_complete_and_their_rows_are_in_the_database(
    project: Path, database: Postgres, schema: str, volume: Volume
) -> None:
    states = [run(building), run(smoking), run(freshness)]
    [[before]] = database.ask(f"select max(built_at) from {schema}.facts")

    states.append(run(building, "run", "--select", "facts", "--full-refresh"))

    assert [state.name for state in states] == ["Completed"] * 4, [state.message for state in states]
    assert database.ask(f"select n, amount from {schema}.totals") == [(2, 30)]
    [[count, oldest]] = database.ask(f"select count(*), min(built_at) from {schema}.facts")
    assert count == 2
    assert oldest > before
    assert not list(volume.root.rglob("warehouse.duckdb*"))
    published = {file.name for file in volume.current.iterdir()}
    assert published >= {"manifest.json", "run_results.json", "generation.json", "history.duckdb"}
    # Of the freshness, which only reads, there is none.
    assert volume.current.resolve().name == "000003"


@pytest.mark.soak
def test_the_demo_project_builds_there_too(project: Path, database: Postgres, schema: str) -> None:
    shutil.rmtree(project)
    shutil.copytree(DEMO, project, ignore=shutil.ignore_patterns("target", "logs", MADE, "*.duckdb"))
    (project / "profiles.yml").write_text(postgres.PROFILE.replace("shop:", "dbtpod:", 1))

    states = [run(building), run(building), run(smoking), run(freshness)]

    assert [state.name for state in states] == ["Completed"] * 4, [state.message for state in states]
    [[net, paid]] = database.ask(
        f"select (select sum(net_amount) from {schema}.fct_orders), (select sum(amount) from {schema}.stg_payments)"
    )
    assert net == paid
    [[versions]] = database.ask(f"select count(*) from {schema}.customers_snapshot")
    assert [[versions]] == [list(row) for row in database.ask(f"select count(*) from {schema}.raw_customers")]


def test_a_server_that_dies_in_a_model_is_waited_for_and_the_rest_is_built(
    project: Path, database: Postgres, schema: str
) -> None:
    end = datetime.now(UTC) + timedelta(seconds=25)
    left = f"greatest(0, extract(epoch from timestamptz '{end.isoformat()}' - clock_timestamp()))"
    write(project, postgres.FILES | {"models/slow.sql": f"select n from {{{{ ref('totals') }}}}, pg_sleep({left})"})

    with ThreadPoolExecutor() as pool, messages.kept(logging.INFO, "prefect.task_runs") as said:
        building_now = pool.submit(contextvars.copy_context().run, lambda: run(building, retries=2))
        asleep = "select count(*) from pg_stat_activity where query like '%pg_sleep%' and pid <> pg_backend_pid()"
        until(lambda: database.ask(asleep) == [(1,)], 120, "the model runs")
        database.kill()
        database.start()
        state = building_now.result(120)

    assert state.is_completed(), state.message
    assert database.ask(f"select n from {schema}.slow") == [(2,)]
    assert [command.run_count for command in commands_of(state)] == [2]
    assert any("1 nodes are left" in text for text in said)


def test_a_server_that_is_starting_is_waited_for_which_is_no_retry(project: Path, database: Postgres) -> None:
    database.restart_slowly(15)

    with messages.kept(logging.INFO, "prefect.task_runs") as said:
        state = run(building)

    assert state.is_completed(), state.message
    assert [command.run_count for command in commands_of(state)] == [1]
    assert any("The server takes no queries yet, and nothing was done" in text for text in said), said


def test_what_a_model_appends_is_not_appended_twice_where_the_connection_broke(
    project: Path, database: Postgres, schema: str
) -> None:
    end_of_it = "{{ config(post_hook='select pg_terminate_backend(pg_backend_pid())') }}"
    log = "{{ config(materialized='incremental') }}" + end_of_it + " select 1 as id"
    write(project, postgres.FILES | {"models/log.sql": log})

    state = run(building, "run", "--select", "log", retries=2)

    assert isinstance(state.result(raise_on_failure=False), BuildIncomplete)
    assert "stopped in model.shop.log, whose rows may be there already" in str(state.message)


def test_a_wrong_password_fails_at_once_with_the_servers_reason(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOP_PASSWORD", "wrong")

    state = run(building, retries=2)

    assert isinstance(state.result(raise_on_failure=False), DbtUnusable)
    assert 'password authentication failed for user "postgres"' in str(state.message)
    assert [command.run_count for command in commands_of(state)] == [1]


def test_an_error_in_the_sql_fails_at_once(project: Path) -> None:
    write(project, postgres.FILES | {"models/totals.sql": "select 'connection refused' from nowhere"})

    state = run(building, retries=2)

    assert isinstance(state.result(raise_on_failure=False), DbtFailed)
    assert 'relation "nowhere" does not exist' in str(state.message)
    assert [command.run_count for command in commands_of(state)] == [1]


def test_a_server_that_is_away_is_waited_for_and_then_named_with_host_and_port(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reachable, "SECONDS", 2.0)
    monkeypatch.setenv("SHOP_PORT", "9")

    state = run(building)

    assert isinstance(state.result(raise_on_failure=False), ConnectionLost)
    assert "The database at 127.0.0.1:9 could not be reached within 2 s: Connection refused" in str(state.message)


@pytest.mark.soak
@pytest.mark.parametrize("writers", [1, 2])
def test_so_many_runs_write_at_once_as_writers_says(
    project: Path, database: Postgres, schema: str, volume: Volume, monkeypatch: pytest.MonkeyPatch, writers: int
) -> None:
    monkeypatch.setenv("DBTPOD_WAREHOUSE_WRITERS", str(writers))
    schema = f"{schema}_{writers}"
    monkeypatch.setenv("SHOP_SCHEMA", schema)
    slow = "select 1 as id from pg_sleep(10)"
    write(project, postgres.FILES | {"models/slow.sql": slow, "models/other.sql": "select 2 as id"})

    with ThreadPoolExecutor() as pool, messages.kept(logging.INFO, "prefect.flow_runs") as said:
        first = started(pool, "run", "--select", "slow")
        until(lambda: volume.writers(1)[0].exists() and volume.writers(1)[0].read_text(), 60, "the first writes")
        second = started(pool, "run", "--select", "other")
        if writers == 1:
            until(lambda: any("Waiting for the warehouse" in text for text in said), 60, "the second waits")
        else:
            until(lambda: all(path.exists() and path.read_text() for path in volume.writers(2)), 60, "both write")
        states = [first.result(120), second.result(120)]

    assert [state.name for state in states] == ["Completed"] * 2, [state.message for state in states]
    assert database.ask(f"select (select id from {schema}.slow), (select id from {schema}.other)") == [(1, 2)]
    if writers == 1:
        last = str(states[1].state_details.flow_run_id)
        assert last in (volume.current / "generation.json").read_text()
    assert any("Waiting for the warehouse" in text for text in said) == (writers == 1)


def test_a_run_that_failed_is_continued_with_what_is_left(project: Path, database: Postgres, schema: str) -> None:
    write(project, postgres.FILES | {"models/totals.sql": "select nothing from {{ ref('stg_orders') }}"})
    failed = run(building)
    assert failed.is_failed()
    [[built]] = database.ask(f"select max(built_at) from {schema}.facts")
    write(project, postgres.FILES)

    with messages.kept(logging.INFO, "prefect") as said:
        state = run(continuing_from, str(failed.state_details.flow_run_id))

    assert state.is_completed(), state.message
    assert any("with what it has built in the database server" in text for text in said)
    assert any("1 nodes are left" in text for text in said)
    assert database.ask(f"select n, (select max(built_at) from {schema}.facts) from {schema}.totals") == [(2, built)]


@pytest.mark.soak
def test_a_failed_run_is_not_continued_where_another_one_has_begun_to_write(project: Path) -> None:
    write(project, postgres.FILES | {"models/totals.sql": "select nothing from {{ ref('stg_orders') }}"})
    failed = run(building)
    other = run(building, "run", "--select", "stg_orders")
    write(project, postgres.FILES)

    with messages.kept(logging.INFO, "prefect") as said:
        state = run(continuing_from, str(failed.state_details.flow_run_id))

    assert state.is_completed(), state.message
    begun = f"another run, {other.state_details.flow_run_id}, has begun to write since"
    assert any("cannot be continued, so this run restarts" in text and begun in text for text in said)


def test_a_build_is_kept_aside_of_a_file_only(project: Path) -> None:
    state = run(keeping_aside)

    assert isinstance(state.result(raise_on_failure=False), SettingsError)
    assert "with warehouse.kind remote there is none: in a database server, readers see" in str(state.message)


@pytest.mark.soak
def test_a_build_that_is_fresh_enough_builds_nothing(project: Path) -> None:
    assert run(building).is_completed()
    first = build_if_fresher(return_state=True)
    second = build_if_fresher(return_state=True)

    assert first.is_completed(), first.message
    assert str(first.message).startswith("newer: ")
    assert str(second.message).startswith("nothing new"), second.message


@pytest.mark.parametrize(
    ("command", "says"),
    [
        (["generations", "rollback", "1"], "A database server is not rolled back from here"),
        (["generations", "diff", "1", "current"], "Compare the tables there"),
        (["export", "current", "-"], "such as pg_dump"),
        (["import", "nothing.duckdb"], "such as pg_restore"),
    ],
)
def test_what_needs_the_data_of_a_generation_says_that_it_is_in_a_server(
    project: Path, capsys: pytest.CaptureFixture[str], command: list[str], says: str
) -> None:
    assert cli.main(command) == 1

    said = capsys.readouterr().err
    assert f"`dbtpod {' '.join(command[:2] if command[0] == 'generations' else command[:1])}` is not for this" in said
    assert says in said


@pytest.mark.soak
def test_generations_are_listed_checked_and_shown_without_data(
    project: Path, database: Postgres, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert run(building).is_completed()
    assert run(building, "run").is_completed()
    capsys.readouterr()

    assert (cli.main(["generations", "list"]), cli.main(["generations", "check"])) == (0, 0)

    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:2] for line in lines[1:3]] == [["1", str(datetime.now(UTC).date())], ["*", "2"]]
    assert "no data" in lines[1]
    assert lines[-1].endswith("is whole: 2 generations.")

    given = {name: os.environ[name] for name in ("DBT_PROJECT_DIR", "DBTPOD_WAREHOUSE_KIND")}
    kept = warehouse.of(settings.from_environment())
    assert isinstance(kept, Remote)
    with reading.reading(kept, tmp_path / "reader", **given) as reader:
        where = f"postgres at 127.0.0.1:{database.port}, target dev"
        assert where in reader.get("/").text
        assert "there is nothing here to compare" in reader.get("/generations/2").text
        answer = reader.get("/data/2/warehouse.duckdb")
        assert answer.status_code == 404
        assert f"Generation 2 has no data here: it is in {where}" in answer.text
        assert reader.get("/data/2/history.duckdb").status_code == 200
        assert "model.shop.totals" in reader.get("/generations/2/nodes/model.shop.totals").text
        docs = until(lambda: _made(reader, "/generations/2/docs"), 120, "the docs")
        assert "stg_orders" in docs


def _made(reader: reading.Reading, path: str) -> str:
    answer = reader.get(path)
    return answer.text if answer.status_code == 200 and "catalog/v1.json" in answer.text else ""


def test_a_preloaded_dbt_has_the_projects_adapter_and_keeps_no_connection(
    project: Path, database: Postgres, tmp_path: Path
) -> None:
    effective_profile.write(project)
    ours = warehouse.project(settings.from_environment())
    flow_end, pid = boot._start_dbt()
    dbt = preloaded.Preloaded(flow_end, os.pidfd_open(pid), os.pipe()[0])
    until(lambda: "psycopg2" in Path(f"/proc/{pid}/maps").read_text(), 120, "dbt-postgres is imported")

    for number in (1, 2):
        target = tmp_path / f"target-{number}"
        target.mkdir()
        command = dbt.launch(["build"], process.environment(ours, target), project)
        assert command is not None
        said = command.stdout.read()
        assert command.wait() == 0, said
        command.close()
        until(lambda: database.ask(_CONNECTIONS) == [(0,)], 60, "dbt closes its connections")
    dbt.send_signal(signal.SIGKILL)
