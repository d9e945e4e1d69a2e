"""Damage on the volume: what the next run and a reader do about it, and that no row of history is lost."""

import gzip
import logging
import os
import re
import shutil
from pathlib import Path

import duckdb
import pytest

import volume_damage as damaged
import warehouse
from dbtpod.errors import VolumeFull, WarehouseUnusable
from dbtpod.warehouse import health
from dbtpod.warehouse.publish import Publisher
from dbtpod.warehouse.volume import Volume
from dbtpod.warehouse.warehouse import DuckDBFile
from dbtpod.warehouse.working_copy import WorkingCopy
from record import DATA
from volume_damage import Case, Say, cases
from warehouse import LOG


@cases(damaged.LOST_LINKS, damaged.FACTS, damaged.OWNERS, damaged.OLD)
def test_the_next_run_puts_right_what_it_can_with_a_warning_and_all_history(
    kept: DuckDBFile, case: Case, caplog: pytest.LogCaptureFixture
) -> None:
    case.inflict(kept)

    damaged.build(kept)

    assert damaged.history(kept.readable) == [1, 2, 3, 4]
    [warning, *_] = [one.getMessage() for one in caplog.records if one.levelno == logging.WARNING]
    assert case.path in warning
    caplog.clear()
    damaged.build(kept)
    if case not in damaged.OLD:
        assert not [one for one in caplog.records if one.levelno >= logging.WARNING], "once is enough"


@cases(damaged.KINDS)
def test_the_next_run_refuses_what_needs_a_person_and_goes_on_after_the_repair(
    kept: DuckDBFile, case: Case, say: Say
) -> None:
    case.inflict(kept)
    before = {path.name for path in kept.volume.published.iterdir()}

    for _ in range(2):
        with pytest.raises(WarehouseUnusable, match=case.path) as caught:
            damaged.build(kept)
        assert "dbtpod generations repair" in str(caught.value)
    assert {path.name for path in kept.volume.published.iterdir()} == before, "a try leaves nothing behind"
    code, said = say(kept, "repair")

    assert (code, case.path in said) == (0, True), said
    damaged.build(kept)
    assert damaged.history(kept.readable) == [1, 2, 3, 4]


@cases(damaged.DATABASES)
def test_a_damaged_build_is_refused_before_it_is_copied_with_the_way_back(kept: DuckDBFile, case: Case) -> None:
    case.inflict(kept)

    if case.heals:
        damaged.build(kept)
    else:
        with pytest.raises(WarehouseUnusable, match=case.path) as caught:
            damaged.build(kept)
        [number] = re.findall(r"generations rollback (\d+)", str(caught.value))
        kept.publisher.roll_back(int(number))
        damaged.build(kept)

    assert damaged.history(kept.readable) == [1, 2, 3], "the third build is lost; a new one is the third"


def test_a_cut_build_is_named_with_both_sizes(kept: DuckDBFile) -> None:
    path = damaged.generation(kept, 3) / "warehouse.duckdb"
    whole = path.stat().st_size
    path.write_bytes(path.read_bytes()[:9000])

    with pytest.raises(WarehouseUnusable, match=f"000003/warehouse.duckdb has 9000 bytes, and had {whole} when"):
        damaged.build(kept)


def test_a_lost_link_prunes_nothing(kept: DuckDBFile) -> None:
    damaged.current(kept).unlink()

    kept.publisher.prune()
    kept.publisher.prune()

    assert list(kept.generations.entries()) == [1, 2, 3]


def test_damaged_builds_do_not_push_out_whole_ones(kept: DuckDBFile) -> None:
    for number in (2, 3):
        damaged.database(number, lambda whole: whole[:5000])(kept)
    kept.publisher.make_current(1)

    numbers = [damaged.build(kept) for _ in range(2)]

    assert numbers == [4, 5]
    assert list(kept.generations.entries()) == [1, 2, 3, 4, 5]
    assert damaged.history(kept.readable) == [1, 2, 3]


def test_where_no_generation_is_whole_nothing_begins_from_nothing_until_a_person_brings_a_backup(
    kept: DuckDBFile, tmp_path: Path, say: Say
) -> None:
    backup = shutil.copy(damaged.generation(kept, 2) / "warehouse.duckdb", tmp_path / "backup.duckdb")
    for number in (1, 2, 3):
        damaged.database(number, lambda whole: whole[:5000])(kept)
    damaged.current(kept).unlink()

    with pytest.raises(
        WarehouseUnusable, match=f"copy a whole DuckDB file, such as a backup, to {kept.volume.database}"
    ):
        damaged.build(kept)
    code, said = say(kept, "repair")
    assert code == 1
    assert "No generation is whole" in said
    assert list(kept.generations.entries()) == [1, 2, 3], "the last copies stay where they are"

    kept.volume.owner.unlink()
    shutil.copy(backup, kept.volume.database)
    damaged.build(kept)
    assert damaged.history(kept.readable) == [1, 2, 3]
    assert [one.run for one in kept.generations.all()][3:] == ["imported", "run"]


def test_a_link_to_generations_that_are_all_gone_is_not_a_new_volume(kept: DuckDBFile) -> None:
    for number in (1, 2, 3):
        shutil.rmtree(damaged.generation(kept, number))

    with pytest.raises(WarehouseUnusable, match="published/current points to 000003, which is no generation here"):
        damaged.build(kept)


def test_only_a_volume_without_generations_is_new_and_the_log_says_that_it_begins_empty(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        damaged.build(warehouse.new(tmp_path))

    assert "Nothing was published on" in caplog.text
    assert not [one for one in caplog.records if one.levelno >= logging.WARNING]


def test_a_copy_of_the_link_alone_becomes_a_generation_by_repair(kept: DuckDBFile, say: Say) -> None:
    damaged.a_copy_instead_of_the_link(kept)
    for number in (1, 2, 3):
        shutil.rmtree(damaged.generation(kept, number))

    assert say(kept, "repair")[0] == 0

    damaged.build(kept)
    assert damaged.history(kept.readable) == [1, 2, 3]


def test_builds_under_another_files_name_are_found_and_named(kept: DuckDBFile) -> None:
    kept.volume.database.unlink()
    kept.volume.owner.unlink()
    other = DuckDBFile(Publisher(Volume(kept.volume.database.with_name("shop.duckdb")), keep=3))

    with pytest.raises(WarehouseUnusable, match=r"holds no shop.duckdb, but warehouse.duckdb: DUCKDB_PATH has another"):
        damaged.build(other)


def test_a_lost_link_does_not_fall_behind_a_build_of_a_newer_duckdb(kept: DuckDBFile) -> None:
    newer = gzip.decompress((DATA / "written-by-duckdb-2.0.0.duckdb.gz").read_bytes())
    damaged.database(3, lambda _: newer)(kept)
    damaged.facts(3, damaged.changed(size=len(newer)))(kept)
    damaged.current(kept).unlink()

    with pytest.raises(WarehouseUnusable, match="newer DuckDB than the"):
        damaged.build(kept)


def test_a_number_that_was_set_aside_does_not_come_back(kept: DuckDBFile, say: Say) -> None:
    damaged.database(3, lambda whole: whole[:5000])(kept)
    assert say(kept, "repair")[0] == 0
    assert list(kept.generations.entries()) == [1, 2]

    assert damaged.build(kept) == 4


def test_a_working_copy_whose_owner_is_not_known_is_set_aside_and_not_lost(kept: DuckDBFile) -> None:
    kept.volume.database.unlink()
    with duckdb.connect(kept.volume.database) as connection:
        connection.execute("CREATE TABLE precious AS SELECT 42 AS answer")
    kept.volume.owner.write_text("{{{")

    damaged.build(kept)

    [kept] = kept.volume.aside.glob("*-work-warehouse.duckdb")
    with duckdb.connect(kept, read_only=True) as connection:
        assert connection.execute("FROM precious").fetchall() == [(42,)]


def test_a_file_brought_after_a_published_build_becomes_a_generation(kept: DuckDBFile, tmp_path: Path) -> None:
    damaged.build(kept)
    shutil.copy(damaged.generation(kept, 2) / "warehouse.duckdb", kept.volume.database)

    damaged.build(kept)

    assert damaged.history(kept.readable) == [1, 2, 3]
    assert "imported" in [one.run for one in kept.generations.all()]


def test_a_link_where_the_working_copy_belongs_is_refused_and_not_published(kept: DuckDBFile, tmp_path: Path) -> None:
    shutil.move(kept.volume.database, tmp_path / "elsewhere.duckdb")
    kept.volume.database.symlink_to(tmp_path / "elsewhere.duckdb")

    with pytest.raises(WarehouseUnusable, match=r"is a link to .*elsewhere.duckdb.*cp --remove-destination"):
        damaged.build(kept)


# --- readers ---


@cases(damaged.LOST_LINKS, damaged.FACTS, damaged.OWNERS, damaged.OLD, damaged.KINDS)
def test_a_reader_reads_a_whole_build_whatever_is_damaged(kept: DuckDBFile, case: Case) -> None:
    case.inflict(kept)
    before = damaged.every_file(kept.volume.root)

    readable = kept.read(LOG)

    assert damaged.history(readable)[:2] == [1, 2]
    assert damaged.every_file(kept.volume.root) == before, "a reader changes nothing"


@cases(damaged.DATABASES)
def test_a_reader_of_a_damaged_build_gets_its_name_and_the_way_back(kept: DuckDBFile, case: Case) -> None:
    case.inflict(kept)

    if case.heals:
        assert damaged.history(kept.read(LOG)) == [1, 2]
    else:
        with pytest.raises(WarehouseUnusable, match=rf"(?s){case.path} .*generations rollback 2"):
            kept.read(LOG)


def test_a_full_volume_does_not_stop_a_run_for_the_sake_of_facts(
    kept: DuckDBFile, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    damaged.facts(3, damaged.content(b"{"))(kept)
    with monkeypatch.context() as patch, warehouse.alone(kept):
        patch.setattr("dbtpod.warehouse.durable.write_json", _no_room)
        health.make_ready(kept.publisher, LOG)

    assert "No space left on device" in caplog.text
    with pytest.raises(VolumeFull), monkeypatch.context() as patch, warehouse.alone(kept):
        patch.setattr("dbtpod.warehouse.durable.write_json", _no_room)
        WorkingCopy(kept.publisher, "run", LOG).check_out()


def _no_room(*_: object) -> None:
    raise OSError(28, os.strerror(28))
