"""Settings come from the environment, and every mistake is named at once."""

from pathlib import Path

import pytest

from dbtpod.dbt import effective_profile, kinds
from dbtpod.errors import SettingsError
from dbtpod.settings import duckdb_path, from_environment, writers

PROJECT = Path(__file__).parents[2] / "dbt_project"


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    return {"DUCKDB_PATH": str(tmp_path / "work" / "warehouse.duckdb"), "DBT_PROJECT_DIR": str(PROJECT)}


def test_a_missing_duckdb_path_says_what_to_give(environment: dict[str, str]) -> None:
    del environment["DUCKDB_PATH"]

    with pytest.raises(
        SettingsError, match=r"DUCKDB_PATH is not set, nor is DBTPOD_VOLUME: .*/data/work/warehouse\.duckdb"
    ):
        from_environment(environment)


@pytest.mark.parametrize("path", ["warehouse.duckdb", "work/warehouse.duckdb", "/warehouse.duckdb"])
def test_a_path_that_is_relative_or_too_shallow_is_refused(environment: dict[str, str], path: str) -> None:
    with pytest.raises(SettingsError, match="must be absolute"):
        from_environment(environment | {"DUCKDB_PATH": path})


@pytest.mark.parametrize("volume", ["data", "/"])
def test_a_volume_that_is_relative_or_everything_is_refused(environment: dict[str, str], volume: str) -> None:
    del environment["DUCKDB_PATH"]

    with pytest.raises(SettingsError, match=f"DBTPOD_VOLUME is '{volume}': it must be absolute"):
        from_environment(environment | {"DBTPOD_VOLUME": volume})


def test_the_file_on_the_volume_has_the_name_that_the_profile_gives_it(tmp_path: Path) -> None:
    (tmp_path / "dbt_project.yml").write_text("name: shop\nprofile: shop\n")
    (tmp_path / "profiles.yml").write_text(
        "shop: {target: dev, outputs: {dev: {type: duckdb, path: shop.db}, prod: {type: duckdb, path: all.db}}}"
    )
    environment = {"DBTPOD_VOLUME": "/data", "DBT_PROJECT_DIR": str(tmp_path)}

    with pytest.raises(SettingsError, match="has no name yet: run `dbtpod bake`"):
        from_environment(environment)
    assert duckdb_path(environment) is None
    effective_profile.write(tmp_path, {})

    assert from_environment(environment).duckdb_path == duckdb_path(environment) == Path("/data/work/shop.duckdb")
    assert duckdb_path(environment | {"DBT_TARGET": "prod"}) == Path("/data/work/all.duckdb")
    assert duckdb_path(environment | {"DUCKDB_PATH": "/a/work/own.duckdb"}) == Path("/a/work/own.duckdb")


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
    settings = from_environment(environment | {"DUCKDB_PATH": "/absent/work/warehouse.duckdb"})

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


@pytest.fixture
def of_two_kinds(tmp_path: Path) -> dict[str, str]:
    """A project with a target for each kind; the default one is a file."""
    (tmp_path / "dbt_project.yml").write_text("name: shop\nprofile: shop\n")
    outputs = "{dev: {type: duckdb, path: shop.duckdb}, prod: {type: postgres, host: db}}"
    (tmp_path / "profiles.yml").write_text(f"shop: {{target: dev, outputs: {outputs}}}")
    effective_profile.write(tmp_path, {})
    return {"DBTPOD_VOLUME": "/data", "DBT_PROJECT_DIR": str(tmp_path)}


def test_the_kind_that_nothing_declares_is_what_the_target_needs(of_two_kinds: dict[str, str]) -> None:
    assert from_environment(of_two_kinds).kind == "file"
    assert from_environment(of_two_kinds | {"DBT_TARGET": "prod"}).kind == "remote"


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"DBTPOD_WAREHOUSE_KIND": "remote"}, r"profile `shop`, target `dev` is of type duckdb .*kind is remote"),
        (
            {"DBTPOD_WAREHOUSE_KIND": "file", "DBT_TARGET": "prod"},
            r"profile `shop`, target `prod` is of type postgres, and warehouse\.kind is file",
        ),
        ({"DBTPOD_WAREHOUSE_KIND": "lake"}, "DBTPOD_WAREHOUSE_KIND is 'lake': it must be file, ducklake or remote"),
        (
            {"DBTPOD_WAREHOUSE_KIND": "ducklake"},
            r"builds in a local file, and warehouse\.kind is ducklake: .*kind to file",
        ),
        (
            {"DBTPOD_WAREHOUSE_WRITERS": "2"},
            r"DBTPOD_WAREHOUSE_WRITERS is 2, and warehouse\.kind is file: a DuckDB file takes one writer at a time",
        ),
        ({"DBTPOD_WAREHOUSE_WRITERS": "0"}, "DBTPOD_WAREHOUSE_WRITERS is '0': it must be a whole number"),
    ],
)
def test_a_kind_that_does_not_fit_is_refused_by_runs_and_by_registration(
    of_two_kinds: dict[str, str], given: dict[str, str], says: str
) -> None:
    with pytest.raises(SettingsError, match=says):
        from_environment(of_two_kinds | given)
    with pytest.raises(SettingsError, match=says):
        writers(of_two_kinds | given, Path("/"))


def test_several_runs_may_write_to_a_database_server(of_two_kinds: dict[str, str]) -> None:
    given = {"DBTPOD_WAREHOUSE_KIND": "remote", "DBTPOD_WAREHOUSE_WRITERS": "3", "DBT_TARGET": "prod"}

    assert from_environment(of_two_kinds | given).writers == writers(of_two_kinds | given, Path("/")) == 3


def test_a_registration_without_a_project_has_the_writers_that_are_given(tmp_path: Path) -> None:
    assert writers({"DBTPOD_WAREHOUSE_KIND": "remote", "DBTPOD_WAREHOUSE_WRITERS": "2"}, tmp_path) == 2
    assert writers({}, tmp_path) == 1


def test_values_yaml_says_the_kind_where_the_environment_does_not(tmp_path: Path) -> None:
    (tmp_path / "values.yaml").write_text("warehouse: {kind: remote}\n")
    assert kinds.of_values(tmp_path, {}) == {"DBTPOD_WAREHOUSE_KIND": "remote"}

    (tmp_path / "values.yaml").write_text("warehouse: {kind: remote}\nenvironment: {target: prod}\n")

    assert kinds.of_values(tmp_path, {}) == {"DBTPOD_WAREHOUSE_KIND": "remote", "DBT_TARGET": "prod"}
    assert kinds.of_values(tmp_path, {"DBTPOD_WAREHOUSE_KIND": "file"}) == {}
    assert kinds.of_values(tmp_path / "absent", {}) == {}
