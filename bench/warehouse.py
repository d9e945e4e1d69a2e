"""What it costs that readers always have the last good build: check-out and publish, beside `cp` of the same file."""

import logging
import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import duckdb

from bench.measure import ratio, spread
from dbtpod.warehouse import lock
from dbtpod.warehouse.certificate import Certificate, identity
from dbtpod.warehouse.publish import Publisher
from dbtpod.warehouse.volume import Volume
from dbtpod.warehouse.working_copy import WorkingCopy

GIGABYTES = (1, 10)
ROUNDS = 5
HEADER = (
    "| file | check-out, ratio to `cp` | check-out and publish, ratio to `cp` and `sync` | `cp`, s | check-out, s "
    "| publish, s |\n|---|---|---|---|---|---|"
)


def table(rounds: int = ROUNDS) -> Iterator[str]:
    """Measure files of each size; yield the lines of a markdown table as they come."""
    yield HEADER
    for gigabytes in GIGABYTES:
        with tempfile.TemporaryDirectory() as folder:
            yield _size(f"{gigabytes} GB", folder, gigabytes, rounds)
    with _xfs() as folder:
        yield _size(f"{GIGABYTES[-1]} GB on XFS, which shares blocks", folder, GIGABYTES[-1], rounds)


@contextmanager
def _xfs() -> Iterator[str]:
    """Mount an XFS that is a file here, with room for three copies; it takes what is written to it."""
    with tempfile.TemporaryDirectory() as folder:
        image, mounted = Path(folder) / "image", Path(folder) / "mounted"
        mounted.mkdir()
        with image.open("wb") as file:
            file.truncate(GIGABYTES[-1] * 4 << 30)
        subprocess.run(["mkfs.xfs", "-q", image], check=True)  # noqa: S607
        subprocess.run(["mount", "-o", "loop", image, mounted], check=True)  # noqa: S607
        try:
            yield str(mounted)
        finally:
            subprocess.run(["umount", "-l", mounted], check=True)  # noqa: S607


def _size(name: str, folder: str, gigabytes: int, rounds: int) -> str:
    copies, synced, check_outs, publishes = [], [], [], []
    publisher = Publisher(Volume(Path(folder) / "work" / "warehouse.duckdb"), keep=1)
    volume = publisher.volume
    _fill(volume.database, gigabytes)
    with _alone(volume):
        publisher.import_database()
    for number in range(rounds):
        copies.append(_timed(lambda: _copy(volume)))
        synced.append(copies[-1] + _timed(lambda: _sync_and_remove(volume)))
        file = WorkingCopy(publisher, "run", logging.getLogger())
        check_outs.append(_timed(file.check_out))
        _change(volume.database, number)
        certificate = Certificate("run", *identity(volume.database))
        with _alone(volume):
            publishes.append(_timed(partial(file.publish, certificate, [])))
    whole = [out + published for out, published in zip(check_outs, publishes, strict=True)]
    cells = (ratio(check_outs, copies), ratio(whole, synced), spread(copies), spread(check_outs), spread(publishes))
    return f"| {name} | " + " | ".join(cells) + " |"


def _alone(volume: Volume) -> AbstractContextManager[None]:
    return lock.hold(volume.lock, lock.Holder("bench", "here", datetime.now(UTC)), 0)


def _fill(path: Path, gigabytes: int) -> None:
    path.parent.mkdir(parents=True)
    with duckdb.connect(path) as connection:
        connection.execute("create table facts as select hash(range) as fact from range(?)", [gigabytes * 125_000_000])


def _change(path: Path, number: int) -> None:
    with duckdb.connect(path) as connection:
        connection.execute("create or replace table marker as select ? as number", [number])


def _copy(volume: Volume) -> None:
    subprocess.run(["cp", volume.current / volume.database.name, volume.root / "copy.duckdb"], check=True)  # noqa: S607


def _sync_and_remove(volume: Volume) -> None:
    copy = volume.root / "copy.duckdb"
    with copy.open("rb") as file:
        os.fsync(file)
    copy.unlink()


def _timed(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started
