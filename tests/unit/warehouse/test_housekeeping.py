"""What is removed from a volume, and what stays."""

import json
import os
import time
from pathlib import Path

import warehouse
from dbtpod.warehouse import housekeeping
from dbtpod.warehouse.warehouse import DuckDBFile


def test_only_the_newest_generations_stay_and_numbers_never_come_back(tmp_path: Path) -> None:
    kept = warehouse.new(tmp_path, keep=2)

    for rows in range(1, 6):
        warehouse.build(kept, rows)
    assert [one.number for one in kept.generations.all()] == [4, 5]
    kept.publisher.roll_back(4)
    housekeeping.clean(kept.publisher, "run")
    assert [one.number for one in kept.generations.all()] == [4, 5]
    warehouse.build(kept, 6)

    kept = kept.generations.all()
    assert [(one.number, one.base) for one in kept] == [(4, 3), (6, 4)], "the one it was built from outlives a bad one"


def test_old_run_folders_go_by_age_and_by_number_but_never_what_is_in_use(kept: DuckDBFile) -> None:
    warehouse.build(kept, 1)
    warehouse.check_out(kept, "to-be-resumed")
    days_old = {"this-run": 60, "to-be-resumed": 50, "ancient": 15, "third": 3, "second": 2, "first": 1}
    for name, days in days_old.items():
        folder = kept.volume.runs / name / "attempt-1"
        folder.mkdir(parents=True)
        (folder / "run_results.json").write_text("{}")
        os.utime(kept.volume.runs / name, (time.time() - days * 86400,) * 2)

    housekeeping.clean(kept.publisher, "this-run", keep_days=14, keep_runs=2)

    assert {path.name for path in kept.volume.runs.iterdir()} == {"this-run", "to-be-resumed", "second", "first"}


def test_what_crashes_left_behind_is_removed(kept: DuckDBFile) -> None:
    warehouse.build(kept, 1)
    (kept.volume.published / ".000002.tmp").mkdir()
    (kept.volume.published / ".000002.tmp" / "warehouse.duckdb").write_bytes(b"half")
    (kept.volume.published / ".current.tmp").symlink_to("000002")
    (kept.volume.work / ".checkout.tmp").write_bytes(b"half")

    housekeeping.clean(kept.publisher, "run")

    assert sorted(path.name for path in kept.volume.published.iterdir()) == ["000001", "current"]
    assert not list(kept.volume.work.iterdir())
    facts = json.loads((kept.volume.published / "000001" / "generation.json").read_text())
    assert facts["number"] == 1
