"""A process that dies at every step of publishing and of checking out."""

from pathlib import Path

import warehouse
from dbtpod.warehouse import health, housekeeping
from dbtpod.warehouse.warehouse import DuckDBFile
from dying import dies_at, twins
from warehouse import LOG


def test_whatever_step_of_publishing_a_process_dies_at_readers_see_one_whole_build(
    kept: DuckDBFile, artifacts: tuple[Path, ...], memory: Path
) -> None:
    kept = warehouse.new(kept.volume.root, keep=2)
    for rows in (1, 2, 3):
        warehouse.build(kept, rows, artifacts=artifacts)
    warehouse.check_out(kept, "run")
    warehouse.write(kept, 4, log_stays=True)
    seen = []

    for step, twin in twins(kept, memory):
        finished = dies_at(step, lambda twin=twin: warehouse.publish_as(twin, "run", artifacts))

        seen.append(warehouse.rows(twin.readable))
        assert seen[-1] in (3, 4), step
        generations = twin.generations.all()
        assert 3 in [one.number for one in generations], step
        for generation in generations:
            assert generation.database.stat().st_size == generation.size, step
            assert generation.number < 4 or warehouse.rows(generation.database) == 4, step
        _next_run_succeeds(twin)
        if finished:
            break

    assert seen == sorted(seen), "once the new build is seen, it stays"
    assert seen.count(3) > 20
    assert seen.count(4) > 3


def test_whatever_step_of_checking_out_a_process_dies_at_nothing_published_changes(
    kept: DuckDBFile, memory: Path
) -> None:
    warehouse.build(kept, 1)
    warehouse.build(kept, 2)
    warehouse.check_out(kept, "failed run")
    warehouse.write(kept, 7, log_stays=True)
    steps = 0

    for step, twin in twins(kept, memory):
        finished = dies_at(step, lambda twin=twin: warehouse.check_out(twin, "run"))

        steps += 1
        assert warehouse.rows(twin.readable) == 2, step
        if warehouse.is_own(twin, "run"):
            assert warehouse.rows(twin.volume.database) == 2, step
        assert [one.run for one in twin.generations.all()] == ["run", "run"], "a leftover was taken for a build"
        _next_run_succeeds(twin)
        if finished:
            break

    assert warehouse.is_own(kept, "failed run")
    assert steps > 20


def _next_run_succeeds(kept: DuckDBFile) -> None:
    with warehouse.alone(kept):
        health.make_ready(kept.publisher, LOG)
        housekeeping.clean(kept.publisher, "next")
    warehouse.build(kept, 9, "next")
    assert warehouse.rows(kept.readable) == 9
    assert kept.generations.all()[-1].number == kept.generations.current()
    assert not list(kept.volume.root.rglob(".*.tmp"))
    assert len(kept.generations.all()) <= kept.publisher.keep + 1
