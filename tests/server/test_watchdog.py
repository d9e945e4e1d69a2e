"""What the watchdog does to runs of a real Prefect server; Kubernetes' objects are written as it gives them.

What it does to Kubernetes is tested on a cluster: tests/cluster/test_cluster_watchdog*.py.
"""

import socket
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest

from dbtpod.watchdog import cancels, claims, crashes, main, missed
from dbtpod.watchdog.cluster import Cluster
from dbtpod.watchdog.health import Health
from dbtpod.watchdog.registration import Registration
from dbtpod.watchdog.server import Run, Server, connected
from dbtpod.watchdog.sight import Sight
from dbtpod.watchdog.starting import Starting
from dbtpod.watchdog.watch import Watch
from prefect_server import Server as PrefectServer
from waiting import until

WORKER = "dbtpod-worker-6d5f-abcde"
NOBODY = Cluster(httpx.Client(base_url="http://127.0.0.1:1"), "dbtpod", "app.kubernetes.io/instance=dbtpod")


class Pool:
    """A work pool with one deployment."""

    def __init__(self, server: PrefectServer, name: str) -> None:
        self.name, self.http = name, connected({"PREFECT_API_URL": server.url}, 30)
        self.database = server.database
        self.server = Server(self.http, name)
        self.post("work_pools/", name=name, type="kubernetes", base_job_template={})
        flow = self.post("flows/", name="shop")["id"]
        self.deployment = self.post("deployments/", flow_id=flow, name=name, work_pool_name=name)["id"]

    def post(self, path: str, **body: Any) -> Any:
        answer = until(lambda: self._answer(path, body), 30)
        assert answer.is_success, answer.text
        return answer.json() if answer.content else None

    def _answer(self, path: str, body: dict[str, Any]) -> httpx.Response | None:
        """None where SQLite is too busy on a loaded machine."""
        answer = self.http.post(path, json=body)
        return None if answer.status_code == httpx.codes.SERVICE_UNAVAILABLE else answer

    def missed(self, minutes: int, seconds: int = 2) -> list[str]:
        """Runs as the schedule makes them, which were due in each of the last minutes; the oldest first.

        The server makes such runs ahead of their time only, so their time is set back in its database.
        """
        runs = [self.by_hand() for _ in range(minutes)]
        now = datetime.now(UTC)
        due = [now - timedelta(minutes=minutes - index, seconds=seconds) for index in range(minutes)]
        with sqlite3.connect(self.database, timeout=30) as database:
            for run, at in zip(runs, due, strict=True):
                database.execute(
                    "update flow_run set auto_scheduled = 1, expected_start_time = ? where id = ?",
                    (at.strftime("%Y-%m-%d %H:%M:%S.%f"), str(UUID(run))),
                )
        return runs

    def by_hand(self, *states: str, name: str = "") -> str:
        """A run that a person started, brought into these states one after the other."""
        run: str = self.post(f"deployments/{self.deployment}/create_flow_run")["id"]
        for state in states:
            self.set(run, state, name)
        return run

    def set(self, run: str, type_: str, name: str = "", message: str = "") -> None:
        state = {"type": type_, "name": name or None, "message": message}
        answer = self.post(f"flow_runs/{run}/set_state", state=state)
        assert answer["status"] == "ACCEPT", answer

    def run(self, key: str) -> Run:
        [run] = self.server.runs([key])
        return run

    def all(self) -> list[Run]:
        body = {"work_pools": {"name": {"any_": [self.name]}}, "sort": "EXPECTED_START_TIME_ASC"}
        return [Run.read(each) for each in self.post("flow_runs/filter", **body)]


@pytest.fixture
def pool(server: PrefectServer, request: pytest.FixtureRequest) -> Pool:
    return Pool(server, f"pool-{abs(hash(request.node.name))}")


class Clock:
    """Time that passes in rounds."""

    def __init__(self) -> None:
        self.now = 0.0
        self.watch = Watch(lambda: self.now)

    def rounds(self, seconds: float) -> Iterator[None]:
        for _ in range(int(seconds / 5) + 1):
            yield
            self.now += 5
            self.watch.end_round()


def worker(name: str = WORKER, since: timedelta = timedelta(0)) -> dict[str, Any]:
    started = (datetime.now(UTC) - since).isoformat()
    statuses = [{"name": "watchdog", "state": {}}, {"name": "worker", "state": {"running": {"startedAt": started}}}]
    return {"metadata": {"name": name}, "status": {"containerStatuses": statuses}}


def job(run: str, **status: Any) -> dict[str, Any]:
    now = datetime.now(UTC).isoformat()
    metadata = {"name": "job-1", "uid": "u1", "creationTimestamp": now, "labels": {"prefect.io/flow-run-id": run}}
    return {"metadata": metadata, "spec": {"activeDeadlineSeconds": 30}, "status": status}


def failed(run: str, reason: str, at: datetime | None = None) -> dict[str, Any]:
    at = at or datetime.now(UTC)
    condition = {"type": "Failed", "status": "True", "reason": reason, "lastTransitionTime": at.isoformat()}
    return job(run, conditions=[condition], startTime=(at - timedelta(seconds=30)).isoformat())


def pod(run: str, phase: str, **status: Any) -> dict[str, Any]:
    labels = {"prefect.io/flow-run-id": run, "batch.kubernetes.io/job-name": "job-1"}
    metadata = {"name": "pod-1", "uid": "p1", "labels": labels, "creationTimestamp": datetime.now(UTC).isoformat()}
    return {"metadata": metadata, "status": {"phase": phase, **status}}


def sight(run: Run, *items: dict[str, Any], workers: tuple[dict[str, Any], ...] = ()) -> Sight:
    jobs = [each for each in items if "spec" in each]
    pods = [each for each in items if "spec" not in each]
    return Sight({run.id: run}, {run.id: jobs}, {run.id: pods}, list(workers))


# ---- runs that were missed


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


# ---- runs that were claimed, and have no Job


def test_a_run_whose_worker_went_before_it_made_a_job_is_put_back_within_a_minute(pool: Pool) -> None:
    key, clock = pool.by_hand("PENDING"), Clock()
    pool.http.patch(f"flow_runs/{key}/labels", json={"prefect.worker.name": "dbtpod-worker-6d5f-gone1"})

    for _ in clock.rounds(55):
        run = pool.run(key)
        claims.release(sight(run, workers=(worker(),)), run, clock.watch, pool.server)

    run = pool.run(key)
    assert (run.type, run.state) == ("SCHEDULED", "AwaitingRetry")
    assert "Its worker was gone before it had created the run's Job" in run.message
    pool.set(key, "PENDING")


def test_a_run_that_a_container_claimed_which_was_restarted_since_is_put_back(pool: Pool) -> None:
    key, clock = pool.by_hand("PENDING"), Clock()
    pool.http.patch(f"flow_runs/{key}/labels", json={"prefect.worker.name": WORKER})

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


# ---- runs that were cancelled


def test_a_run_that_is_cancelled_before_it_has_a_job_is_cancelled_at_once(pool: Pool) -> None:
    key = pool.by_hand("PENDING", "CANCELLING")
    run = pool.run(key)

    cancels.cancel(sight(run), run, Watch(), pool.server, NOBODY)

    assert (pool.run(key).type, pool.run(key).message) == ("CANCELLED", "Cancelled before it had a pod.")


def test_a_run_whose_pod_works_is_left_to_cancel_itself(pool: Pool) -> None:
    key = pool.by_hand("PENDING", "RUNNING", "CANCELLING")
    run = pool.run(key)
    running = pod(key, "Running", containerStatuses=[{"name": "prefect-job", "state": {"running": {}}}])

    cancels.cancel(sight(run, job(key, active=1), running), run, Watch(), pool.server, NOBODY)

    assert pool.run(key).type == "CANCELLING"


# ---- runs that crashed


def test_a_crashed_run_that_had_published_says_so_once(pool: Pool) -> None:
    key = pool.by_hand("PENDING", "RUNNING")
    pool.set(key, "CRASHED", "Crashed", "No heartbeat for 90 s: its pod is gone, or does not reach Prefect.")
    pool.http.patch(f"flow_runs/{key}/labels", json={crashes.GENERATION: 12})

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

    crashes.end_at_deadline(sight(pool.run(key), passed), pool.run(key), pool.server, NOBODY)

    assert pool.run(key).state == "Crashed"
    assert "deadline of 30 s" in pool.run(key).message

    # A person starts it again, later: the old Job is still there.
    pool.set(key, "SCHEDULED", "AwaitingRetry")
    long_ago = failed(key, "DeadlineExceeded", datetime.now(UTC) - timedelta(seconds=60))
    crashes.end_at_deadline(sight(pool.run(key), long_ago), pool.run(key), pool.server, NOBODY)

    assert pool.run(key).state == "AwaitingRetry"


# ---- runs whose pod is not heard of


def test_a_pod_that_runs_and_never_reaches_prefect_is_named_in_the_runs_log_and_then_ended(pool: Pool) -> None:
    key, clock = pool.by_hand("PENDING"), Clock()
    starting, warned = Starting(NOBODY, pool.server, clock.watch, 600), set[str]()
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


# ---- what is registered


class Jobs:
    """Kubernetes' part of a registration: its Jobs, in the form in which the API lists them."""

    def __init__(self) -> None:
        self.created: list[dict[str, Any]] = []
        self.http = httpx.Client(base_url="http://kubernetes", transport=httpx.MockTransport(self._answer))

    def end(self, condition: str) -> None:
        now = datetime.now(UTC).isoformat()
        ended = {"type": condition, "status": "True", "reason": "BackoffLimitExceeded", "lastTransitionTime": now}
        self.created[-1]["status"] = {"conditions": [ended]}

    def _answer(self, request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("/log"):
            return httpx.Response(200, text="prefect.yaml has 1 mistake; nothing was changed.")
        if request.method == "POST":
            metadata = {"name": f"again-{len(self.created)}", "creationTimestamp": datetime.now(UTC).isoformat()}
            self.created.append({"metadata": metadata})
            return httpx.Response(201, json=self.created[-1])
        pods = [{"metadata": {"name": WORKER, "creationTimestamp": datetime.now(UTC).isoformat()}}]
        return httpx.Response(200, json={"items": pods if request.url.path.endswith("/pods") else self.created})


def test_what_the_server_lost_is_registered_again_by_one_job_and_a_mistake_is_named(pool: Pool, tmp_path: Path) -> None:
    jobs, clock = Jobs(), Clock()
    (tmp_path / "job.json").write_text("{}")
    cluster = Cluster(jobs.http, "dbtpod", "app.kubernetes.io/instance=dbtpod")
    registration = Registration(pool.server, cluster, clock.watch, "1a2b3c4d", tmp_path / "job.json", WORKER)

    said = [registration.missing() for _ in clock.rounds(60)]
    assert said[:8] == [""] * 8  # Helm's hook is given time
    assert "Job again-0 registers it now" in next(filter(None, said))
    assert "the registration is running" in said[-1]
    assert len(jobs.created) == 1
    jobs.end("Failed")
    assert "prefect.yaml has 1 mistake" in registration.missing()
    assert len(jobs.created) == 1

    pool.http.patch(f"work_pools/{pool.name}", json={"description": "Registered by dbtpod: 1a2b3c4d"})
    assert registration.missing() == ""


# ---- the loop and the probes


@contextmanager
def silent_api() -> Iterator[str]:
    """A server that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


def test_the_watchdog_is_alive_while_both_apis_hang_and_says_so_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    options = main._options(
        f"--pool=p --worker={WORKER} --namespace=n --selector=a=b --digest=d --register-job=/x "
        "--start-timeout-seconds=600 --late-runs=1 --port=0".split()
    )
    with silent_api() as url:
        clients = [httpx.Client(base_url=url, timeout=0.2) for _ in range(2)]
        dog = main.watchdog(options, *clients)
        monkeypatch.setattr("dbtpod.watchdog.health.STALE_SECONDS", 1.0)
        for _ in range(5):
            dog.round()

    assert dog.health.answers("/alive")
    assert dog.health.answers("/worker")
    assert not dog.health.answers("/ready")
    assert [line.message for line in caplog.records] == [f"{what}: ReadTimeout: timed out" for what in WHAT]


WHAT = ("The worker", "Flow runs", "The registration")


def test_a_worker_is_restarted_only_if_the_server_answers_and_has_not_heard_of_it_for_minutes(pool: Pool) -> None:
    clock = Clock()
    health = Health()
    options = main._options(
        f"--pool={pool.name} --worker={WORKER} --namespace=n --selector=a=b --digest=d --register-job=/x "
        "--start-timeout-seconds=600 --late-runs=1 --port=0".split()
    )
    dog = main.watchdog(options, httpx.Client(base_url="http://127.0.0.1:1"), pool.http)
    dog.watch, dog.health = clock.watch, health

    for _ in clock.rounds(170):
        dog._serves()
    assert health.answers("/worker")
    for _ in clock.rounds(20):
        dog._serves()
    assert not health.answers("/worker")
    pool.post(f"work_pools/{pool.name}/workers/heartbeat", name=WORKER)
    assert dog._serves()
    assert health.answers("/worker")


def test_time_in_which_an_api_was_away_does_not_count() -> None:
    clock = Clock()
    for _ in clock.rounds(10):
        clock.watch.seconds("so")
    clock.now += 3600
    for _ in clock.rounds(0):
        clock.watch.seconds("so")

    assert 20 <= clock.watch.seconds("so") <= 30
    clock.watch.end_round()
    clock.watch.end_round()
    assert clock.watch.seconds("so") == 0
