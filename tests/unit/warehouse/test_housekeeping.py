"""What is removed from a volume, and what stays."""

import json
import os
import time
from pathlib import Path

import warehouse
from dbtpod.settings import Settings
from dbtpod.warehouse import housekeeping, publish, published


def test_only_the_newest_generations_stay_and_numbers_never_come_back(tmp_path: Path) -> None:
    settings = warehouse.new(tmp_path, keep_generations=2)

    for rows in range(1, 6):
        warehouse.build(settings, rows)
    assert [one.number for one in published.generations(settings)] == [4, 5]
    publish.roll_back(settings, 4)
    housekeeping.clean(settings, "run")
    assert [one.number for one in published.generations(settings)] == [4, 5]
    warehouse.build(settings, 6)

    kept = published.generations(settings)
    assert [(one.number, one.base) for one in kept] == [(4, 3), (6, 4)], "the one it was built from outlives a bad one"


def test_old_run_folders_go_by_age_and_by_number_but_never_what_is_in_use(settings: Settings) -> None:
    warehouse.build(settings, 1)
    warehouse.check_out(settings, "to-be-resumed")
    days_old = {"this-run": 60, "to-be-resumed": 50, "ancient": 15, "third": 3, "second": 2, "first": 1}
    for name, days in days_old.items():
        folder = settings.runs_dir / name / "attempt-1"
        folder.mkdir(parents=True)
        (folder / "run_results.json").write_text("{}")
        os.utime(settings.runs_dir / name, (time.time() - days * 86400,) * 2)

    housekeeping.clean(settings, "this-run", keep_days=14, keep_runs=2)

    assert {path.name for path in settings.runs_dir.iterdir()} == {"this-run", "to-be-resumed", "second", "first"}


def test_what_crashes_left_behind_is_removed(settings: Settings) -> None:
    warehouse.build(settings, 1)
    (settings.published_dir / ".000002.tmp").mkdir()
    (settings.published_dir / ".000002.tmp" / "warehouse.duckdb").write_bytes(b"half")
    (settings.published_dir / ".current.tmp").symlink_to("000002")
    (settings.duckdb_path.parent / ".checkout.tmp").write_bytes(b"half")

    housekeeping.clean(settings, "run")

    assert sorted(path.name for path in settings.published_dir.iterdir()) == ["000001", "current"]
    assert not list(settings.duckdb_path.parent.iterdir())
    facts = json.loads((settings.published_dir / "000001" / "generation.json").read_text())
    assert facts["number"] == 1
