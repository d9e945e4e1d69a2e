"""What is generated from the comments of values.yaml is what they say now, and readable by other programs."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from rendering import CHART, ROOT, need, script

generate = script("generate")


@pytest.mark.parametrize(("path", "text"), list(generate.files()), ids=lambda each: getattr(each, "name", ""))
def test_a_generated_file_is_what_the_comments_say(path: Path, text: str) -> None:
    assert path.read_text() == text, "run `make chart`"


def test_the_readme_is_what_the_comments_say() -> None:
    command = shutil.which("helm-docs", path=f"{ROOT}/.tools") or "helm-docs"
    need(command)
    options = ["--chart-search-root", ROOT / "charts", "--sort-values-order", "file", "--log-level", "warning"]
    done = subprocess.run([command, *options, "--dry-run"], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == (CHART / "README.md").read_text().strip(), "run `make chart`"


def test_the_readme_has_a_sentence_for_each_value() -> None:
    rows = [line.split(" | ") for line in (CHART / "README.md").read_text().splitlines() if line.startswith("| ")]

    assert len(rows) > 100
    assert [row[0] for row in rows if not row[-1].strip(" |")] == []


def test_the_schemas_patterns_are_regular_expressions_for_every_reader() -> None:
    """JSON schema has those of ECMA-262; helm reads them as Go does."""
    command = [Path(sys.executable).parent / "check-jsonschema", "--check-metaschema", CHART / "values.schema.json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stdout


def test_every_value_of_the_schema_is_described_and_has_its_default() -> None:
    def undescribed(node: dict[str, Any], path: str) -> list[str]:
        found = [] if node.get("description") or not path else [path]
        for key, child in node.get("properties", {}).items():
            found += undescribed(child, f"{path}.{key}")
        return found

    schema = json.loads((CHART / "values.schema.json").read_text())

    assert undescribed(schema, "") == []


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("size: 2\n", "values.yaml:1: size needs a comment"),
        ("# -- Rules.\naffinity: {}\n", "values.yaml:2: affinity needs a comment (`# -- …`) and, as a list or map"),
        ("# -- Names.\nnames: []\n", "values.yaml:2: names"),
    ],
)
def test_a_value_that_says_too_little_of_itself_is_named_with_its_line(text: str, said: str) -> None:
    module = generate

    with pytest.raises(module.Undescribed) as caught:
        module.schema(text, {}, {})

    assert str(caught.value).startswith(said)
