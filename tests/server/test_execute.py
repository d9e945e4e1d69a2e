"""A pod without the fast start: Prefect's own command, and around it what a pod needs. Real server, engine and dbt."""

import os
import signal
from pathlib import Path

import pytest
from prefect.states import Completed, Pending

import gated_project as small
from booted import PLAIN, Api, Start
from waiting import until


@pytest.fixture
def start(start: Start) -> Start:
    return lambda flow, **options: start(flow, command=PLAIN, **options)


def test_a_run_completes_and_no_private_name_is_used(prefect: Api, start: Start) -> None:
    pod = start("two_commands", PYTHONPROFILEIMPORTTIME="1")

    assert pod.boot.wait(150) == 0

    assert prefect.state(pod.run) == "Completed"
    assert "dbtpod.pod.execute" in pod.log()
    assert "dbtpod.faststart" not in pod.log()


@pytest.mark.soak
def test_sigterm_puts_the_run_back_into_the_queue_and_ends_dbt(prefect: Api, start: Start) -> None:
    pod = start("gated")
    _, engine, dbt = pod.pids()

    pod.boot.send_signal(signal.SIGTERM)

    pod.boot.wait(90)
    assert prefect.state(pod.run) == "AwaitingRetry"
    until(lambda: not small.is_alive(engine) and not small.is_alive(dbt), seconds=30)


@pytest.mark.soak
def test_a_second_pod_does_nothing(prefect: Api, start: Start) -> None:
    pod = start("gated")
    pod.pids()

    assert pod.start().wait(90) == 0
    assert "in another pod: this one does nothing" in pod.log()

    pod.open_gate()
    assert pod.boots[0].wait(90) == 0
    assert prefect.state(pod.run) == "Completed"


def test_a_pod_of_a_run_that_is_over_does_nothing(prefect: Api, start: Start) -> None:
    pod = start("retried", started=False)
    prefect.client.set_flow_run_state(pod.run, Completed(), force=True)

    assert pod.start().wait(90) == 0

    assert "is Completed already" in pod.log()
    assert pod.starts() == 0


@pytest.mark.soak
def test_a_run_that_is_longer_than_its_deadline_is_ended_once_and_says_why(prefect: Api, start: Start) -> None:
    pod = start("retried", started=False, DBTPOD_DEADLINE="50s")
    prefect.client.set_flow_run_state(pod.run, Pending(), force=True)

    assert pod.start().wait(120) == 0

    state = prefect.last_state(pod.run)
    assert (state.type.value, state.name) == ("FAILED", "TimedOut")
    assert "deadline of 50 s" in str(state.message)
    assert pod.starts() == 1


@pytest.mark.soak
def test_a_sigterm_with_the_scratch_full_ends_the_run_for_that_limit(
    prefect: Api, start: Start, tmp_path: Path
) -> None:
    (tmp_path / "scratch").mkdir()
    (tmp_path / "scratch" / "spill").write_bytes(os.urandom(20 * 2**20 - 300_000))
    pod = start("retried", DBTPOD_SCRATCH_LIMIT="20Mi", DBTPOD_TEMP_DIRECTORY=str(tmp_path / "scratch" / "duckdb"))
    until(lambda: pod.starts() == 1, seconds=150)

    pod.boot.send_signal(signal.SIGTERM)

    assert pod.boot.wait(150) == 0
    assert "scratch limit" in str(prefect.last_state(pod.run).message)
