"""The values of the chart, as the pages and the messages name them, are those of values.yaml; each has its sentence."""

import json
import re
from collections.abc import Iterable
from typing import Any

import pytest
import yaml

import pages
from rendering import CHART, Render

VALUES = (CHART / "values.yaml").read_text()
SCHEMA = json.loads((CHART / "values.schema.json").read_text())


def is_value(path: str) -> bool:
    """Whether the schema has it; below an object of Kubernetes' own, such as resources, it may have any name."""
    schema: Any = SCHEMA
    for key in path.split("."):
        while "$ref" in schema:
            schema = SCHEMA["$defs"][schema["$ref"].rsplit("/", 1)[1]]
        if key not in schema.get("properties", {}):
            return isinstance(schema.get("additionalProperties", True), dict) or "properties" not in schema
        schema = schema["properties"][key]
    return True


# `prefect` is also a module, whose names messages have too.
_TOP = "|".join(sorted(set(yaml.safe_load(VALUES)) - {"prefect"}))
_VALUE = re.compile(rf"(?<![\w./-])(?:{_TOP})(?:\.[a-zA-Z-]+)+(?![\w(])")
_FILES = (".py", ".yaml", ".duckdb", ".tpl", ".json")


def values_in(texts: Iterable[tuple[str, str]]) -> set[tuple[str, str]]:
    found = ((where, value.rstrip("-")) for where, text in texts for value in _VALUE.findall(text))
    return {(where, value) for where, value in found if not value.endswith(_FILES)}


@pytest.mark.parametrize("texts", [pages.quoted, pages.literals])
def test_a_value_that_is_named_is_one_of_the_chart(texts: Any) -> None:
    found = values_in(texts())

    assert len(found) > 15
    assert {each for each in found if not is_value(each[1])} == set()


def test_a_value_that_is_misspelt_is_found() -> None:
    assert values_in(iter([("a page", "set jobs.resorces.limits.memory")])) == {
        ("a page", "jobs.resorces.limits.memory")
    }
    assert not is_value("jobs.resorces.limits.memory")
    assert is_value("jobs.resources.limits.ephemeral-storage")


def test_each_value_has_a_comment_above_it() -> None:
    lines = VALUES.splitlines()
    undocumented, above = [], 0
    for number, line in enumerate(lines):
        key = re.match(r"( *)([A-Za-z]+):(.*)", line)
        if not key or (key[2] in ("requests", "limits") and above):
            continue
        if lines[number - 1].lstrip().startswith("- "):  # an entry's second key, which is Kubernetes' own
            continue
        above = key[2] == "resources"
        has_children = not key[3].strip() and key[2] != "resources"
        if not has_children and not lines[number - 1].lstrip().startswith("#"):
            undocumented.append(f"values.yaml:{number + 1}: {line.strip()}")

    assert undocumented == []


def test_a_job_variable_that_is_named_is_one_of_the_job_template(render: Render) -> None:
    [pool] = render(kind="ConfigMap", component="work-pool")
    known = set(json.loads(pool["data"]["base-job-template.json"])["variables"]["properties"])

    found = {
        name
        for _, text in [*pages.quoted(), *pages.literals()]
        for name in re.findall(r"\bjob_variables\.([a-z_]+)", text)
    }

    assert found and found <= known
