"""The history brought up to date: once for each run, softly, and given to what is published."""

import errno
import os
import shutil
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import duckdb
import pytest

import run_folders as folders
import volume_damage as damaged
import warehouse
from dbtpod import cli
from dbtpod.history import schema
from dbtpod.history.update import History
from dbtpod.settings import Settings
from dbtpod.warehouse import health, housekeeping, publish_preview
from dbtpod.warehouse.warehouse import DuckDBFile
from run_folders import NOON, Ask, Update

ROOT = Path(__file__).parents[3]
A = "model.shop.a"
ONE: dict[str, folders.Ending] = {A: ("success", 1)}


def newest(kept: DuckDBFile) -> Path:
    return kept.volume.history / schema.FILE


def of_generation(kept: DuckDBFile, number: int) -> Path:
    return kept.generations.folder(number) / schema.FILE


def test_older_runs_are_read_once_and_a_run_that_went_on_is_read_again(
    kept: DuckDBFile, update: Update, ask: Ask
) -> None:
    folders.build(kept.volume.runs, "old", NOON, ONE)
    changing = folders.build(kept.volume.runs, "changing", NOON, {A: ("error", 1, "no")}, state="failed")
    assert update() == []
    # Where it is read again, this shows.
    old = kept.volume.runs / "old" / "1-build" / "attempt-1" / "run_results.json"
    before = old.stat()
    old.write_text(old.read_text().replace('"success"', '"unknown"'))
    os.utime(old, ns=(before.st_atime_ns, before.st_mtime_ns))
    shutil.rmtree(changing.parents[1])
    folders.build(kept.volume.runs, "changing", NOON, ONE | {"model.shop.b": ("success", 2)})

    assert update() == []

    assert ask("SELECT run_id, name, status FROM nodes ORDER BY ALL") == [
        ("changing", "a", "success"),
        ("changing", "b", "success"),
        ("old", "a", "success"),
    ]
    assert ask("SELECT run_id, state FROM runs ORDER BY ALL") == [("changing", "completed"), ("old", "completed")]


def test_runs_whose_folders_are_gone_stay(kept: DuckDBFile, update: Update, ask: Ask) -> None:
    folders.build(kept.volume.runs, "gone", NOON, ONE)
    assert update() == []
    shutil.rmtree(kept.volume.runs / "gone")
    folders.build(kept.volume.runs, "next", NOON, ONE)

    assert update() == []

    assert ask("SELECT run_id FROM nodes ORDER BY ALL") == [("gone",), ("next",)]


def test_rows_that_are_too_old_go_and_do_not_come_back(kept: DuckDBFile, update: Update, ask: Ask) -> None:
    now = datetime.now(UTC)
    folders.build(kept.volume.runs, "old", now - timedelta(days=11), ONE)
    folders.build(kept.volume.runs, "new", now - timedelta(days=9), ONE)

    for _ in range(2):
        assert update(10) == []

        for table in ("runs", "commands", "nodes"):
            assert ask(f"SELECT DISTINCT run_id FROM {table}") == [("new",)]
        assert ask("SELECT run_id FROM imports ORDER BY ALL") == [("new",), ("old",)]
    shutil.rmtree(kept.volume.runs / "old")
    assert update(10) == []
    assert ask("SELECT run_id FROM imports") == [("new",)]


@pytest.mark.parametrize("has_links", [True, False], ids=["a second name", "a copy"])
def test_each_generation_has_the_history_as_of_its_own(
    kept: DuckDBFile, update: Update, ask: Ask, monkeypatch: pytest.MonkeyPatch, has_links: bool
) -> None:
    if not has_links:
        monkeypatch.setattr(os, "link", _refuse)
    for number in (1, 2):
        warehouse.build(kept, number, f"run-{number}")
        folders.build(kept.volume.runs, f"run-{number}", NOON + timedelta(hours=number), ONE)
        assert update() == []
    folders.build(kept.volume.runs, "failed", NOON + timedelta(hours=3), {A: ("error", 1, "no")}, state="failed")

    assert update() == []

    runs = "SELECT run_id, generation FROM runs ORDER BY started"
    first, second = ("run-1", 1), ("run-2", 2)
    assert ask(runs, of_generation(kept, 1)) == [first]
    assert ask(runs, of_generation(kept, 2)) == [first, second]
    assert ask(runs) == [first, second, ("failed", None)]
    assert not list(kept.volume.root.rglob(".*.tmp"))


def _refuse(*_: object) -> None:
    raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))


def test_the_file_has_a_second_name_in_its_generation(kept: DuckDBFile, update: Update) -> None:
    warehouse.build(kept, 1)

    assert update() == []

    assert of_generation(kept, 1).samefile(newest(kept))
    assert newest(kept).stat().st_size < 1_000_000


def test_an_open_reader_keeps_what_it_opened(kept: DuckDBFile, update: Update) -> None:
    warehouse.build(kept, 1, "first")
    folders.build(kept.volume.runs, "first", NOON, ONE)
    assert update() == []
    with duckdb.connect(of_generation(kept, 1), read_only=True) as reader:
        folders.build(kept.volume.runs, "second", NOON, ONE)
        assert update() == []

        assert reader.sql("SELECT run_id FROM runs").fetchall() == [("first",)]


def test_an_export_takes_the_history_along_and_an_import_keeps_it(
    kept: DuckDBFile, update: Update, ask: Ask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A warehouse that moves elsewhere brings its history, to which the runs there are added."""
    monkeypatch.setenv("DBT_PROJECT_DIR", str(ROOT / "dbt_project"))
    warehouse.build(kept, 1, "first")
    folders.build(kept.volume.runs, "first", NOON, ONE)
    assert update() == []
    (tmp_path / "elsewhere").mkdir()
    other = warehouse.new(tmp_path / "elsewhere")
    for each, command in ((kept, ["export", "current"]), (other, ["import"])):
        monkeypatch.setenv("DUCKDB_PATH", str(each.volume.database))
        assert cli.main([*command, str(tmp_path / "shop.tar")]) == 0
    assert ask("SELECT run_id FROM nodes", of_generation(other, 1)) == [("first",)]
    assert health.check(other.publisher) == []
    folders.build(other.volume.runs, "second", NOON, ONE)

    with warehouse.alone(other):
        History(other.generations, 100_000).bring_up_to_date(warehouse.LOG)

    assert ask("SELECT run_id FROM nodes ORDER BY ALL", other.volume.history) == [("first",), ("second",)]


def test_a_preview_has_no_history_until_it_is_published(kept: DuckDBFile, update: Update, ask: Ask) -> None:
    warehouse.build(kept, 1, "first")
    warehouse.keep_aside(kept, 2, "second")
    folders.build(kept.volume.runs, "second", NOON, ONE)
    assert update() == []
    assert ask("SELECT run_id, generation FROM runs") == [("second", None)]
    publish_preview.publish(kept.publisher, 1)

    assert update() == []

    assert ask("SELECT run_id, generation FROM runs", of_generation(kept, 2)) == [("second", 2)]
    assert ask("SELECT DISTINCT generation, rows FROM relations WHERE kind = 'table' ORDER BY ALL") == [(1, 1), (2, 2)]


@pytest.mark.parametrize("damage", ["cut", "garbage", "another database", "a folder", "a table is gone"])
def test_a_damaged_history_is_set_aside_and_made_again(
    kept: DuckDBFile, update: Update, ask: Ask, monkeypatch: pytest.MonkeyPatch, damage: str
) -> None:
    # The generation's would be damaged with it.
    monkeypatch.setattr(os, "link", _refuse)
    warehouse.build(kept, 1, "first")
    folders.build(kept.volume.runs, "first", NOON, ONE)
    assert update() == []
    shutil.rmtree(kept.volume.runs / "first")
    folders.build(kept.volume.runs, "second", NOON, ONE)
    _damage(newest(kept), damage)

    [warning] = update()

    assert f"{newest(kept)} is damaged: moved to {kept.volume.aside}" in warning
    assert [path.name.split("-", 1)[1] for path in kept.volume.aside.iterdir()] == ["history-history.duckdb"]
    assert ask("SELECT run_id FROM nodes ORDER BY ALL") == [("first",), ("second",)]
    assert update() == []


def _damage(file: Path, damage: str) -> None:
    if damage == "cut":
        os.truncate(file, file.stat().st_size // 2)
        return
    if damage == "a table is gone":
        with duckdb.connect(file) as connection:
            connection.execute("DROP TABLE nodes")
        return
    file.unlink()
    if damage == "garbage":
        file.write_bytes(os.urandom(100_000))
    elif damage == "a folder":
        file.mkdir()
    else:
        with duckdb.connect(file) as connection:
            connection.execute("CREATE TABLE orders AS SELECT 1 AS id")


def test_a_history_that_is_damaged_under_both_names_is_made_from_the_runs_alone(
    kept: DuckDBFile, update: Update, ask: Ask
) -> None:
    warehouse.build(kept, 1, "first")
    folders.build(kept.volume.runs, "first", NOON, ONE)
    assert update() == []
    os.truncate(newest(kept), 20_000)

    [warning] = update()

    assert "is damaged" in warning
    assert ask("SELECT run_id, generation FROM runs") == [("first", 1)]


def test_a_history_of_another_version_is_left_as_it_is(kept: DuckDBFile, update: Update) -> None:
    folders.build(kept.volume.runs, "first", NOON, ONE)
    assert update() == []
    with duckdb.connect(newest(kept)) as connection:
        connection.execute("UPDATE about SET version = 2")
    before = newest(kept).read_bytes()
    folders.build(kept.volume.runs, "second", NOON, ONE)

    [warning] = update()

    assert "its version is 2, and this dbtpod writes version 1" in warning
    assert newest(kept).read_bytes() == before
    assert not kept.volume.aside.exists()


def test_a_history_that_somebody_writes_to_is_left_until_it_is_closed(
    kept: DuckDBFile, update: Update, ask: Ask
) -> None:
    folders.build(kept.volume.runs, "first", NOON, ONE)
    assert update() == []
    folders.build(kept.volume.runs, "second", NOON, ONE)
    code = "import sys, duckdb; c = duckdb.connect(sys.argv[1]); print('open', flush=True); sys.stdin.readline()"
    command = [sys.executable, "-c", code, str(newest(kept))]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout and writer.stdout.readline() == "open\n"
        [warning] = update()
        writer.communicate("\n", timeout=30)
    assert "is open for writing in DuckDB" in warning

    assert update() == []

    assert ask("SELECT count(*) FROM runs") == [(2,)]


def test_views_that_became_others_are_replaced(kept: DuckDBFile, update: Update, ask: Ask) -> None:
    folders.build(kept.volume.runs, "first", NOON, ONE)
    assert update() == []
    with duckdb.connect(newest(kept)) as connection:
        connection.execute("CREATE OR REPLACE VIEW pod_seconds AS SELECT 1; UPDATE about SET views = 'older'")

    assert update() == []

    assert ask("SELECT deployment FROM pod_seconds") == [("dbt-build",)]


def test_a_volume_without_room_for_it_is_a_warning(
    kept: DuckDBFile, update: Update, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    folders.build(kept.volume.runs, "first", NOON, ONE)
    assert update() == []
    before = newest(kept).read_bytes()
    monkeypatch.setattr(os, "copy_file_range", full)
    folders.build(kept.volume.runs, "second", NOON, ONE)

    [warning] = update()

    assert "No space left" in warning
    assert newest(kept).read_bytes() == before
    assert not list(kept.volume.root.rglob(".*.tmp"))


def test_a_warehouse_of_that_very_name_is_never_taken_for_a_history(tmp_path: Path) -> None:
    kept = warehouse.of(Settings(tmp_path / "work" / "history.duckdb", tmp_path))
    with warehouse.alone(kept):
        damaged.begin(kept)
    with duckdb.connect(kept.volume.database) as connection:
        connection.execute("CREATE TABLE orders AS SELECT 1 AS id")
    warehouse.publish_as(kept)
    before = kept.readable.read_bytes()

    with warehouse.alone(kept):
        History(kept.generations, 100_000).bring_up_to_date(warehouse.LOG)

    assert kept.readable.read_bytes() == before
    with duckdb.connect(newest(kept), read_only=True) as connection:
        assert connection.sql("SELECT name FROM relations").fetchall() == [("orders",)]


def test_a_lost_warehouse_beside_a_history_is_not_said_to_have_another_name(kept: DuckDBFile, update: Update) -> None:
    warehouse.build(kept, 1)
    warehouse.build(kept, 2)
    assert update() == []
    (kept.generations.database(2)).unlink()

    [line, *_] = health.check(kept.publisher)

    assert "DUCKDB_PATH has another name" not in line
    assert "holds no warehouse.duckdb" in line


def test_what_a_crash_left_of_a_history_in_the_making_goes(kept: DuckDBFile, update: Update) -> None:
    warehouse.build(kept, 1)
    assert update() == []
    (kept.volume.history / ".new.tmp").mkdir()

    housekeeping.clean(kept.publisher, "run")

    assert [path.name for path in kept.volume.history.iterdir()] == [schema.FILE]
