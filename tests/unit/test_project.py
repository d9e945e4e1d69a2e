"""The dbt project is found where a user runs the command, and what was made of its profile is read back."""

from pathlib import Path

import pytest

from dbtpod.dbt import project
from dbtpod.dbt.project import Facts, Target
from dbtpod.errors import SettingsError


def a_project(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "dbt_project.yml").write_text("name: shop\n")
    return folder


@pytest.mark.parametrize("name", [".", "dbt_project", "transform", "data/dbt/shop"])
def test_it_is_the_folder_itself_or_the_only_one_in_it(tmp_path: Path, name: str) -> None:
    folder = a_project(tmp_path / name)

    assert project.find({}, tmp_path) == folder


@pytest.mark.parametrize("name", ["shop", "/elsewhere/shop"])
def test_dbts_own_variable_wins(tmp_path: Path, name: str) -> None:
    name = name.replace("/elsewhere", str(tmp_path / "elsewhere"))
    folder = a_project(tmp_path / name)
    a_project(tmp_path)

    assert project.find({"DBT_PROJECT_DIR": name}, tmp_path) == folder


def test_a_folder_of_the_variable_without_a_project_is_an_error(tmp_path: Path) -> None:
    a_project(tmp_path)

    with pytest.raises(SettingsError, match=r"DBT_PROJECT_DIR is .*nowhere'"):
        project.find({"DBT_PROJECT_DIR": "nowhere"}, tmp_path)


@pytest.mark.parametrize(
    "name", ["dbt_packages/utils", "target/run", ".venv/lib", "node_modules/a", ".cache", "shop/integration_tests"]
)
def test_a_project_that_is_not_the_users_own_is_not_found(tmp_path: Path, name: str) -> None:
    folder = a_project(tmp_path / "shop")
    a_project(tmp_path / name)

    assert project.find({}, tmp_path) == folder


def test_dbts_own_projects_in_a_virtual_environment_are_not_found(tmp_path: Path) -> None:
    a_project(tmp_path / "env" / "include")
    (tmp_path / "env" / "pyvenv.cfg").touch()

    with pytest.raises(SettingsError, match="There is no dbt project in"):
        project.find({}, tmp_path)


def test_several_are_listed(tmp_path: Path) -> None:
    a_project(tmp_path / "shop")
    a_project(tmp_path / "teams" / "finance")

    with pytest.raises(SettingsError, match=r"several dbt projects in .*: shop, teams/finance\. Set DBT_PROJECT_DIR"):
        project.find({}, tmp_path)


def test_what_was_made_of_another_format_is_made_again(tmp_path: Path) -> None:
    facts = Facts("shop", "dev", {"dev": Target("duckdb", "shop")}, True, {})
    file = tmp_path / project.MADE / "project.json"
    file.parent.mkdir()

    file.write_text(facts.text())
    assert project.facts(tmp_path) == facts

    for text in (facts.text().replace('"format": 1', '"format": 0'), "{}", "[]", "no json"):
        file.write_text(text)
        assert project.facts(tmp_path) is None


@pytest.mark.parametrize(
    ("target", "environment", "catalog"),
    [
        ("dev", {}, "shop"),
        ("dev", {"DBT_TARGET": "prod"}, "shop_prod"),
        ("{{ env_var('STAGE', 'prod') }}", {}, "shop_prod"),
        ("{{ env_var('STAGE', 'prod') }}", {"STAGE": "dev"}, "shop"),
        ("{{ env_var('STAGE') }}", {"STAGE": "prod"}, "shop_prod"),
        ("{{ env_var('STAGE') }}", {}, "warehouse"),
        ("nowhere", {}, "warehouse"),
    ],
)
def test_the_files_name_is_that_of_the_pods_target(
    tmp_path: Path, target: str, environment: dict[str, str], catalog: str
) -> None:
    targets = {"dev": Target("duckdb", "shop"), "prod": Target("duckdb", "shop_prod")}
    (tmp_path / project.MADE).mkdir()
    (tmp_path / project.MADE / "project.json").write_text(Facts("shop", target, targets, True, {}).text())

    assert project.catalog(tmp_path, environment) == catalog
