"""A process that dies at every step of publishing and of checking out; deaths that left the same are looked at once."""

import errno
import os
from contextlib import suppress
from pathlib import Path

import pytest

import warehouse
from dbtpod.errors import WarehouseUnusable
from dbtpod.warehouse import health, housekeeping, publish_preview
from dbtpod.warehouse.warehouse import DuckDBFile
from dying import Look, dies_at, look, twins
from warehouse import LOG

pytestmark = pytest.mark.slow


def test_whatever_step_of_publishing_a_process_dies_at_readers_see_one_whole_build(
    kept: DuckDBFile, artifacts: tuple[Path, ...], memory: Path
) -> None:
    kept = warehouse.new(kept.volume.root, keep=2)
    for rows in (1, 2, 3):
        warehouse.build(kept, rows, artifacts=artifacts)
    warehouse.check_out(kept, "run")
    warehouse.write(kept, 4, log_stays=True)
    seen: list[int] = []
    known: dict[Look, int] = {}

    for step, twin in twins(kept, memory):
        finished = dies_at(step, lambda twin=twin: warehouse.publish_as(twin, "run", artifacts))

        left = look(twin)
        if left not in known:
            known[left] = _one_whole_build(twin, step)
            _next_run_succeeds(twin)
        seen.append(known[left])
        if finished:
            break

    assert seen == sorted(seen), "once the new build is seen, it stays"
    assert seen.count(3) > 20
    assert seen.count(4) > 3
    assert len(known) > 10


def _one_whole_build(kept: DuckDBFile, step: int) -> int:
    """The rows that readers see."""
    seen = warehouse.rows(kept.readable)
    assert seen in (3, 4), step
    generations = kept.generations.all()
    assert 3 in [one.number for one in generations], step
    for generation in generations:
        assert generation.database.stat().st_size == generation.size, step
        assert generation.number < 4 or warehouse.rows(generation.database) == 4, step
    return seen


def test_whatever_step_of_checking_out_a_process_dies_at_nothing_published_changes(
    kept: DuckDBFile, memory: Path
) -> None:
    warehouse.build(kept, 1)
    warehouse.build(kept, 2)
    warehouse.check_out(kept, "failed run")
    warehouse.write(kept, 7, log_stays=True)
    steps = 0
    known: set[Look] = set()

    for step, twin in twins(kept, memory):
        finished = dies_at(step, lambda twin=twin: warehouse.check_out(twin, "run"))

        steps += 1
        left = look(twin)
        if left not in known:
            known.add(left)
            _nothing_published_changed(twin, step, 2)
            _next_run_succeeds(twin)
        if finished:
            break

    assert warehouse.is_own(kept, "failed run")
    assert steps > 20
    assert len(known) > 5


def _nothing_published_changed(kept: DuckDBFile, step: int, built: int) -> None:
    assert warehouse.rows(kept.readable) == 2, step
    if warehouse.is_own(kept, "run"):
        assert warehouse.rows(kept.volume.database) == built, step
    assert [one.run for one in kept.generations.all()] == ["run", "run"], "a leftover was taken for a build"


@pytest.mark.parametrize("has_links", [True, False], ids=["a second name", "a copy"])
def test_whatever_step_of_publishing_a_preview_a_process_dies_at_readers_see_one_build_and_it_can_be_published(
    kept: DuckDBFile, artifacts: tuple[Path, ...], memory: Path, monkeypatch: pytest.MonkeyPatch, has_links: bool
) -> None:
    if not has_links:
        monkeypatch.setattr(os, "link", _refuse)
    warehouse.build(kept, 1, artifacts=artifacts)
    warehouse.build(kept, 2, artifacts=artifacts)
    warehouse.keep_aside(kept, 3, "slow-owl", artifacts)
    seen: list[int] = []
    known: dict[Look, int] = {}

    for step, twin in twins(kept, memory):
        finished = dies_at(step, lambda twin=twin: publish_preview.publish(twin.publisher, 1, 0))

        left = look(twin)
        if left not in known:
            known[left] = warehouse.rows(twin.readable)
            _build_is_somewhere(twin, step)
            _preview_is_published(twin, step)
            _next_run_succeeds(twin)
        seen.append(known[left])
        if finished:
            break

    assert seen == sorted(seen), "once the new build is seen, it stays"
    assert seen.count(2) > 10
    assert seen.count(3) > 3
    assert len(known) > 10


def _refuse(*_: object) -> None:
    raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))


def _build_is_somewhere(kept: DuckDBFile, step: int) -> None:
    whole = [warehouse.rows(one.database) for one in kept.previews.all()]
    assert whole == [3] or warehouse.rows(kept.readable) == 3, step


def _preview_is_published(kept: DuckDBFile, step: int) -> None:
    """What was not published, a second try publishes, with what the first one left there."""
    with suppress(WarehouseUnusable):  # its copy is published, and the preview is not the same file
        if kept.previews.all():
            publish_preview.publish(kept.publisher, 1, 0)
    assert warehouse.rows(kept.readable) == 3, step


def test_whatever_step_of_keeping_aside_a_process_dies_at_nothing_published_changes(
    kept: DuckDBFile, artifacts: tuple[Path, ...], memory: Path
) -> None:
    warehouse.build(kept, 1)
    warehouse.build(kept, 2)
    warehouse.check_out(kept, "run")
    warehouse.write(kept, 7, log_stays=True)
    seen: list[int] = []
    known: dict[Look, int] = {}

    for step, twin in twins(kept, memory):
        finished = dies_at(step, lambda twin=twin: warehouse.keep_aside_as(twin, "run", artifacts))

        left = look(twin)
        if left not in known:
            _nothing_published_changed(twin, step, 7)
            previews = twin.previews.all()
            assert [warehouse.rows(one.database) for one in previews] == [7] * len(previews), step
            known[left] = len(previews)
            _next_run_succeeds(twin)
            assert len(twin.previews.all()) == known[left], step
        seen.append(known[left])
        if finished:
            break

    assert seen == sorted(seen), "once the preview is there, it stays"
    assert seen.count(0) > 15
    assert seen.count(1) > 1
    assert len(known) > 5


def _next_run_succeeds(kept: DuckDBFile) -> None:
    with warehouse.alone(kept):
        health.make_ready(kept.publisher, LOG)
        housekeeping.clean(kept.publisher, "next")
    warehouse.build(kept, 9, "next")
    assert warehouse.rows(kept.readable) == 9
    assert kept.generations.all()[-1].number == kept.generations.current()
    assert not list(kept.volume.root.rglob(".*.tmp"))
    assert len(kept.generations.all()) <= kept.publisher.keep + 1
