"""What runs leave in the history: real dbt, a real Prefect API."""

import json
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from prefect import State, flow
from prefect.client.orchestration import get_client
from prefect.flow_engine import run_flow

import messages
from dbtpod import run_dbt
from dbtpod.history import store
from shop import ORDERS, write
from shop_flows import building, checking_freshness, run

pytestmark = pytest.mark.usefixtures("api")
Ask = Callable[..., list[tuple[Any, ...]]]


@pytest.fixture
def project(project: Path) -> Path:
    write(project, ORDERS)
    return project


@pytest.fixture
def ask(tmp_path: Path) -> Ask:
    def ask(sql: str, folder: str = "history") -> list[tuple[Any, ...]]:
        with store.read(tmp_path / "volume" / folder) as history:
            return history.execute(sql).fetchall()

    return ask


@flow
def keeping_aside() -> State[Any]:
    return run_dbt("build", result="keep aside")


def run_id(state: State[Any]) -> str:
    return str(state.state_details.flow_run_id)


def name(state: State[Any]) -> str:
    with get_client(sync_client=True) as client:
        return str(client.read_flow_run(state.state_details.flow_run_id or "").name)


def test_a_completed_run_and_a_failed_one_are_in_the_history_with_their_states_and_messages(
    project: Path, ask: Ask
) -> None:
    completed = run(building)
    (project / "models" / "totals.sql").write_text("select amout from {{ ref('orders') }}")

    failed = run(building)

    found = ask("SELECT run_id, name, flow, state, generation, base, only_reads, starts FROM runs ORDER BY started")
    assert found == [
        (run_id(completed), name(completed), "building", "completed", 1, None, False, 1),
        (run_id(failed), name(failed), "building", "failed", None, 1, False, 1),
    ]
    assert ask("SELECT message FROM runs WHERE state = 'completed'") == [(completed.message,)]
    [[said]] = ask("SELECT message FROM runs WHERE state = 'failed'")
    assert said in str(failed.message)
    assert '"amout" not found' in said
    assert ask("SELECT count(*) FROM runs WHERE ended > started AND pod_seconds > 0 AND dbt <> ''") == [(2,)]
    assert ask("SELECT name, status, thread IS NOT NULL FROM nodes WHERE run_id = '" + run_id(failed) + "'") == [
        ("orders", "success", True),
        ("totals", "error", True),
    ]
    assert ask("SELECT node_id, since_run_id FROM failing_since") == [("model.shop.totals", run_id(failed))]
    assert ask("SELECT name, rows FROM relations ORDER BY name") == [("orders", 1), ("totals", 1)]
    assert ask("SELECT run_id FROM runs", "published/current") == [(run_id(completed),)]


@pytest.mark.soak
def test_a_run_that_only_reads_is_taken_in_by_the_next_one_that_builds(project: Path, ask: Ask) -> None:
    run(building)
    (project / "models" / "sources.yml").write_text(
        "sources: [{name: raw, schema: main, tables: [{name: orders, config: {loaded_at_field: loaded_at, "
        "freshness: {error_after: {count: 1, period: hour}}}}]}]"
    )
    read = run(checking_freshness)
    assert ask("SELECT count(*) FROM runs") == [(1,)]

    run(building)

    found = ask("SELECT state, only_reads, message, generation FROM runs WHERE run_id = '" + run_id(read) + "'")
    assert found == [("completed", True, read.message, None)]
    assert ask("SELECT name, status FROM source_checks") == [("raw.orders", "pass")]


def test_a_run_that_keeps_its_build_aside_has_the_message_of_its_state(project: Path, ask: Ask) -> None:
    run(building)

    aside = run(keeping_aside)

    found = ask("SELECT state, generation, message FROM runs WHERE run_id = '" + run_id(aside) + "'")
    assert found == [("completed", None, aside.message)]


def test_a_run_completes_whatever_becomes_of_its_history(project: Path, published: Path, tmp_path: Path) -> None:
    (tmp_path / "volume" / "history").write_text("a file where a folder belongs")

    with messages.kept(30, "prefect.flow_runs") as warnings:
        state = run(building)

    assert state.is_completed(), state.message
    assert published.is_file()
    assert [text for text in warnings if "The history of runs could not be brought up to date" in text]


def test_what_a_run_says_of_itself_is_there_while_it_runs(project: Path, tmp_path: Path) -> None:
    folder = tmp_path / "volume" / "runs"
    (project / "models" / "orders.py").write_text(
        "import pathlib\n\ndef model(dbt, session):\n"
        f"    found = [path.read_text() for path in pathlib.Path({str(folder)!r}).glob('*/run.json')]\n"
        f"    pathlib.Path({str(tmp_path / 'seen')!r}).write_text(found[0])\n"
        "    return session.sql('select 1 as id')\n"
    )
    (project / "models" / "orders.sql").unlink()

    state = run(building)

    assert state.is_completed(), state.message
    seen = json.loads((tmp_path / "seen").read_text())
    [start] = seen["starts"]
    assert (seen["state"], seen["run_id"]) == ("running", run_id(state))
    assert (start["pod"], start["ended"]) == (socket.gethostname(), None)


def test_a_run_of_a_deployment_has_its_name(project: Path, ask: Ask) -> None:
    with get_client(sync_client=True) as client:
        made = client.create_deployment(client.create_flow(building), "dbt-build")
        flow_run = client.create_flow_run_from_deployment(made)

    state = run_flow(building, flow_run=flow_run, parameters={"args": ()}, return_type="state")

    assert isinstance(state, State) and state.is_completed()
    assert ask("SELECT run_id, deployment FROM runs") == [(str(flow_run.id), "dbt-build")]
