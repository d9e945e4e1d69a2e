"""Templates and schemas that are compiled when the image is built: dbt takes them, and does the same with them."""

import json
import marshal
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import gated_project as small
from dbtpod import bake
from dbtpod.dbt import process
from dbtpod.dbt.project import Project
from dbtpod.faststart import precompiled

# Counts what dbt compiles in a build, with what is in argv[1] or without: templates, and schemas.
COUNTING = """
import sys
from pathlib import Path
from dbt.cli.main import cli
from dbt_common import dataclass_schema
from dbt_common.clients import jinja
from dbtpod.faststart import precompiled

compile_, templates = jinja.MacroFuzzEnvironment.compile, []
def counting(self, source, *args, **options):
    templates.append(source)
    return compile_(self, source, *args, **options)
jinja.MacroFuzzEnvironment.compile = counting

make, schemas = dataclass_schema.build_json_schema, []
def counting_too(cls):
    schemas.append(cls)
    return make(cls)
dataclass_schema.build_json_schema = counting_too

precompiled.use(Path(sys.argv[1]))
try:
    cli.main(["build", "--exclude", "gate", "killed", "endless"])
finally:
    print("compiled", len(templates), len(schemas), file=sys.stderr)
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    project = small.create(tmp_path_factory.mktemp("templates"))
    bake.bake(project)
    return project


def build(project: Project, folder: Path, file: Path) -> tuple[int, int]:
    """Build in a process of its own; how many templates it compiled, and how many schemas it made."""
    environment = process.environment(project, small.target_dir(project, folder))
    done = subprocess.run(
        [sys.executable, "-c", COUNTING, str(file)],
        env=environment,
        cwd=project.folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 1, done.stdout + done.stderr
    templates, schemas = done.stderr.split()[-2:]
    return int(templates), int(schemas)


def test_dbt_compiles_next_to_nothing_and_does_the_same(project: Project, tmp_path: Path) -> None:
    baked = build(project, tmp_path / "baked", precompiled.path(project.folder))
    plain = build(project, tmp_path / "plain", tmp_path / "no such file")

    assert min(plain) > 5
    # What is left are the words of profiles.yml and dbt_project.yml, the comment above each query, and a test's result.
    assert baked[0] <= plain[0] / 4
    assert baked[1] <= 2
    assert small.node_statuses(tmp_path / "baked") == small.node_statuses(tmp_path / "plain")
    assert compiled_sql(tmp_path / "baked") == compiled_sql(tmp_path / "plain")


def test_a_template_that_changed_since_is_compiled(project: Project, tmp_path: Path) -> None:
    (tmp_path / "empty").write_bytes(marshal.dumps({"templates": {}, "schemas": {}}))

    assert build(project, tmp_path / "empty-target", tmp_path / "empty")[0] > 20


def test_a_macro_that_does_not_compile_stops_no_one_who_does_not_call_it() -> None:
    macros = {"a": {"macro_sql": "{% macro a() %}{% endif %}{% endmacro %}"}, "b": {"macro_sql": "{{ 1 }}"}}

    compiled = precompiled.compiled(json.dumps({"macros": macros, "nodes": {}}))

    assert list(compiled) == ["{{ 1 }}"]


def test_a_setting_that_is_wrong_is_still_dbts_own_error(project: Project, tmp_path: Path) -> None:
    wrong = tmp_path / "project"
    shutil.copytree(project.folder, wrong)
    with (wrong / "dbt_project.yml").open("a") as file:
        file.write("version: [1]\n")
    environment = process.environment(project, small.target_dir(project, tmp_path / "target"))
    environment |= {"DBT_PROJECT_DIR": str(wrong), "DBT_PROFILES_DIR": str(wrong), "DBT_LOG_LEVEL": "error"}

    said = [
        subprocess.run(
            [sys.executable, "-c", COUNTING, file], env=environment, capture_output=True, text=True, timeout=120
        ).stdout
        for file in (precompiled.path(wrong), tmp_path / "no such file")
    ]

    assert "is not valid under any of the given schemas" in said[0]
    first, second = ([json.loads(line)["info"]["msg"] for line in text.splitlines()] for text in said)
    assert first == second


def compiled_sql(folder: Path) -> dict[str, str]:
    nodes = json.loads((folder / "manifest.json").read_text())["nodes"]
    return {name: node.get("compiled_code", "") for name, node in nodes.items()}
