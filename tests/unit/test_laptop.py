"""`dbtpod run` and `dbtpod serve` before anything is started: where all is, and what is asked for."""

import json
import os
import re
import subprocess
import time
from collections.abc import Iterator
from configparser import ConfigParser
from pathlib import Path
from shutil import which

import click
import pytest

from dbtpod import cli
from dbtpod.dbt import kept_state, project
from dbtpod.dbt.parse_state import FILE
from dbtpod.dbt.project import Project
from dbtpod.errors import DeploymentsInvalid, SettingsError
from dbtpod.laptop import choice, place, pool, serve, served
from dbtpod.laptop.choice import ASKED, READY, Choice
from dbtpod.laptop.place import Place
from dbtpod.request import RunRequest
from dbtpod.warehouse.volume import Volume
from rendering import ROOT, Render

FLOWS = """
from prefect import flow

@flow
def nightly(size):
    pass

@flow
def hourly():
    pass
"""
PREFECT_YAML = """
deployments:
  - name: nightly
    entrypoint: flows/flows.py:nightly
    parameters: {size: 3}
    work_pool: {name: dbtpod, work_queue_name: duckdb-writer}
  - name: hourly
    entrypoint: flows/flows.py:hourly
    work_pool: {name: dbtpod, work_queue_name: duckdb-writer}
"""


@pytest.fixture
def here(tmp_path: Path) -> Place:
    (tmp_path / "flows").mkdir()
    (tmp_path / "flows" / "flows.py").write_text(FLOWS)
    (tmp_path / "prefect.yaml").write_text(PREFECT_YAML)
    return place_of(tmp_path)


def place_of(folder: Path) -> Place:
    return Place(folder, Volume(folder / "data" / "work" / "warehouse.duckdb"), folder / "data" / "prefect")


# ---- what is asked for


def test_without_a_word_the_first_deployment_runs_with_its_parameters(here: Place) -> None:
    assert choice.choose((), here) == Choice("flows/flows.py:nightly", {"size": 3}, "nightly")


def test_a_deployments_name_runs_that_one(here: Place) -> None:
    assert choice.choose(("hourly",), here).entrypoint == "flows/flows.py:hourly"


def test_a_dbt_command_runs_the_ready_flow_with_its_words(here: Place) -> None:
    found = choice.choose(("build", "--select", "tag:daily orders"), here)

    assert found == Choice(
        READY, {"commands": [["build", "--select", "tag:daily orders"]]}, "dbt build --select 'tag:daily orders'"
    )
    assert choice.choose(("dbt", "build", "--select", "tag:daily orders"), here) == found


def test_a_deployment_that_is_called_as_a_verb_of_dbt_is_meant_where_nothing_follows(here: Place) -> None:
    here.prefect_yaml.write_text(PREFECT_YAML.replace("name: hourly", "name: build"))

    assert choice.choose(("build",), here).entrypoint == "flows/flows.py:hourly"
    assert choice.choose(("build", "--full-refresh"), here).entrypoint == READY


def test_a_project_without_a_prefect_yaml_is_built(tmp_path: Path) -> None:
    assert choice.choose((), place_of(tmp_path)).parameters == {"commands": [["build"]]}


@pytest.mark.parametrize(
    ("words", "fields"),
    [
        (("--select", "orders+", "tag:a b", "-f"), {"select": ["orders+", "tag:a b"], "full_refresh": True}),
        (("-s", "a", "--select=b", "-x"), {"select": ["a", "b"], "fail_fast": True}),
        (("--exclude", "a", "b", "--resource-type", "seed"), {"exclude": ["a", "b"], "resource_types": ["seed"]}),
        (("--vars", "{day: '2026-01-31', n: 1}"), {"vars": {"day": "2026-01-31", "n": 1}}),
        (
            ("--command", "seed", "--result", "keep aside", "--retries", "0"),
            {"command": "seed", "result": "keep aside", "retries": 0},
        ),
        (("dbt", "--selector", "smoke"), {"selector": "smoke"}),
    ],
)
def test_words_that_begin_with_an_option_are_a_request(
    here: Place, words: tuple[str, ...], fields: dict[str, object]
) -> None:
    found = choice.choose(words, here)

    assert (found.entrypoint, found.parameters) == (ASKED, {"request": fields})
    assert found.name.startswith("dbtpod run -")


def test_a_deployment_that_has_a_form_names_the_options_in_its_place(here: Place) -> None:
    here.prefect_yaml.write_text(PREFECT_YAML.replace("flows/flows.py:hourly", "dbtpod.flows.run"))

    with pytest.raises(SettingsError, match=r"hourly runs what its form says.* such as dbtpod run --select orders\+"):
        choice.choose(("hourly",), here)

    request = "parameters: {request: {select: [orders]}}"
    text = here.prefect_yaml.read_text().replace(
        "entrypoint: dbtpod.flows.run", f"entrypoint: dbtpod.flows.run\n    {request}"
    )
    here.prefect_yaml.write_text(text)
    assert choice.choose(("hourly",), here).parameters == {"request": {"select": ["orders"]}}


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--selct", "orders"), "No such option '--selct'"),
        (("--full-refresh", "build"), "unexpected extra argument (build)"),
        (("--vars", "[1"), "it is no YAML"),
        (("--vars", "day"), "it is a mapping, such as"),
        (("--event-time-start", "2026-01-01"), "event_time_end is missing: a range needs both ends."),
        (("--select", "orders", "--selector", "smoke"), "With selector, dbt ignores select and exclude"),
        (("--retries", "many"), "--retries: Input should be a valid integer"),
        (("--continue-from", "elegant-fox"), "--continue-from: 'elegant-fox' is no id of a flow run"),
        (("--result", "keep"), "--result: Input should be 'publish', 'keep aside' or 'discard'"),
    ],
)
def test_an_option_that_is_wrong_is_an_error_of_the_command_line(
    here: Place, words: tuple[str, ...], sentence: str
) -> None:
    with pytest.raises(click.UsageError) as error:
        choice.choose(words, here)

    assert sentence in error.value.format_message()


def test_the_help_has_an_option_for_each_field_of_the_form(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["run", "--help"]) == 0

    text = capsys.readouterr().out
    assert [name for name in RunRequest.model_fields if f"--{name.replace('_', '-')}" not in text] == []
    assert "publish|keep aside|discard" in text


@pytest.mark.parametrize(
    ("words", "nearest"),
    [(("nihgtly",), "did you mean 'nightly'?"), (("biuld", "--select", "orders"), "did you mean 'build'?")],
)
def test_what_is_neither_names_the_nearest_and_all_deployments(
    here: Place, words: tuple[str, ...], nearest: str
) -> None:
    with pytest.raises(SettingsError) as error:
        choice.choose(words, here)

    assert nearest in str(error.value)
    assert "The deployments: nightly, hourly." in str(error.value)


def test_a_flow_that_was_renamed_is_an_error_with_its_line(here: Place) -> None:
    here.prefect_yaml.write_text(PREFECT_YAML.replace("flows.py:nightly", "flows.py:nihgtly"))

    with pytest.raises(DeploymentsInvalid, match=r"line 4: .*has no function 'nihgtly'; did you mean 'nightly'\?"):
        choice.choose((), here)


# ---- where all is


@pytest.fixture
def environment() -> Iterator[None]:
    before, folder = dict(os.environ), Path.cwd()
    yield
    os.environ.clear()
    os.environ.update(before)
    os.chdir(folder)


@pytest.mark.usefixtures("environment")
def test_the_data_is_in_a_folder_of_the_project_that_git_does_not_see(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("DUCKDB_PATH", "DBTPOD_VOLUME", "PREFECT_HOME", "DBT_PROJECT_DIR"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "transform").mkdir()
    (tmp_path / "transform" / "dbt_project.yml").write_text("name: shop\n")

    found = place.enter(tmp_path)

    made = tmp_path / "transform" / ".dbtpod"
    assert found.volume.root == made / "data"
    assert (made / ".gitignore").read_text() == "*\n"
    assert os.environ["DBT_PROJECT_DIR"] == str(tmp_path / "transform")
    assert os.environ["PREFECT_HOME"] == str(made / "data" / "prefect")
    assert Path.cwd() == tmp_path


@pytest.mark.usefixtures("environment")
def test_the_volume_is_where_the_variable_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DUCKDB_PATH", "PREFECT_HOME", "DBT_PROJECT_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("DBTPOD_VOLUME", str(tmp_path / "elsewhere"))
    (tmp_path / "dbt_project.yml").write_text("name: shop\n")

    assert place.enter(tmp_path).volume.root == tmp_path / "elsewhere"


def test_a_project_is_found_at_the_root_or_in_one_subfolder(tmp_path: Path) -> None:
    for folder in ("transform", "transform/dbt_packages/utils", ".hidden", "target/old"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "dbt_project.yml").touch()

    assert project.find({}, tmp_path) == tmp_path / "transform"
    (tmp_path / "dbt_project.yml").touch()
    assert project.find({}, tmp_path) == tmp_path


def test_no_project_and_several_are_errors_that_say_what_was_found(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="There is no dbt project in"):
        project.find({}, tmp_path)
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "dbt_project.yml").touch()

    with pytest.raises(SettingsError, match=r"several dbt projects in .*: a, b"):
        project.find({}, tmp_path)


# ---- one `serve` for one volume


def test_a_second_serve_is_told_where_the_first_is(tmp_path: Path) -> None:
    here = place_of(tmp_path)
    here.volume.root.mkdir()

    with served.hold(here, "http://127.0.0.1:4200"):
        found = served.find(here)
        assert found is not None
        assert (found.pid, found.api_url) == (os.getpid(), "http://127.0.0.1:4200/api")
        with pytest.raises(
            SettingsError, match=rf"process {os.getpid()}, with the Prefect UI at http://127.0.0.1:4200"
        ):
            served.hold(here, "http://127.0.0.1:4201").__enter__()

    assert served.find(here) is None


def test_what_a_killed_serve_wrote_means_nothing(tmp_path: Path) -> None:
    here = place_of(tmp_path)
    here.volume.root.mkdir()
    (here.volume.root / "serve.lock").write_text('{"pid": 1, "url": "http://127.0.0.1:4200"}')

    assert served.find(here) is None


# ---- what dbt parsed


@pytest.fixture
def shop(tmp_path: Path) -> Project:
    file = tmp_path / ".dbtpod" / "data" / "work" / "warehouse.duckdb"
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "orders.sql").write_text("select 1")
    return Project(tmp_path, file, file)


def parsed(folder: Path, text: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / FILE).write_text(text)
    return folder


def test_the_next_command_is_given_what_the_one_before_has_parsed(shop: Project, tmp_path: Path) -> None:
    kept_state.prepare(shop)
    kept_state.keep(shop, ["build"], parsed(tmp_path / "one", "all models"))

    kept_state.give(shop, ["run", "--select", "orders"], parsed(tmp_path / "two", ""))

    assert (tmp_path / "two" / FILE).read_text() == "all models"


def test_options_that_void_a_parse_have_a_state_of_their_own(shop: Project, tmp_path: Path) -> None:
    kept_state.prepare(shop)
    kept_state.keep(shop, ["build"], parsed(tmp_path / "one", "without"))
    kept_state.keep(shop, ["build", "--vars", "{day: 1}"], parsed(tmp_path / "two", "with"))

    kept_state.give(shop, ["build"], tmp_path / "one")
    kept_state.give(shop, ["test", "--vars={day: 1}"], tmp_path / "two")

    assert [(tmp_path / name / FILE).read_text() for name in ("one", "two")] == ["without", "with"]
    kept_state.give(shop, ["build", "--vars", "{day: 2}"], parsed(tmp_path / "three", "nothing"))
    assert (tmp_path / "three" / FILE).read_text() == "nothing"


def test_of_ever_new_options_only_some_states_are_kept(shop: Project, tmp_path: Path) -> None:
    made = kept_state.prepare(shop)
    for day in range(12):
        kept_state.keep(shop, ["build", "--vars", f"day: {day}"], parsed(tmp_path / "one", str(day)))
        time.sleep(0.01)

    assert sorted(int(path.read_text()) for path in (made / "parsed").iterdir()) == list(range(4, 12))


def test_a_pod_keeps_nothing(shop: Project, tmp_path: Path) -> None:
    kept_state.keep(shop, ["build"], parsed(tmp_path / "one", "all models"))

    assert not (tmp_path / ".dbtpod").exists()
    assert kept_state.stamp(shop) == ""


def test_a_change_of_a_model_makes_it_another_project_and_a_build_does_not(shop: Project, tmp_path: Path) -> None:
    kept_state.prepare(shop)
    before = kept_state.stamp(shop)
    for name in (".dbtpod/data/runs/1/target/compiled/orders.sql", "target/run/orders.sql", "logs/dbt.json"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_text("select 1")
    kept_state.keep(shop, ["build"], parsed(tmp_path / "data" / "one", "all models"))
    assert kept_state.stamp(shop) == before

    (tmp_path / "models" / "orders.sql").write_text("select 1 as id")
    assert kept_state.stamp(shop) != before


# ---- what two must both know


def test_make_run_takes_another_project_with_its_own_data() -> None:
    def dry(*words: str) -> str:
        return subprocess.run(["make", "--dry-run", "run", *words], cwd=ROOT, capture_output=True, text=True).stdout

    assert 'dbtpod run --project-dir "../shop" build --select orders' in dry(
        "DBT_PROJECT=../shop", "WHAT=build --select orders"
    )
    assert "DBTPOD_VOLUME" not in dry("DBT_PROJECT=../shop")
    assert 'DBTPOD_VOLUME="/srv/shop"' in dry("DATA=/srv/shop")


def test_the_pool_takes_the_job_variables_that_the_charts_takes(render: Render) -> None:
    [chart] = render(kind="ConfigMap", component="work-pool")
    variables = json.loads(chart["data"]["base-job-template.json"])["variables"]["properties"]

    # It stands for braces in the chart's values; nobody sets it.
    assert set(pool.TEMPLATE["variables"]["properties"]) == set(variables) - {"braces"}


def test_the_documented_unit_is_one_that_systemd_takes(tmp_path: Path) -> None:
    [unit] = re.findall(r"```ini\n(.*?)```", (ROOT / "docs" / "laptop.md").read_text(), re.DOTALL)
    found = ConfigParser(interpolation=None)
    found.read_string(unit)
    service = found["Service"]

    assert service["ExecStart"] == "/srv/shop/.venv/bin/dbtpod serve"
    # Or systemd would end the server while runs are sent back to their queues, or all of it before that is done.
    assert service["KillMode"] == "mixed"
    assert float(service["TimeoutStopSec"]) > serve.WORKER_STOP_SECONDS + serve.SERVER_STOP_SECONDS
    if which("systemd-analyze"):
        program = tmp_path / ".venv" / "bin" / "dbtpod"
        program.parent.mkdir(parents=True)
        program.symlink_to("/bin/true")
        (tmp_path / "dbtpod.service").write_text(unit.replace("/srv/shop", str(tmp_path)))
        verified = subprocess.run(
            ["systemd-analyze", "verify", "--man=no", str(tmp_path / "dbtpod.service")],
            capture_output=True,
            text=True,
            check=False,
        )
        assert (verified.returncode, verified.stderr) == (0, "")
