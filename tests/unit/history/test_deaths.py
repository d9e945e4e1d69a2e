"""A process that dies at every step of bringing the history up to date."""

import errno
import os
from datetime import timedelta
from pathlib import Path

import pytest

import run_folders as folders
import warehouse
from dbtpod.history import schema, store
from dbtpod.history.update import History
from dbtpod.warehouse import health, housekeeping
from dbtpod.warehouse.warehouse import DuckDBFile
from dying import Look, dies_at, look, twins
from run_folders import NOON, Update
from warehouse import LOG

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    "has_links", [True, pytest.param(False, marks=pytest.mark.soak)], ids=["a second name", "a copy"]
)
def test_whatever_step_a_process_dies_at_the_history_is_the_old_or_the_new_one_whole(
    kept: DuckDBFile, update: Update, memory: Path, monkeypatch: pytest.MonkeyPatch, has_links: bool
) -> None:
    if not has_links:
        monkeypatch.setattr(os, "link", _refuse)
    warehouse.build(kept, 1, "run-1")
    folders.build(kept.volume.runs, "run-1", NOON, {"model.shop.a": ("success", 1)})
    assert update() == []
    warehouse.build(kept, 2, "run-2")
    folders.build(kept.volume.runs, "run-2", NOON + timedelta(hours=1), {"model.shop.a": ("success", 2)})
    seen: list[int] = []
    known: dict[Look, int] = {}

    for step, twin in twins(kept, memory):
        finished = dies_at(step, lambda twin=twin: _update(twin))

        left = look(twin)
        if left not in known:
            known[left] = _runs(twin.volume.history / schema.FILE)
            _whole(twin, step)
            _next_run_succeeds(twin)
        seen.append(known[left])
        if finished:
            break

    assert seen == sorted(seen), "once the new history is there, it stays"
    assert seen.count(1) > 15
    assert seen.count(2) > 1
    assert len(known) > 5


def _refuse(*_: object) -> None:
    raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))


def _update(kept: DuckDBFile) -> None:
    with warehouse.alone(kept):
        History(kept.generations, 100_000).bring_up_to_date(LOG)


def _runs(file: Path) -> int:
    """Count the runs; fails where the tables are not of one state."""
    with store.read(file) as history:
        [counts] = history.execute(
            "SELECT (SELECT count(*) FROM runs), (SELECT count(*) FROM nodes), (SELECT count(*) FROM imports), "
            "(SELECT count(DISTINCT generation) FROM relations)"
        ).fetchall()
    assert len(set(counts)) == 1, counts
    return int(counts[0])


def _whole(kept: DuckDBFile, step: int) -> None:
    assert warehouse.rows(kept.readable) == 2, step
    assert _runs(kept.generations.folder(1) / schema.FILE) == 1, step
    of_newest = kept.generations.folder(2) / schema.FILE
    assert not of_newest.exists() or _runs(of_newest) == 2, step


def _next_run_succeeds(kept: DuckDBFile) -> None:
    with warehouse.alone(kept):
        health.make_ready(kept.publisher, LOG)
        housekeeping.clean(kept.publisher, "next")
    assert not list(kept.volume.root.rglob(".*.tmp"))
    _update(kept)
    assert _runs(kept.volume.history / schema.FILE) == 2
    assert _runs(kept.volume.current / schema.FILE) == 2
    assert not kept.volume.aside.exists()
