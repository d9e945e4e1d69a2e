"""One worker's watchdog: what it does in each round, each thing apart, so that one that fails stops no other."""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from typing import TypeVar

import httpx

from dbtpod.watchdog import cancels, claims, crashes, garbage, missed
from dbtpod.watchdog.cluster import Cluster, Object, is_live, run_of
from dbtpod.watchdog.health import Health
from dbtpod.watchdog.metrics import Metrics
from dbtpod.watchdog.registration import PATIENCE_SECONDS, Registration
from dbtpod.watchdog.server import Run, Server
from dbtpod.watchdog.sight import Sight
from dbtpod.watchdog.starting import Starting, is_for
from dbtpod.watchdog.successes import Successes
from dbtpod.watchdog.watch import Watch

# How long a crashed run is looked at again: its pod's end may be known later than its own.
CRASHED_WITHIN = timedelta(minutes=15)
# A worker sends a heartbeat each 30 s, and is Online for 90 s after it.
WORKER_SECONDS = 180
# A server that does not answer for less is slow, and the worker as Ready as before.
AWAY_SECONDS = 30

T = TypeVar("T")

logger = logging.getLogger("dbtpod.watchdog")


@dataclass
class Watchdog:
    """All that the watchdog knows; both APIs are asked anew in each round."""

    server: Server
    cluster: Cluster
    watch: Watch
    starting: Starting
    registration: Registration
    health: Health
    metrics: Metrics
    successes: Successes
    worker: str
    late_runs: int
    served: bool = False
    _answered_at: float = field(default_factory=time.monotonic)
    # The pods of which was warned, by uid.
    warned: set[str] = field(default_factory=set)
    _troubles: dict[str, str] = field(default_factory=dict)

    def round(self) -> None:
        """Look once at everything, and do what is to be done."""
        served = self._try("The worker", self._serves)
        went = self._try("Flow runs", self._look)
        missing = self._try("The registration", self.registration.missing)
        self._say("The registration's state", missing or "")
        self.served = bool(served)
        self.metrics.server(served is not None, None if missing is None else not missing)
        if served is None:
            # It needs Kubernetes alone, and the release may be gone before Prefect's server is back.
            self._try("Owners of Jobs", lambda: self._give_owner(self.cluster.run_jobs(), self.cluster.worker_pods()))
        else:
            self._try("Successes", self._measure)
        self._judge_ready(served, missing)
        if served is not None and went:
            self.watch.end_round()

    def _judge_ready(self, served: bool | None, missing: str | None) -> None:
        if served is not None and missing is not None:
            self._answered_at, self.health.ready = time.monotonic(), served and not missing
        elif time.monotonic() - self._answered_at >= AWAY_SECONDS:
            self.health.ready = False

    def _look(self) -> bool:
        """Read both APIs, Prefect's first, and tend what they show; False where Kubernetes did not answer."""
        live = self.server.live_runs()
        self.metrics.runs(live)
        self._try("Late runs", lambda: missed.skip(live, self.late_runs, self.server))
        crashed = self.server.crashed_runs(CRASHED_WITHIN)
        for run in filter(claims.was_not_submitted, crashed):
            self._try(f"Flow run {run.name}", partial(claims.resubmit, run, self.server))
        ended = [run for run in crashed if not claims.was_not_submitted(run)]
        if (sight := self._try("Kubernetes", lambda: Sight.of([*live, *ended], self.cluster))) is None:
            return False
        self._tend(sight, live, ended)
        return True

    def _tend(self, sight: Sight, live: list[Run], crashed: list[Run]) -> None:
        """Look at each run, pod and Job by itself: what goes wrong with one does not hold up the others."""
        for run in live:
            self._try(f"Flow run {run.name}", partial(self._tend_run, sight, run))
        for run in crashed:
            self._try(f"Flow run {run.name}", partial(crashes.explain, sight, run, self.server))
        for pods in sight.pods.values():
            for pod in pods:
                self._try(f"Pod {pod['metadata']['name']}", partial(self.starting.judge_pod, pod, is_for(pod, sight)))
        every = [job for of_run in sight.jobs.values() for job in of_run]
        jobs = list(filter(is_live, every))
        for job in jobs:
            self._try(f"Job {job['metadata']['name']}", partial(self.starting.judge_job, job, is_for(job, sight)))
        self._try("Owners of Jobs", partial(self._give_owner, every, sight.workers))
        self._try("Jobs of ended runs", lambda: self._clean(sight, [job for job in jobs if not is_for(job, sight)]))

    def _give_owner(self, of_runs: list[Object], workers: list[Object]) -> None:
        garbage.give_owner([*of_runs, *self.cluster.other_jobs()], workers, self.worker, self.cluster)

    def _tend_run(self, sight: Sight, run: Run) -> None:
        cancels.cancel(sight, run, self.watch, self.server, self.cluster)
        claims.release(sight, run, self.watch, self.server)
        self.starting.listen(sight, run, self.warned)
        crashes.end_without_pod(sight, run, self.watch, self.server)
        crashes.end_at_deadline(sight, run, self.server, self.cluster)

    def _clean(self, sight: Sight, jobs: list[Object]) -> None:
        if not jobs:
            return
        ids = sorted({run_of(job) for job in jobs})
        cancelled = {run.id for run in self.server.runs(ids) if run.type == "CANCELLED"}
        for job in jobs:
            if (run := run_of(job)) in cancelled:
                cancels.clean(job, sight.live_pods(run), self.watch, self.cluster)

    def _serves(self) -> bool:
        """Return whether all is well with the worker: it is online, or is held back while Helm's hook says why."""
        served, others = self.server.serves(self.worker), self.registration.others()
        self._say("The work pool", others)
        if others:
            # What it takes is another's; started again, it is held back (guard).
            self.health.worker_is_lost = served
            return self.watch.seconds("the pool is another's") < PATIENCE_SECONDS
        self.health.worker_is_lost = not served and self.watch.seconds("worker is not online") >= WORKER_SECONDS
        return served

    def _measure(self) -> None:
        if (times := self.successes.times()) is not None:
            self.metrics.successes(times)

    def _try(self, what: str, do: Callable[[], T]) -> T | None:
        """Do one thing; what goes wrong is logged once, and tried again in the next round."""
        try:
            done = do()
        except (httpx.HTTPError, LookupError, TypeError, ValueError, OSError) as error:
            self._say(what, f"{type(error).__name__}: {error}")
            return None
        self._say(what, "")
        return done

    def _say(self, what: str, trouble: str) -> None:
        if trouble and trouble != self._troubles.get(what):
            logger.warning("%s: %s", what, trouble)
        self._troubles = {key: text for key, text in self._troubles.items() if key != what}
        if trouble:
            self._troubles[what] = trouble
