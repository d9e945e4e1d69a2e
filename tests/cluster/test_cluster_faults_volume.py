"""The volume: when it is full, and when more than one wants to write to it."""

import subprocess
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from faults import (
    BUILD,
    CONTENT,
    FRESHNESS,
    PUBLISHED_BY,
    SMOKE,
    Content,
    goes_on_by_itself,
    in_the_middle,
    is_settled,
    state,
)
from kube import command, pod
from release import SHELL, Release, on_another_claim, static_volume

pytestmark = pytest.mark.cluster

SMALL = "/var/small"
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
print(subprocess.run(["dbt", "run", "-s", "stg_orders"], cwd="dbt_project", stdout=subprocess.PIPE, text=True).stdout)
"""


@pytest.fixture(scope="module")
def content(warehouse: Release) -> Content:
    return warehouse.rows(CONTENT)


@pytest.fixture(scope="module")
def small(warehouse: Release) -> Iterator[Release]:
    """The same release on a volume of 48 MB, with a shell of its own there and a published warehouse."""
    on_node(warehouse, f"mkdir -p {SMALL} && mount -t tmpfs -o size=48m,mode=0777 tmpfs {SMALL}")
    warehouse.cluster.apply(*static_volume("small", SMALL, warehouse.namespace))
    one = replace(warehouse, shell_pod="small-shell")
    one.start_pod(pod("small-shell", SHELL, {"app": "shell"}, {"/data": "small"}))
    with on_another_claim(warehouse, "small"):
        one.prefect.completed(BUILD)
        yield one
    warehouse.kubectl("delete", "pod/small-shell", "pvc/small", "pv/small", "--wait=false")


def on_node(release: Release, script: str) -> None:
    command("docker", "exec", f"{release.cluster.name}-control-plane", "sh", "-c", script)


def fill(release: Release, left: int) -> None:
    """Leave that many kB free."""
    count = f"$(( $(df --output=avail -k {SMALL} | tail -1) - {left} ))"
    on_node(release, f"dd if=/dev/zero of={SMALL}/filler bs=1k count={count} 2>/dev/null")


def test_a_volume_that_is_full_before_the_build_fails_the_run_and_says_how_much_it_needs(small: Release) -> None:
    content = small.rows(CONTENT)
    fill(small, left=300)

    run = small.prefect.run(BUILD)

    assert run["state"]["name"] == "Failed", small.prefect.page(run["id"])
    assert "No space left on the volume" in run["state"]["message"]
    assert "needs" in run["state"]["message"] and "is free" in run["state"]["message"]
    is_settled(small, content, unpublished=run["id"])
    on_node(small, f"rm {SMALL}/filler")
    goes_on_by_itself(small, content)


def test_a_volume_that_becomes_full_in_the_middle_of_a_build_fails_the_run(small: Release) -> None:
    content = small.rows(CONTENT)

    with in_the_middle(small) as run:
        fill(small, left=0)

    assert state(small, run) == "Failed", small.prefect.page(run)
    assert "No space left" in small.prefect.flow_run(run)["state"]["message"]
    is_settled(small, content, unpublished=run)
    on_node(small, f"rm {SMALL}/filler")
    goes_on_by_itself(small, content)


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


def test_a_run_waits_for_a_shell_that_has_the_working_copy_open(warehouse: Release, content: Content) -> None:
    argv = ("kubectl", "exec", "--stdin", "--namespace", warehouse.namespace, "shell", "--", "python", "-c", KEEP_OPEN)
    environment = {"KUBECONFIG": str(warehouse.cluster.kubeconfig)}
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


def test_a_dbt_by_hand_fails_while_a_run_builds_and_does_not_disturb_it(warehouse: Release, content: Content) -> None:
    with in_the_middle(warehouse) as run:
        assert "Could not set lock on file" in warehouse.shell(DBT_BY_HAND)

    assert state(warehouse, run) == "Completed", warehouse.prefect.page(run)
    is_settled(warehouse, content, published=run)


def test_three_runs_of_one_minute_all_complete(warehouse: Release, content: Content) -> None:
    at = (datetime.now(UTC) + timedelta(seconds=15)).isoformat()
    scheduled = {"type": "SCHEDULED", "name": "Scheduled", "state_details": {"scheduled_time": at}}

    runs = [create_run(warehouse, deployment, state=scheduled) for deployment in (BUILD, SMOKE, FRESHNESS)]

    assert [warehouse.prefect.ended(run)["state"]["name"] for run in runs] == ["Completed"] * 3
    is_settled(warehouse, content, published=runs[0])


def create_run(release: Release, deployment: str, **fields: Any) -> str:
    key = release.prefect.call("GET", f"deployments/name/{deployment}")["id"]
    run: str = release.prefect.call("POST", f"deployments/{key}/create_flow_run", **fields)["id"]
    return run
