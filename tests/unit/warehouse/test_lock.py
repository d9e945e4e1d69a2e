"""One writer for one volume: processes that wait, die and fork."""

import fcntl
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from dbtpod.errors import WarehouseBusy, WarehouseUnusable
from dbtpod.warehouse import lock
from dbtpod.warehouse.lock import Holder

HOLDER = """
import sys
from datetime import datetime
from pathlib import Path
from dbtpod.warehouse import lock
holder = lock.Holder(sys.argv[2], "pod-1", datetime.fromisoformat("2026-11-23T06:00:00+00:00"))
with lock.hold(Path(sys.argv[1]), holder, 30):
    print("held", flush=True)
    sys.stdin.readline()
"""

Start = Callable[[str], subprocess.Popen[str]]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "writer.lock"


@pytest.fixture
def start_holder(path: Path) -> Iterator[Start]:
    """Start another process that holds the lock until it gets a line."""
    started: list[subprocess.Popen[str]] = []

    def start(run: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-c", HOLDER, str(path), run], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        started.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def me(run: str = "mine") -> Holder:
    return Holder(run, "pod-2", datetime.now(UTC))


def test_the_second_writer_learns_who_writes_and_since_when_and_what_to_do(path: Path, start_holder: Start) -> None:
    start_holder("dbt-build/quick-fox")

    with pytest.raises(WarehouseBusy) as caught, lock.hold(path, me(), timeout=0.3):
        pass

    text = str(caught.value)
    assert "'dbt-build/quick-fox' (pod pod-1) has been writing since 2026-11-23T06:00:00+00:00" in text
    assert "finish or cancel" in text


def test_the_second_writer_begins_as_soon_as_the_first_ends(path: Path, start_holder: Start) -> None:
    other = start_holder("other")
    assert other.stdin is not None
    other.stdin.write("\n")
    other.stdin.flush()

    with lock.hold(path, me("second"), timeout=30):
        assert json.loads(path.read_text())["run"] == "second"

    assert other.wait(60) == 0


def test_a_killed_holder_frees_the_lock_at_once(path: Path, start_holder: Start) -> None:
    other = start_holder("doomed")
    other.kill()
    other.wait(60)

    with lock.hold(path, me(), timeout=0):
        pass


def test_what_a_dead_holder_wrote_misleads_nobody(path: Path, start_holder: Start) -> None:
    doomed = start_holder("dead-run")
    doomed.kill()
    doomed.wait(60)
    assert "dead-run" in path.read_text()
    start_holder("living-run")

    with pytest.raises(WarehouseBusy, match="living-run") as caught, lock.hold(path, me(), timeout=0):
        pass

    assert "dead-run" not in str(caught.value)


def test_a_holder_whose_name_cannot_be_read_is_still_respected(path: Path, start_holder: Start) -> None:
    start_holder("other")
    path.write_text("")

    with pytest.raises(WarehouseBusy, match="Another run is writing"), lock.hold(path, me(), timeout=0):
        pass


def test_a_failed_block_gives_the_lock_back(path: Path) -> None:
    with pytest.raises(ValueError, match="model failed"), lock.hold(path, me(), timeout=0):
        raise ValueError("model failed")

    with lock.hold(path, me("next"), timeout=0):
        assert json.loads(path.read_text())["run"] == "next"


def test_a_child_forked_by_the_holder_does_not_keep_the_lock(path: Path) -> None:
    with lock.hold(path, me(), timeout=0):
        child = os.fork()
        if child == 0:
            signal.pause()
    try:
        with lock.hold(path, me("next"), timeout=0):
            assert json.loads(path.read_text())["run"] == "next"
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def test_a_signal_ends_the_waiting(path: Path, start_holder: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    start_holder("other")

    def cancelled(*_: object) -> None:
        raise InterruptedError("cancelled")

    before = signal.signal(signal.SIGALRM, cancelled)
    signal.setitimer(signal.ITIMER_REAL, 0.2)
    began = time.monotonic()
    try:
        with pytest.raises(InterruptedError, match="cancelled"), lock.hold(path, me(), timeout=60):
            pass
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)

    assert time.monotonic() - began < 30


# What a pod of version 0.1.0 does: it holds the file, and nothing else.
OLD_HOLDER = """
import fcntl, sys
file = open(sys.argv[1], "a+")
fcntl.flock(file, fcntl.LOCK_EX)
print("held", flush=True)
sys.stdin.readline()
"""


@pytest.fixture
def start_old_holder(path: Path) -> Iterator[Callable[[], subprocess.Popen[str]]]:
    started: list[subprocess.Popen[str]] = []

    def start() -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-c", OLD_HOLDER, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        started.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def test_who_deletes_the_locks_file_lets_no_second_writer_in(path: Path, start_holder: Start) -> None:
    other = start_holder("other")
    path.unlink()

    with (
        pytest.raises(WarehouseBusy, match=r"Another run is writing \(.*writer.lock was deleted"),
        lock.hold(path, me(), timeout=0.3),
    ):
        pass

    other.kill()
    other.wait(60)
    with lock.hold(path, me(), timeout=0):
        lock.check_held(path)


def test_who_puts_another_file_in_its_place_lets_no_second_writer_in(path: Path, start_holder: Start) -> None:
    start_holder("other")
    path.with_name("new").touch()
    path.with_name("new").replace(path)

    with pytest.raises(WarehouseBusy, match="Another run is writing"), lock.hold(path, me(), timeout=0.3):
        pass


def test_a_pod_of_an_older_version_that_holds_only_the_file_is_respected(
    path: Path, start_old_holder: Callable[[], subprocess.Popen[str]]
) -> None:
    old = start_old_holder()

    with pytest.raises(WarehouseBusy, match="Another run is writing"), lock.hold(path, me(), timeout=0.3):
        pass

    old.kill()
    old.wait(60)
    with lock.hold(path, me(), timeout=0), path.open() as file, pytest.raises(BlockingIOError):
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_a_waiter_on_a_file_that_was_replaced_waits_for_the_new_ones_holder_too(
    path: Path, start_old_holder: Callable[[], subprocess.Popen[str]]
) -> None:
    first = start_old_holder()
    waits, got = threading.Event(), threading.Event()

    def wait() -> None:
        with lock.hold(path, me(), 60, lambda _: waits.set()):
            got.set()

    waiter = threading.Thread(target=wait)
    waiter.start()
    assert waits.wait(60)
    path.unlink()
    second = start_old_holder()
    first.kill()
    first.wait(60)
    assert not got.wait(1), "it took the lock of a file that is gone"
    second.kill()
    second.wait(60)

    assert got.wait(60)
    waiter.join(60)


def test_a_volume_that_was_moved_away_under_the_run_is_not_its_own_any_more(path: Path) -> None:
    folder = path.parent / "volume"
    folder.mkdir()
    with lock.hold(folder / "writer.lock", me(), timeout=0):
        lock.check_held(folder / "writer.lock")
        folder.rename(path.parent / "moved")
        folder.mkdir()
        with pytest.raises(WarehouseUnusable, match="was replaced while this run held its lock"):
            lock.check_held(folder / "writer.lock")


def test_the_lock_ends_with_its_block(path: Path) -> None:
    with lock.hold(path, me(), timeout=0):
        lock.check_held(path)

    with pytest.raises(WarehouseUnusable, match="does not hold"):
        lock.check_held(path)
