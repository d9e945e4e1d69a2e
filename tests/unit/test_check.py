"""What `dbtpod check` does without dbt; its mistakes, with their messages, are in tests/dbt/test_check.py."""

import json
from pathlib import Path

import pytest

from dbtpod import bake, cli, settings
from dbtpod.check import main as check
from dbtpod.check import python_flows
from dbtpod.check.finding import Finding
from dbtpod.check.selection import Use
from dbtpod.errors import SettingsError
from rendering import Render

REPO = Path(__file__).parents[2]
COPIES = REPO / "src/dbtpod/check"
PROBLEM = Finding(Path("prefect.yaml"), 3, "deployment 'a': tags is 'x': it must be a list")
WARNING = Finding(Path("models/a.sql"), None, "it selects nothing", is_warning=True)


def test_the_schema_in_the_package_is_that_of_the_chart() -> None:
    chart = REPO / "charts/dbtpod/values.schema.json"

    same = (COPIES / chart.name).read_bytes() == chart.read_bytes()

    assert same, f"cp {chart.relative_to(REPO)} {COPIES.relative_to(REPO)}/"


def test_the_job_variables_in_the_package_are_those_of_the_charts_job_template(render: Render) -> None:
    [pool] = render(kind="ConfigMap", component="work-pool")
    variables = json.loads(pool["data"]["base-job-template.json"])["variables"]
    for each in variables["properties"].values():
        each.pop("default", None)
    file = COPIES / "job_template.json"
    text = json.dumps({"variables": variables}, indent=2) + "\n"

    same = file.read_text() == text

    assert same, f"Write into {file.relative_to(REPO)}:\n{text}"


@pytest.mark.parametrize(
    ("found", "strict", "code", "last"),
    [
        ([], True, 0, "no problems in 1 deployment"),
        ([WARNING], False, 0, "no problems, 1 warning in 1 deployment"),
        ([WARNING], True, 1, "no problems, 1 warning in 1 deployment"),
        ([PROBLEM, PROBLEM, WARNING], False, 1, "2 problems, 1 warning in 1 deployment"),
    ],
)
def test_problems_fail_and_warnings_only_where_that_is_asked_for(
    found: list[Finding], strict: bool, code: int, last: str
) -> None:
    lines, given = check.report(found, "1 deployment", strict=strict)

    assert given == code
    assert lines[-1] == last


def test_a_finding_begins_with_its_place_as_compilers_write_it() -> None:
    several = Finding(None, None, "Compilation Error\n  in model a\n\n  in line 3")

    assert list(PROBLEM.lines()) == ["prefect.yaml:3: deployment 'a': tags is 'x': it must be a list"]
    assert list(WARNING.lines()) == ["models/a.sql: warning: it selects nothing"]
    assert list(several.lines()) == ["Compilation Error", "    in model a", "    in line 3"]


def test_a_folder_with_nothing_of_it_is_told_what_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("DBT_PROJECT_DIR", raising=False)

    code = cli.main(["check", str(tmp_path)])

    project, prefect_yaml, last = capsys.readouterr().out.splitlines()
    assert code == 1
    assert "dbt_project.yml" in project
    assert prefect_yaml == "prefect.yaml: there is none; `dbtpod init` writes one"
    assert last == "2 problems in no deployments, no commands, no dbt nodes"


def test_a_folder_that_is_not_there_is_a_wrong_command_line(tmp_path: Path) -> None:
    assert cli.main(["check", str(tmp_path / "nowhere")]) == 2


FLOWS = """
import dbtpod
from dbtpod import run_dbt as dbt

@flow
def build(day):
    dbt("seed", ["build", "--select", "a b"], f"build --vars {day}", *more, day)
    dbtpod.run_dbt(
        "dbt test "
        "--select orders"
    )
    other("biuld")
"""


def test_of_python_only_the_commands_are_read_that_are_written_out(tmp_path: Path) -> None:
    (tmp_path / "flows.py").write_text(FLOWS)

    found = list(python_flows.read(["flows.py:build", "flows.py:other", "dbtpod.flows.commands"], tmp_path))

    uses = [(each.words, each.line) for each in found if isinstance(each, Use)]
    assert uses == [(("seed",), 7), (("build", "--select", "a b"), 7), (("test", "--select", "orders"), 9)]
    assert len(found) == len(uses)


def test_a_profile_that_does_not_fit_values_yaml_is_named_by_check_and_by_bake(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "dbt_project.yml").write_text("name: shop\nprofile: shop\n")
    (tmp_path / "profiles.yml").write_text("shop: {target: dev, outputs: {dev: {type: duckdb, path: shop.duckdb}}}\n")
    (tmp_path / "values.yaml").write_text("warehouse: {kind: remote}\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DBT_PROJECT_DIR", str(tmp_path))
    says = (
        "profiles.yml: profile `shop`, target `dev` is of type duckdb and builds in a local file, and warehouse.kind is"
    )

    found, _ = check.check(tmp_path)
    with pytest.raises(SettingsError) as raised:
        bake.bake(settings.environment(), lambda _: None)

    assert [each.text for each in found if says in each.text]
    assert says in str(raised.value)
