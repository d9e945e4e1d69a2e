"""Templates and schemas that are compiled when the image is built: dbt takes them, and does the same with them."""

import json
import marshal
import shutil
import subprocess
import sys
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

import gated_project as small
import warehouse
from dbtpod.dbt import process
from dbtpod.dbt.project import Project
from dbtpod.faststart import precompiled

# Counts what dbt compiles in a build, with what is in argv[1] or without: templates, and schemas.
COUNTING = """
import functools, sys
from pathlib import Path
from dbt.cli.main import cli
from dbt_common import dataclass_schema
from dbt_common.clients import jinja
from dbtpod.faststart import precompiled

compile_, templates = jinja.MacroFuzzEnvironment.compile, []
@functools.wraps(compile_)
def counting(self, source, *args, **options):
    templates.append(source)
    return compile_(self, source, *args, **options)
jinja.MacroFuzzEnvironment.compile = counting

make, schemas = dataclass_schema.build_json_schema, []
@functools.wraps(make)
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
    warehouse.bake(project)
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


@dataclass(frozen=True)
class Plain:
    """A build without a file: where its artifacts are, how many templates it compiled and how many schemas it made."""

    target: Path
    made: tuple[int, int]


@pytest.fixture(scope="module")
def plain(project: Project, tmp_path_factory: pytest.TempPathFactory) -> Plain:
    folder = tmp_path_factory.mktemp("plain")
    return Plain(folder / "target", build(project, folder / "target", folder / "no such file"))


def test_dbt_compiles_next_to_nothing_and_does_the_same(project: Project, plain: Plain, tmp_path: Path) -> None:
    baked = build(project, tmp_path / "baked", precompiled.path(project.folder))

    assert min(plain.made) > 5
    # What is left are the words of profiles.yml and dbt_project.yml, the comment above each query, and a test's result.
    assert baked[0] <= plain.made[0] / 3
    assert baked[1] <= 2
    assert small.node_statuses(tmp_path / "baked") == small.node_statuses(plain.target)
    assert compiled_sql(tmp_path / "baked") == compiled_sql(plain.target)


@pytest.mark.soak
def test_a_template_that_changed_since_is_compiled(project: Project, tmp_path: Path) -> None:
    precompiled.write(tmp_path / "empty", {"templates": {}, "schemas": {}}, precompiled.made_by())

    assert build(project, tmp_path / "empty-target", tmp_path / "empty")[0] > 20


def test_the_file_says_what_made_it() -> None:
    versions = precompiled.made_by()

    names = {"bytecode", "dbtpod", "dbt-adapters", "dbt-common", "dbt-core", "dbt-duckdb", "jinja2", "mashumaro"}
    assert names <= versions.keys()
    named = names - {"bytecode"}
    assert {name: versions[name] for name in named} == {name: version(name) for name in named}


def test_dbt_does_the_same_with_a_file_that_other_versions_made(project: Project, plain: Plain, tmp_path: Path) -> None:
    _, _, content = precompiled.path(project.folder).read_bytes().partition(b"\n")
    versions = precompiled.made_by() | {"dbt-common": "1.0.0"}
    (tmp_path / "file").write_bytes(json.dumps(versions).encode() + b"\n" + content)

    made = build(project, tmp_path / "target", tmp_path / "file")

    # Two threads may compile one template twice: the number is not always the same.
    assert made[0] > plain.made[0] / 2
    assert made[1] == plain.made[1]
    assert small.node_statuses(tmp_path / "target") == small.node_statuses(plain.target)
    assert compiled_sql(tmp_path / "target") == compiled_sql(plain.target)


@pytest.mark.parametrize("name", [*precompiled.made_by(), "dbt-an-adapter"])
@pytest.mark.parametrize("before", ["0.1", None])
def test_each_version_counts_and_the_log_names_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, before: str | None
) -> None:
    versions: dict[str, Any] = precompiled.made_by() | {name: before}
    if before is None:
        del versions[name]
        versions |= {"dbt-another": "1"}
    # Nothing of it is read: another Python may crash at what marshal wrote.
    precompiled.write(tmp_path / "file", {}, versions)
    (tmp_path / "file").write_bytes((tmp_path / "file").read_bytes() + b"\xff")

    precompiled.use(tmp_path / "file")

    [line] = capsys.readouterr().out.splitlines()
    assert f"{name} 0.1" in line if before else "dbt-another 1 (here: none)" in line
    assert "`dbtpod bake`" in line


def test_a_file_from_before_versions_were_written_is_not_used(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_bytes(marshal.dumps({"templates": {}, "schemas": {}}))

    precompiled.use(tmp_path / "file")

    [line] = capsys.readouterr().out.splitlines()
    assert "did not write down its versions" in line


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
    environment |= {"DBT_PROJECT_DIR": str(wrong), "DBT_LOG_LEVEL": "error"}

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
