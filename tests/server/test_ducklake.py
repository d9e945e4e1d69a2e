"""The flows of a project whose data is in a DuckLake: a real PostgreSQL, a real S3, a real Prefect API."""

import contextvars
import logging
import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from prefect import State, flow

import lakes
import messages
import postgres
import s3
from dbtpod import cli, run_dbt, settings
from dbtpod.dbt import effective_profile, reachable
from dbtpod.errors import ConnectionLost, DbtFailed, SettingsError
from dbtpod.fresher import build_if_fresher
from dbtpod.warehouse import warehouse
from dbtpod.warehouse.lake.ducklake import DuckLake
from postgres import Postgres
from s3 import S3
from shop import write
from shop_flows import building, continuing_from, keeping_aside, run, smoking
from waiting import until

pytestmark = [*lakes.MARKS, pytest.mark.usefixtures("api")]

FILES = postgres.FILES | {
    "profiles.yml": lakes.PROFILE,
    "models/many.sql": "select range as id, (select n from {{ ref('totals') }}) as n from range(10_000)",
    "models/per_order.sql": "{{ config(materialized='view') }} select * from {{ ref('stg_orders') }}",
    "models/log.sql": "{{ config(materialized='incremental') }} select now() as at",
    "snapshots/kept.yml": "snapshots: [{name: kept, relation: ref('stg_orders'), config: "
    "{unique_key: id, strategy: check, check_cols: [amount]}}]",
}
FAILS = {
    "tests/fails.sql": "select 1 from {{ ref('totals') }}",
    "models/stg_orders.sql": "select 1 as id, 666 as amount",
}


@pytest.fixture(scope="module")
def database() -> Iterator[Postgres]:
    with postgres.running() as server:
        yield server


@pytest.fixture(scope="module")
def bucket() -> Iterator[S3]:
    with s3.running() as server:
        yield server


@pytest.fixture
def project(project: Path, database: Postgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "files").mkdir()
    write(project, FILES)
    name = f"lake_{abs(hash(str(tmp_path)))}"
    for variable, value in lakes.environment(database.port, name, tmp_path / "files").items():
        monkeypatch.setenv(variable, value)
    return project


def kept() -> DuckLake:
    effective_profile.refresh(settings.from_environment().project_dir)
    found = warehouse.of(settings.from_environment())
    assert isinstance(found, DuckLake)
    return found


def ask(sql: str) -> list[tuple[Any, ...]]:
    """Ask what is published."""
    found, where = lakes.readable(kept()), kept().lake
    with lakes.attached(where, found["metadata_schema"], found["snapshot_version"]) as connection:
        connection.execute("USE shop")
        return connection.execute(sql).fetchall()


@flow
def reading_it() -> State[Any]:
    return run_dbt("source freshness", "show --select totals")


def test_the_flows_complete_and_their_rows_are_in_the_lake(project: Path) -> None:
    states = [run(building), run(smoking), run(reading_it)]
    [[before]] = ask("select max(built_at) from facts")

    states.append(run(building, "build", "--select", "facts", "log", "--full-refresh"))
    states.append(run(building, "build", "--select", "facts", "log", "kept"))

    assert [state.name for state in states] == ["Completed"] * 5, [state.message for state in states]
    assert ask("select n, amount from totals") == [(2, 30)]
    assert ask("select (select count(*) from per_order), (select count(*) from many)") == [(2, 10_000)]
    assert ask("select (select count(*) from facts), (select count(*) from log)") == [(2, 2)]
    assert ask("select count(*) from kept where dbt_valid_to is null") == [(2,)]
    [[oldest]] = ask("select min(built_at) from facts")
    assert oldest > before
    assert kept().problems(lakes.LOG) == []
    assert not list(kept().volume.root.rglob("*.duckdb.wal"))


def test_a_failed_test_changes_nothing_for_readers_and_the_next_run_begins_from_what_is_published(
    project: Path,
) -> None:
    assert run(building).is_completed()
    write(project, FILES | FAILS)

    failed = run(building)

    assert isinstance(failed.result(raise_on_failure=False), DbtFailed)
    assert ask("select n, amount from totals") == [(2, 30)]
    (project / "tests" / "fails.sql").unlink()
    write(project, FILES)
    after = run(building, "build", "--select", "log")
    assert after.is_completed(), after.message
    assert ask("select (select max(amount) from stg_orders), (select count(*) from log)") == [(20, 2)]


def test_readers_see_whole_builds_only_while_flows_build(project: Path) -> None:
    sums: set[tuple[Any, ...]] = set()
    is_over = threading.Event()
    assert run(building).is_completed()
    where = kept()

    def look() -> None:
        while not is_over.is_set():
            found = lakes.readable(where)
            with lakes.attached(where.lake, found["metadata_schema"], found["snapshot_version"]) as connection:
                sql = "select (select sum(amount) from shop.stg_orders), (select amount from shop.totals)"
                sums.update(connection.execute(sql).fetchall())

    reader = threading.Thread(target=look)
    reader.start()
    write(
        project,
        FILES | {"models/stg_orders.sql": FILES["models/stg_orders.sql"].replace("amount", "amount * 2 as amount", 1)},
    )
    state = run(building)
    until(lambda: len(sums) > 1, 60, "a reader saw both")
    is_over.set()
    reader.join()

    assert state.is_completed(), state.message
    assert sums == {(30, 30), (60, 60)}


def test_a_run_that_failed_is_continued_with_what_is_left(project: Path) -> None:
    write(project, FILES | {"models/many.sql": "select nothing from {{ ref('totals') }}"})
    failed = run(building)
    assert failed.is_failed()
    write(project, FILES)

    with messages.kept(logging.INFO, "prefect") as said:
        state = run(continuing_from, str(failed.state_details.flow_run_id))

    assert state.is_completed(), state.message
    assert any("with what it has built in the DuckLake" in text for text in said)
    assert any("1 nodes are left" in text for text in said)
    assert ask("select (select count(*) from log), (select count(*) from many)") == [(1, 10_000)]


def test_a_server_that_dies_in_a_model_is_waited_for_and_nothing_is_appended_twice(
    project: Path, database: Postgres
) -> None:
    assert run(building).is_completed()
    slow = "select max(a.range * b.range) as x from range(20_000) a, range(20_000) b"
    write(project, FILES | {"models/slow.sql": slow})

    with ThreadPoolExecutor() as pool, messages.kept(logging.INFO, "prefect.task_runs") as said:
        arguments = ("build", "--select", "log", "slow")
        running = pool.submit(contextvars.copy_context().run, lambda: run(building, *arguments, retries=2))
        until(lambda: any("slow" in text and "START" in text for text in said), 120, "the model runs")
        database.kill()
        database.start()
        state = running.result(300)

    assert state.is_completed() or isinstance(state.result(raise_on_failure=False), ConnectionLost), state.message
    assert ask("select count(*) from log") == [(2 if state.is_completed() else 1,)]


def test_rollback_list_and_check_by_the_command_line(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(building).is_completed()
    assert run(building, "build", "--select", "log").is_completed()
    capsys.readouterr()

    codes = [cli.main(["generations", *words]) for words in (["rollback", "1"], ["list"], ["check"])]

    said = capsys.readouterr()
    assert codes == [0, 0, 0], said
    lines = said.out.splitlines()
    assert lines[0].startswith("Readers now see generation 1, built by ")
    assert lines[2].startswith("* 1")
    assert "DuckLake" in lines[2]
    assert lines[-1].endswith("is whole: 2 generations.")
    assert ask("select count(*) from log") == [(1,)]
    assert cli.main(["generations", "diff", "1", "2"]) == 1
    assert "with warehouse.kind ducklake the data is in a DuckLake" in capsys.readouterr().err


def test_a_build_that_is_fresh_enough_builds_nothing(project: Path) -> None:
    assert run(building).is_completed()
    first = build_if_fresher(return_state=True)
    second = build_if_fresher(return_state=True)

    assert first.is_completed(), first.message
    assert str(first.message).startswith("newer: ")
    assert str(second.message).startswith("nothing new"), second.message


def test_what_does_not_fit_is_refused_before_dbt_starts(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(run(keeping_aside).result(raise_on_failure=False), SettingsError)
    monkeypatch.setenv("DBTPOD_WAREHOUSE_WRITERS", "2")
    state = run(building)
    assert "warehouse.kind is ducklake: a DuckLake loses what concurrent writers commit" in str(state.message)
    monkeypatch.delenv("DBTPOD_WAREHOUSE_WRITERS")
    monkeypatch.setenv("DBTPOD_WAREHOUSE_KIND", "file")
    state = run(building)
    assert "builds in a DuckLake, and warehouse.kind is file" in str(state.message)
    assert "Set warehouse.kind to ducklake" in str(state.message)


@pytest.mark.parametrize("given", ["option", "variable"])
def test_more_than_one_thread_is_refused_before_dbt_starts(
    project: Path, monkeypatch: pytest.MonkeyPatch, given: str
) -> None:
    if given == "variable":
        monkeypatch.setenv("DBT_THREADS", "2")

    state = run(building, "build", *(("--threads", "2") if given == "option" else ()))

    assert isinstance(state.result(raise_on_failure=False), SettingsError), state.message
    assert f"{'DBT_THREADS' if given == 'variable' else '--threads'} is 2, and in a DuckLake one node is" in str(
        state.message
    )


def test_the_password_is_in_no_log_or_file_of_a_run_whether_it_is_right_or_not(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with messages.kept(logging.DEBUG, "prefect.flow_runs") as said:
        assert run(building).is_completed()
        monkeypatch.setenv("DBT_ENV_SECRET_PASSWORD", "mistaken-4711")
        failed = run(building)

    assert "does not let this run in" in str(failed.message)
    files = [file.read_text(errors="replace") for file in kept().volume.root.rglob("*") if file.is_file()]
    text = "\n".join([*said, str(failed.message), *files])
    assert "Running with dbt" in text
    assert postgres.PASSWORD not in text
    assert "mistaken-4711" not in text


def test_a_catalog_that_is_away_fails_with_host_and_port(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reachable, "SECONDS", 1.0)
    monkeypatch.setenv("SHOP_PORT", "9")

    state = run(building)

    assert isinstance(state.result(raise_on_failure=False), ConnectionLost)
    assert "127.0.0.1:9 could not be reached within 1 s: Connection refused" in str(state.message)


SECRETS = """
      secrets:
        - type: s3
          key_id: "{{ env_var('AWS_ACCESS_KEY_ID') }}"
          secret: "{{ env_var('AWS_SECRET_ACCESS_KEY') }}"
          endpoint: "{{ env_var('SHOP_S3') }}"
          url_style: path
          use_ssl: false
          region: us-east-1
"""


@pytest.fixture
def on_s3(project: Path, bucket: S3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    write(project, FILES | {"profiles.yml": lakes.PROFILE + SECRETS})
    for name, value in bucket.environment("").items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("SHOP_S3", f"127.0.0.1:{bucket.port}")
    monkeypatch.setenv("SHOP_FILES", f"s3://{s3.BUCKET}/{os.environ['SHOP_LAKE']}")
    return project


def test_the_data_files_are_on_s3(on_s3: Path, bucket: S3) -> None:
    states = [run(building), run(building, "build", "--select", "many"), run(reading_it)]

    assert [state.name for state in states] == ["Completed"] * 3, [state.message for state in states]
    assert ask("select count(*) from many") == [(10_000,)]
    assert len([file for file in bucket.files() if os.environ["SHOP_LAKE"] in file and file.endswith(".parquet")]) == 2
    assert kept().problems(lakes.LOG) == []


@pytest.mark.parametrize(
    ("variable", "value", "says"),
    [
        ("SHOP_FILES", "s3://nowhere/shop/", "s3://nowhere/shop/ cannot be used: "),
        ("AWS_SECRET_ACCESS_KEY", "mistaken", "cannot be used: "),
    ],
)
def test_a_wrong_bucket_or_key_is_named(
    on_s3: Path, monkeypatch: pytest.MonkeyPatch, variable: str, value: str, says: str
) -> None:
    monkeypatch.setenv(variable, value)

    state = run(building)

    assert isinstance(state.result(raise_on_failure=False), SettingsError), state.message
    assert says in str(state.message)
    assert "Check `data_path`, the bucket" in str(state.message)


def test_an_s3_that_is_away_fails_and_the_next_run_builds(on_s3: Path, bucket: S3) -> None:
    bucket.kill()
    state = run(building)
    bucket.start()

    assert isinstance(state.result(raise_on_failure=False), ConnectionLost), state.message
    assert f"127.0.0.1:{bucket.port}" in str(state.message)
    assert run(building).is_completed()


OF_TYPES = """
select 1 as id, 'red'{% if target.name == 'file' %}::enum ('red', 'green'){% endif %} as e,
    [1, null] as l, {'x': 1} as s, 12.345::decimal(18, 3) as d,
    'a "quoted" text' as t, 'nan'::double as f, date '1999-12-31' as day
"""
TARGETS = {
    "profiles.yml": lakes.PROFILE.replace("  target: prod\n", "  target: \"{{ env_var('SHOP_TARGET') }}\"\n")
    + "    file: {type: duckdb, path: shop.duckdb, threads: 1}\n",
    "models/of_types.sql": OF_TYPES,
}


@pytest.fixture
def built(project: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The project after two builds into its DuckDB file; the kind is a DuckLake now."""
    write(project, FILES | TARGETS)
    monkeypatch.setenv("SHOP_TARGET", "file")
    monkeypatch.setenv("DBTPOD_WAREHOUSE_KIND", "file")
    for _ in range(2):
        state = run(building)
        assert state.is_completed(), state.message
    monkeypatch.setenv("SHOP_TARGET", "prod")
    monkeypatch.setenv("DBTPOD_WAREHOUSE_KIND", "ducklake")
    return project


def test_a_generation_is_moved_into_the_lake_and_the_next_build_goes_on_from_it(
    built: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = cli.main(["move"])
    said = capsys.readouterr()
    moved = ask("select (select count(*) from log), (select n from totals), (select count(*) from many)")
    kinds = ask("select e, l, s, d, t, isnan(f), day::text from of_types")
    state = run(building)

    assert code == 0, said
    assert "Moved: 8 tables of generation 2, " in said.out
    assert moved == [(2, 2, 10_000)]
    assert [(*row[:3], str(row[3]), *row[4:]) for row in kinds] == [
        ("red", [1, None], {"x": 1}, "12.345", 'a "quoted" text', True, "1999-12-31")
    ]
    assert state.is_completed(), state.message
    assert ask("select (select count(*) from log), (select count(*) from per_order)") == [(3, 2)]


def test_what_a_lake_cannot_hold_or_has_already_is_named_and_nothing_is_changed(
    built: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert cli.main(["move"]) == 0
    capsys.readouterr()
    before = lakes.readable(kept())

    assert cli.main(["move"]) == 1
    assert "Not moved: main.facts, main.kept" in capsys.readouterr().err
    assert lakes.readable(kept()) == before

    monkeypatch.setenv("SHOP_TARGET", "file")
    monkeypatch.setenv("DBTPOD_WAREHOUSE_KIND", "file")
    write(built, FILES | TARGETS | {"models/of_types.sql": "select '1011'::bit as b"})
    assert run(building).is_completed()
    monkeypatch.setenv("SHOP_TARGET", "prod")
    monkeypatch.setenv("DBTPOD_WAREHOUSE_KIND", "ducklake")
    assert cli.main(["move"]) == 1
    assert "main.of_types: column b is of type BIT, for which a DuckLake has none" in capsys.readouterr().err
    assert lakes.readable(kept()) == before
