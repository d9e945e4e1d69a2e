"""Every path of the volume follows from DUCKDB_PATH, and a volume that cannot be used is named with the way out."""

import os
from pathlib import Path

import pytest

import warehouse
from dbtpod.errors import SettingsError
from dbtpod.warehouse.volume import Volume
from dbtpod.warehouse.warehouse import DuckDBFile


def test_every_path_of_the_volume_follows_from_duckdb_path(kept: DuckDBFile, tmp_path: Path) -> None:
    assert kept.volume.root == tmp_path
    assert kept.volume.lock == tmp_path / "writer.lock"
    assert kept.readable == tmp_path / "published" / "current" / "warehouse.duckdb"
    assert kept.volume.runs == tmp_path / "runs"


def test_without_publishing_readers_open_the_file_that_is_built(tmp_path: Path) -> None:
    assert warehouse.in_place(tmp_path).readable == tmp_path / "work" / "warehouse.duckdb"


def test_a_volume_that_is_not_mounted_is_named(tmp_path: Path) -> None:
    volume = Volume(tmp_path / "absent" / "work" / "warehouse.duckdb")

    with pytest.raises(SettingsError, match=f"the folder {tmp_path / 'absent'} does not exist: create or mount it"):
        volume.check(writes=False)


def test_a_file_in_the_place_of_the_volume_is_named(tmp_path: Path) -> None:
    (tmp_path / "data").touch()

    with pytest.raises(SettingsError, match="is a file: mount it there"):
        Volume(tmp_path / "data" / "work" / "warehouse.duckdb").check(writes=False)


@pytest.mark.skipif(os.getuid() == 0, reason="root may write anywhere; the cluster test covers a pod's user")
def test_a_volume_that_may_not_be_written_names_the_user_and_the_way_out(kept: DuckDBFile, tmp_path: Path) -> None:
    tmp_path.chmod(0o500)

    with pytest.raises(SettingsError, match=f"uid {os.getuid()} .* may not write .*fsGroup"):
        kept.volume.check(writes=True)
