"""A process that dies at every step of publishing and of checking out; deaths that left the same are looked at once."""

import dataclasses
from pathlib import Path

import warehouse
from dbtpod.settings import Settings
from dbtpod.warehouse import checkout, housekeeping, published, volume
from dying import Look, dies_at, look, twins
from warehouse import LOG


def test_whatever_step_of_publishing_a_process_dies_at_readers_see_one_whole_build(
    settings: Settings, artifacts: tuple[Path, ...], memory: Path
) -> None:
    settings = dataclasses.replace(settings, keep_generations=2)
    for rows in (1, 2, 3):
        warehouse.build(settings, rows, artifacts=artifacts)
    warehouse.check_out(settings, "run")
    warehouse.write(settings, 4, log_stays=True)
    seen: list[int] = []
    known: dict[Look, int] = {}

    for step, twin in twins(settings, memory):
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


def _one_whole_build(settings: Settings, step: int) -> int:
    """The rows that readers see."""
    seen = warehouse.rows(settings.readable_path)
    assert seen in (3, 4), step
    generations = published.generations(settings)
    assert 3 in [one.number for one in generations], step
    for generation in generations:
        assert generation.database.stat().st_size == generation.size, step
        assert generation.number < 4 or warehouse.rows(generation.database) == 4, step
    return seen


def test_whatever_step_of_checking_out_a_process_dies_at_nothing_published_changes(
    settings: Settings, memory: Path
) -> None:
    warehouse.build(settings, 1)
    warehouse.build(settings, 2)
    warehouse.check_out(settings, "failed run")
    warehouse.write(settings, 7, log_stays=True)
    steps = 0
    known: set[Look] = set()

    for step, twin in twins(settings, memory):
        finished = dies_at(step, lambda twin=twin: warehouse.check_out(twin, "run"))

        steps += 1
        left = look(twin)
        if left not in known:
            known.add(left)
            _nothing_published_changed(twin, step)
            _next_run_succeeds(twin)
        if finished:
            break

    assert checkout.owned_by(settings, "failed run")
    assert steps > 20
    assert len(known) > 5


def _nothing_published_changed(settings: Settings, step: int) -> None:
    assert warehouse.rows(settings.readable_path) == 2, step
    if checkout.owned_by(settings, "run"):
        assert warehouse.rows(settings.duckdb_path) == 2, step
    assert [one.run for one in published.generations(settings)] == ["run", "run"], "a leftover was taken for a build"


def _next_run_succeeds(settings: Settings) -> None:
    with warehouse.alone(settings):
        volume.make_ready(settings, LOG)
        housekeeping.clean(settings, "next")
    warehouse.build(settings, 9, "next")
    assert warehouse.rows(settings.readable_path) == 9
    assert published.generations(settings)[-1].number == published.current(settings)
    assert not list(settings.volume.rglob(".*.tmp"))
    assert len(published.generations(settings)) <= settings.keep_generations + 1
