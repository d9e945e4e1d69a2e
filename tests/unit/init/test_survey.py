"""What is read from a dbt project, without dbt."""

import subprocess
from pathlib import Path, PurePosixPath

import pytest

from dbtpod.errors import SettingsError
from dbtpod.init import survey
from own_projects import AT_THE_ROOT, FRESH, Files, project, write

LIMIT = "{warn_after: {count: 1, period: day}}"


def look(folder: Path, files: Files, **environment: str) -> survey.Survey:
    return survey.of(write(folder, files), environment)


def leftovers(folder: Path, files: Files) -> list[str]:
    return [str(path) for path in look(folder, files).leftovers]


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ("", ["transform/target", "transform/logs"]),
        ("target-path: build/out\nlog-path: build/log", ["transform/build/out", "transform/build/log"]),
        ("target-path: ../build", ["build", "transform/logs"]),
        ("""target-path: "{{ env_var('DBT_TARGET_PATH', 'made') }}\"""", ["transform/made", "transform/logs"]),
        ("""target-path: "{{ env_var('DBT_TARGET_PATH') }}\"""", ["transform/target", "transform/logs"]),
        ("target-path: /tmp/target\nlog-path: ../../logs", []),
        ("target-path: .\nlog-path: ..", []),
    ],
)
def test_what_dbt_leaves_behind_is_where_the_project_says(tmp_path: Path, settings: str, expected: list[str]) -> None:
    assert leftovers(tmp_path, {"transform/dbt_project.yml": project(settings=settings)}) == expected


def test_packages_that_are_installed_in_the_target_folder_are_seen(tmp_path: Path) -> None:
    files = {"dbt_project.yml": project(settings="packages-install-path: target/packages")}

    assert look(tmp_path, files).packages == PurePosixPath("target/packages")
    assert look(tmp_path, {"dbt_project.yml": project(settings="packages-install-path: vendor")}).packages is None


def test_packages_are_left_behind_where_git_leaves_them_out(tmp_path: Path) -> None:
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    files = {"transform/dbt_project.yml": project(), "transform/.gitignore": "dbt_packages/\n"}

    assert leftovers(tmp_path, files) == ["transform/target", "transform/logs", "transform/dbt_packages"]

    write(tmp_path, {"transform/dbt_packages/dbt_utils/dbt_project.yml": project("dbt_utils")})
    subprocess.run(["git", "add", "--force", "transform/dbt_packages"], cwd=tmp_path, check=True)
    assert leftovers(tmp_path, {}) == ["transform/target", "transform/logs"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (FRESH, True),
        ("models: [{name: orders}]", False),
        ("sources: [{name: raw, tables: [{name: orders}]}]", False),
        (f"sources: [{{name: raw, freshness: {LIMIT}, tables: [{{name: orders}}]}}]", True),
        (f"sources: [{{name: raw, freshness: {LIMIT}, tables: [{{name: orders, freshness: null}}]}}]", False),
        (f"sources: [{{name: raw, config: {{freshness: {LIMIT}}}, tables: [{{name: orders}}]}}]", True),
        (
            f"sources: [{{name: raw, freshness: {LIMIT}, config: {{enabled: false}}, tables: [{{name: orders}}]}}]",
            False,
        ),
        (f"sources: [{{name: raw, freshness: {LIMIT}, tables: []}}]", False),
        ("sources: [{name: raw, tables: [{name: orders, freshness: {filter: 'true'}}]}]", False),
        ("sources: [", False),
        ("sources: raw", False),
    ],
)
def test_freshness_counts_where_dbt_would_look_at_a_table(tmp_path: Path, text: str, expected: bool) -> None:
    assert look(tmp_path, {**AT_THE_ROOT, "models/deep/er/sources.yml": text}).has_freshness is expected


def test_freshness_of_all_sources_may_stand_in_dbt_project_yml(tmp_path: Path) -> None:
    settings = f"sources:\n  shop:\n    +freshness: {LIMIT}\n"
    tables = "sources: [{name: raw, tables: [{name: orders}]}]"

    assert look(tmp_path, {"dbt_project.yml": project(settings=settings), "models/sources.yml": tables}).has_freshness


def test_sources_are_looked_for_where_the_project_keeps_its_models(tmp_path: Path) -> None:
    moved = project(settings="model-paths: [sql]")

    assert look(tmp_path, {"dbt_project.yml": moved, "sql/sources.yml": FRESH}).has_freshness
    assert not look(tmp_path / "other", {"dbt_project.yml": moved, "models/sources.yml": FRESH}).has_freshness


def test_only_a_selector_of_that_name_is_a_smoke_selector(tmp_path: Path) -> None:
    selectors = "selectors: [{{name: {}, definition: 'tag:x'}}]"

    assert look(tmp_path, {**AT_THE_ROOT, "selectors.yml": selectors.format("smoke")}).has_smoke_selector
    assert not look(tmp_path, {**AT_THE_ROOT, "selectors.yml": selectors.format("nightly")}).has_smoke_selector


def test_python_models_need_known_packages_and_name_the_others(tmp_path: Path) -> None:
    model = "import json, polars as pl\nfrom sklearn.linear_model import Ridge\nimport shop_rules\nimport duckdb\n"
    found = look(tmp_path, {**AT_THE_ROOT, "models/a.py": model, "models/b.py": "dbt.ref('a').df()"}).python_models

    assert found.packages == ("pandas", "polars", "scikit-learn")
    assert found.unknown == ("shop_rules",)


def test_a_python_file_outside_of_the_models_is_no_python_model(tmp_path: Path) -> None:
    assert look(tmp_path, {**AT_THE_ROOT, "scripts/load.py": "import pandas"}).python_models.packages == ()


def test_a_local_package_outside_of_the_folder_is_an_error_with_the_command_that_works(tmp_path: Path) -> None:
    write(tmp_path, {"shared/dbt_project.yml": project("shared")})
    files = {"dbt_project.yml": project(), "packages.yml": "packages: [{local: ../shared}]"}

    with pytest.raises(SettingsError) as caught:
        look(tmp_path / "transform", files)

    assert str(caught.value).endswith(f"Go to {tmp_path} and run: DBT_PROJECT_DIR='transform' dbtpod init")
    assert not look(tmp_path, {}, DBT_PROJECT_DIR="shared").is_only
    assert look(tmp_path, {}).is_only


def test_a_project_that_the_variable_names_outside_of_the_folder_is_an_error(tmp_path: Path) -> None:
    write(tmp_path, {"other/dbt_project.yml": project()})
    (tmp_path / "here").mkdir()

    with pytest.raises(SettingsError, match="is not in"):
        look(tmp_path / "here", {}, DBT_PROJECT_DIR="../other")


@pytest.mark.parametrize("text", ["name: [", "profile: shop", "- name", "name: 5"])
def test_a_dbt_project_yml_without_a_name_is_an_error_with_its_path(tmp_path: Path, text: str) -> None:
    with pytest.raises(SettingsError, match=r"dbt_project\.yml"):
        look(tmp_path, {"dbt_project.yml": text})


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("{type: duckdb, path: shop.duckdb}", None),
        ("{type: postgres, host: db, port: 6432}", survey.DatabaseServer("postgres", 6432)),
        ("""{type: postgres, port: "{{ env_var('PORT') | int }}"}""", survey.DatabaseServer("postgres", 5432)),
        ("""{type: trino, port: "{{ env_var('PORT', '8443') | int }}"}""", survey.DatabaseServer("trino", 8443)),
        (
            "{type: duckdb, database: l, attach: [{alias: l, path: 'ducklake:postgres:host=db port=6432'}]}",
            survey.DatabaseServer("ducklake", 6432),
        ),
        ("{type: trino}", survey.DatabaseServer("trino", None)),
        ("[", None),
    ],
)
def test_a_server_is_that_of_the_default_target(
    tmp_path: Path, target: str, expected: survey.DatabaseServer | None
) -> None:
    profiles = f"shop: {{target: prod, outputs: {{dev: {{type: duckdb}}, prod: {target}}}}}"
    files = {"dbt_project.yml": project(), "profiles.yml": profiles}

    assert look(tmp_path, files).server == expected
