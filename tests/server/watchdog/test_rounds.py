"""The watchdog's rounds: what is registered again, and what its probes say."""

import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from dbtpod.watchdog import garbage, guard, main
from dbtpod.watchdog.cluster import Cluster
from dbtpod.watchdog.health import Health
from dbtpod.watchdog.owner import Mark, Owner
from dbtpod.watchdog.registration import Registration
from watched import WORKER, Clock, Pool

OWN = Owner("n", "shop")


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
            return httpx.Response(200, text="prefect.yaml has 1 error; nothing was changed.")
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
    registration = Registration(pool.server, cluster, clock.watch, "1a2b3c4d", tmp_path / "job.json", WORKER, OWN)

    said = [registration.missing() for _ in clock.rounds(60)]
    assert said[:8] == [""] * 8  # Helm's hook is given time
    assert "Job again-0 registers it now" in next(filter(None, said))
    assert "the registration is running" in said[-1]
    assert len(jobs.created) == 1
    jobs.end("Failed")
    assert "prefect.yaml has 1 error" in registration.missing()
    assert len(jobs.created) == 1

    pool.patch(f"work_pools/{pool.name}", description="Registered by dbtpod: 1a2b3c4d")
    assert registration.missing() == ""


@contextmanager
def silent_api() -> Iterator[str]:
    """A server that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


def test_the_watchdog_is_alive_while_both_apis_hang_and_says_so_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    options = main._options(
        f"--pool=p --worker={WORKER} --namespace=n --release=shop --selector=a=b --digest=d "
        "--register-job=/x --start-timeout-seconds=600 --late-runs=1 --port=0".split()
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


WHAT = ("The worker", "Flow runs", "The registration", "Owners of Jobs")


def test_a_worker_is_restarted_only_if_the_server_answers_and_has_not_heard_of_it_for_minutes(pool: Pool) -> None:
    clock = Clock()
    health = Health()
    options = main._options(
        f"--pool={pool.name} --worker={WORKER} --namespace=n --release=shop --selector=a=b --digest=d "
        "--register-job=/x --start-timeout-seconds=600 --late-runs=1 --port=0".split()
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


def test_a_worker_whose_pool_is_anothers_is_ended_and_ready_only_until_helms_hook_has_said_why(
    pool: Pool, caplog: pytest.LogCaptureFixture
) -> None:
    clock, health = Clock(), Health()
    options = main._options(
        f"--pool={pool.name} --worker={WORKER} --namespace=n --release=shop --selector=a=b --digest=d "
        "--register-job=/x --start-timeout-seconds=600 --late-runs=1 --port=0".split()
    )
    dog = main.watchdog(options, httpx.Client(base_url="http://127.0.0.1:1"), pool.http)
    dog.watch, dog.health = clock.watch, health
    described(pool, Mark(Owner("other", "shop"), "1a2b3c4d"))

    ready = [dog._serves() for _ in clock.rounds(60)]
    assert ready[0] and not ready[-1]
    # It is held back, which is no reason to end it.
    assert health.answers("/worker")
    [said] = [line.message for line in caplog.records if "belongs to" in line.message]
    assert "belongs to release shop in namespace other; this is release shop in namespace n" in said
    assert "workPool.name" in said

    pool.post(f"work_pools/{pool.name}/workers/heartbeat", name=WORKER)
    dog._serves()
    assert not health.answers("/worker")

    described(pool, Mark(OWN, "1a2b3c4d"))
    assert dog._serves()
    assert health.answers("/worker")


def described(pool: Pool, mark: Mark) -> None:
    pool.patch(f"work_pools/{pool.name}", description=str(mark))


def test_the_worker_is_held_back_until_the_pool_is_not_anothers(
    pool: Pool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    described(pool, Mark(Owner("other", "shop"), "1a2b3c4d"))
    waited: list[float] = []

    def gone_after_two(seconds: float) -> None:
        waited.append(seconds)
        if len(waited) == 2:
            described(pool, Mark())

    monkeypatch.setattr("dbtpod.watchdog.guard.time.sleep", gone_after_two)
    guard.wait(pool.server, OWN)

    assert len(waited) == 2
    said = [line.message.split(";")[0] for line in caplog.records if "belongs to" in line.message]
    assert said == [f"The work pool {pool.name!r} belongs to release shop in namespace other"]


def test_a_job_without_an_owner_gets_the_workers_replica_set() -> None:
    sent: list[tuple[str, Any]] = []

    def answer(request: httpx.Request) -> httpx.Response:
        sent.append((request.url.path, json.loads(request.content)))
        return httpx.Response(200, json={})

    http = httpx.Client(base_url="http://kubernetes", transport=httpx.MockTransport(answer))
    owner = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "dbtpod-worker-6d5f", "uid": "u1"}
    worker = {"metadata": {"name": WORKER, "ownerReferences": [{**owner, "controller": True}]}}
    jobs = [{"metadata": {"name": "run"}}, {"metadata": {"name": "shell", "ownerReferences": [{"kind": "CronJob"}]}}]

    garbage.give_owner(jobs, [worker], WORKER, Cluster(http, "n", "a=b"))

    assert sent == [("/apis/batch/v1/namespaces/n/jobs/run", {"metadata": {"ownerReferences": [owner]}})]


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
