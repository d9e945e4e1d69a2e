"""From the working copy to what readers see: real DuckDB files, and a process that dies at every step on the way."""

import dataclasses
import errno
import fcntl
import gzip
import json
import logging
import os
import re
import resource
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

import duckdb
import pytest

import warehouse
from dbtpod.errors import VolumeFull, WarehouseBusy, WarehouseUnusable
from dbtpod.settings import Settings
from dbtpod.warehouse import checkout, durable, housekeeping, lock, publish, published, volume
from dbtpod.warehouse.certificate import Certificate, identity
from record import DATA
from warehouse import LOG

NEWER = DATA / "written-by-duckdb-2.0.0.duckdb.gz"
DIED = 99


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return warehouse.new(tmp_path)


@pytest.fixture
def artifacts(tmp_path: Path) -> tuple[Path, ...]:
    folder = tmp_path / "runs" / "run" / "target"
    folder.mkdir(parents=True)
    (folder / "manifest.json").write_text('{"nodes": {}}')
    (folder / "run_results.json").write_text('{"results": []}')
    return folder / "manifest.json", folder / "run_results.json", folder / "catalog.json"


# --- publishing ---


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


# --- a process that dies at every step ---


def test_whatever_step_of_publishing_a_process_dies_at_readers_see_one_whole_build(
    settings: Settings, artifacts: tuple[Path, ...], memory: Path
) -> None:
    settings = dataclasses.replace(settings, keep_generations=2)
    for rows in (1, 2, 3):
        warehouse.build(settings, rows, artifacts=artifacts)
    warehouse.check_out(settings, "run")
    warehouse.write(settings, 4, log_stays=True)
    seen = []

    for step, twin in _twins(settings, memory):
        finished = _dies_at(step, lambda twin=twin: warehouse.publish_as(twin, "run", artifacts))

        seen.append(warehouse.rows(twin.readable_path))
        assert seen[-1] in (3, 4), step
        for generation in published.generations(twin):
            assert generation.database.stat().st_size == generation.size, step
            assert generation.number < 4 or warehouse.rows(generation.database) == 4, step
        _next_run_succeeds(twin)
        if finished:
            break

    assert seen == sorted(seen), "once the new build is seen, it stays"
    assert seen.count(3) > 20
    assert seen.count(4) > 3


def test_whatever_step_of_checking_out_a_process_dies_at_nothing_published_changes(
    settings: Settings, memory: Path
) -> None:
    warehouse.build(settings, 1)
    warehouse.build(settings, 2)
    warehouse.check_out(settings, "failed run")
    warehouse.write(settings, 7, log_stays=True)
    steps = 0

    for step, twin in _twins(settings, memory):
        finished = _dies_at(step, lambda twin=twin: warehouse.check_out(twin, "run"))

        steps += 1
        assert warehouse.rows(twin.readable_path) == 2, step
        if checkout.owned_by(twin, "run"):
            assert warehouse.rows(twin.duckdb_path) == 2, step
        assert [one.run for one in published.generations(twin)] == ["run", "run"], "a leftover was taken for a build"
        _next_run_succeeds(twin)
        if finished:
            break

    assert checkout.owned_by(settings, "failed run")
    assert steps > 20


@pytest.fixture
def memory(tmp_path: Path) -> Iterator[Path]:
    """A folder where fsync costs nothing, if there is one: the death of a process loses no bytes of the kernel's."""
    shared = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=shared if os.access(shared, os.W_OK) else tmp_path) as folder:
        yield Path(folder)


def _twins(settings: Settings, folder: Path) -> Iterator[tuple[int, Settings]]:
    for step in range(1, 400):
        yield step, warehouse.twin(settings, folder / "volume")
        shutil.rmtree(folder / "volume")
    raise AssertionError("the steps never end")


def _dies_at(step: int, action: Callable[[], object]) -> bool:
    """Run it in a process that ends, without cleaning up, right before its n-th call into the system or DuckDB."""
    child = os.fork()
    if child == 0:
        sys.setprofile(_Death(step))
        try:
            action()
        except BaseException:
            os._exit(1)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    assert code in (0, DIED)
    return code == 0


class _Death:
    # These change nothing outside the process: queries, and reads and writes of Python's buffers before their flush.
    HARMLESS = re.compile(
        "fs(path|encode)|getpid|[lf]?stat|statvfs|scandir|listdir|is_dir|readlink|fileno|text_encoding|"
        "read|readlines?|seek|truncate|write"
    )

    def __init__(self, step: int) -> None:
        self.left = step

    def __call__(self, frame: object, event: str, function: object) -> None:
        if event != "c_call" or self.HARMLESS.fullmatch(getattr(function, "__name__", "")):
            return
        owner = getattr(function, "__self__", None)
        module = getattr(function, "__module__", None) or type(owner).__module__
        if module in ("posix", "fcntl", "io", "_io", "_duckdb"):
            self.left -= 1
            if self.left == 0:
                os._exit(DIED)


def _next_run_succeeds(settings: Settings) -> None:
    with warehouse.alone(settings):
        volume.make_ready(settings, LOG)
        housekeeping.clean(settings, "next")
    warehouse.build(settings, 9, "next")
    assert warehouse.rows(settings.readable_path) == 9
    assert published.generations(settings)[-1].number == published.current(settings)
    assert not list(settings.volume.rglob(".*.tmp"))
    assert len(published.generations(settings)) <= settings.keep_generations + 1


# --- readers ---

READER = """
import sys, time, duckdb
seen, path = [], sys.argv[1]
while not seen or seen[-1] < int(sys.argv[2]):
    with duckdb.connect(path, read_only=True) as connection:
        a, b, c = (connection.table(name).count("*").fetchall()[0][0] for name in ("customers", "orders", "per_order"))
    assert a == b == c, (a, b, c)
    seen.append(a)
    if len(seen) == 1:
        print("reading", flush=True)
assert seen == sorted(seen)
print(len(seen))
"""


def test_a_reader_that_opens_current_all_the_time_never_fails_during_thirty_builds(tmp_path: Path) -> None:
    settings = warehouse.new(tmp_path, keep_generations=1)
    warehouse.build(settings, 1)
    reader = subprocess.Popen(
        [sys.executable, "-c", READER, str(settings.readable_path), "30"], stdout=subprocess.PIPE, text=True
    )
    try:
        assert reader.stdout is not None
        assert reader.stdout.readline() == "reading\n"
        for rows in range(2, 31):
            housekeeping.clean(settings, "run")
            warehouse.build(settings, rows)
        output, _ = reader.communicate(timeout=60)
    finally:
        reader.kill()

    assert reader.returncode == 0
    assert int(output) > 30


def test_a_reader_keeps_the_generation_it_opened_after_it_was_removed(tmp_path: Path) -> None:
    settings = warehouse.new(tmp_path, keep_generations=1)
    opened = warehouse.build(settings, 1).database
    code = (
        "import sys, duckdb; c = duckdb.connect(sys.argv[1], read_only=True); print('open', flush=True);"
        "sys.stdin.readline(); print(c.execute('SELECT count(*) FROM per_order').fetchall())"
    )
    reader = subprocess.Popen(
        [sys.executable, "-c", code, str(settings.readable_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert reader.stdout is not None
        assert reader.stdout.readline() == "open\n"
        warehouse.build(settings, 2)
        warehouse.build(settings, 3)
        housekeeping.clean(settings, "run")
        assert not opened.exists()
        output, _ = reader.communicate("\n", timeout=30)
    finally:
        reader.kill()

    assert output == "[(1,)]\n"


# --- only the certified file of the one writer ---


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


# --- the working copy ---


def test_a_run_begins_from_the_last_published_build_and_the_log_says_what_was_copied(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    warehouse.build(settings, 3)

    with caplog.at_level(logging.INFO):
        warehouse.check_out(settings, "run")

    assert warehouse.rows(settings.duckdb_path) == 3
    assert "Working copy: 0." in caplog.text
    assert "MB" in caplog.text


@pytest.fixture
def xfs_volume(tmp_path: Path) -> Iterator[Settings]:
    """A volume whose files can share blocks, on a file that takes 300 MB only in name."""
    folder, image = tmp_path / "xfs", tmp_path / "xfs.img"
    folder.mkdir()
    with image.open("wb") as file:
        file.truncate(300 << 20)
    made = subprocess.run(["sh", "-c", f"mkfs.xfs -q {image} && mount -o loop {image} {folder}"], capture_output=True)
    if made.returncode:
        pytest.skip(f"needs mkfs.xfs and the right to mount: {made.stderr.decode().strip()}")
    yield warehouse.new(folder)
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_where_the_filesystem_can_the_working_copy_shares_its_blocks_with_the_published_build(
    xfs_volume: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    warehouse.build(xfs_volume, 3)

    with caplog.at_level(logging.INFO):
        warehouse.check_out(xfs_volume, "run")
    warehouse.write(xfs_volume, 4)

    assert "no bytes copied" in caplog.text
    assert warehouse.rows(xfs_volume.readable_path) == 3
    assert warehouse.rows(xfs_volume.duckdb_path) == 4


def test_a_failed_build_publishes_nothing_and_the_next_run_begins_from_the_last_good_one(settings: Settings) -> None:
    warehouse.build(settings, 3)
    warehouse.check_out(settings, "failed")
    warehouse.write(settings, 8, log_stays=True)

    warehouse.check_out(settings, "next")

    assert warehouse.rows(settings.duckdb_path) == 3
    assert warehouse.rows(settings.readable_path) == 3


def test_after_a_first_build_that_failed_the_next_begins_with_nothing(settings: Settings) -> None:
    warehouse.check_out(settings, "failed")
    warehouse.write(settings, 8)

    warehouse.check_out(settings, "next")

    assert not settings.duckdb_path.exists()


def test_a_file_that_no_run_made_becomes_a_generation_and_survives_a_failed_build(settings: Settings) -> None:
    settings.duckdb_path.parent.mkdir()
    warehouse.write(settings, 12)

    warehouse.check_out(settings, "run")
    warehouse.write(settings, 1)
    warehouse.check_out(settings, "next")

    assert warehouse.rows(settings.readable_path) == 12
    assert warehouse.rows(settings.duckdb_path) == 12
    assert [generation.run for generation in published.generations(settings)] == ["adopted"]


def test_a_run_finds_its_own_working_copy_again_unless_something_else_was_made_current(settings: Settings) -> None:
    warehouse.build(settings, 1)
    warehouse.build(settings, 2)
    assert not checkout.owned_by(settings, "evicted")
    warehouse.check_out(settings, "evicted")

    assert checkout.owned_by(settings, "evicted")
    assert not checkout.owned_by(settings, "another")
    publish.roll_back(settings, 1)
    assert not checkout.owned_by(settings, "evicted")


def test_a_working_copy_that_a_shell_writes_to_is_not_taken_away(settings: Settings) -> None:
    warehouse.build(settings, 1)
    warehouse.check_out(settings, "run")
    code = "import sys, duckdb; c = duckdb.connect(sys.argv[1]); print('open', flush=True); sys.stdin.readline()"
    shell = subprocess.Popen(
        [sys.executable, "-c", code, str(settings.duckdb_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert shell.stdout is not None
        assert shell.stdout.readline() == "open\n"
        with pytest.raises(WarehouseBusy, match=rf"open for writing in DuckDB by process {shell.pid}"):
            warehouse.check_out(settings, "next")
        with pytest.raises(WarehouseBusy, match="Could not set lock"):
            warehouse.publish_as(settings, "run")
    finally:
        shell.kill()
        shell.communicate()

    warehouse.check_out(settings, "next")


# --- files that DuckDB cannot open ---


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (gzip.decompress(NEWER.read_bytes()), rf"newer DuckDB than the {duckdb.__version__} here"),
        (b"no database, but some text\n" * 1000, "not a valid DuckDB database file"),
        (b"", "not a valid DuckDB database file"),
    ],
)
@pytest.mark.parametrize("publishing", [True, False])
def test_a_file_that_this_duckdb_cannot_read_is_named_and_kept(
    tmp_path: Path, content: bytes, said: str, publishing: bool
) -> None:
    settings = warehouse.new(tmp_path, publish=publishing)
    settings.duckdb_path.parent.mkdir()
    settings.duckdb_path.write_bytes(content)

    with pytest.raises(WarehouseUnusable, match=said) as caught:
        warehouse.check_out(settings, "run")

    assert "Nothing was deleted" in str(caught.value)
    assert settings.duckdb_path.read_bytes() == content


def test_a_damaged_published_build_is_not_built_on_and_the_error_names_the_way_back(settings: Settings) -> None:
    warehouse.build(settings, 1)
    damaged = warehouse.build(settings, 2).database
    damaged.write_bytes(damaged.read_bytes()[:5000])

    with pytest.raises(WarehouseUnusable, match=r"generations rollback 1"):
        warehouse.check_out(settings, "run")

    publish.roll_back(settings, 1)
    warehouse.check_out(settings, "run")
    assert warehouse.rows(settings.duckdb_path) == 1


# --- building in place ---


def test_without_publishing_a_run_builds_on_the_file_itself(tmp_path: Path) -> None:
    settings = warehouse.new(tmp_path, publish=False)
    warehouse.check_out(settings, "first")
    warehouse.write(settings, 6)

    warehouse.check_out(settings, "second")

    assert warehouse.rows(settings.readable_path) == 6


def test_publishing_can_be_switched_off_and_on_again_without_losing_a_row(tmp_path: Path) -> None:
    publishing, in_place = warehouse.new(tmp_path), warehouse.new(tmp_path, publish=False)
    warehouse.build(publishing, 2)
    warehouse.check_out(publishing, "failed")
    warehouse.write(publishing, 99)

    warehouse.check_out(in_place, "run")
    assert warehouse.rows(in_place.readable_path) == 2
    warehouse.write(in_place, 3)
    warehouse.check_out(in_place, "run")
    assert warehouse.rows(in_place.readable_path) == 3

    warehouse.check_out(publishing, "run")
    assert warehouse.rows(publishing.readable_path) == 3
    assert warehouse.rows(publishing.duckdb_path) == 3


# --- a full volume ---


@pytest.fixture
def small_volume(tmp_path: Path) -> Iterator[Settings]:
    """A volume of 2 MB; a DuckDB file of these tests is 0.3 to 0.8 MB."""
    folder = tmp_path / "small"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)], capture_output=True)
    if mounted.returncode:
        pytest.skip(f"a small volume needs the right to mount: {mounted.stderr.decode().strip()}")
    yield warehouse.new(folder)
    subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(settings: Settings, leave: int) -> Path:
    filler = settings.volume / "filler"
    status = os.statvfs(settings.volume)
    filler.write_bytes(bytes(max(0, status.f_bavail * status.f_frsize - leave)))
    return filler


def test_without_room_for_the_working_copy_nothing_is_copied_and_the_error_says_how_much_is_needed(
    small_volume: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    size = warehouse.build(small_volume, 1).size
    filler = fill(small_volume, leave=size // 2)

    with monkeypatch.context() as patch:
        patch.setattr(durable, "copy", lambda *_: pytest.fail("copied though there is no room"))
        with pytest.raises(VolumeFull, match=rf"needs {size / 1e6:.1f} MB, and 0\.\d MB is free"):
            warehouse.check_out(small_volume, "run")

    assert warehouse.rows(small_volume.readable_path) == 1
    assert not list(small_volume.volume.rglob(".*.tmp"))
    filler.unlink()
    warehouse.build(small_volume, 2)
    assert warehouse.rows(small_volume.readable_path) == 2


def test_without_room_to_publish_the_working_copy_stays_and_readers_keep_the_old_build(
    small_volume: Settings, tmp_path: Path
) -> None:
    manifest = tmp_path / "manifest.json"
    manifest.write_bytes(bytes(300_000))
    warehouse.build(small_volume, 1)
    warehouse.check_out(small_volume, "run")
    warehouse.write(small_volume, 2)
    filler = fill(small_volume, leave=100_000)

    with pytest.raises(VolumeFull, match=r"publishing dbt's artifacts needs 0\.3 MB"):
        warehouse.publish_as(small_volume, "run", [manifest])

    assert warehouse.rows(small_volume.readable_path) == 1
    assert not list(small_volume.volume.rglob(".*.tmp"))
    assert checkout.owned_by(small_volume, "run")
    filler.unlink()
    warehouse.publish_as(small_volume, "run", [manifest])
    assert warehouse.rows(small_volume.readable_path) == 2


def test_without_room_for_the_checkpoint_nothing_committed_is_lost(small_volume: Settings) -> None:
    warehouse.build(small_volume, 1)
    warehouse.check_out(small_volume, "run")
    with duckdb.connect(small_volume.duckdb_path) as connection:
        connection.execute("PRAGMA disable_checkpoint_on_shutdown; SET checkpoint_threshold = '1GB'")
        connection.execute("CREATE TABLE noise AS SELECT uuid() AS id FROM range(8000)")
    filler = fill(small_volume, leave=4096)

    with pytest.raises(VolumeFull, match="needs"):
        warehouse.publish_as(small_volume, "run")

    assert warehouse.rows(small_volume.readable_path) == 1
    filler.unlink()
    warehouse.publish_as(small_volume, "run")
    with duckdb.connect(small_volume.readable_path, read_only=True) as connection:
        assert connection.execute("SELECT count(*) FROM noise").fetchall() == [(8000,)]


def test_on_a_volume_without_a_byte_left_every_step_says_that_it_is_full(small_volume: Settings) -> None:
    warehouse.build(small_volume, 1)
    fill(small_volume, leave=0)
    holder = lock.Holder("run", "pod", datetime.now(UTC))

    with (
        pytest.raises(VolumeFull, match=r"needs 0\.\d MB, and 0\.0 MB is free"),
        lock.hold(small_volume.lock_path, holder, 0),
    ):
        checkout.check_out(small_volume, "run", LOG)

    housekeeping.clean(small_volume, "run")
    assert warehouse.rows(small_volume.readable_path) == 1
    assert not list(small_volume.volume.rglob(".*.tmp"))


@pytest.mark.parametrize(("limit", "said"), [(100_000, "the working copy of"), (10, "a new working copy")])
def test_a_limit_on_the_size_of_files_counts_as_a_full_volume(tmp_path: Path, limit: int, said: str) -> None:
    """The first dies in the copy; the second, which has nothing to copy, in writing owner.json."""
    settings = warehouse.new(tmp_path)
    if limit > 10:
        warehouse.build(settings, 1)

    def limited() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        with pytest.raises(VolumeFull, match=said):
            warehouse.check_out(settings, "run")

    assert _dies_at(0, limited)
    assert not list(settings.volume.rglob(".*.tmp"))


# --- housekeeping ---


def test_only_the_newest_generations_stay_and_numbers_never_come_back(tmp_path: Path) -> None:
    settings = warehouse.new(tmp_path, keep_generations=2)

    for rows in range(1, 6):
        warehouse.build(settings, rows)
    assert [one.number for one in published.generations(settings)] == [4, 5]
    publish.roll_back(settings, 4)
    housekeeping.clean(settings, "run")
    assert [one.number for one in published.generations(settings)] == [4, 5]
    warehouse.build(settings, 6)

    kept = published.generations(settings)
    assert [(one.number, one.base) for one in kept] == [(4, 3), (6, 4)], "the one it was built from outlives a bad one"


def test_old_run_folders_go_by_age_and_by_number_but_never_what_is_in_use(settings: Settings) -> None:
    warehouse.build(settings, 1)
    warehouse.check_out(settings, "to-be-resumed")
    days_old = {"this-run": 60, "to-be-resumed": 50, "ancient": 15, "third": 3, "second": 2, "first": 1}
    for name, days in days_old.items():
        folder = settings.runs_dir / name / "attempt-1"
        folder.mkdir(parents=True)
        (folder / "run_results.json").write_text("{}")
        os.utime(settings.runs_dir / name, (time.time() - days * 86400,) * 2)

    housekeeping.clean(settings, "this-run", keep_days=14, keep_runs=2)

    assert {path.name for path in settings.runs_dir.iterdir()} == {"this-run", "to-be-resumed", "second", "first"}


def test_what_crashes_left_behind_is_removed(settings: Settings) -> None:
    warehouse.build(settings, 1)
    (settings.published_dir / ".000002.tmp").mkdir()
    (settings.published_dir / ".000002.tmp" / "warehouse.duckdb").write_bytes(b"half")
    (settings.published_dir / ".current.tmp").symlink_to("000002")
    (settings.duckdb_path.parent / ".checkout.tmp").write_bytes(b"half")

    housekeeping.clean(settings, "run")

    assert sorted(path.name for path in settings.published_dir.iterdir()) == ["000001", "current"]
    assert not list(settings.duckdb_path.parent.iterdir())
    facts = json.loads((settings.published_dir / "000001" / "generation.json").read_text())
    assert facts["number"] == 1
