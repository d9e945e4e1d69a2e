"""What a flow run's pod runs, beside what `prefect flow-run execute` gives: real server, real engine, real dbt."""

import json
import os
import re
import signal
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from prefect.states import Cancelling

import gated_project as small
from booted import Api, Pod, Start, starting
from dbtpod.dbt.project import Project
from prefect_server import Server


@pytest.fixture(scope="module")
def prefect(server: Server) -> Api:
    return Api(server.url)


@pytest.fixture(scope="module")
def gated(tmp_path_factory: pytest.TempPathFactory) -> Project:
    return small.create(tmp_path_factory.mktemp("boot"))


@pytest.fixture
def start(prefect: Api, gated: Project, tmp_path: Path) -> Iterator[Start]:
    with starting(prefect, gated, tmp_path) as start:
        yield start


@pytest.fixture
def pod(start: Start) -> Pod:
    return start("gated")


def test_a_run_completes_with_heartbeats_and_one_dbt_for_its_commands(prefect: Api, start: Start) -> None:
    pod = start("two_commands")

    assert pod.boot.wait(120) == 0

    assert prefect.state(pod.run) == "Completed"
    engine, first, second = json.loads(Path(f"{pod.gate}.pids").read_text())
    assert first == second
    assert len({pod.boot.pid, engine, first}) == 3
    # In a container the first process takes the others with it; here dbt has to notice its end.
    small.until(lambda: not any(small.is_alive(pid) for pid in (engine, first)), seconds=10)
    small.until(lambda: prefect.events(pod.run, "prefect.flow-run.heartbeat"), seconds=60)


@pytest.mark.soak
def test_for_a_bug_report_each_command_is_the_plain_dbt(prefect: Api, start: Start) -> None:
    pod = start("two_commands", DBTPOD_PLAIN_DBT="1")

    assert pod.boot.wait(120) == 0

    assert prefect.state(pod.run) == "Completed"
    _, first, second = json.loads(Path(f"{pod.gate}.pids").read_text())
    assert first != second


def test_sigterm_puts_the_run_back_into_the_queue_and_ends_dbt(prefect: Api, pod: Pod) -> None:
    _, engine, dbt = pod.pids()

    pod.boot.send_signal(signal.SIGTERM)

    assert pod.boot.wait(60) == 0
    assert prefect.state(pod.run) == "AwaitingRetry"
    assert not small.is_alive(engine)
    assert not small.is_alive(dbt)


def test_a_run_cancelled_on_the_page_ends_as_cancelled_and_ends_dbt(prefect: Api, pod: Pod) -> None:
    _, _, dbt = pod.pids()

    prefect.client.set_flow_run_state(pod.run, Cancelling())

    small.until(lambda: not small.is_alive(dbt), seconds=30)
    small.until(lambda: prefect.state(pod.run) == "Cancelled")
    assert pod.boot.wait(60) == 0


def test_a_run_that_was_taken_early_begins_at_its_time_and_not_before(prefect: Api, start: Start) -> None:
    # By whole seconds, as Prefect's server counts, one of the two would be early.
    due = [datetime.now(UTC) + timedelta(seconds=seconds) for seconds in (9.0, 9.5)]
    pods = [start("no_command", each) for each in due]

    assert [pod.boot.wait(120) for pod in pods] == [0, 0]

    for pod, time in zip(pods, due, strict=True):
        assert prefect.state(pod.run) == "Completed"
        begun = prefect.client.read_flow_run(pod.run).start_time
        assert begun is not None
        assert begun >= time


@pytest.mark.soak
@pytest.mark.parametrize("ending", ["Cancelled", "AwaitingRetry"])
def test_a_run_that_waits_for_its_time_can_be_ended(prefect: Api, start: Start, ending: str) -> None:
    pod = start("gated", datetime.now(UTC) + timedelta(minutes=10))
    small.until(lambda: _has_sigterm_handler(pod), seconds=60)

    if ending == "Cancelled":
        prefect.client.set_flow_run_state(pod.run, Cancelling())
    else:
        pod.boot.send_signal(signal.SIGTERM)

    assert pod.boot.wait(60) == 0
    small.until(lambda: prefect.state(pod.run) == ending)
    assert not pod.gate.with_name("gate.flow").exists()


def _has_sigterm_handler(pod: Pod) -> bool:
    """Whether the engine is past its imports: what the kernel says of the process that the supervisor forked."""
    children = Path(f"/proc/{pod.boot.pid}/task/{pod.boot.pid}/children").read_text().split()
    caught = [re.search(r"SigCgt:\t(\w+)", Path(f"/proc/{pid}/status").read_text()) for pid in children]
    return any(found and int(found[1], 16) >> (signal.SIGTERM - 1) & 1 for found in caught)


def test_an_engine_that_is_killed_is_reported_as_crashed(prefect: Api, pod: Pod) -> None:
    _, engine, dbt = pod.pids()

    os.kill(engine, signal.SIGKILL)

    assert pod.boot.wait(60) == 0
    assert prefect.state(pod.run) == "Crashed"
    assert not small.is_alive(dbt)


def test_nothing_outlives_a_supervisor_that_is_killed(pod: Pod) -> None:
    _, engine, dbt = pod.pids()

    pod.boot.kill()

    small.until(lambda: not small.is_alive(engine) and not small.is_alive(dbt), seconds=30)
