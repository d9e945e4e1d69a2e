"""Builds in a DuckLake: a real PostgreSQL with the catalog, the files in a folder; no dbt and no Prefect."""

import multiprocessing
import os
import re
import signal
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import duckdb
import pytest

import lakes
import postgres
from dbtpod.dbt import extensions, reachable
from dbtpod.errors import BuildIncomplete, ConnectionLost, SettingsError, WarehouseBusy, WarehouseUnusable
from dbtpod.warehouse import publish
from dbtpod.warehouse.certificate import Certificate
from dbtpod.warehouse.lake import copies, files, session
from dbtpod.warehouse.lake.catalog import Catalog
from dbtpod.warehouse.lake.ducklake import DuckLake
from lakes import LOG
from postgres import Postgres
from waiting import until

pytestmark = lakes.MARKS
New = Callable[..., DuckLake]


@pytest.fixture(scope="module")
def database() -> Iterator[Postgres]:
    with postgres.running() as server:
        yield server


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    return f"lake_{zlib.crc32(request.node.nodeid.encode())}"


@pytest.fixture
def new(tmp_path: Path, database: Postgres, name: str, monkeypatch: pytest.MonkeyPatch) -> New:
    (tmp_path / "files").mkdir()
    for variable, value in lakes.environment(database.port, name, tmp_path / "files").items():
        monkeypatch.setenv(variable, value)

    def make(keep: int = 3, volume: str = "volume", project: str = "shop", profile: str = lakes.PROFILE) -> DuckLake:
        folder = lakes.project(tmp_path / f"project-{project}", project, profile)
        return lakes.new(tmp_path / volume, folder, keep)

    return make


@pytest.fixture
def kept(new: New) -> DuckLake:
    return new()


def in_a_child(what: Callable[[], object]) -> int:
    """Run it in a process of its own, to its end; its exit code."""
    process = multiprocessing.get_context("fork").Process(target=what)
    process.start()
    process.join(60)
    assert process.exitcode is not None
    return process.exitcode


# ---- what readers see


def test_readers_see_whole_builds_only_whatever_becomes_of_a_build(kept: DuckLake) -> None:
    lakes.build(kept, 10)
    seen: list[int] = []
    is_over = threading.Event()

    def look() -> None:
        while not is_over.is_set():
            seen.append(lakes.read(kept))

    reader = threading.Thread(target=look)
    reader.start()
    lakes.build(kept, 20)
    with suppress(RuntimeError), kept.write(lakes.run("failing"), 0, LOG) as built:
        built.check_out()
        lakes.write(kept, lakes.schema_of(kept), 666)
        raise RuntimeError
    lakes.build(kept, 30)
    is_over.set()
    reader.join()

    assert set(seen) <= {10, 20, 30}, seen
    assert len(set(seen)) > 1
    assert lakes.read(kept) == 30


def test_a_reader_keeps_its_build_while_others_are_published(kept: DuckLake) -> None:
    lakes.build(kept, 10)
    found = lakes.readable(kept)

    with lakes.attached(kept.lake, found["metadata_schema"], found["snapshot_version"]) as connection:
        lakes.build(kept, 20)

        assert connection.execute("SELECT count(*) FROM shop.orders").fetchall() == [(10,)]


def test_before_the_first_build_a_reader_learns_that_there_is_none(kept: DuckLake) -> None:
    with pytest.raises(WarehouseUnusable, match="Nothing is published in the DuckLake"):
        kept.read(LOG)


def test_a_role_that_may_see_the_records_reads_each_build_and_writes_none(kept: DuckLake, database: Postgres) -> None:
    lakes.build(kept, 10)
    name = kept.lake.name
    with closing(session.Session(kept.lake, "test", print)) as admin:
        admin.ask(f"CREATE ROLE {name}_reader LOGIN PASSWORD 'read'")
        admin.ask(f"GRANT USAGE ON SCHEMA {name} TO {name}_reader")
        admin.ask(f"GRANT SELECT ON {name}.readable TO {name}_reader")
    lakes.build(kept, 20)
    own = f"host=127.0.0.1 port={database.port} dbname=postgres user={name}_reader password=read"

    with closing(duckdb.connect(config=dict(extensions.settings()))) as connection:
        connection.execute(f"ATTACH '{own}' AS records (TYPE postgres, READ_ONLY)")
        [[number, schema, snapshot]] = connection.execute(
            f"SELECT generation, metadata_schema, snapshot_version FROM records.{name}.readable"
        ).fetchall()
        connection.execute(f"ATTACH 'ducklake:postgres:{own}' AS shop (METADATA_SCHEMA '{schema}')")

        assert (number, connection.execute("SELECT count(*) FROM shop.orders").fetchall()) == (2, [(20,)])
        assert connection.execute("SELECT max(snapshot_id) FROM shop.snapshots()").fetchall() == [(snapshot,)]
        with pytest.raises(duckdb.Error, match="permission denied"):
            connection.execute("CREATE TABLE shop.mine AS SELECT 1")


# ---- one writer, and what comes after one that failed or died


def test_a_build_begins_from_what_was_published_and_not_from_what_failed(kept: DuckLake) -> None:
    lakes.build(kept, 10)
    with kept.write(lakes.run("failed"), 0, LOG) as built:
        built.check_out()
        lakes.write(kept, lakes.schema_of(kept), 666)

    with kept.write(lakes.run("next"), 0, LOG) as built:
        built.check_out()
        with lakes.attached(kept.lake, lakes.schema_of(kept)) as connection:
            found = connection.execute("SELECT count(*), (SELECT any_value(rows) FROM shop.builds) FROM shop.orders")

            assert found.fetchall() == [(10, 10)]


def test_a_second_writer_learns_who_the_first_is(kept: DuckLake, new: New) -> None:
    other = new(volume="another-volume")
    says = r"dbtpod run first \(pod .*writes to the DuckLake `l\w+` in PostgreSQL"

    with (
        kept.write(lakes.run("first"), 0, LOG),
        pytest.raises(WarehouseBusy, match=says),
        other.write(lakes.run("second"), 0.1, LOG),
    ):
        pass

    with other.write(lakes.run("second"), 0, LOG):
        pass


@pytest.mark.parametrize("commits_before", range(20))
def test_a_writer_that_is_killed_in_a_commit_frees_the_lock_at_once_and_the_next_run_builds(
    kept: DuckLake, tmp_path: Path, commits_before: int
) -> None:
    lakes.build(kept, 10)
    sign = tmp_path / "commits"

    def commits() -> None:
        with kept.write(lakes.run("killed"), 0, LOG) as built:
            built.check_out()
            with lakes.attached(kept.lake, lakes.schema_of(kept)) as connection:
                for number in range(1000):
                    sign.write_text(str(number))
                    connection.execute("CREATE OR REPLACE TABLE shop.orders AS SELECT range AS id FROM range(666)")

    process = multiprocessing.get_context("fork").Process(target=commits)
    process.start()
    until(lambda: sign.exists() and int(sign.read_text() or 0) > commits_before, 60, "it commits")
    assert process.pid
    os.kill(process.pid, signal.SIGKILL)
    process.join()

    with kept.write(lakes.run("next"), 1, LOG) as built:
        assert lakes.read(kept) == 10
        built.check_out()
        lakes.write(kept, lakes.schema_of(kept), 20)
        built.publish(Certificate("next"), lakes.artifacts(kept, "next"))

    assert lakes.read(kept) == 20
    assert kept.problems(LOG) == []


def test_a_run_that_died_resumes_with_what_it_had_built(kept: DuckLake) -> None:
    lakes.build(kept, 10)

    def dies() -> None:
        with kept.write(lakes.run("dying"), 0, LOG) as built:
            built.check_out()
            lakes.write(kept, lakes.schema_of(kept), 20)
            os._exit(9)

    assert in_a_child(dies) == 9
    with kept.write(lakes.run("dying"), 0, LOG) as built:
        assert built.obstacle() == ""
        built.go_on()
        built.publish(Certificate("dying"), lakes.artifacts(kept, "dying"))

    assert lakes.read(kept) == 20


def test_a_failed_run_is_continued_by_another_one_unless_a_build_was_published_since(kept: DuckLake) -> None:
    lakes.build(kept, 10)
    with kept.write(lakes.run("failed"), 0, LOG) as built:
        built.check_out()
        lakes.write(kept, lakes.schema_of(kept), 20)

    with kept.write(lakes.run("continuing"), 0, LOG) as built:
        assert built.take_over("failed") == ""
        built.go_on()
        built.publish(Certificate("continuing"), lakes.artifacts(kept, "continuing"))

    assert lakes.read(kept) == 20
    with kept.write(lakes.run("late"), 0, LOG) as built:
        assert built.take_over("failed") == "what it had built is gone"


@pytest.mark.parametrize(("dies_in", "sees"), [("the mark", 10), ("the link", 20)])
def test_a_run_that_dies_while_it_publishes_leaves_one_build_or_the_other(
    kept: DuckLake, monkeypatch: pytest.MonkeyPatch, dies_in: str, sees: int
) -> None:
    lakes.build(kept, 10, "first")

    def dies() -> None:
        if dies_in == "the mark":
            monkeypatch.setattr(Catalog, "publish", lambda *_: os._exit(9))
        else:
            monkeypatch.setattr(publish, "switch", lambda _: os._exit(9))
        lakes.build(kept, 20, "dying")

    assert in_a_child(dies) == 9
    with kept.write(lakes.run("dying"), 0, LOG) as built:
        assert lakes.read(kept) == sees
        assert len(kept.builds()) == (1 if sees == 10 else 2)
        if not built.obstacle():
            built.go_on()
            built.publish(Certificate("dying"), lakes.artifacts(kept, "dying"))

    assert lakes.read(kept) == 20
    assert kept.problems(LOG) == []


def test_a_catalog_that_somebody_dropped_is_not_published(kept: DuckLake) -> None:
    lakes.build(kept, 10)

    with pytest.raises(BuildIncomplete, match="is gone: somebody dropped it"):
        lakes.build(kept, 20, before=lambda _: drop(kept, lakes.schema_of(kept)))

    assert lakes.read(kept) == 10


def drop(kept: DuckLake, schema: str) -> None:
    with closing(session.Session(kept.lake, "test", print)) as somebody:
        copies.drop(somebody, schema)


# ---- the way back, and what is kept


def test_a_rollback_is_what_readers_see_and_what_the_next_build_begins_from(kept: DuckLake) -> None:
    for rows in (10, 20):
        lakes.build(kept, rows)

    kept.roll_back(1, LOG)

    assert lakes.read(kept) == 10
    with kept.write(lakes.run("next"), 0, LOG) as built:
        built.check_out()
        with lakes.attached(kept.lake, lakes.schema_of(kept)) as connection:
            assert connection.execute("SELECT count(*) FROM shop.orders").fetchall() == [(10,)]
        lakes.write(kept, lakes.schema_of(kept), 30)
        assert built.publish(Certificate("next"), lakes.artifacts(kept, "next")).number == 3
    with pytest.raises(WarehouseUnusable, match=r"There is no generation 9 in .*/published; there are: 1, 2, 3"):
        kept.roll_back(9, LOG)


def test_expiry_removes_whole_builds_and_the_files_that_no_other_one_names(new: New, tmp_path: Path) -> None:
    kept = new(keep=2)
    for rows in (10_001, 10_002, 10_003, 10_004):
        lakes.build(kept, rows, f"run {rows}")
    with kept.write(lakes.run("cleaning"), 0, LOG):
        pass

    there = {str(path) for path in (tmp_path / "files").rglob("*.parquet")}
    with closing(session.Session(kept.lake, "test", print)) as asking:
        left = Catalog(asking, LOG).published()
        named = {path for one in left for path in copies.files(asking, one.schema, scheduled=False)}
        assert [one.number for one in left] == [3, 4]
        assert there == named
        schemas = asking.ask("SELECT count(*) FROM pg_namespace WHERE nspname LIKE %s", [f"{kept.lake.name}\\_0%"])
        assert schemas == [(2,)]
    kept.roll_back(3, LOG)
    assert lakes.read(kept) == 10_003


def test_what_did_not_change_stays_in_its_file_for_as_long_as_a_build_names_it(new: New) -> None:
    kept = new(keep=1)
    lakes.build(kept, 10_000, "first")
    for number in range(3):
        with kept.write(lakes.run(f"run {number}"), 0, LOG) as built:
            built.check_out()
            with lakes.attached(kept.lake, lakes.schema_of(kept)) as connection:
                connection.execute(f"CREATE OR REPLACE TABLE shop.other AS SELECT range AS id FROM range({number})")
            built.publish(Certificate(f"run {number}"), lakes.artifacts(kept, f"run {number}"))

    assert lakes.read(kept) == 10_000
    assert kept.problems(LOG) == []


def test_a_build_is_one_snapshot_which_no_other_build_has(kept: DuckLake) -> None:
    lakes.build(kept, 10)
    base = lakes.readable(kept)["snapshot_version"]

    lakes.build(kept, 20)

    found = lakes.readable(kept)
    with lakes.attached(kept.lake, found["metadata_schema"]) as connection:
        [snapshots] = connection.execute("SELECT list(snapshot_id ORDER BY 1) FROM shop.snapshots()").fetchall()[0]
    assert snapshots == [found["snapshot_version"]]
    assert found["snapshot_version"] > base


def test_a_checkpoint_in_a_users_hook_deletes_no_file_of_another_build(kept: DuckLake, tmp_path: Path) -> None:
    lakes.build(kept, 10_001)
    old = time.time() - 30 * 86400
    for path in (tmp_path / "files").rglob("*.parquet"):
        os.utime(path, (old, old))

    def checkpoint(_: object) -> None:
        with lakes.attached(kept.lake, lakes.schema_of(kept)) as connection:
            connection.execute("CHECKPOINT shop")

    lakes.build(kept, 10_002, before=checkpoint)

    assert kept.problems(LOG) == []
    kept.roll_back(1, LOG)
    assert lakes.read(kept) == 10_001


def test_what_failed_builds_left_is_removed_but_the_last_two(kept: DuckLake) -> None:
    lakes.build(kept, 10)
    for number in range(4):
        with kept.write(lakes.run(f"failed {number}"), 0, LOG) as built:
            built.check_out()

    with kept.write(lakes.run("next"), 0, LOG), closing(session.Session(kept.lake, "test", print)) as asking:
        runs = [one.run for one in Catalog(asking, LOG).all() if one.state == "working"]

    assert runs == ["failed 2", "failed 3"]


def test_a_check_names_what_is_lost(kept: DuckLake, tmp_path: Path) -> None:
    lakes.build(kept, 10_000)
    lakes.build(kept, 10_000)
    min((tmp_path / "files").rglob("orders/*.parquet")).unlink()
    with closing(session.Session(kept.lake, "test", print)) as somebody:
        copies.drop(somebody, lakes.readable(kept)["metadata_schema"])

    first, second = kept.problems(LOG)

    assert re.search(r"Generation 1 .* has lost 1 of 2 data files, such as .*/orders/", first)
    assert re.search(r"Generation 2 .* has lost its catalog, the schema \w+_000002", second)


def test_the_catalog_of_a_plain_dbt_is_what_the_first_build_begins_from(kept: DuckLake, tmp_path: Path) -> None:
    with closing(duckdb.connect(config=dict(extensions.settings()))) as plain:
        plain.execute(
            f"ATTACH 'ducklake:postgres:{kept.lake.address}' AS shop (METADATA_SCHEMA '{kept.lake.name}', "
            f"DATA_PATH '{kept.lake.data_path}')"
        )
        plain.execute("CREATE TABLE shop.orders AS SELECT range AS id FROM range(10_000)")

    lakes.build(kept, 20)

    assert lakes.read(kept) == 20
    with lakes.attached(kept.lake, kept.lake.name) as plain:
        assert plain.execute("SELECT count(*) FROM shop.orders").fetchall() == [(10_000,)]


# ---- what stands against it


def test_another_project_or_target_in_the_same_lake_is_refused(kept: DuckLake, new: New) -> None:
    lakes.build(kept, 10)
    other = new(volume="other", project="market")
    target = new(volume="third", profile=lakes.PROFILE.replace("prod", "dev"))

    for one, says in ((other, "this is `market`, target `prod`"), (target, "this is `shop`, target `dev`")):
        with pytest.raises(SettingsError, match=f"belongs to the project `shop`, target `prod`, and {says}"):
            lakes.build(one, 666)

    assert lakes.read(new()) == 10


@pytest.mark.parametrize(
    ("version", "says"),
    [("0.3", "older than the 1.0 of this image: bring it"), ("1.1", "newer than the 1.0 of this image: use the image")],
)
def test_a_catalog_of_another_version_of_ducklake_is_refused_and_left_as_it_is(
    kept: DuckLake, version: str, says: str
) -> None:
    lakes.build(kept, 10)
    schema = lakes.readable(kept)["metadata_schema"]
    with closing(session.Session(kept.lake, "test", print)) as somebody:
        set_version = f"UPDATE {schema}.ducklake_metadata SET value = %s WHERE key = 'version'"
        somebody.ask(set_version, [version])

        with pytest.raises(WarehouseUnusable, match=f"of DuckLake {version}, which is {says}"):
            lakes.build(kept, 20)

        somebody.ask(set_version, [copies.VERSION])
    assert lakes.read(kept) == 10


def test_the_version_of_the_catalog_is_that_of_the_extension(kept: DuckLake) -> None:
    lakes.build(kept, 10)

    with closing(session.Session(kept.lake, "test", print)) as asking:
        schema = lakes.readable(kept)["metadata_schema"]
        found = asking.ask(f"SELECT value FROM {schema}.ducklake_metadata WHERE key = 'version'")

    assert found == [(copies.VERSION,)]


def test_a_postgresql_that_is_too_old_is_named(kept: DuckLake) -> None:
    with pytest.raises(SettingsError, match=r"at 127\.0\.0\.1:\d+ is version 11\.22, and a DuckLake needs 12"):
        session.check_version(110022, kept.lake)


def test_a_variable_without_a_value_is_named(kept: DuckLake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DBT_ENV_SECRET_PASSWORD")

    with pytest.raises(SettingsError, match=r"reads DBT_ENV_SECRET_PASSWORD, and that has no value here: give it"):
        lakes.build(kept, 10)


def test_a_wrong_password_is_said_at_once_and_is_not_in_the_text(
    kept: DuckLake, database: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DBT_ENV_SECRET_PASSWORD", "mistaken")

    with pytest.raises(SettingsError) as raised:
        lakes.build(kept, 10)

    assert f"PostgreSQL at 127.0.0.1:{database.port} does not let this run in" in str(raised.value)
    assert "password authentication failed" in str(raised.value)
    assert "mistaken" not in str(raised.value)


def test_a_user_that_may_not_make_schemas_is_told_which_right_it_needs(
    kept: DuckLake, monkeypatch: pytest.MonkeyPatch
) -> None:
    with closing(session.Session(kept.lake, "test", print)) as admin:
        admin.ask("CREATE ROLE poor LOGIN PASSWORD 'poor'")
    text = (kept.project_dir / "profiles.yml").read_text().replace("user=postgres", "user=poor")
    lakes.project(kept.project_dir, profile=text)
    monkeypatch.setenv("DBT_ENV_SECRET_PASSWORD", "poor")

    with pytest.raises(SettingsError, match=r"permission denied for database postgres.*GRANT CREATE ON DATABASE"):
        lakes.build(kept, 10)


def test_a_server_that_is_away_is_waited_for_and_then_named(kept: DuckLake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reachable, "SECONDS", 1.0)
    monkeypatch.setenv("SHOP_PORT", "9")

    with pytest.raises(ConnectionLost, match=r"127\.0\.0\.1:9 could not be reached within 1 s: Connection refused"):
        lakes.build(kept, 10)


def test_a_folder_of_files_that_is_not_there_or_another_one_is_refused(
    kept: DuckLake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHOP_FILES", str(tmp_path / "nowhere"))
    with pytest.raises(SettingsError, match=r"The folder .*/nowhere/ of the DuckLake .* does not exist: create it"):
        lakes.build(kept, 10)
    monkeypatch.setenv("SHOP_FILES", str(tmp_path / "files"))
    lakes.build(kept, 10)
    (tmp_path / "others").mkdir()
    monkeypatch.setenv("SHOP_FILES", str(tmp_path / "others"))

    with pytest.raises(SettingsError, match=r"was made with its files in .*/files/: set `data_path`"):
        lakes.build(kept, 20)

    monkeypatch.setenv("SHOP_FILES", str(tmp_path / "files"))
    assert lakes.read(kept) == 10


def test_a_file_that_cannot_be_deleted_stays_for_the_next_run(
    new: New, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    kept = new(keep=1)
    lakes.build(kept, 10_000)
    lakes.build(kept, 20_000)
    with monkeypatch.context() as away:
        away.setattr(files, "delete", lambda *_: (_ for _ in ()).throw(ConnectionLost("S3 is away")))
        with kept.write(lakes.run("one"), 0, LOG):
            pass
    assert "_000001 stays until the next run that builds: S3 is away" in caplog.text

    with kept.write(lakes.run("two"), 0, LOG), closing(session.Session(kept.lake, "test", print)) as asking:
        assert [one.number for one in Catalog(asking, LOG).all()] == [2]
    assert lakes.read(kept) == 20_000


def test_a_run_publishes_after_its_server_has_restarted(kept: DuckLake, database: Postgres) -> None:
    lakes.build(kept, 10)

    def restart(_: object) -> None:
        database.kill()
        database.start()

    lakes.build(kept, 20, "cut", restart)

    assert lakes.read(kept) == 20
    assert kept.problems(LOG) == []


def test_a_run_whose_place_another_one_took_while_its_server_restarted_publishes_nothing(
    kept: DuckLake, new: New, database: Postgres
) -> None:
    lakes.build(kept, 10)
    other = new(volume="another-volume")

    def restart(_: object) -> None:
        database.kill()
        database.start()
        lakes.build(other, 30, "other")

    with pytest.raises(WarehouseUnusable, match=r"Generation 2 was published since the run cut began from 1"):
        lakes.build(kept, 20, "cut", restart)

    assert lakes.read(other) == 30


def test_a_server_that_dies_right_after_it_took_the_mark_leaves_no_doubt(kept: DuckLake, database: Postgres) -> None:
    lakes.build(kept, 10)
    patch = pytest.MonkeyPatch()
    ask = session.Session._ask

    def dying(self: session.Session, sql: str, values: Any) -> Any:
        found = ask(self, sql, values)
        if sql == "COMMIT":
            patch.undo()
            database.kill()
            database.start()
            raise ConnectionLost("the answer to COMMIT never came")
        return found

    def cut(_: object) -> None:
        patch.setattr(session.Session, "_ask", dying)

    assert lakes.build(kept, 20, "cut", cut).number == 2
    assert lakes.read(kept) == 20


def test_a_run_whose_lock_is_gone_publishes_nothing(kept: DuckLake) -> None:
    lakes.build(kept, 10)

    def unlock(built: Any) -> None:
        built._session.ask("SELECT pg_advisory_unlock_all()")

    with pytest.raises(WarehouseUnusable, match=r"does not hold this run's lock any more"):
        lakes.build(kept, 20, before=unlock)

    assert lakes.read(kept) == 10
