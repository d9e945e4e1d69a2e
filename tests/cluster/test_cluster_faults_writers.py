"""More than one that wants to write: runs of two queues, a person's shell, a dbt by hand, three runs of one minute."""

import os
import subprocess
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from faults import CONTENT, PUBLISHED_BY, Content, in_the_middle, is_settled, state
from release import BUILD, FRESHNESS, SMOKE, Release
from waiting import until

pytestmark = pytest.mark.cluster

WORKING_FILE = "/data/work/warehouse.duckdb"
KEEP_OPEN = """
import duckdb, pathlib, sys
with duckdb.connect(sys.argv[1]) as connection:
    connection.execute("create table if not exists by_hand as select 1 as id")
    print("open", flush=True)
    sys.stdin.readline()
"""

DBT_BY_HAND = """
import os, subprocess
os.environ |= {"DBT_TARGET_PATH": "/tmp/target", "DBT_LOG_PATH": "/tmp/target"}
os.environ |= {"DBT_PROFILES_DIR": ".dbtpod/writer", "DUCKDB_PATH": "/data/work/warehouse.duckdb"}
print(subprocess.run(["dbt", "run", "-s", "stg_orders"], cwd="dbt_project", stdout=subprocess.PIPE, text=True).stdout)
"""


@pytest.fixture(scope="module")
def content(warehouse: Release) -> Content:
    return warehouse.rows(CONTENT)


def test_of_two_writers_from_two_queues_the_second_waits_for_the_first(warehouse: Release, content: Content) -> None:
    with in_the_middle(warehouse) as first:
        second = create_run(warehouse, SMOKE, work_queue_name="duckdb-reader")
        name = warehouse.prefect.flow_run(first)["name"]
        warehouse.prefect.logged(second, f"Waiting for the warehouse, 600 s at most. The run '{name}'")

    assert state(warehouse, first) == "Completed", warehouse.prefect.page(first)
    warehouse.prefect.ended(second, 90)
    assert state(warehouse, second) == "Completed", warehouse.prefect.page(second)
    assert warehouse.shell(PUBLISHED_BY).split()[-2:] == [first, second]
    is_settled(warehouse, content, published=second)


@pytest.mark.soak
def test_a_run_waits_for_a_shell_that_has_the_working_copy_open(warehouse: Release, content: Content) -> None:
    argv = ("kubectl", "exec", "--stdin", "--namespace", warehouse.namespace, "shell", "--", "python", "-c", KEEP_OPEN)
    # Without HOME, kubectl would keep its cache here.
    environment = {**os.environ, "KUBECONFIG": str(warehouse.cluster.kubeconfig)}
    with subprocess.Popen(
        [*argv, WORKING_FILE], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as shell:
        assert shell.stdout and shell.stdout.readline() == "open\n"
        run = warehouse.prefect.start(BUILD)
        warehouse.prefect.logged(run, "is open for writing in DuckDB by")
        shell.communicate("\n", timeout=30)

    warehouse.prefect.ended(run)

    assert state(warehouse, run) == "Completed", warehouse.prefect.page(run)
    is_settled(warehouse, content, published=run)


@pytest.mark.soak
def test_a_dbt_by_hand_fails_while_a_run_builds_and_does_not_disturb_it(warehouse: Release, content: Content) -> None:
    with in_the_middle(warehouse) as run:
        assert "Could not set lock on file" in warehouse.shell(DBT_BY_HAND)

    assert state(warehouse, run) == "Completed", warehouse.prefect.page(run)
    is_settled(warehouse, content, published=run)


@pytest.mark.soak
def test_three_runs_of_one_minute_all_complete_and_none_begins_before_it(warehouse: Release, content: Content) -> None:
    at = datetime.now(UTC) + timedelta(seconds=15)

    runs = [create_run(warehouse, deployment, state=scheduled(at)) for deployment in (BUILD, SMOKE, FRESHNESS)]

    ended = [warehouse.prefect.ended(run) for run in runs]
    assert [run["state"]["name"] for run in ended] == ["Completed"] * 3
    assert min(datetime.fromisoformat(run["start_time"]) for run in ended) >= at
    is_settled(warehouse, content, published=runs[0])


def test_a_run_whose_time_comes_while_another_builds_waits_without_a_pod(warehouse: Release, content: Content) -> None:
    with in_the_middle(warehouse) as first:
        second = create_run(warehouse, SMOKE, state=scheduled(datetime.now(UTC) + timedelta(seconds=3)))
        until(lambda: state(warehouse, second) == "Late", 90, "the second run's time")
        assert warehouse.pods_of(second) == []

    assert warehouse.prefect.ended(second)["state"]["name"] == "Completed"
    assert state(warehouse, first) == "Completed", warehouse.prefect.page(first)
    is_settled(warehouse, content, published=second)


def scheduled(at: datetime) -> dict[str, Any]:
    return {"type": "SCHEDULED", "name": "Scheduled", "state_details": {"scheduled_time": at.isoformat()}}


def create_run(release: Release, deployment: str, **fields: Any) -> str:
    key = release.prefect.call("GET", f"deployments/name/{deployment}")["id"]
    run: str = release.prefect.call("POST", f"deployments/{key}/create_flow_run", **fields)["id"]
    return run
