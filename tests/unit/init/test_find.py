"""Where the dbt project of a repository is."""

from pathlib import Path

import pytest

from dbtpod.dbt import project
from dbtpod.errors import SettingsError
from own_projects import AT_THE_ROOT, write
from own_projects import project as text


def refusal(folder: Path, **environment: str) -> str:
    with pytest.raises(SettingsError) as caught:
        project.find(environment, folder)
    return str(caught.value)


def test_a_project_at_the_root_is_found_whatever_lies_below_it(tmp_path: Path) -> None:
    write(tmp_path, {**AT_THE_ROOT, "integration_tests/dbt_project.yml": text("tests")})

    assert project.find({}, tmp_path) == tmp_path


@pytest.mark.parametrize("folder", ["transform", "services/warehouse/dbt", "my shop"])
def test_the_one_project_below_the_root_is_found(tmp_path: Path, folder: str) -> None:
    write(tmp_path, {f"{folder}/dbt_project.yml": text(), "README.md": ""})

    assert project.find({}, tmp_path) == tmp_path / folder


@pytest.mark.parametrize(
    "place",
    [
        "dbt_packages/dbt_utils",
        "transform/dbt_packages/dbt_utils",
        "node_modules/some",
        "target/run",
        ".venv/lib/python3.13/site-packages/dbt/include/starter_project",
        ".cache/dbt",
    ],
)
def test_other_peoples_projects_are_passed_over(tmp_path: Path, place: str) -> None:
    write(tmp_path, {"transform/dbt_project.yml": text(), f"{place}/dbt_project.yml": text("other")})

    assert project.find({}, tmp_path) == tmp_path / "transform"


def test_dbts_own_starter_project_in_a_virtual_environment_of_any_name_is_passed_over(tmp_path: Path) -> None:
    starter = "python/lib/python3.13/site-packages/dbt/include/starter_project/dbt_project.yml"
    write(tmp_path, {"python/pyvenv.cfg": "", "transform/dbt_project.yml": text(), starter: text("starter")})

    assert project.find({}, tmp_path) == tmp_path / "transform"


@pytest.mark.parametrize(
    ("settings", "packages", "other"),
    [
        ("packages-install-path: ../installed", "", "installed/dbt_utils"),
        ("", "packages: [{local: ../shared}]", "shared"),
    ],
)
def test_a_package_of_the_project_is_not_taken_for_another_one(
    tmp_path: Path, settings: str, packages: str, other: str
) -> None:
    files = {"transform/dbt_project.yml": text(settings=settings), "transform/packages.yml": packages}
    write(tmp_path, {**files, f"{other}/dbt_project.yml": text("other")})

    assert project.find({}, tmp_path) == tmp_path / "transform"


def test_without_a_project_it_says_where_it_looked_and_what_to_do(tmp_path: Path) -> None:
    message = refusal(tmp_path)

    assert str(tmp_path) in message and "DBT_PROJECT_DIR" in message


def test_several_projects_are_listed_with_what_to_do(tmp_path: Path) -> None:
    write(tmp_path, {"sales/dbt_project.yml": text("sales"), "finance/dbt/dbt_project.yml": text("finance")})

    message = refusal(tmp_path)

    assert "finance/dbt, sales" in message and "DBT_PROJECT_DIR" in message


def test_two_projects_that_take_each_other_as_a_package_are_two(tmp_path: Path) -> None:
    other = {"a": "b", "b": "a"}
    for name in other:
        local = f"packages: [{{local: ../{other[name]}}}]"
        write(tmp_path, {f"{name}/dbt_project.yml": text(name), f"{name}/packages.yml": local})

    assert ": a, b." in refusal(tmp_path)


def test_the_variable_chooses_one_of_several(tmp_path: Path) -> None:
    write(tmp_path, {"sales/dbt_project.yml": text("sales"), "finance/dbt_project.yml": text("finance")})

    assert project.find({"DBT_PROJECT_DIR": "sales"}, tmp_path) == tmp_path / "sales"
    assert project.find({"DBT_PROJECT_DIR": str(tmp_path / "sales")}, tmp_path) == tmp_path / "sales"


def test_a_variable_that_names_no_project_is_an_error_with_its_value(tmp_path: Path) -> None:
    write(tmp_path, AT_THE_ROOT)

    assert f"DBT_PROJECT_DIR is '{tmp_path}/sale': there is no dbt_project.yml" in refusal(
        tmp_path, DBT_PROJECT_DIR="sale"
    )


def test_a_file_that_is_no_yaml_is_still_a_project(tmp_path: Path) -> None:
    write(tmp_path, {"transform/dbt_project.yml": "name: [", "transform/packages.yml": "{{"})

    assert project.find({}, tmp_path) == tmp_path / "transform"
