"""The working copy: what a run begins from, and which files it refuses."""

import gzip
import logging
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest

import warehouse
from dbtpod.errors import WarehouseBusy, WarehouseUnusable
from dbtpod.settings import Settings
from dbtpod.warehouse import checkout, publish, published
from record import DATA

NEWER = DATA / "written-by-duckdb-2.0.0.duckdb.gz"


def test_a_run_begins_from_the_last_published_build_and_the_log_says_what_was_copied(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    warehouse.build(settings, 3)

    with caplog.at_level(logging.INFO):
        warehouse.check_out(settings, "run")

    assert warehouse.rows(settings.duckdb_path) == 3
    assert "Working copy: 0." in caplog.text
    assert "MB" in caplog.text


@pytest.fixture
def xfs_volume(tmp_path: Path) -> Iterator[Settings]:
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
    xfs_volume: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    warehouse.build(xfs_volume, 3)

    with caplog.at_level(logging.INFO):
        warehouse.check_out(xfs_volume, "run")
    warehouse.write(xfs_volume, 4)

    assert "no bytes copied" in caplog.text
    assert warehouse.rows(xfs_volume.readable_path) == 3
    assert warehouse.rows(xfs_volume.duckdb_path) == 4


def test_a_failed_build_publishes_nothing_and_the_next_run_begins_from_the_last_good_one(settings: Settings) -> None:
    warehouse.build(settings, 3)
    warehouse.check_out(settings, "failed")
    warehouse.write(settings, 8, log_stays=True)

    warehouse.check_out(settings, "next")

    assert warehouse.rows(settings.duckdb_path) == 3
    assert warehouse.rows(settings.readable_path) == 3


def test_after_a_first_build_that_failed_the_next_begins_with_nothing(settings: Settings) -> None:
    warehouse.check_out(settings, "failed")
    warehouse.write(settings, 8)

    warehouse.check_out(settings, "next")

    assert not settings.duckdb_path.exists()


def test_a_file_that_no_run_made_becomes_a_generation_and_survives_a_failed_build(settings: Settings) -> None:
    settings.duckdb_path.parent.mkdir()
    warehouse.write(settings, 12)

    warehouse.check_out(settings, "run")
    warehouse.write(settings, 1)
    warehouse.check_out(settings, "next")

    assert warehouse.rows(settings.readable_path) == 12
    assert warehouse.rows(settings.duckdb_path) == 12
    assert [generation.run for generation in published.generations(settings)] == ["adopted"]


def test_a_run_finds_its_own_working_copy_again_unless_something_else_was_made_current(settings: Settings) -> None:
    warehouse.build(settings, 1)
    warehouse.build(settings, 2)
    assert not checkout.owned_by(settings, "evicted")
    warehouse.check_out(settings, "evicted")

    assert checkout.owned_by(settings, "evicted")
    assert not checkout.owned_by(settings, "another")
    publish.roll_back(settings, 1)
    assert not checkout.owned_by(settings, "evicted")


def test_a_working_copy_that_a_shell_writes_to_is_not_taken_away(settings: Settings) -> None:
    warehouse.build(settings, 1)
    warehouse.check_out(settings, "run")
    code = "import sys, duckdb; c = duckdb.connect(sys.argv[1]); print('open', flush=True); sys.stdin.readline()"
    shell = subprocess.Popen(
        [sys.executable, "-c", code, str(settings.duckdb_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert shell.stdout is not None
        assert shell.stdout.readline() == "open\n"
        with pytest.raises(WarehouseBusy, match=rf"open for writing in DuckDB by process {shell.pid}"):
            warehouse.check_out(settings, "next")
        with pytest.raises(WarehouseBusy, match="Could not set lock"):
            warehouse.publish_as(settings, "run")
    finally:
        shell.kill()
        shell.communicate()

    warehouse.check_out(settings, "next")


# --- files that DuckDB cannot open ---


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (gzip.decompress(NEWER.read_bytes()), rf"newer DuckDB than the {duckdb.__version__} here"),
        (b"no database, but some text\n" * 1000, "not a valid DuckDB database file"),
        (b"", "not a valid DuckDB database file"),
    ],
)
@pytest.mark.parametrize("publishing", [True, False])
def test_a_file_that_this_duckdb_cannot_read_is_named_and_kept(
    tmp_path: Path, content: bytes, said: str, publishing: bool
) -> None:
    settings = warehouse.new(tmp_path, publish=publishing)
    settings.duckdb_path.parent.mkdir()
    settings.duckdb_path.write_bytes(content)

    with pytest.raises(WarehouseUnusable, match=said) as caught:
        warehouse.check_out(settings, "run")

    assert "Nothing was deleted" in str(caught.value)
    assert settings.duckdb_path.read_bytes() == content


def test_a_damaged_published_build_is_not_built_on_and_the_error_names_the_way_back(settings: Settings) -> None:
    warehouse.build(settings, 1)
    damaged = warehouse.build(settings, 2).database
    damaged.write_bytes(damaged.read_bytes()[:5000])

    with pytest.raises(WarehouseUnusable, match=r"generations rollback 1"):
        warehouse.check_out(settings, "run")

    publish.roll_back(settings, 1)
    warehouse.check_out(settings, "run")
    assert warehouse.rows(settings.duckdb_path) == 1


# --- building in place ---


def test_without_publishing_a_run_builds_on_the_file_itself(tmp_path: Path) -> None:
    settings = warehouse.new(tmp_path, publish=False)
    warehouse.check_out(settings, "first")
    warehouse.write(settings, 6)

    warehouse.check_out(settings, "second")

    assert warehouse.rows(settings.readable_path) == 6


def test_publishing_can_be_switched_off_and_on_again_without_losing_a_row(tmp_path: Path) -> None:
    publishing, in_place = warehouse.new(tmp_path), warehouse.new(tmp_path, publish=False)
    warehouse.build(publishing, 2)
    warehouse.check_out(publishing, "failed")
    warehouse.write(publishing, 99)

    warehouse.check_out(in_place, "run")
    assert warehouse.rows(in_place.readable_path) == 2
    warehouse.write(in_place, 3)
    warehouse.check_out(in_place, "run")
    assert warehouse.rows(in_place.readable_path) == 3

    warehouse.check_out(publishing, "run")
    assert warehouse.rows(publishing.readable_path) == 3
    assert warehouse.rows(publishing.duckdb_path) == 3
