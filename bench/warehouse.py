"""What it costs that readers always have the last good build: check-out and publish, beside `cp` of the same file."""

import logging
import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import duckdb

from bench.measure import ratio, spread
from dbtpod.settings import Settings
from dbtpod.warehouse import checkout, lock, publish
from dbtpod.warehouse.certificate import Certificate, identity

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
        yield _size(gigabytes, rounds)


def _size(gigabytes: int, rounds: int) -> str:
    copies, synced, check_outs, publishes = [], [], [], []
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(Path(folder) / "work" / "warehouse.duckdb", Path("dbt_project"), keep_generations=1)
        _fill(settings.duckdb_path, gigabytes)
        with _alone(settings):
            publish.adopt(settings)
        for number in range(rounds):
            copies.append(_timed(lambda: _copy(settings)))
            synced.append(copies[-1] + _timed(lambda: _sync_and_remove(settings)))
            check_outs.append(_timed(lambda: checkout.check_out(settings, "run", logging.getLogger())))
            _change(settings.duckdb_path, number)
            certificate = Certificate("run", *identity(settings.duckdb_path))
            with _alone(settings):
                publishes.append(_timed(partial(publish.publish, settings, certificate, [])))
    whole = [out + published for out, published in zip(check_outs, publishes, strict=True)]
    cells = (ratio(check_outs, copies), ratio(whole, synced), spread(copies), spread(check_outs), spread(publishes))
    return f"| {gigabytes} GB | " + " | ".join(cells) + " |"


def _alone(settings: Settings) -> AbstractContextManager[None]:
    return lock.hold(settings.lock_path, lock.Holder("bench", "here", datetime.now(UTC)), 0)


def _fill(path: Path, gigabytes: int) -> None:
    path.parent.mkdir(parents=True)
    with duckdb.connect(path) as connection:
        connection.execute("create table facts as select hash(range) as fact from range(?)", [gigabytes * 125_000_000])


def _change(path: Path, number: int) -> None:
    with duckdb.connect(path) as connection:
        connection.execute("create or replace table marker as select ? as number", [number])


def _copy(settings: Settings) -> None:
    subprocess.run(["cp", settings.readable_path, settings.volume / "copy.duckdb"], check=True)  # noqa: S607


def _sync_and_remove(settings: Settings) -> None:
    copy = settings.volume / "copy.duckdb"
    with copy.open("rb") as file:
        os.fsync(file)
    copy.unlink()


def _timed(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started
