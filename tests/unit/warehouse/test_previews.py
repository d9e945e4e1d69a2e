"""Builds that are kept aside: made, listed, published where their base is still current, removed."""

import errno
import os
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

import volume_damage as damaged
import warehouse
from dbtpod.errors import WarehouseBusy, WarehouseUnusable
from dbtpod.warehouse import health, housekeeping, lock, publish_preview
from dbtpod.warehouse.publish import READER_SECONDS
from dbtpod.warehouse.warehouse import DuckDBFile
from dbtpod.warehouse.working_copy import WorkingCopy
from warehouse import LOG, Command


def test_a_build_that_is_kept_aside_is_whole_with_its_facts_and_readers_see_what_they_saw(
    kept: DuckDBFile, artifacts: tuple[Path, ...]
) -> None:
    warehouse.build(kept, 1)

    preview = warehouse.keep_aside(kept, 2, "slow-owl", artifacts)

    assert preview.database == kept.volume.root / "previews" / "000001" / "warehouse.duckdb"
    assert warehouse.rows(preview.database) == 2
    assert warehouse.rows(kept.readable) == 1
    assert list(kept.generations.entries()) == [1]
    assert (preview.run, preview.base, preview.size) == ("slow-owl", 1, preview.database.stat().st_size)
    assert kept.previews.all() == [preview]
    assert {path.name for path in preview.database.parent.iterdir()} == {
        *("generation.json", "manifest.json", "run_results.json", "warehouse.duckdb")
    }
    assert list(kept.volume.work.iterdir()) == []


def test_the_next_build_begins_from_what_is_published_and_not_from_a_preview(kept: DuckDBFile) -> None:
    warehouse.build(kept, 1)
    warehouse.keep_aside(kept, 2)

    warehouse.check_out(kept, "next")

    assert warehouse.rows(kept.volume.database) == 1


def test_keeping_aside_needs_the_lock_and_the_runs_own_file(kept: DuckDBFile) -> None:
    warehouse.check_out(kept, "mine")
    warehouse.write(kept, 2)
    kept.volume.owner.write_text('{"run": "other", "base": null}')

    with pytest.raises(WarehouseUnusable, match="belongs to run other"):
        warehouse.keep_aside_as(kept, "mine")

    assert warehouse.rows(kept.volume.database) == 2
    assert kept.previews.all() == []


def test_list_shows_previews_in_a_second_part(kept: DuckDBFile, command: Command) -> None:
    warehouse.build(kept, 1, "quick-fox")
    warehouse.keep_aside(kept, 2, "slow-owl")

    lines = command(kept, "list").stdout.splitlines()

    assert lines[1].startswith("* 1 ")
    assert lines[2] == ""
    assert lines[3].split() == ["preview", "kept", "aside", "size", "by", "built", "run"]
    assert lines[4].startswith("  preview-1  ")
    assert lines[4].endswith("from 1  slow-owl")
    assert len(lines) == 5


def test_diff_takes_numbers_current_and_previews(kept: DuckDBFile, command: Command) -> None:
    warehouse.build(kept, 2)
    warehouse.keep_aside(kept, 5)

    done = command(kept, "diff", "current", "preview-1")

    assert "rows in current  rows in preview-1" in done.stdout
    assert "changed  main.orders     2                5                  3      0        -" in done.stdout
    assert command(kept, "diff", "1", "current").stdout == "1 and current hold the same.\n"
    assert "There is no preview-9 in " in command(kept, "diff", "1", "preview-9").stderr


def test_diff_with_current_says_so_where_nothing_is_published(kept: DuckDBFile, command: Command) -> None:
    warehouse.keep_aside(kept, 5)

    done = command(kept, "diff", "current", "preview-1")

    assert (done.returncode, done.stdout) == (1, "")
    assert f"Nothing is published in {kept.volume.published} yet." in done.stderr


def test_a_preview_is_published_as_the_next_generation_with_what_belongs_to_it(
    kept: DuckDBFile, artifacts: tuple[Path, ...], command: Command
) -> None:
    warehouse.build(kept, 1)
    preview = warehouse.keep_aside(kept, 2, "slow-owl", artifacts)
    inode = preview.database.stat().st_ino

    done = command(kept, "publish", "preview-1")

    assert done.stdout.startswith("Readers now see generation 2, which was preview-1, built by slow-owl.")
    assert "To undo: dbtpod generations rollback 1" in done.stdout
    assert warehouse.rows(kept.readable) == 2
    [_, made] = kept.generations.all()
    assert (made.number, made.run, made.base, made.size) == (2, "slow-owl", 1, preview.size)
    assert {path.name for path in made.database.parent.iterdir()} == {
        *("generation.json", "manifest.json", "run_results.json", "warehouse.duckdb")
    }
    assert made.database.stat().st_ino == inode, "no byte was copied"
    assert kept.previews.all() == []
    assert command(kept, "check").returncode == 0


def test_a_preview_of_the_first_build_is_published_too(kept: DuckDBFile, command: Command) -> None:
    warehouse.keep_aside(kept, 2)

    assert command(kept, "publish", "preview-1").returncode == 0

    assert warehouse.rows(kept.readable) == 2


def test_where_files_have_no_second_name_the_preview_is_copied(
    kept: DuckDBFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuses(*_: object) -> None:
        raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))

    warehouse.build(kept, 1)
    warehouse.keep_aside(kept, 2)
    monkeypatch.setattr(os, "link", refuses)

    publish_preview.publish(kept.publisher, 1)

    assert warehouse.rows(kept.readable) == 2
    assert kept.previews.all() == []


def test_a_preview_whose_base_was_replaced_is_refused_with_each_build_in_between(
    kept: DuckDBFile, command: Command
) -> None:
    warehouse.build(kept, 1)
    warehouse.keep_aside(kept, 9)
    between = [warehouse.build(kept, 2, "quick-fox"), warehouse.build(kept, 3, "slow-owl")]

    done = command(kept, "publish", "preview-1")

    assert (done.returncode, done.stdout) == (1, "")
    assert "preview-1 began from generation 1, but generation 3 is current" in done.stderr
    for one in between:
        assert f"{one.number} (run {one.run}, {one.at.isoformat(' ', 'seconds')})" in done.stderr
    assert "Run it again" in done.stderr
    assert warehouse.rows(kept.readable) == 3
    assert [one.number for one in kept.previews.all()] == [1]


def test_builds_in_between_that_were_removed_since_are_counted(tmp_path: Path) -> None:
    kept = warehouse.new(tmp_path, keep=1)
    warehouse.keep_aside(kept, 9)
    for rows in (1, 2, 3):
        warehouse.build(kept, rows, f"run-{rows}")

    with pytest.raises(WarehouseUnusable, match=r"began from nothing, .* 2 \(run run-2, .* 3 \(run run-3, .*, 1 more"):
        publish_preview.publish(kept.publisher, 1)


def test_a_rollback_below_the_base_is_named_and_one_to_the_base_lets_it_be_published(
    kept: DuckDBFile, command: Command
) -> None:
    for rows in (1, 2):
        warehouse.build(kept, rows)
    warehouse.keep_aside(kept, 9)

    kept.publisher.roll_back(1)
    assert "generation 1 is current, somebody went back to it" in command(kept, "publish", "preview-1").stderr
    kept.publisher.roll_back(2)
    assert command(kept, "publish", "preview-1").returncode == 0

    assert warehouse.rows(kept.readable) == 9


def test_publishing_and_removing_wait_for_a_build_and_say_who_it_is(kept: DuckDBFile) -> None:
    warehouse.build(kept, 1)
    warehouse.keep_aside(kept, 2)
    holder = lock.Holder("dbt-build/quick-fox", "pod-1", datetime.now(UTC))

    for action in (publish_preview.publish, publish_preview.remove_one):
        with lock.hold(kept.volume.lock, holder, 0), pytest.raises(WarehouseBusy, match="dbt-build/quick-fox"):
            action(kept.publisher, 1, timeout=0)

    assert warehouse.rows(kept.readable) == 1
    assert len(kept.previews.all()) == 1


def test_a_preview_that_a_process_had_published_before_it_died_is_not_published_twice(
    kept: DuckDBFile, command: Command
) -> None:
    warehouse.build(kept, 1)
    preview = warehouse.keep_aside(kept, 2)
    folder = preview.database.parent
    saved = kept.volume.root / "saved"
    saved.mkdir()
    for path in folder.iterdir():
        os.link(path, saved / path.name)
    publish_preview.publish(kept.publisher, 1)
    saved.rename(folder)

    done = command(kept, "publish", "preview-1")

    assert done.returncode == 0
    assert "Readers now see generation 2, which was preview-1" in done.stdout
    assert list(kept.generations.entries()) == [1, 2]
    assert kept.previews.all() == []


def test_a_damaged_preview_is_not_published(kept: DuckDBFile, command: Command) -> None:
    warehouse.build(kept, 1)
    preview = warehouse.keep_aside(kept, 2)
    preview.database.write_bytes(preview.database.read_bytes()[:5000])

    done = command(kept, "publish", "preview-1")

    assert "preview-1 is damaged: " in done.stderr
    assert "has 5000 bytes" in done.stderr
    assert "dbtpod generations remove preview-1" in done.stderr
    assert warehouse.rows(kept.readable) == 1


def test_a_preview_is_removed_and_its_number_never_comes_back(kept: DuckDBFile, command: Command) -> None:
    warehouse.build(kept, 1)
    warehouse.keep_aside(kept, 2)

    assert command(kept, "remove", "preview-1").stdout == "preview-1 is removed.\n"

    assert kept.previews.all() == []
    assert warehouse.keep_aside(kept, 3).number == 2
    publish_preview.publish(kept.publisher, 2)
    assert warehouse.keep_aside(kept, 4).number == 3
    assert "There is no preview-1 in " in command(kept, "remove", "preview-1").stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["publish", "7"], "'7' is not a preview such as `preview-3`"),
        (["remove", "current"], "'current' is not a preview"),
        (["diff", "current", "preview-x"], "'preview-x' is neither a generation's number, nor `current`"),
    ],
)
def test_another_name_is_answered_with_a_right_one(
    kept: DuckDBFile, command: Command, arguments: list[str], said: str
) -> None:
    done = command(kept, *arguments)

    assert done.returncode == 2
    assert said in done.stderr


# --- removed by age and number ---


def aged(kept: DuckDBFile, ages: list[float]) -> None:
    """Make a preview of each age, in days, the oldest first."""
    for days in ages:
        preview = warehouse.keep_aside(kept, 2)
        os.utime(preview.database.parent, (time.time() - days * 86400,) * 2)


def test_old_previews_go_by_age_and_by_number_at_the_start_of_the_next_run(kept: DuckDBFile) -> None:
    assert (housekeeping.KEEP_PREVIEWS, housekeeping.KEEP_DAYS) == (3, 14)
    warehouse.build(kept, 1)
    aged(kept, [15, 5, 4, 3])
    housekeeping.clean(kept.publisher, "run")
    assert [one.number for one in kept.previews.all()] == [2, 3, 4]

    aged(kept, [2, 1])
    housekeeping.clean(kept.publisher, "run")

    assert [one.number for one in kept.previews.all()] == [4, 5, 6]
    assert warehouse.rows(kept.readable) == 1


def test_a_preview_that_somebody_may_be_about_to_open_stays(kept: DuckDBFile) -> None:
    aged(kept, [0, 0, 0, 0])
    housekeeping.clean(kept.publisher, "run")
    assert len(kept.previews.all()) == 4

    os.utime(kept.previews.folder(1), (time.time() - READER_SECONDS - 1,) * 2)
    housekeeping.clean(kept.publisher, "run")

    assert [one.number for one in kept.previews.all()] == [2, 3, 4]


def test_what_a_crash_left_beside_the_previews_is_removed(kept: DuckDBFile) -> None:
    preview = warehouse.keep_aside(kept, 2)
    left = preview.database.parent.with_name(".000002.tmp")
    left.mkdir()
    (left / "warehouse.duckdb").write_bytes(b"half")

    housekeeping.clean(kept.publisher, "run")

    assert not left.exists()
    assert kept.previews.all() == [preview]


# --- damage ---


def test_damage_in_a_preview_is_named_stops_no_run_and_is_set_aside_by_repair(
    kept: DuckDBFile, command: Command
) -> None:
    warehouse.build(kept, 1)
    cut, whole = warehouse.keep_aside(kept, 2), warehouse.keep_aside(kept, 3)
    cut.database.write_bytes(cut.database.read_bytes()[:5000])
    kept.previews.folder(9).write_text("x")

    said = command(kept, "check").stdout
    assert f"{cut.database} has 5000 bytes, and had {cut.size}" in said
    assert f"{kept.previews.folder(9)} is a file where the folder of preview-9 belongs" in said
    assert len(said.splitlines()) == 2
    damaged.build(kept)
    assert command(kept, "repair").returncode == 0

    assert command(kept, "check").stdout.startswith(f"The volume {kept.volume.root} is whole: 2 generations, 1 preview")
    assert [one.number for one in kept.previews.all()] == [whole.number]
    assert len(list(kept.volume.aside.rglob("warehouse.duckdb"))) == 1
    assert kept.generations.next_number() == 3, "the number of a preview that was set aside is no generation's"
    assert kept.previews.next_number() == 10


def test_facts_of_a_preview_that_are_damaged_are_written_again_and_its_base_is_not_guessed(kept: DuckDBFile) -> None:
    warehouse.build(kept, 1)
    preview = warehouse.keep_aside(kept, 2)
    preview.database.with_name("generation.json").write_text("{")

    with warehouse.alone(kept):
        health.make_ready(kept.publisher, LOG)

    with pytest.raises(WarehouseUnusable, match="generation 1 is current"):
        publish_preview.publish(kept.publisher, 1)


# --- a run that ended well, and of which nothing is kept ---


def test_a_working_copy_that_is_dropped_is_gone_with_its_owner_and_is_no_database_of_somebody(
    kept: DuckDBFile,
) -> None:
    warehouse.build(kept, 1)
    with warehouse.alone(kept):
        copy = WorkingCopy(kept.publisher, "run", LOG)
        copy.check_out()
        warehouse.write(kept, 2, log_stays=True)
        copy.drop()

    assert list(kept.volume.work.iterdir()) == []
    warehouse.check_out(kept, "next")
    assert list(kept.generations.entries()) == [1]
    assert warehouse.rows(kept.volume.database) == 1


def test_a_working_copy_of_another_run_is_not_dropped(kept: DuckDBFile) -> None:
    warehouse.check_out(kept, "other")
    warehouse.write(kept, 2)

    with warehouse.alone(kept):
        WorkingCopy(kept.publisher, "run", LOG).drop()

    assert warehouse.is_own(kept, "other")
