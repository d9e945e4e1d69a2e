"""Whole flow runs on a damaged volume: real dbt with an incremental history, real Prefect API."""

import logging
import subprocess
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest

from dbtpod.errors import SettingsError, WarehouseUnusable
from shop import write
from shop_flows import building, checking_freshness, run

# Each build adds a row, which no rebuild brings back.
HISTORY = """
{{ config(materialized="incremental") }}
select {% if is_incremental() %} (select max(build) + 1 from {{ this }}) {% else %} 1 {% endif %} as build
"""
SOURCES = """
sources:
  - name: raw
    schema: main
    tables:
      - name: history
        config: {loaded_at_query: "select now()", freshness: {error_after: {count: 1, period: day}}}
"""

pytestmark = pytest.mark.usefixtures("api")


@pytest.fixture
def volume(project: Path) -> Path:
    """An empty volume, for a project whose builds add to a history."""
    write(project, {"models/history.sql": HISTORY, "models/sources.yml": SOURCES})
    return project.parent / "volume"


@pytest.fixture
def mounted(volume: Path) -> Iterator[Path]:
    done = subprocess.run(["mount", "-t", "tmpfs", "tmpfs", str(volume)], capture_output=True)
    if done.returncode:
        pytest.skip(f"needs the right to mount: {done.stderr.decode().strip()}")
    yield volume
    subprocess.run(["umount", "-l", str(volume)], check=True)


def history(volume: Path) -> list[int]:
    path = volume / "published" / "current" / "warehouse.duckdb"
    with duckdb.connect(path, read_only=True) as connection:
        return [row[0] for row in connection.execute("SELECT build FROM history ORDER BY 1").fetchall()]


def test_a_build_after_the_link_was_lost_goes_on_from_the_newest_whole_build_and_says_so(
    volume: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert run(building).is_completed()
    assert run(building).is_completed()
    (volume / "published" / "current").unlink()
    (volume / "published" / "000001" / "generation.json").write_text("{")

    freshness = run(checking_freshness)
    state = run(building)

    assert freshness.is_completed(), freshness.message
    assert state.is_completed(), state.message
    assert history(volume) == [1, 2, 3]
    warnings = [one.getMessage() for one in caplog.records if one.levelno == logging.WARNING]
    assert any("published/current is missing. This run reads generation 2" in text for text in warnings)
    assert any("published/current is missing: generation 2, the newest" in text for text in warnings)
    assert any("000001/generation.json is not JSON" in text for text in warnings)


def test_a_build_that_finds_a_file_in_the_place_of_a_folder_fails_with_the_path_and_the_command(volume: Path) -> None:
    (volume / "runs").write_text("a file")

    state = run(building)

    assert isinstance(state.result(raise_on_failure=False), WarehouseUnusable)
    assert f"{volume}/runs is a file where a folder belongs" in str(state.message)
    assert "dbtpod generations repair" in str(state.message)


def test_on_a_volume_that_is_mounted_read_only_freshness_completes_and_a_build_gets_the_cause(mounted: Path) -> None:
    built = run(building)
    assert built.is_completed(), built.message
    subprocess.run(["mount", "-o", "remount,ro", str(mounted)], check=True)

    freshness, build = run(checking_freshness), run(building)

    assert freshness.is_completed(), freshness.message
    assert isinstance(build.result(raise_on_failure=False), SettingsError)
    assert "mounted read-only" in str(build.message)
