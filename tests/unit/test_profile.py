"""Where a target writes to is read from profiles.yml as dbt reads it; and nothing is said where that is not certain."""

from pathlib import Path

import pytest

from dbtpod.dbt import arguments, process, profile
from dbtpod.dbt.project import Project

VOLUME = "/volume/work/warehouse.duckdb"


def found(tmp_path: Path, profiles: str, args: str = "build", **environment: str) -> profile.Connection | None:
    (tmp_path / "dbt_project.yml").write_text("name: shop\nprofile: shop\n")
    project = Project(tmp_path, Path(VOLUME), Path(VOLUME))
    project.profiles_dir.mkdir(parents=True)
    (project.profiles_dir / "profiles.yml").write_text(profiles)
    given = process.environment(project, tmp_path, environment)
    return profile.connection(arguments.parse(args.split()), given)


def outputs(path: str, more: str = "") -> str:
    return f"shop:\n  target: dev\n  outputs:\n    dev: {{type: duckdb, path: {path}{more}}}\n"


@pytest.mark.parametrize(
    ("path", "is_ours"),
    [
        ("\"{{ env_var('DUCKDB_PATH') }}\"", True),
        ("\"{{ env_var('DUCKDB_PATH', 'dev.duckdb') }}\"", True),
        ("\"{{ env_var('DUCKDB_PATH') | as_text }}\"", True),
        ("\"{{ env_var('NOT_SET', env_var('DUCKDB_PATH')) }}\"", True),
        (VOLUME, True),
        ("/volume/work/../work/warehouse.duckdb", True),
        ("dev.duckdb", False),
        ("':memory:'", False),
        ("'md:shop'", False),
        ("'ducklake:meta.ducklake'", False),
        ("\"{{ env_var('NOT_SET', 'dev.duckdb') }}\"", False),
        ("\"{{ env_var('NOT_SET', 'dev') }}.duckdb\"", False),
        ("/volume/work/other.duckdb", False),
    ],
)
def test_the_path_is_rendered_and_compared_with_the_working_copy(tmp_path: Path, path: str, is_ours: bool) -> None:
    connection = found(tmp_path, outputs(path))

    assert connection is not None
    assert connection.is_file(Path(VOLUME)) is is_ours


def test_a_target_without_a_path_writes_to_memory(tmp_path: Path) -> None:
    connection = found(tmp_path, "shop: {target: dev, outputs: {dev: {type: duckdb}}}")

    assert connection is not None
    assert not connection.is_file(Path(VOLUME))


def test_models_that_go_to_an_attached_database_go_there(tmp_path: Path) -> None:
    attach = ", database: lake, attach: [{path: /lake.duckdb, alias: lake}]"

    connection = found(tmp_path, outputs(VOLUME, attach))

    assert connection is not None
    assert connection.path == "/lake.duckdb"


@pytest.mark.parametrize(
    ("output", "adapter"),
    [("{type: postgres, host: there}", "postgres"), ("{type: duckdb, remote: {host: there}}", "duckdb")],
)
def test_a_server_is_no_file(tmp_path: Path, output: str, adapter: str) -> None:
    connection = found(tmp_path, f"shop: {{target: dev, outputs: {{dev: {output}}}}}")

    assert connection is not None
    assert (connection.adapter, connection.path) == (adapter, "")
    assert not connection.is_file(Path(VOLUME))


@pytest.mark.parametrize(
    ("args", "environment", "path"),
    [
        ("build", {}, "dev.duckdb"),
        ("build --target prod", {}, "prod.duckdb"),
        ("build -tprod", {}, "prod.duckdb"),
        ("build", {"DBT_TARGET": "prod"}, "prod.duckdb"),
        ("build --target=dev", {"DBT_ENGINE_TARGET": "prod"}, "dev.duckdb"),
        ("build --profile other", {}, "other.duckdb"),
        ("build --vars {where:there}", {}, "dev.duckdb"),
    ],
)
def test_the_target_is_the_commands_own(tmp_path: Path, args: str, environment: dict[str, str], path: str) -> None:
    profiles = """
shop: {target: dev, outputs: {dev: {type: duckdb, path: dev.duckdb}, prod: {type: duckdb, path: prod.duckdb}}}
other: {target: dev, outputs: {dev: {type: duckdb, path: other.duckdb}, prod: {type: duckdb, path: other.duckdb}}}
"""

    connection = found(tmp_path, profiles, args, **environment)

    assert connection is not None
    assert connection.path == path


def test_the_profiles_folder_of_the_command_counts(tmp_path: Path) -> None:
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf" / "profiles.yml").write_text(outputs("there.duckdb"))

    connection = found(tmp_path, outputs("here.duckdb"), "build --profiles-dir conf")

    assert connection is not None
    assert (connection.path, connection.profiles_yml) == ("there.duckdb", tmp_path / "conf" / "profiles.yml")


@pytest.mark.parametrize(
    "profiles",
    [
        "",
        "{ not yaml",
        "other: {target: dev, outputs: {dev: {type: duckdb}}}",
        outputs("\"{{ env_var('NOT_SET') }}\""),
        outputs('"{{ target.name }}"'),
        outputs('"{{ modules.datetime.now() }}"'),
    ],
)
def test_what_dbt_alone_can_tell_is_left_to_dbt(tmp_path: Path, profiles: str) -> None:
    assert found(tmp_path, profiles) is None
