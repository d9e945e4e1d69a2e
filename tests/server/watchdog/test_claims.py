"""Runs that were missed, or claimed without a Job: which are put back, and which are left."""

from datetime import datetime, timedelta
from typing import Any

import pytest

from dbtpod.watchdog import claims, missed
from watched import WORKER, Clock, Pool, failed, job, sight, worker


def test_of_many_missed_runs_only_the_newest_is_left_and_the_rest_says_why(pool: Pool) -> None:
    pool.missed(5)

    missed.skip(pool.server.live_runs(), 1, pool.server)

    runs = pool.all()
    assert [run.state for run in runs] == ["Skipped"] * (len(runs) - 1) + ["Scheduled"]
    assert len(runs) == 5
    assert all(run.type == "CANCELLED" and "worker.lateRuns" in run.message for run in runs[:-1])


def test_a_run_that_became_due_just_now_is_the_one_that_is_left(pool: Pool) -> None:
    pool.missed(3, seconds=-30)  # the newest was due half a minute ago

    missed.skip(pool.server.live_runs(), 1, pool.server)

    assert [run.state for run in pool.all()] == ["Skipped", "Skipped", "Scheduled"]


def test_as_many_late_runs_are_left_as_the_value_says(pool: Pool) -> None:
    pool.missed(5)

    missed.skip(pool.server.live_runs(), 2, pool.server)

    assert [run.state for run in pool.all()][-2:] == ["Scheduled", "Scheduled"]
    assert {run.state for run in pool.all()[:-2]} == {"Skipped"}


def test_a_run_that_was_started_by_hand_or_waits_for_its_retry_is_no_missed_run(pool: Pool) -> None:
    pool.missed(4)
    by_hand, oldest = pool.by_hand(), pool.all()[0].id
    assert pool.run(oldest).scheduled
    pool.set(oldest, "PENDING")
    pool.set(oldest, "SCHEDULED", "AwaitingRetry")

    missed.skip(pool.server.live_runs(), 1, pool.server)

    assert pool.run(by_hand).state == "Scheduled"
    assert pool.run(oldest).state == "AwaitingRetry"
    assert [run.state for run in pool.all()].count("Scheduled") == 2


def test_a_late_run_that_is_about_to_start_is_the_one_that_is_kept(pool: Pool) -> None:
    pool.missed(4)
    oldest, *others = pool.all()
    pool.set(oldest.id, "PENDING")

    missed.skip(pool.server.live_runs(), 1, pool.server)

    assert pool.run(oldest.id).type == "PENDING"
    assert {pool.run(run.id).state for run in others} == {"Skipped"}


def test_a_run_whose_worker_went_before_it_made_a_job_is_put_back_within_a_minute(pool: Pool) -> None:
    key, clock = pool.by_hand("PENDING"), Clock()
    pool.patch(f"flow_runs/{key}/labels", **{"prefect.worker.name": "dbtpod-worker-6d5f-gone1"})

    for _ in clock.rounds(55):
        run = pool.run(key)
        claims.release(sight(run, workers=(worker(),)), run, clock.watch, pool.server)

    run = pool.run(key)
    assert (run.type, run.state) == ("SCHEDULED", "AwaitingRetry")
    assert "Its worker was gone before it had created the run's Job" in run.message
    pool.set(key, "PENDING")


def test_a_run_that_a_container_claimed_which_was_restarted_since_is_put_back(pool: Pool) -> None:
    key, clock = pool.by_hand("PENDING"), Clock()
    pool.patch(f"flow_runs/{key}/labels", **{"prefect.worker.name": WORKER})

    restarted = worker(since=timedelta(seconds=-5))
    for _ in clock.rounds(55):
        run = pool.run(key)
        claims.release(sight(run, workers=(restarted,)), run, clock.watch, pool.server)

    assert pool.run(key).state == "AwaitingRetry"


def test_a_run_whose_worker_still_tries_is_left_to_it_but_for_less_than_two_minutes(pool: Pool) -> None:
    key, clock = pool.by_hand("PENDING"), Clock()
    living = worker(since=timedelta(hours=1))

    for _ in clock.rounds(100):
        run = pool.run(key)
        claims.release(sight(run, workers=(living,)), run, clock.watch, pool.server)
    assert pool.run(key).type == "PENDING"
    for _ in clock.rounds(15):
        run = pool.run(key)
        claims.release(sight(run, workers=(living,)), run, clock.watch, pool.server)

    assert pool.run(key).state == "AwaitingRetry"


@pytest.mark.parametrize("item", [job, lambda run: failed(run, "BackoffLimitExceeded")], ids=["live", "failed since"])
def test_a_run_that_has_a_job_is_not_put_back(pool: Pool, item: Any) -> None:
    key, clock = pool.by_hand("PENDING"), Clock()
    its_job = item(key)

    for _ in clock.rounds(150):
        run = pool.run(key)
        claims.release(sight(run, its_job), run, clock.watch, pool.server)

    assert pool.run(key).type == "PENDING"


AWAY = "ClientConnectorError: Cannot connect to host 10.96.0.1:443 ssl:default [Connect call failed]"

BUSY = "InfrastructureError: Unable to create Kubernetes job: Service Unavailable"

FORBIDDEN = 'InfrastructureError: Unable to create Kubernetes job: Forbidden: admission webhook "x" denied: Timeout'

WRONG = (
    "InfrastructureError: Unable to create Kubernetes job: Bad Request: quantities must match the regular expression"
)


@pytest.mark.parametrize(
    "error",
    [AWAY, BUSY, "TimeoutError: ", "ServerDisconnectedError: Server disconnected", "JSONDecodeError: Expecting value"],
)
def test_a_run_that_was_due_while_kubernetes_api_was_away_is_tried_again(pool: Pool, error: str) -> None:
    key = pool.by_hand("PENDING")
    pool.set(key, "CRASHED", "Crashed", f"{claims.NOT_SUBMITTED}{error}")

    for run in filter(claims.was_not_submitted, pool.server.crashed_runs(timedelta(minutes=1))):
        claims.resubmit(run, pool.server)

    assert pool.run(key).state == "AwaitingRetry"
    assert error.strip() in pool.run(key).message
    pool.set(key, "PENDING")


@pytest.mark.parametrize("error", [WRONG, FORBIDDEN, "ValueError: a bug"])
def test_a_job_that_kubernetes_refuses_is_not_tried_again(pool: Pool, error: str) -> None:
    key = pool.by_hand("PENDING")
    pool.set(key, "CRASHED", "Crashed", f"{claims.NOT_SUBMITTED}{error}")

    assert not claims.was_not_submitted(pool.run(key))


def test_after_a_quarter_of_an_hour_it_is_given_up_with_the_reason(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    key = pool.by_hand("PENDING")
    message = f"{claims.NOT_SUBMITTED}{AWAY}"
    pool.set(key, "CRASHED", "Crashed", message)
    claims.resubmit(pool.run(key), pool.server)
    pool.set(key, "PENDING")
    pool.set(key, "CRASHED", "Crashed", message)
    [put_back] = [state for state in pool.server.history(pool.run(key)) if state["name"] == "AwaitingRetry"]
    at = datetime.fromisoformat(put_back["timestamp"])
    monkeypatch.setattr(claims, "since", lambda moment: 901.0 if moment == at else 0.0)

    claims.resubmit(pool.run(key), pool.server)

    run = pool.run(key)
    assert run.state == "Crashed"
    assert run.message.startswith("Given up after 15 minutes of trying to start it.")
    assert AWAY in run.message
    assert not claims.was_not_submitted(run)
