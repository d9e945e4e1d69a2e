"""Freshness checks as flow runs: they read what is published, whatever a writer does: real dbt, a real Prefect API."""

import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import duckdb
import pytest

from dbtpod.errors import WarehouseUnusable
from dbtpod.ui import stale
from dbtpod.ui.artifacts import ReportSender
from prefect_server import Server
from shop import ORDERS, write
from shop_flows import building, checking_freshness, commands_of, run
from waiting import until

SOURCES = """
sources:
  - name: raw
    schema: main
    tables:
      - name: orders
        config:
          meta: {owner: "@data"}
          loaded_at_field: loaded_at
          freshness: {warn_after: {count: 1, period: hour}, error_after: {count: 2, period: hour}}
"""

HOLD_UNTIL_AN_ATTEMPT_FAILED = """
import duckdb, pathlib, sys, time
connection = duckdb.connect(sys.argv[1])
print(flush=True)
for _ in range(600):
    if any("exit_code" in p.read_text() for p in pathlib.Path(sys.argv[2]).glob("*/1-source/attempt-1/attempt.json")):
        break
    time.sleep(0.1)
"""


pytestmark = pytest.mark.usefixtures("api")


@pytest.fixture
def project(project: Path) -> Path:
    write(project, ORDERS | {"models/sources.yml": SOURCES})
    return project


def test_freshness_reads_what_is_published_while_a_writer_has_the_working_copy_open(
    project: Path, published: Path, tmp_path: Path
) -> None:
    run(building)

    with duckdb.connect(tmp_path / "volume" / "work" / "warehouse.duckdb"):
        state = run(checking_freshness)

    assert state.is_completed()


def test_a_freshness_warning_is_in_the_state_of_a_run_that_completes(project: Path) -> None:
    (project / "models" / "orders.sql").write_text("select 1 as id, now() - interval 90 minute as loaded_at")
    run(building)

    state = run(checking_freshness)

    assert state.is_completed()
    assert "1 warn" in str(state.message)
    assert "raw.orders" in str(state.message)


def test_stale_sources_are_an_event_of_the_run_for_alerts_with_their_owner(project: Path, server: Server) -> None:
    (project / "models" / "orders.sql").write_text("select 1 as id, now() - interval 90 minute as loaded_at")
    run(building)

    state = run(checking_freshness)

    resource = f"prefect.flow-run.{state.state_details.flow_run_id}"
    events = until(lambda: server.events("dbtpod.sources.stale", resource))
    message = events[0]["payload"]["message"]
    assert message.startswith("1 source is stale:\n  source.")
    assert ".raw.orders (owner: @data): is 1 h 30 min old, warn after 1 h, error after 2 h" in message


def test_that_event_and_the_report_are_sent_side_by_side(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (project / "models" / "orders.sql").write_text("select 1 as id, now() - interval 90 minute as loaded_at")
    run(building)
    is_reporting, found = threading.Event(), []
    send = ReportSender.send

    def send_and_say(*args: Any) -> None:
        send(*args)
        is_reporting.set()

    class Waiting:
        """A server that takes the event once the report is on its way."""

        def request(self, *_: str, **__: object) -> None:
            found.append(is_reporting.wait(5))

    monkeypatch.setattr(ReportSender, "send", send_and_say)
    monkeypatch.setattr(stale, "again_if_busy", lambda work: work(Waiting()))

    run(checking_freshness)

    assert found == [True]


def test_a_hook_that_writes_fails_a_freshness_check_unless_the_project_leaves_hooks_out(project: Path) -> None:
    run(building)
    with (project / "dbt_project.yml").open("a") as file:
        file.write('on-run-end: ["create table said as select 1 as n"]\n')

    failed = run(checking_freshness)
    with (project / "dbt_project.yml").open("a") as file:
        file.write("flags: {source_freshness_run_project_hooks: false}\n")
    completed = run(checking_freshness)

    assert failed.is_failed()
    assert "read-only mode" in str(failed.message)
    assert completed.is_completed(), completed.message


def test_freshness_before_the_first_build_says_what_to_run(project: Path) -> None:
    state = run(checking_freshness)

    assert isinstance(state.result(raise_on_failure=False), WarehouseUnusable)
    assert "run one that builds first" in str(state.message)


def test_a_database_that_is_locked_is_tried_again_until_it_is_free(project: Path, published: Path) -> None:
    run(building)
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD_UNTIL_AN_ATTEMPT_FAILED, published, published.parents[2] / "runs"],
        stdout=subprocess.PIPE,
    )
    assert holder.stdout is not None
    holder.stdout.readline()

    state = run(checking_freshness)

    holder.wait(timeout=30)
    assert state.is_completed()
    assert [command.run_count > 1 for command in commands_of(state)] == [True]
