"""The parts of the fast start: what each uses of Prefect and dbt is declared, installed, and in the README."""

import ast
import re
import tomllib
from collections.abc import Iterator
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import pytest
from packaging.specifiers import SpecifierSet

from dbtpod.faststart import parts

ROOT = Path(__file__).parents[2]
PACKAGE = Path(parts.__file__).parent
# What Prefect and dbt document, or what everyone imports of them.
PUBLIC = {
    "prefect.client.orchestration",
    "prefect.client.schemas.objects",
    "prefect.exceptions",
    "prefect.flows:Flow",
    "prefect.logging",
    "prefect.logging.loggers:LoggingAdapter",
    "prefect.states",
    "dbt.adapters.duckdb",
    "jinja2",
}


@pytest.mark.parametrize("part", parts.PARTS, ids=lambda part: part.name)
def test_what_is_installed_is_as_the_part_was_written_for(part: parts.Part, capsys: pytest.CaptureFixture[str]) -> None:
    assert part.is_usable(), f"Compare the callers and these names, then the declaration: {capsys.readouterr().out}"
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("uses", "why"),
    [
        ({"json:dumps": "(obj)"}, "json:dumps takes (obj, *, skipkeys=..., "),
        ({"json:JSONEncoder.iterate": "(self)"}, "json:JSONEncoder.iterate is gone"),
        ({"json.decoder:JSONDecoder.memo": None, "json:JSONEncoder.memory": None}, "json:JSONEncoder.memory is gone"),
        ({"json.gone:dumps": None}, "ModuleNotFoundError: No module named 'json.gone'"),
    ],
)
def test_a_part_that_does_not_fit_is_left_out_with_one_line(
    capsys: pytest.CaptureFixture[str], uses: dict[str, str | None], why: str
) -> None:
    part = replace(parts.JSON_ENCODER, uses=uses)

    assert not part.is_usable()

    [line] = capsys.readouterr().out.splitlines()
    assert line.startswith(f"dbtpod: fast start without json-encoder ({why}")
    assert line.endswith("): dbt's artifacts are written by json.dump.")


def test_a_part_can_be_left_out_to_measure_what_it_brings(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(parts.WITHOUT, "warm-up,json-encoder")

    assert [part.name for part in parts.PARTS if not part.is_usable()] == ["warm-up", "json-encoder"]

    assert len(capsys.readouterr().out.splitlines()) == 2


def test_the_versions_that_are_tried_are_those_that_may_be_installed() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    bounds = {re.split("[<>=]", each)[0]: each for each in project["dependencies"]}
    for package, tried in parts.TRIED.items():
        assert version(package).rpartition(".")[0] in tried
        if package in bounds:
            allowed = SpecifierSet(bounds[package].removeprefix(package))
            candidates = [f"{major}.{minor}" for major in range(5) for minor in range(40)]
            assert tuple(each for each in candidates if f"{each}.99" in allowed) == tried


def imported() -> Iterator[str]:
    """Each name of Prefect and dbt that the package imports, as "module:name"; a module as itself."""
    for file in PACKAGE.glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.ImportFrom) and node.module:
                yield from (f"{node.module}:{alias.name}" for alias in node.names)
            elif isinstance(node, ast.Import):
                yield from (alias.name for alias in node.names)


def test_every_name_that_is_imported_is_documented_by_its_owner_or_declared() -> None:
    declared = {name for part in parts.PARTS for name in part.uses}
    # The owner of what is declared too: "module:Class.method" stands for "module:Class", "module:name" for its module.
    known = declared | {name.rpartition(".")[0] for name in declared} | {name.partition(":")[0] for name in declared}

    theirs = re.compile(r"(prefect|dbt|dbt_common|mashumaro|jinja2|httpx)\b")
    found = {name for name in imported() if theirs.match(name) and not {name, name.partition(":")[0]} & PUBLIC}

    assert {name for name in found if name not in known and name.replace(":", ".") not in known} == set()


def test_the_readme_has_the_names_that_are_declared() -> None:
    text = (PACKAGE / "README.md").read_text()
    sections = re.findall(r"^### `([a-z-]+)`\n(.*?)(?=^##|\Z)", text, re.DOTALL | re.MULTILINE)

    written = {part: set(re.findall(r"^- `([\w.]+:[\w.]+)`", body, re.MULTILINE)) for part, body in sections}

    assert written == {part.name: set(part.uses) for part in parts.PARTS}
    for part, body in sections:
        tests = re.findall(r"`(tests/[\w/.]+)`", body)
        assert tests, f"{part} names no test that an upgrade turns red"
        assert all((ROOT / test).is_file() for test in tests)
