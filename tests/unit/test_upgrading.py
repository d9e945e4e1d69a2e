"""docs/upgrading.md says what pyproject.toml and uv.lock say, and names tests that are there."""

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "upgrading.md").read_text()
ROWS = re.findall(r"^\| ([\w-]+) \| `([^`]+)` \| ([\d.]+) \|", TEXT, re.MULTILINE)
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
LOCKED = tomllib.loads((ROOT / "uv.lock").read_text())["package"]
BOUNDED = [*PROJECT["project"]["dependencies"], *PROJECT["dependency-groups"]["worker"]]


def test_each_bounded_dependency_of_a_pod_has_a_row() -> None:
    names = {re.split(r"[<>=]", entry)[0] for entry in BOUNDED}

    assert {name for name, _, _ in ROWS} == names - {"click", "pyyaml"}


@pytest.mark.parametrize(("name", "bound", "locked"), ROWS)
def test_the_table_has_the_bound_and_the_locked_version(name: str, bound: str, locked: str) -> None:
    assert f"{name}{bound}" in BOUNDED
    assert [package["version"] for package in LOCKED if package["name"] == name] == [locked]


@pytest.mark.parametrize("file", sorted(set(re.findall(r"`(?:python )?(tests/[\w/]+(?:\.py)?)`", TEXT))))
def test_a_test_that_is_named_is_there(file: str) -> None:
    assert (ROOT / file).exists()


@pytest.mark.parametrize("name", sorted(set(re.findall(r"`(test_\w+)`", TEXT))))
def test_a_test_function_that_is_named_is_there(name: str) -> None:
    assert any(f"def {name}(" in file.read_text() for file in (ROOT / "tests").rglob("test_*.py"))


def test_what_downloads_while_it_installs_is_not_locked() -> None:
    assert "dbt-core-experimental-parser" not in {package["name"] for package in LOCKED}
