"""A backfill in pieces that is killed in the middle resumes in its piece, and equals one run: real dbt."""

from pathlib import Path

import pytest

from attempting import Pod, Stopped, Watcher, kill_dbt, project, relations
from dbtpod.dbt.events import Event, NodeStarted
from dbtpod.dbt.project import Project
from dbtpod.request import RunRequest

FILES = {
    "models/events.sql": (
        "{{ config(event_time='ts') }} "
        "select range as id, timestamp '2026-01-01' + to_hours(range) as ts from range(90 * 24)"
    ),
    "models/daily.sql": """
{{ config(materialized='incremental', incremental_strategy='microbatch', event_time='ts', batch_size='day',
          begin='2026-01-01', concurrent_batches=false) }}
select id, ts from {{ ref('events') }}
""",
}


def pieces(end: str, size: str) -> list[list[str]]:
    request = {"command": "run", "event_time_start": "2026-01-01", "event_time_end": end, "pieces": size}
    return RunRequest.model_validate(request).commands()


def backfill(pod: Pod, commands: list[list[str]]) -> None:
    for command in commands:
        pod.command(*command)
    pod.publish()


def kill_in_daily(event: Event) -> None:
    if isinstance(event, NodeStarted) and event.name == "daily":
        kill_dbt()
        raise Stopped


def made(folder: Path) -> Project:
    folder.mkdir()
    return project(folder, FILES)


@pytest.mark.parametrize(
    ("end", "size", "days"),
    [("2026-01-15", "week", 14), pytest.param("2026-04-01", "month", 90, marks=pytest.mark.soak)],
)
def test_it_resumes_in_its_piece_and_equals_one_run(tmp_path: Path, end: str, size: str, days: int) -> None:
    shop = made(tmp_path / "pieces")
    first, second, third = pieces(end, size)
    pod = Pod(shop)
    pod.command(*first)
    with pytest.raises(Stopped):
        pod.command(*second, watcher=Watcher(kill_in_daily))
    assert not shop.reads.exists()

    backfill(Pod(shop), [first, second, third])

    attempts = sorted(path.relative_to(pod.run_dir).parts[:2] for path in pod.run_dir.glob("*/attempt-*/attempt.json"))
    assert attempts == [
        ("1-run", "attempt-1"),
        ("2-run", "attempt-1"),
        ("2-run", "attempt-2"),
        ("3-run", "attempt-1"),
    ]
    whole = made(tmp_path / "whole")
    backfill(Pod(whole), pieces(end, "whole"))
    assert len(relations(shop.reads)["daily"]) == days * 24
    assert relations(shop.reads) == relations(whole.reads)
