"""Settings come from the environment, all paths from DUCKDB_PATH, and every mistake is named at once."""

import os
from pathlib import Path

import pytest

from dbtpod.errors import SettingsError
from dbtpod.settings import for_project, from_environment

PROJECT = Path(__file__).parents[2] / "dbt_project"


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    return {"DUCKDB_PATH": str(tmp_path / "work" / "warehouse.duckdb"), "DBT_PROJECT_DIR": str(PROJECT)}


def test_every_path_of_the_volume_follows_from_duckdb_path(environment: dict[str, str], tmp_path: Path) -> None:
    settings = from_environment(environment)

    assert settings.volume == tmp_path
    assert settings.lock_path == tmp_path / "writer.lock"
    assert settings.readable_path == tmp_path / "published" / "current" / "warehouse.duckdb"
    assert settings.runs_dir == tmp_path / "runs"


def test_without_publishing_readers_open_the_file_that_is_built(environment: dict[str, str], tmp_path: Path) -> None:
    settings = from_environment(environment | {"DBTPOD_PUBLISH": "false"})

    assert settings.readable_path == tmp_path / "work" / "warehouse.duckdb"


def test_a_missing_duckdb_path_says_what_to_give(environment: dict[str, str]) -> None:
    del environment["DUCKDB_PATH"]

    with pytest.raises(SettingsError, match=r"DUCKDB_PATH is not set: .*/data/work/warehouse\.duckdb"):
        from_environment(environment)


@pytest.mark.parametrize("path", ["warehouse.duckdb", "work/warehouse.duckdb", "/warehouse.duckdb"])
def test_a_path_that_is_relative_or_too_shallow_is_refused(environment: dict[str, str], path: str) -> None:
    with pytest.raises(SettingsError, match="must be absolute"):
        from_environment(environment | {"DUCKDB_PATH": path})


def test_a_volume_that_is_not_mounted_is_named(environment: dict[str, str], tmp_path: Path) -> None:
    environment["DUCKDB_PATH"] = str(tmp_path / "absent" / "work" / "warehouse.duckdb")

    with pytest.raises(SettingsError, match=f"the folder {tmp_path / 'absent'} does not exist: create or mount it"):
        from_environment(environment)


@pytest.mark.skipif(os.getuid() == 0, reason="root may write anywhere; the cluster test covers a pod's user")
def test_a_volume_that_may_not_be_written_names_the_user_and_the_way_out(
    environment: dict[str, str], tmp_path: Path
) -> None:
    tmp_path.chmod(0o500)

    with pytest.raises(SettingsError, match=f"uid {os.getuid()} may not write .*fsGroup"):
        from_environment(environment)


def test_all_mistakes_are_told_at_once() -> None:
    wrong = {
        "DUCKDB_PATH": "x.duckdb",
        "DBT_PROJECT_DIR": "/nowhere",
        "DBTPOD_PUBLISH": "yes",
        "DBTPOD_KEEP_GENERATIONS": "0",
    }

    with pytest.raises(SettingsError) as raised:
        from_environment(wrong)

    assert all(name in str(raised.value) for name in wrong)


def test_an_image_is_built_where_the_volume_is_not(environment: dict[str, str]) -> None:
    settings = for_project(environment | {"DUCKDB_PATH": "/absent/work/warehouse.duckdb"})

    assert settings.project_dir == PROJECT


@pytest.mark.parametrize(
    ("pod_bytes", "limit"),
    [("1073741824", "572MB"), ("8589934592", "6960MB"), ("134217728", "128MB")],
)
def test_duckdb_gets_what_the_pods_limit_leaves_beside_the_interpreters(
    environment: dict[str, str], pod_bytes: str, limit: str
) -> None:
    assert from_environment(environment | {"DBTPOD_POD_MEMORY_BYTES": pod_bytes}).memory_limit == limit


def test_an_explicit_memory_limit_wins_over_the_pods(environment: dict[str, str]) -> None:
    given = {"DBTPOD_POD_MEMORY_BYTES": "8589934592", "DBTPOD_MEMORY_LIMIT": "2GB"}

    assert from_environment(environment | given).memory_limit == "2GB"
