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
from dbtpod.warehouse import lock
from dbtpod.warehouse.certificate import Certificate, identity
from dbtpod.warehouse.warehouse import DuckDBFile
from dbtpod.warehouse.working_copy import WorkingCopy
from warehouse import LOG


def test_a_published_build_is_what_readers_open_with_its_facts_and_artifacts(
    kept: DuckDBFile, artifacts: tuple[Path, ...]
) -> None:
    generation = warehouse.build(kept, 3, "quick-fox", artifacts)

    assert warehouse.rows(kept.readable) == 3
    assert sorted(path.name for path in generation.database.parent.iterdir()) == [
        "generation.json",
        "manifest.json",
        "run_results.json",
        "warehouse.duckdb",
    ]
    assert kept.generations.all() == [generation]
    assert (generation.run, generation.base, generation.duckdb) == ("quick-fox", None, duckdb.__version__)
    assert (kept.volume.current).readlink() == Path("000001")
    assert not kept.volume.database.exists()


def test_a_build_without_a_record_of_its_sources_takes_over_its_bases_and_an_import_does_not(
    kept: DuckDBFile, tmp_path: Path
) -> None:
    record = tmp_path / "sources.json"
    record.write_text("of the first")
    first = warehouse.build(kept, 1, artifacts=(record,))
    second = warehouse.build(kept, 2)
    record.write_text("of the third")
    third = warehouse.build(kept, 3, artifacts=(record,))
    records = [each.database.with_name("sources.json").read_text() for each in (first, second, third)]
    warehouse.write(kept, 4)
    with warehouse.alone(kept):
        imported = kept.publisher.import_database()

    assert records == ["of the first", "of the first", "of the third"]
    assert not imported.database.with_name("sources.json").exists(), "its rows are not those of its base"


def test_a_write_ahead_log_is_written_into_the_file_before_it_is_published(kept: DuckDBFile) -> None:
    warehouse.check_out(kept, "run")
    warehouse.write(kept, 5, log_stays=True)
    assert list(kept.volume.work.glob("*.wal"))

    warehouse.publish_as(kept, "run")

    assert warehouse.rows(kept.readable) == 5
    assert not list(kept.volume.root.rglob("*.wal"))


def test_what_was_committed_before_a_kill_is_published_and_what_was_not_is_not(kept: DuckDBFile) -> None:
    warehouse.check_out(kept, "run")
    code = (
        "import duckdb, os, sys; c = duckdb.connect(sys.argv[1]);"
        "c.execute('CREATE TABLE kept AS SELECT 1 AS a'); c.begin();"
        "c.execute('CREATE TABLE lost AS SELECT 1 AS a'); os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", code, str(kept.volume.database)], check=False, timeout=60)

    warehouse.publish_as(kept, "run")

    with duckdb.connect(kept.readable, read_only=True) as connection:
        assert connection.execute("SELECT table_name FROM duckdb_tables()").fetchall() == [("kept",)]


def test_the_data_is_on_the_disk_before_its_name_is_and_its_name_before_the_link(
    kept: DuckDBFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    warehouse.build(kept, 1)
    warehouse.check_out(kept, "run")
    warehouse.write(kept, 2)
    steps = _recorded_steps(monkeypatch, kept.volume.root)

    warehouse.publish_as(kept, "run")

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


def test_publishing_needs_the_lock(kept: DuckDBFile) -> None:
    warehouse.build(kept, 1)
    warehouse.check_out(kept, "mine")

    with pytest.raises(WarehouseUnusable, match="does not hold"):
        kept.publisher.publish(Certificate("mine", *identity(kept.volume.database)), [])
    with pytest.raises(WarehouseUnusable, match="does not hold"):
        lock.check_held(kept.volume.lock)

    assert warehouse.rows(kept.readable) == 1


def test_another_file_under_the_working_copys_name_is_not_published(kept: DuckDBFile, tmp_path: Path) -> None:
    warehouse.build(kept, 1)
    warehouse.check_out(kept, "mine")
    warehouse.write(kept, 2)
    certificate = Certificate("mine", *identity(kept.volume.database))
    kept.volume.database.rename(tmp_path / "mine.duckdb")
    warehouse.write(kept, 7)

    with (
        pytest.raises(WarehouseUnusable, match="is another file than the one that was built"),
        warehouse.alone(kept),
    ):
        kept.publisher.publish(certificate, [])

    assert warehouse.rows(kept.readable) == 1
    assert warehouse.rows(kept.volume.database) == 7
    assert list(kept.generations.entries()) == [1]


def test_a_file_that_takes_the_working_copys_name_at_the_last_moment_is_not_published_and_goes_back(
    kept: DuckDBFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    warehouse.build(kept, 1)
    warehouse.check_out(kept, "mine")
    warehouse.write(kept, 2)
    replace = Path.replace

    def another_is_quicker(path: Path, target: Path) -> Path:
        if path == kept.volume.database:
            monkeypatch.undo()
            kept.volume.database.rename(tmp_path / "mine.duckdb")
            warehouse.write(kept, 7)
        return replace(path, target)

    monkeypatch.setattr(Path, "replace", another_is_quicker)
    with pytest.raises(WarehouseUnusable, match="is another file than the one that was built"):
        warehouse.publish_as(kept, "mine")

    assert warehouse.rows(kept.readable) == 1
    assert warehouse.rows(kept.volume.database) == 7
    assert sorted(path.name for path in kept.volume.published.iterdir()) == ["000001", "current"]


@pytest.mark.parametrize(
    ("owner", "said"),
    [('{"run": "other", "base": 1}', "belongs to run other"), ("{", "is not JSON"), (None, "no file")],
)
def test_a_working_copy_that_is_another_runs_by_now_is_not_published_and_the_error_names_that_run(
    kept: DuckDBFile, owner: str | None, said: str
) -> None:
    warehouse.build(kept, 1)
    warehouse.check_out(kept, "mine")
    warehouse.write(kept, 2)
    kept.volume.owner.unlink() if owner is None else kept.volume.owner.write_text(owner)

    with pytest.raises(WarehouseUnusable, match=rf"The working copy of run mine .*{said}"):
        warehouse.publish_as(kept, "mine")

    assert warehouse.rows(kept.readable) == 1
    assert warehouse.rows(kept.volume.database) == 2


OTHER_RUN = """
import logging, sys
from pathlib import Path
import warehouse
one = warehouse.new(Path(sys.argv[1]))
print("started", flush=True)
from datetime import UTC, datetime
from dbtpod.warehouse import lock
from dbtpod.warehouse.working_copy import WorkingCopy
holder = lock.Holder("other", "pod-2", datetime.now(UTC))
with lock.hold(one.volume.lock, holder, 60, lambda text: print(text, flush=True)):
    WorkingCopy(one.publisher, "other", logging.getLogger()).check_out()
    print("begun", warehouse.rows(one.volume.database), flush=True)
"""


def test_a_second_run_waits_although_somebody_deleted_the_locks_file_and_begins_from_the_firsts_build(
    kept: DuckDBFile,
) -> None:
    warehouse.build(kept, 1)
    holder = lock.Holder("mine", "pod-1", datetime.now(UTC))
    with lock.hold(kept.volume.lock, holder, 0):
        WorkingCopy(kept.publisher, "mine", LOG).check_out()
        warehouse.write(kept, 2)
        kept.volume.lock.unlink()
        other = subprocess.Popen(
            [sys.executable, "-c", OTHER_RUN, str(kept.volume.root)],
            env=os.environ | {"PYTHONPATH": str(Path(warehouse.__file__).parent)},
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            assert other.stdout is not None
            assert other.stdout.readline() == "started\n"
            assert other.stdout.readline().startswith("Waiting for the warehouse")
            kept.publisher.publish(Certificate("mine", *identity(kept.volume.database)), [])
        except BaseException:
            other.kill()
            raise

    output, _ = other.communicate(timeout=60)
    assert output == "begun 2\n"
    assert warehouse.rows(kept.readable) == 2


def test_where_a_folder_cannot_be_locked_a_run_that_lost_the_locks_file_publishes_nothing(
    kept: DuckDBFile, no_folder_locks: None
) -> None:
    warehouse.build(kept, 1)
    with lock.hold(kept.volume.lock, lock.Holder("mine", "pod-1", datetime.now(UTC)), 0):
        WorkingCopy(kept.publisher, "mine", LOG).check_out()
        warehouse.write(kept, 2)
        kept.volume.lock.unlink()
        with lock_of_another(kept.volume.lock), pytest.raises(WarehouseUnusable, match="another run may write now"):
            kept.publisher.publish(Certificate("mine", *identity(kept.volume.database)), [])

    assert warehouse.rows(kept.readable) == 1


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
