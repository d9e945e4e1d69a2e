"""`dbtpod run` in a user's repository, with real dbt and real Prefect servers."""

import json
import re
import signal
import sqlite3
from contextlib import closing
from pathlib import Path
from uuid import UUID

import duckdb
import pytest

import gated_project as small
from booted import Api
from repository import GATE, Repository
from waiting import until

FLOWS = """
from pathlib import Path
import os, time

from prefect import State, flow
from prefect.runtime import flow_run

from dbtpod import run_dbt


@flow
def build(select: str) -> State:
    return run_dbt(f"build --select {select}")


@flow
def waits():
    Path(os.environ["GATE"] + ".run").write_text(flow_run.id)
    while not Path(os.environ["GATE"]).exists():
        time.sleep(0.05)
"""
PREFECT_YAML = """
deployments:
  - name: only-plain
    entrypoint: flows.py:build
    parameters: {select: plain}
    work_pool: {name: dbtpod, work_queue_name: duckdb-writer}
  - name: waits
    entrypoint: flows.py:waits
    work_pool: {name: dbtpod, work_queue_name: duckdb-writer}
"""


@pytest.fixture
def shop(tmp_path: Path) -> Repository:
    return Repository(tmp_path / "shop")


def tables(shop: Repository) -> list[str]:
    with closing(duckdb.connect(shop.volume.current / "warehouse.duckdb", read_only=True)) as connection:
        views = connection.execute("select view_name from duckdb_views() where not internal").fetchall()
    return sorted(name for (name,) in views)


def test_a_project_without_a_prefect_yaml_is_built_without_any_server_and_parsed_once(shop: Repository) -> None:
    first = shop.run("run")

    assert first.returncode == 0, first.stdout + first.stderr
    assert "dbt build is done: 2 nodes: 2 success" in first.stdout
    assert "The warehouse: .dbtpod/data/published/current/warehouse.duckdb" in first.stdout
    assert re.search("a prefect.yaml +dbtpod init$", first.stdout, re.MULTILINE)
    assert tables(shop) == ["plain", "plain_too"]
    # The server that ended with it had written down everything.
    assert "Traceback" not in first.stdout + first.stderr
    with closing(sqlite3.connect(shop.volume.root / "prefect" / "prefect.db")) as history:
        assert history.execute("select state_type, count(*) from task_run group by 1").fetchall() == [("COMPLETED", 3)]
    # The server that this needed is gone, and nothing lies beside the user's files but what git does not see.
    assert {path.name for path in shop.folder.iterdir()} <= {
        *("models", "dbt_project.yml", "profiles.yml", ".dbtpod"),
    }
    parsed = shop.folder / ".dbtpod" / "parsed"
    [state] = parsed.iterdir()

    second = shop.run("run", "build", "--select", "plain")

    assert second.returncode == 0, second.stdout + second.stderr
    assert "dbt build --select plain is done: 1 node: 1 success" in second.stdout
    assert state.is_file()
    # dbt took it from there, and did not read the file again.
    assert _parsed_at(shop, 1) == _parsed_at(shop, 2)


def _parsed_at(shop: Repository, generation: int) -> float:
    """When dbt parsed the model, as it noted it."""
    manifest = json.loads((shop.volume.published / f"{generation:06}" / "manifest.json").read_text())
    found: float = manifest["nodes"]["model.shop.plain"]["created_at"]
    return found


@pytest.mark.soak
def test_a_deployment_runs_with_its_parameters(prefect: Api, shop: Repository) -> None:
    shop.write("flows.py", FLOWS)
    shop.write("prefect.yaml", PREFECT_YAML)

    done = shop.run("run", "only-plain", PREFECT_API_URL=prefect.url)

    assert done.returncode == 0, done.stdout + done.stderr
    assert "only-plain is done: 1 node: 1 success" in done.stdout
    assert re.search("runs and schedules +dbtpod serve$", done.stdout, re.MULTILINE)


def test_a_request_runs_what_its_options_say_and_names_what_the_project_lacks(prefect: Api, shop: Repository) -> None:
    done = shop.run("run", "--select", "plain", "plain_too", "--exclude", "plain_too", PREFECT_API_URL=prefect.url)

    assert done.returncode == 0, done.stdout + done.stderr
    assert "dbtpod run --select plain plain_too --exclude plain_too is done: 1 node: 1 success" in done.stdout
    assert tables(shop) == ["plain"]

    misspelt = shop.run("run", "--select", "plian", PREFECT_API_URL=prefect.url)

    assert misspelt.returncode == 1
    assert "'plian' matches nothing; did you mean 'plain'?" in misspelt.stderr

    unknown = shop.run("run", "--selct", "plain", PREFECT_API_URL=prefect.url)

    assert unknown.returncode == 2
    assert "No such option '--selct'" in unknown.stderr


def test_a_failed_model_is_exit_code_1_and_says_why(prefect: Api, shop: Repository) -> None:
    shop.write("models/failing.sql", small.FILES["models/failing.sql"])

    done = shop.run("run", PREFECT_API_URL=prefect.url)

    assert done.returncode == 1
    assert "dbt build Failed: " in done.stderr
    assert "Table with name nowhere does not exist" in done.stderr
    assert not shop.volume.current.exists()


def test_a_flow_that_cannot_be_loaded_is_a_text_and_no_traceback(prefect: Api, shop: Repository) -> None:
    shop.write("flows.py", FLOWS + "\nimport not_installed\n")
    shop.write("prefect.yaml", PREFECT_YAML)

    done = shop.run("run", PREFECT_API_URL=prefect.url)

    assert done.returncode == 1
    assert "The flow flows.py:build cannot be loaded: " in done.stderr
    assert "No module named 'not_installed'" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_run_whose_process_was_killed_is_ended_by_the_next_one(prefect: Api, shop: Repository) -> None:
    shop.write("flows.py", FLOWS)
    shop.write("prefect.yaml", PREFECT_YAML)
    gate, note = shop.gate, shop.gate.with_name("gate.run")
    api = {"PREFECT_API_URL": prefect.url}
    with shop.running("run", "waits", **api) as first:
        until(note.exists, seconds=300)
        first.send_signal(signal.SIGKILL)
    killed = UUID(note.read_text())
    assert prefect.state(killed) == "Running"

    # One that lives is left alone.
    note.unlink()
    log = shop.folder.parent / "second.log"
    with shop.running("run", "waits", log=log, **api) as second:
        until(note.exists, seconds=300)
        alive = UUID(note.read_text())
        with shop.running("run", "waits", **api) as third:
            until(lambda: note.read_text() not in ("", str(alive)), seconds=300)
            assert prefect.state(alive) == "Running"
            gate.touch()
            assert third.wait(300) == 0
        assert second.wait(300) == 0

    run = prefect.client.read_flow_run(killed)
    assert run.state is not None
    assert run.state.is_crashed()
    assert "it was killed, or the machine stopped" in str(run.state.message)
    # Of the two that came after it, the first that saw its lock to be more than some seconds old.
    said = log.read_text() + log.with_name("dbtpod.log").read_text()
    assert f"The flow run {run.name} is Crashed" in said
    assert prefect.state(alive) == "Completed"
    assert list(shop.volume.runs.glob("*.lock")) == []


@pytest.mark.soak
def test_after_a_kill_of_everything_nothing_is_left_and_the_next_run_builds(tmp_path: Path) -> None:
    shop = Repository(tmp_path / "shop", GATE)
    with shop.running("run") as first:
        until(shop.gate.with_name("gate.seen").exists, seconds=600)
        dbt = small.seen(shop.gate)["pid"]
        first.send_signal(signal.SIGKILL)
        first.wait(30)
        until(lambda: not small.is_alive(dbt), seconds=60)
    shop.gate.touch()

    done = shop.run("run")

    assert done.returncode == 0, done.stdout + done.stderr
    assert "is Crashed: Its process on this machine ended without a word" in done.stdout
    assert "dbt build is done: 3 nodes: 3 success" in done.stdout
