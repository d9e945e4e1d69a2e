"""Runs that were cancelled, that crashed, or whose pod is not heard of: ended once, with Kubernetes' reason."""

from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from dbtpod.watchdog import cancels, crashes
from dbtpod.watchdog.server import Run
from dbtpod.watchdog.starting import Starting
from dbtpod.watchdog.watch import Watch
from watched import NO_CLUSTER, Clock, Pool, failed, job, pod, sight


def test_a_run_that_is_cancelled_before_it_has_a_job_is_cancelled_at_once(pool: Pool) -> None:
    key = pool.by_hand("PENDING", "CANCELLING")
    run = pool.run(key)

    cancels.cancel(sight(run), run, Watch(), pool.server, NO_CLUSTER)

    assert (pool.run(key).type, pool.run(key).message) == ("CANCELLED", "Cancelled before it had a pod.")


def test_a_run_whose_pod_works_is_left_to_cancel_itself(pool: Pool) -> None:
    key = pool.by_hand("PENDING", "RUNNING", "CANCELLING")
    run = pool.run(key)
    running = pod(key, "Running", containerStatuses=[{"name": "prefect-job", "state": {"running": {}}}])

    cancels.cancel(sight(run, job(key, active=1), running), run, Watch(), pool.server, NO_CLUSTER)

    assert pool.run(key).type == "CANCELLING"


def test_a_crashed_run_that_had_published_says_so_once(pool: Pool) -> None:
    key = pool.by_hand("PENDING", "RUNNING")
    pool.set(key, "CRASHED", "Crashed", "No heartbeat for 90 s: its pod is gone, or does not reach Prefect.")
    pool.patch(f"flow_runs/{key}/labels", **{crashes.GENERATION: 12})

    for _ in range(2):
        [run] = pool.server.crashed_runs(timedelta(minutes=1))
        crashes.explain(sight(run), run, pool.server)

    assert pool.run(key).message.endswith("does not reach Prefect. Generation 12 was published before.")
    assert len(pool.server.history(run)) == 5


EVICTED = {"reason": "Evicted", "message": 'Usage of EmptyDir volume "scratch" exceeds the limit "2Gi". '}

KILLED = {"containerStatuses": [{"name": "m", "state": {"terminated": {"exitCode": 137, "reason": "OOMKilled"}}}]}

LOST = {"containerStatuses": [{"name": "m", "state": {"terminated": {"exitCode": 255, "reason": "Unknown"}}}]}


@pytest.mark.parametrize(
    ("job_reason", "status", "said"),
    [
        ("DeadlineExceeded", {}, ("deadline of 30 s", "jobs.activeDeadlineSeconds")),
        ("BackoffLimitExceeded", EVICTED, ("Evicted", 'exceeds the limit "2Gi"')),
        ("BackoffLimitExceeded", KILLED, ("OOMKilled", "jobs.resources.limits.memory")),
        ("BackoffLimitExceeded", LOST, ("lost with its node",)),
    ],
)
def test_a_crashed_run_gets_the_reason_that_kubernetes_has(
    pool: Pool, job_reason: str, status: dict[str, Any], said: tuple[str, ...]
) -> None:
    key = pool.by_hand("PENDING", "RUNNING")
    pool.set(key, "CRASHED", "Crashed", crashes.NO_REASON[0])
    run = pool.run(key)

    crashes.explain(sight(run, failed(key, job_reason), pod(key, "Failed", **status)), run, pool.server)

    assert pool.run(key).state == "Crashed"
    assert all(each in pool.run(key).message for each in said), pool.run(key).message


def test_a_reason_that_is_known_already_is_left_as_it_is(pool: Pool) -> None:
    key = pool.by_hand("PENDING", "RUNNING")
    pool.set(key, "CRASHED", "Crashed", "ended by SIGKILL")
    run = pool.run(key)

    crashes.explain(sight(run, failed(key, "DeadlineExceeded")), run, pool.server)

    assert pool.run(key).message == "ended by SIGKILL"


def test_a_run_that_its_pod_put_back_at_the_deadline_is_ended_once(pool: Pool) -> None:
    key = pool.by_hand("PENDING", "RUNNING")
    pool.set(key, "SCHEDULED", "AwaitingRetry")
    passed = failed(key, "DeadlineExceeded")

    crashes.end_at_deadline(sight(pool.run(key), passed), pool.run(key), pool.server, NO_CLUSTER)

    assert pool.run(key).state == "Crashed"
    assert "deadline of 30 s" in pool.run(key).message

    # A person starts it again, later: the old Job is still there.
    pool.set(key, "SCHEDULED", "AwaitingRetry")
    long_ago = failed(key, "DeadlineExceeded", datetime.now(UTC) - timedelta(seconds=60))
    crashes.end_at_deadline(sight(pool.run(key), long_ago), pool.run(key), pool.server, NO_CLUSTER)

    assert pool.run(key).state == "AwaitingRetry"


def test_a_pod_that_runs_and_never_reaches_prefect_is_named_in_the_runs_log_and_then_ended(pool: Pool) -> None:
    key, clock = pool.by_hand("PENDING"), Clock()
    starting, warned = Starting(NO_CLUSTER, pool.server, clock.watch, 600), set[str]()
    started = (datetime.now(UTC) - timedelta(minutes=2)).isoformat()
    silent = pod(key, "Running", containerStatuses=[{"name": "m", "state": {"running": {"startedAt": started}}}])
    late = {"expected": datetime.now(UTC) - timedelta(minutes=2)}

    for _ in clock.rounds(60):
        run = pool.run(key)
        starting.listen(sight(run, silent), Run(**{**run.__dict__, **late}), warned)

    logs = pool.post("logs/filter", logs={"flow_run_id": {"any_": [key]}})
    [(level, message)] = [(line["level"], line["message"]) for line in logs]
    assert level == 30
    assert all(word in message for word in ("pod-1", "network policies", "proxy", "DNS"))
    assert pool.run(key).type == "PENDING"

    with pytest.raises(httpx.ConnectError):  # the Job is deleted after the state is set, and there is no cluster here
        for _ in clock.rounds(600):
            run = pool.run(key)
            starting.listen(sight(run, silent), Run(**{**run.__dict__, **late}), warned)

    assert pool.run(key).state == "Crashed"
    assert "does not reach Prefect's API" in pool.run(key).message
