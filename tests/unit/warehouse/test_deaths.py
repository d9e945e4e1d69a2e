"""A process that dies at every step of publishing and of checking out; deaths that left the same are looked at once."""

from pathlib import Path

import pytest

import warehouse
from dbtpod.warehouse import health, housekeeping
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
            _nothing_published_changed(twin, step)
            _next_run_succeeds(twin)
        if finished:
            break

    assert warehouse.is_own(kept, "failed run")
    assert steps > 20
    assert len(known) > 5


def _nothing_published_changed(kept: DuckDBFile, step: int) -> None:
    assert warehouse.rows(kept.readable) == 2, step
    if warehouse.is_own(kept, "run"):
        assert warehouse.rows(kept.volume.database) == 2, step
    assert [one.run for one in kept.generations.all()] == ["run", "run"], "a leftover was taken for a build"


def _next_run_succeeds(kept: DuckDBFile) -> None:
    with warehouse.alone(kept):
        health.make_ready(kept.publisher, LOG)
        housekeeping.clean(kept.publisher, "next")
    warehouse.build(kept, 9, "next")
    assert warehouse.rows(kept.readable) == 9
    assert kept.generations.all()[-1].number == kept.generations.current()
    assert not list(kept.volume.root.rglob(".*.tmp"))
    assert len(kept.generations.all()) <= kept.publisher.keep + 1
