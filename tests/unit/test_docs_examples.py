"""The examples in docstrings give what they show."""

import doctest
import importlib
from pathlib import Path

import pytest

from pages import ROOT

PACKAGE = ROOT / "src"
MODULES = sorted(path for path in PACKAGE.rglob("*.py") if ">>> " in path.read_text())


def name(path: Path) -> str:
    return ".".join(path.relative_to(PACKAGE).with_suffix("").parts)


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_the_examples_of_a_module_give_what_they_show(path: Path) -> None:
    found = doctest.testmod(importlib.import_module(name(path)))

    assert found.attempted
    assert not found.failed


def test_the_modules_that_a_contributor_calls_first_have_examples() -> None:
    pure = {"arguments", "events", "failures", "node", "repeatable", "tables", "text", "lineage", "stuck"}

    assert pure <= {path.stem for path in MODULES}
