"""A volume without enough room: no step loses what was committed, and the error says how much is needed."""

import errno
import os
import resource
import signal
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import duckdb
import pytest

import warehouse
from dbtpod.errors import ExportUnusable, VolumeFull
from dbtpod.warehouse import durable, export, housekeeping, intake, lock, publish_preview
from dbtpod.warehouse.archive import Source
from dbtpod.warehouse.warehouse import DuckDBFile
from dbtpod.warehouse.working_copy import WorkingCopy
from dying import dies_at
from warehouse import LOG


@pytest.fixture
def small_volume(tmp_path: Path) -> Iterator[DuckDBFile]:
    """A volume of 2 MB; a DuckDB file of these tests is 0.3 to 0.8 MB."""
    folder = tmp_path / "small"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)], capture_output=True)
    if mounted.returncode:
        pytest.skip(f"a small volume needs the right to mount: {mounted.stderr.decode().strip()}")
    yield warehouse.new(folder)
    subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(kept: DuckDBFile, leave: int) -> Path:
    filler = kept.volume.root / "filler"
    status = os.statvfs(kept.volume.root)
    filler.write_bytes(bytes(max(0, status.f_bavail * status.f_frsize - leave)))
    return filler


def test_without_room_for_the_working_copy_nothing_is_copied_and_the_error_says_how_much_is_needed(
    small_volume: DuckDBFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    size = warehouse.build(small_volume, 1).size
    filler = fill(small_volume, leave=size // 2)

    with monkeypatch.context() as patch:
        patch.setattr(durable, "copy", lambda *_: pytest.fail("copied though there is no room"))
        with pytest.raises(VolumeFull, match=rf"needs {size / 1e6:.1f} MB, and 0\.\d MB is free"):
            warehouse.check_out(small_volume, "run")

    assert warehouse.rows(small_volume.readable) == 1
    assert not list(small_volume.volume.root.rglob(".*.tmp"))
    filler.unlink()
    warehouse.build(small_volume, 2)
    assert warehouse.rows(small_volume.readable) == 2


def test_without_room_to_publish_the_working_copy_stays_and_readers_keep_the_old_build(
    small_volume: DuckDBFile, tmp_path: Path
) -> None:
    manifest = tmp_path / "manifest.json"
    manifest.write_bytes(bytes(300_000))
    warehouse.build(small_volume, 1)
    warehouse.check_out(small_volume, "run")
    warehouse.write(small_volume, 2)
    filler = fill(small_volume, leave=100_000)

    with pytest.raises(VolumeFull, match=r"publishing dbt's artifacts needs 0\.3 MB"):
        warehouse.publish_as(small_volume, "run", [manifest])

    assert warehouse.rows(small_volume.readable) == 1
    assert not list(small_volume.volume.root.rglob(".*.tmp"))
    assert warehouse.is_own(small_volume, "run")
    filler.unlink()
    warehouse.publish_as(small_volume, "run", [manifest])
    assert warehouse.rows(small_volume.readable) == 2


@pytest.mark.parametrize("has_links", [True, False], ids=["a second name", "a copy"])
def test_without_room_to_publish_a_preview_it_stays_and_readers_keep_the_old_build(
    small_volume: DuckDBFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, has_links: bool
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    manifest = tmp_path / "manifest.json"
    manifest.write_bytes(bytes(150_000 if has_links else 10))
    warehouse.build(small_volume, 1)
    preview = warehouse.keep_aside(small_volume, 2, "run", [manifest])
    filler = fill(small_volume, leave=100_000)
    if not has_links:
        monkeypatch.setattr(os, "link", refuse)

    with pytest.raises(VolumeFull, match=r"publishing of preview-1 needs more|a copy of .* needs 0\.\d MB"):
        publish_preview.publish(small_volume.publisher, 1)

    assert warehouse.rows(small_volume.readable) == 1
    assert small_volume.previews.all() == [preview]
    assert not list(small_volume.volume.root.rglob(".*.tmp"))
    filler.unlink()
    publish_preview.publish(small_volume.publisher, 1)
    assert warehouse.rows(small_volume.readable) == 2


def test_without_room_for_the_checkpoint_nothing_committed_is_lost(small_volume: DuckDBFile) -> None:
    warehouse.build(small_volume, 1)
    warehouse.check_out(small_volume, "run")
    with duckdb.connect(small_volume.volume.database) as connection:
        connection.execute("PRAGMA disable_checkpoint_on_shutdown; SET checkpoint_threshold = '1GB'")
        connection.execute("CREATE TABLE noise AS SELECT uuid() AS id FROM range(8000)")
    filler = fill(small_volume, leave=4096)

    with pytest.raises(VolumeFull, match="needs"):
        warehouse.publish_as(small_volume, "run")

    assert warehouse.rows(small_volume.readable) == 1
    filler.unlink()
    warehouse.publish_as(small_volume, "run")
    with duckdb.connect(small_volume.readable, read_only=True) as connection:
        assert connection.execute("SELECT count(*) FROM noise").fetchall() == [(8000,)]


def test_without_room_for_an_import_nothing_of_it_is_left(small_volume: DuckDBFile, tmp_path: Path) -> None:
    """Of a file it is known before the first byte is kept; of a DuckDB file through a pipe only when it is full."""
    built = warehouse.build(warehouse.new(tmp_path), 2)
    with export.file(tmp_path / "shop.tar") as send:
        export.send(warehouse.new(tmp_path).generations, None, send)
    warehouse.build(small_volume, 1)
    fill(small_volume, leave=100_000)
    before = sorted(small_volume.volume.published.iterdir())

    for kind, path, needed in ((Source, tmp_path / "shop.tar", r"0\.\d MB"), (Piped, built.database, "more")):
        with (
            path.open("rb", buffering=0) as file,
            pytest.raises(VolumeFull, match=f"an import needs {needed}, and 0\\.1 MB is free"),
            intake.receive(small_volume.volume, kind(path.name, file)),
        ):
            pytest.fail("received though there is no room")

        assert warehouse.rows(small_volume.readable) == 1
        assert sorted(small_volume.volume.published.iterdir()) == before


class Piped(Source):
    """Of which it is not known how much there is to come."""

    size = 0


def test_an_export_that_finds_no_room_leaves_no_file(small_volume: DuckDBFile, tmp_path: Path) -> None:
    warehouse.build(small_volume, 1)
    fill(small_volume, leave=100_000)

    with (
        pytest.raises(ExportUnusable, match=r"shop\.tar cannot be written: No space left on device"),
        export.file(small_volume.volume.root / "shop.tar") as send,
    ):
        export.send(small_volume.generations, None, send)

    assert not list(small_volume.volume.root.glob("*shop*"))


def test_on_a_volume_without_a_byte_left_every_step_says_that_it_is_full(small_volume: DuckDBFile) -> None:
    warehouse.build(small_volume, 1)
    fill(small_volume, leave=0)
    holder = lock.Holder("run", "pod", datetime.now(UTC))

    with (
        pytest.raises(VolumeFull, match=r"needs 0\.\d MB, and 0\.0 MB is free"),
        lock.hold(small_volume.volume.lock, holder, 0),
    ):
        WorkingCopy(small_volume.publisher, "run", LOG).check_out()

    housekeeping.clean(small_volume.publisher, "run")
    assert warehouse.rows(small_volume.readable) == 1
    assert not list(small_volume.volume.root.rglob(".*.tmp"))


@pytest.mark.parametrize(("limit", "said"), [(100_000, "the working copy of"), (10, "a new working copy")])
def test_a_limit_on_the_size_of_files_counts_as_a_full_volume(tmp_path: Path, limit: int, said: str) -> None:
    """The first dies in the copy; the second, which has nothing to copy, in writing owner.json."""
    kept = warehouse.new(tmp_path)
    if limit > 10:
        warehouse.build(kept, 1)

    def limited() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        with pytest.raises(VolumeFull, match=said):
            warehouse.check_out(kept, "run")

    assert dies_at(0, limited)
    assert not list(kept.volume.root.rglob(".*.tmp"))
