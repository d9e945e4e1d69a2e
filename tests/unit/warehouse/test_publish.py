"""From the working copy to what readers see: real DuckDB files, and only the certified file of the one writer."""

import errno
import fcntl
import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

import duckdb
import pytest

import warehouse
from dbtpod.errors import WarehouseUnusable
from dbtpod.settings import Settings
from dbtpod.warehouse import checkout, lock, publish, published
from dbtpod.warehouse.certificate import Certificate, identity
from warehouse import LOG


def test_a_published_build_is_what_readers_open_with_its_facts_and_artifacts(
    settings: Settings, artifacts: tuple[Path, ...]
) -> None:
    generation = warehouse.build(settings, 3, "quick-fox", artifacts)

    assert warehouse.rows(settings.readable_path) == 3
    assert sorted(path.name for path in generation.database.parent.iterdir()) == [
        "generation.json",
        "manifest.json",
        "run_results.json",
        "warehouse.duckdb",
    ]
    assert published.generations(settings) == [generation]
    assert (generation.run, generation.base, generation.duckdb) == ("quick-fox", None, duckdb.__version__)
    assert (settings.published_dir / "current").readlink() == Path("000001")
    assert not settings.duckdb_path.exists()


def test_a_write_ahead_log_is_written_into_the_file_before_it_is_published(settings: Settings) -> None:
    warehouse.check_out(settings, "run")
    warehouse.write(settings, 5, log_stays=True)
    assert list(settings.duckdb_path.parent.glob("*.wal"))

    warehouse.publish_as(settings, "run")

    assert warehouse.rows(settings.readable_path) == 5
    assert not list(settings.volume.rglob("*.wal"))


def test_what_was_committed_before_a_kill_is_published_and_what_was_not_is_not(settings: Settings) -> None:
    warehouse.check_out(settings, "run")
    code = (
        "import duckdb, os, sys; c = duckdb.connect(sys.argv[1]);"
        "c.execute('CREATE TABLE kept AS SELECT 1 AS a'); c.begin();"
        "c.execute('CREATE TABLE lost AS SELECT 1 AS a'); os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", code, str(settings.duckdb_path)], check=False, timeout=60)

    warehouse.publish_as(settings, "run")

    with duckdb.connect(settings.readable_path, read_only=True) as connection:
        assert connection.execute("SELECT table_name FROM duckdb_tables()").fetchall() == [("kept",)]


def test_the_data_is_on_the_disk_before_its_name_is_and_its_name_before_the_link(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    warehouse.build(settings, 1)
    warehouse.check_out(settings, "run")
    warehouse.write(settings, 2)
    steps = _recorded_steps(monkeypatch, settings.volume)

    warehouse.publish_as(settings, "run")

    in_order = [
        "fsync published/.000002.tmp/.generation.json.tmp",
        "fsync work/warehouse.duckdb",
        "replace published/.000002.tmp/warehouse.duckdb",
        "fsync work",
        "fsync published/.000002.tmp",
        "rename published/000002",
        "fsync published",
        "replace published/current",
        "fsync published",
    ]
    places = iter(steps)
    assert all(step in places for step in in_order), steps


def _recorded_steps(monkeypatch: pytest.MonkeyPatch, volume: Path) -> list[str]:
    steps: list[str] = []
    fsync = os.fsync
    monkeypatch.setattr(
        os, "fsync", lambda fd: (steps.append(f"fsync {_name(f'/proc/self/fd/{fd}', volume)}"), fsync(fd))[1]
    )
    for name in ("rename", "replace"):
        real = getattr(os, name)
        monkeypatch.setattr(
            os,
            name,
            lambda old, new, real=real, name=name: (
                steps.append(f"{name} {Path(new).relative_to(volume)}"),
                real(old, new),
            )[1],
        )
    return steps


def _name(link: str, volume: Path) -> Path:
    return Path(link).readlink().relative_to(volume)


# --- only the certified file of the one writer ---


def test_publishing_needs_the_lock(settings: Settings) -> None:
    warehouse.build(settings, 1)
    warehouse.check_out(settings, "mine")

    with pytest.raises(WarehouseUnusable, match="does not hold"):
        publish.publish(settings, Certificate("mine", *identity(settings.duckdb_path)), [])
    with pytest.raises(WarehouseUnusable, match="does not hold"):
        lock.check_held(settings.lock_path)

    assert warehouse.rows(settings.readable_path) == 1


def test_another_file_under_the_working_copys_name_is_not_published(settings: Settings, tmp_path: Path) -> None:
    warehouse.build(settings, 1)
    warehouse.check_out(settings, "mine")
    warehouse.write(settings, 2)
    certificate = Certificate("mine", *identity(settings.duckdb_path))
    settings.duckdb_path.rename(tmp_path / "mine.duckdb")
    warehouse.write(settings, 7)

    with (
        pytest.raises(WarehouseUnusable, match="is another file than the one that was built"),
        warehouse.alone(settings),
    ):
        publish.publish(settings, certificate, [])

    assert warehouse.rows(settings.readable_path) == 1
    assert warehouse.rows(settings.duckdb_path) == 7
    assert list(published.entries(settings)) == [1]


def test_a_file_that_takes_the_working_copys_name_at_the_last_moment_is_not_published_and_goes_back(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    warehouse.build(settings, 1)
    warehouse.check_out(settings, "mine")
    warehouse.write(settings, 2)
    replace = Path.replace

    def another_is_quicker(path: Path, target: Path) -> Path:
        if path == settings.duckdb_path:
            monkeypatch.undo()
            settings.duckdb_path.rename(tmp_path / "mine.duckdb")
            warehouse.write(settings, 7)
        return replace(path, target)

    monkeypatch.setattr(Path, "replace", another_is_quicker)
    with pytest.raises(WarehouseUnusable, match="is another file than the one that was built"):
        warehouse.publish_as(settings, "mine")

    assert warehouse.rows(settings.readable_path) == 1
    assert warehouse.rows(settings.duckdb_path) == 7
    assert sorted(path.name for path in settings.published_dir.iterdir()) == ["000001", "current"]


@pytest.mark.parametrize(
    ("owner", "said"),
    [('{"run": "other", "base": 1}', "belongs to run other"), ("{", "is not JSON"), (None, "no file")],
)
def test_a_working_copy_that_is_another_runs_by_now_is_not_published_and_the_error_names_that_run(
    settings: Settings, owner: str | None, said: str
) -> None:
    warehouse.build(settings, 1)
    warehouse.check_out(settings, "mine")
    warehouse.write(settings, 2)
    settings.owner_path.unlink() if owner is None else settings.owner_path.write_text(owner)

    with pytest.raises(WarehouseUnusable, match=rf"The working copy of run mine .*{said}"):
        warehouse.publish_as(settings, "mine")

    assert warehouse.rows(settings.readable_path) == 1
    assert warehouse.rows(settings.duckdb_path) == 2


OTHER_RUN = """
import logging, sys
from pathlib import Path
import warehouse
one = warehouse.new(Path(sys.argv[1]))
print("started", flush=True)
from datetime import UTC, datetime
from dbtpod.warehouse import checkout, lock
holder = lock.Holder("other", "pod-2", datetime.now(UTC))
with lock.hold(one.lock_path, holder, 60, lambda text: print(text, flush=True)):
    checkout.check_out(one, "other", logging.getLogger())
    print("begun", warehouse.rows(one.duckdb_path), flush=True)
"""


def test_a_second_run_waits_although_somebody_deleted_the_locks_file_and_begins_from_the_firsts_build(
    settings: Settings,
) -> None:
    warehouse.build(settings, 1)
    holder = lock.Holder("mine", "pod-1", datetime.now(UTC))
    with lock.hold(settings.lock_path, holder, 0):
        checkout.check_out(settings, "mine", LOG)
        warehouse.write(settings, 2)
        settings.lock_path.unlink()
        other = subprocess.Popen(
            [sys.executable, "-c", OTHER_RUN, str(settings.volume)],
            env=os.environ | {"PYTHONPATH": str(Path(warehouse.__file__).parent)},
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            assert other.stdout is not None
            assert other.stdout.readline() == "started\n"
            assert other.stdout.readline().startswith("Waiting for the warehouse")
            publish.publish(settings, Certificate("mine", *identity(settings.duckdb_path)), [])
        except BaseException:
            other.kill()
            raise

    output, _ = other.communicate(timeout=60)
    assert output == "begun 2\n"
    assert warehouse.rows(settings.readable_path) == 2


def test_where_a_folder_cannot_be_locked_a_run_that_lost_the_locks_file_publishes_nothing(
    settings: Settings, no_folder_locks: None
) -> None:
    warehouse.build(settings, 1)
    with lock.hold(settings.lock_path, lock.Holder("mine", "pod-1", datetime.now(UTC)), 0):
        checkout.check_out(settings, "mine", LOG)
        warehouse.write(settings, 2)
        settings.lock_path.unlink()
        with lock_of_another(settings.lock_path), pytest.raises(WarehouseUnusable, match="another run may write now"):
            publish.publish(settings, Certificate("mine", *identity(settings.duckdb_path)), [])

    assert warehouse.rows(settings.readable_path) == 1


@contextmanager
def lock_of_another(path: Path) -> Iterator[None]:
    """Hold the file as another process would; flock counts each opening by itself."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield


@pytest.fixture
def no_folder_locks(monkeypatch: pytest.MonkeyPatch) -> None:
    """NFS has no lock for a folder."""
    flock = fcntl.flock

    def files_only(file: int | IO[str], operation: int) -> None:
        if stat.S_ISDIR(os.fstat(file if isinstance(file, int) else file.fileno()).st_mode):
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        flock(file, operation)

    monkeypatch.setattr(fcntl, "flock", files_only)
