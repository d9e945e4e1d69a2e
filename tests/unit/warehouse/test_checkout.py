"""The working copy: what a run begins from, and which files it refuses."""

import gzip
import logging
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import duckdb
import pytest

import warehouse
from dbtpod.errors import WarehouseBusy, WarehouseUnusable
from dbtpod.warehouse.warehouse import DuckDBFile, InPlace
from record import DATA

NEWER = DATA / "written-by-duckdb-2.0.0.duckdb.gz"


def test_a_run_begins_from_the_last_published_build_and_the_log_says_what_was_copied(
    kept: DuckDBFile, caplog: pytest.LogCaptureFixture
) -> None:
    warehouse.build(kept, 3)

    with caplog.at_level(logging.INFO):
        warehouse.check_out(kept, "run")

    assert warehouse.rows(kept.volume.database) == 3
    assert "Working copy: 0." in caplog.text
    assert "MB" in caplog.text


@pytest.fixture
def xfs_volume(tmp_path: Path) -> Iterator[DuckDBFile]:
    """A volume whose files can share blocks, on a file that takes 300 MB only in name."""
    folder, image = tmp_path / "xfs", tmp_path / "xfs.img"
    folder.mkdir()
    with image.open("wb") as file:
        file.truncate(300 << 20)
    made = subprocess.run(["sh", "-c", f"mkfs.xfs -q {image} && mount -o loop {image} {folder}"], capture_output=True)
    if made.returncode:
        pytest.skip(f"needs mkfs.xfs and the right to mount: {made.stderr.decode().strip()}")
    yield warehouse.new(folder)
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_where_the_filesystem_can_the_working_copy_shares_its_blocks_with_the_published_build(
    xfs_volume: DuckDBFile, caplog: pytest.LogCaptureFixture
) -> None:
    warehouse.build(xfs_volume, 3)

    with caplog.at_level(logging.INFO):
        warehouse.check_out(xfs_volume, "run")
    warehouse.write(xfs_volume, 4)

    assert "no bytes copied" in caplog.text
    assert warehouse.rows(xfs_volume.readable) == 3
    assert warehouse.rows(xfs_volume.volume.database) == 4


def test_a_failed_build_publishes_nothing_and_the_next_run_begins_from_the_last_good_one(kept: DuckDBFile) -> None:
    warehouse.build(kept, 3)
    warehouse.check_out(kept, "failed")
    warehouse.write(kept, 8, log_stays=True)

    warehouse.check_out(kept, "next")

    assert warehouse.rows(kept.volume.database) == 3
    assert warehouse.rows(kept.readable) == 3


def test_after_a_first_build_that_failed_the_next_begins_with_nothing(kept: DuckDBFile) -> None:
    warehouse.check_out(kept, "failed")
    warehouse.write(kept, 8)

    warehouse.check_out(kept, "next")

    assert not kept.volume.database.exists()


def test_a_file_that_no_run_made_becomes_a_generation_and_survives_a_failed_build(kept: DuckDBFile) -> None:
    kept.volume.work.mkdir()
    warehouse.write(kept, 12)

    warehouse.check_out(kept, "run")
    warehouse.write(kept, 1)
    warehouse.check_out(kept, "next")

    assert warehouse.rows(kept.readable) == 12
    assert warehouse.rows(kept.volume.database) == 12
    assert [generation.run for generation in kept.generations.all()] == ["imported"]


def test_a_run_finds_its_own_working_copy_again_unless_something_else_was_made_current(kept: DuckDBFile) -> None:
    warehouse.build(kept, 1)
    warehouse.build(kept, 2)
    assert not warehouse.is_own(kept, "evicted")
    warehouse.check_out(kept, "evicted")

    assert warehouse.is_own(kept, "evicted")
    assert not warehouse.is_own(kept, "another")
    kept.publisher.roll_back(1)
    assert not warehouse.is_own(kept, "evicted")


def test_a_working_copy_that_a_shell_writes_to_is_not_taken_away(kept: DuckDBFile) -> None:
    warehouse.build(kept, 1)
    warehouse.check_out(kept, "run")
    code = "import sys, duckdb; c = duckdb.connect(sys.argv[1]); print('open', flush=True); sys.stdin.readline()"
    shell = subprocess.Popen(
        [sys.executable, "-c", code, str(kept.volume.database)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert shell.stdout is not None
        assert shell.stdout.readline() == "open\n"
        with pytest.raises(WarehouseBusy, match=rf"open for writing in DuckDB by process {shell.pid}"):
            warehouse.check_out(kept, "next")
        with pytest.raises(WarehouseBusy, match="Could not set lock"):
            warehouse.publish_as(kept, "run")
    finally:
        shell.kill()
        shell.communicate()

    warehouse.check_out(kept, "next")


# --- files that DuckDB cannot open ---


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (gzip.decompress(NEWER.read_bytes()), rf"newer DuckDB than the {duckdb.__version__} here"),
        (b"no database, but some text\n" * 1000, "not a valid DuckDB database file"),
        (b"", "not a valid DuckDB database file"),
    ],
)
@pytest.mark.parametrize("new", [warehouse.new, warehouse.in_place])
def test_a_file_that_this_duckdb_cannot_read_is_named_and_kept(
    tmp_path: Path, content: bytes, said: str, new: Callable[[Path], DuckDBFile | InPlace]
) -> None:
    kept = new(tmp_path)
    kept.volume.work.mkdir()
    kept.volume.database.write_bytes(content)

    with pytest.raises(WarehouseUnusable, match=said) as caught:
        warehouse.check_out(kept, "run")

    assert "Nothing was deleted" in str(caught.value)
    assert kept.volume.database.read_bytes() == content


def test_a_damaged_published_build_is_not_built_on_and_the_error_names_the_way_back(kept: DuckDBFile) -> None:
    warehouse.build(kept, 1)
    damaged = warehouse.build(kept, 2).database
    damaged.write_bytes(damaged.read_bytes()[:5000])

    with pytest.raises(WarehouseUnusable, match=r"generations rollback 1"):
        warehouse.check_out(kept, "run")

    kept.publisher.roll_back(1)
    warehouse.check_out(kept, "run")
    assert warehouse.rows(kept.volume.database) == 1


# --- building in place ---


def test_without_publishing_a_run_builds_on_the_file_itself(tmp_path: Path) -> None:
    kept = warehouse.in_place(tmp_path)
    warehouse.check_out(kept, "first")
    warehouse.write(kept, 6)

    warehouse.check_out(kept, "second")

    assert warehouse.rows(kept.readable) == 6


def test_publishing_can_be_switched_off_and_on_again_without_losing_a_row(tmp_path: Path) -> None:
    publishing, in_place = warehouse.new(tmp_path), warehouse.in_place(tmp_path)
    warehouse.build(publishing, 2)
    warehouse.check_out(publishing, "failed")
    warehouse.write(publishing, 99)

    warehouse.check_out(in_place, "run")
    assert warehouse.rows(in_place.readable) == 2
    warehouse.write(in_place, 3)
    warehouse.check_out(in_place, "run")
    assert warehouse.rows(in_place.readable) == 3

    warehouse.check_out(publishing, "run")
    assert warehouse.rows(publishing.readable) == 3
    assert warehouse.rows(publishing.volume.database) == 3
