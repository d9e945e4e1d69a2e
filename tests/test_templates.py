"""Templates that are compiled once, when the image is built: dbt takes them, and does the same with them."""

import json
import subprocess
import sys
from pathlib import Path

import gated_project as small
import pytest

from dbtpod import parse_state, process, templates
from dbtpod.settings import Settings

# Counts what dbt compiles in a build, with the templates of argv[1] or without.
COUNTING = """
import sys
from pathlib import Path
from dbt.cli.main import cli
from dbt_common.clients import jinja
from dbtpod import templates

compile_, anew = jinja.MacroFuzzEnvironment.compile, []
def counting(self, source, *args, **options):
    anew.append(source)
    return compile_(self, source, *args, **options)
jinja.MacroFuzzEnvironment.compile = counting
templates.use(Path(sys.argv[1]))
try:
    cli.main(["build", "--exclude", "gate", "killed", "endless"])
finally:
    print("compiled", len(anew), file=sys.stderr)
"""


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    settings = small.create(tmp_path_factory.mktemp("templates"))
    parse_state.bake(settings)
    return settings


def build(settings: Settings, folder: Path, file: Path) -> int:
    """Build in a process of its own; how many templates it compiled."""
    environment = process.environment(settings, small.target_dir(settings, folder))
    done = subprocess.run(
        [sys.executable, "-c", COUNTING, str(file)],
        env=environment,
        cwd=settings.project_dir,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 1, done.stdout + done.stderr
    return int(done.stderr.split()[-1])


def test_dbt_compiles_next_to_nothing_and_does_the_same(settings: Settings, tmp_path: Path) -> None:
    baked = build(settings, tmp_path / "baked", templates.path(settings.project_dir))
    plain = build(settings, tmp_path / "plain", tmp_path / "no such file")

    assert plain > 20
    # What is left are the words of profiles.yml and dbt_project.yml, and the comment above each query.
    assert baked <= plain / 4
    assert small.node_statuses(tmp_path / "baked") == small.node_statuses(tmp_path / "plain")
    assert compiled_sql(tmp_path / "baked") == compiled_sql(tmp_path / "plain")


def test_a_template_that_changed_since_is_compiled(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text(json.dumps({"macros": {}, "nodes": {}}))

    templates.bake(tmp_path / "manifest.json", tmp_path / "empty")

    assert build(settings, tmp_path / "empty-target", tmp_path / "empty") > 20


def test_a_macro_that_does_not_compile_stops_no_one_who_does_not_call_it(tmp_path: Path) -> None:
    macros = {"a": {"macro_sql": "{% macro a() %}{% endif %}{% endmacro %}"}, "b": {"macro_sql": "{{ 1 }}"}}
    (tmp_path / "manifest.json").write_text(json.dumps({"macros": macros, "nodes": {}}))

    templates.bake(tmp_path / "manifest.json", tmp_path / "compiled")

    assert (tmp_path / "compiled").stat().st_size > 100


def compiled_sql(folder: Path) -> dict[str, str]:
    nodes = json.loads((folder / "manifest.json").read_text())["nodes"]
    return {name: node.get("compiled_code", "") for name, node in nodes.items()}
