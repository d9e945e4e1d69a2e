"""Packages of every kind that dbt has are there when the image is built, or an error says which are not and why."""

import subprocess
from pathlib import Path

import pytest

import shop
import warehouse
from dbtpod.dbt import packages
from dbtpod.dbt.project import Project
from dbtpod.errors import DbtUnusable

PACKAGE = {
    "dbt_project.yml": "name: shared\nversion: '1.0'\nmacro-paths: [macros]\n",
    "macros/one.sql": "{% macro one() %}1{% endmacro %}",
}
MODEL = {"models/a.sql": "select {{ shared.one() }} as id"}


def write(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


def project(root: Path, files: dict[str, str], subfolder: str = "transform") -> Project:
    shop.write(root / subfolder, MODEL | files)
    (root / "volume").mkdir()
    return warehouse.project(root / "volume", root / subfolder)


def repository(folder: Path) -> str:
    """A git repository with the package in it; its address."""
    write(folder, PACKAGE)
    for command in (["init", "-q", "-b", "main"], ["add", "-A"], ["commit", "-q", "-m", "A package"], ["tag", "v1"]):
        identity = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
        subprocess.run(["git", *identity, *command], cwd=folder, check=True)
    return f"file://{folder}"


def test_a_project_that_asks_for_none_has_nothing_done(tmp_path: Path) -> None:
    assert packages.install(project(tmp_path, {}), tmp_path, tmp_path / "target") == ""


def test_a_package_from_git_is_installed(tmp_path: Path) -> None:
    address = repository(tmp_path / "remote")
    ours = project(tmp_path, {"packages.yml": f"packages: [{{git: '{address}', revision: v1}}]\n"})

    said = packages.install(ours, tmp_path, tmp_path / "target")

    assert "Packages installed" in said
    assert (ours.folder / "dbt_packages" / "shared" / "macros" / "one.sql").is_file()


def test_a_package_beside_the_project_and_a_folder_outside_the_project_are_kept_below_the_root(tmp_path: Path) -> None:
    write(tmp_path / "shared", PACKAGE)
    settings = shop.PROJECT + "packages-install-path: ../pkgs\n"
    ours = project(tmp_path, {"packages.yml": "packages: [{local: ../shared}]\n", "dbt_project.yml": settings})

    packages.install(ours, tmp_path, tmp_path / "target")

    assert (tmp_path / "pkgs" / "shared" / "macros" / "one.sql").is_file()


def test_committed_packages_are_taken_as_they_are_without_a_network(tmp_path: Path) -> None:
    ours = project(tmp_path, {"packages.yml": "packages: [{git: 'https://git.invalid/shared.git', revision: v1}]\n"})
    write(ours.folder / "dbt_packages" / "shared", PACKAGE)

    assert packages.install(ours, tmp_path, tmp_path / "target") == ""


def test_a_folder_that_the_image_would_not_have_is_named_with_the_fix(tmp_path: Path) -> None:
    root = tmp_path / "root"
    settings = shop.PROJECT + "packages-install-path: ../pkgs\n"
    ours = project(root, {"packages.yml": "packages: [{local: shared}]\n", "dbt_project.yml": settings}, subfolder=".")

    with pytest.raises(DbtUnusable, match=r"packages-install-path of .* leads to .*pkgs.*Write a folder below"):
        packages.install(ours, root, tmp_path / "target")


def test_a_package_that_is_not_there_ends_with_dbts_own_words(tmp_path: Path) -> None:
    ours = project(tmp_path, {"packages.yml": f"packages: [{{git: 'file://{tmp_path}/gone', revision: v1}}]\n"})

    with pytest.raises(DbtUnusable, match=r"dbt deps ended with exit code \d[\s\S]*gone"):
        packages.install(ours, tmp_path, tmp_path / "target")
