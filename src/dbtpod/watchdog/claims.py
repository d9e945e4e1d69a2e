"""Puts runs back into the queue that the worker took from it without making a Job of them.

The worker is deleted between claiming a run and creating its Job, or Kubernetes' API does not answer: nothing of the
run has begun, so it can be tried again. A late Job of the first try does no harm: its pod finds that another has the
run.
"""

import logging
import re
from datetime import UTC, datetime

from dbtpod.watchdog.cluster import Object
from dbtpod.watchdog.ended import failed_at
from dbtpod.watchdog.server import Run, Server
from dbtpod.watchdog.sight import Sight, running_since, since
from dbtpod.watchdog.watch import Watch

# An admission webhook may take 30 s, and the request outlives the worker that sent it.
ORPHAN_SECONDS = 45
# The worker's own tries, where each is refused at once, are over by then (worker-deployment.yaml).
CLAIM_SECONDS = 110
# A control plane is upgraded in less.
GIVE_UP_SECONDS = 900
MARK = "Put back into the queue"
NOT_SUBMITTED = "Failed to submit flow run to infrastructure: "
# What the worker's message says then: an answer of Kubernetes that may be another next time, …
ANSWERED = "InfrastructureError: Unable to create Kubernetes job: "
BUSY = ("Service Unavailable", "Internal Server Error", "Bad Gateway", "Gateway Time", "Too Many Requests")
# … or none; a text that is no JSON is a load balancer's.
NO_ANSWER = re.compile(
    r"^(Client\w*Error|Server\w*Error|\w*Timeout\w*|Connection\w*|OSError|gaierror|SSL\w*|JSONDecodeError)\b"
)
_WORKER = "prefect.worker.name"

logger = logging.getLogger("dbtpod.watchdog")


def was_not_submitted(run: Run) -> bool:
    """Return whether a crashed run has no Job because Kubernetes' API was away."""
    error = run.message.removeprefix(NOT_SUBMITTED)
    if error.startswith(ANSWERED):
        return error.removeprefix(ANSWERED).startswith(BUSY)
    return error != run.message and bool(NO_ANSWER.match(error))


def resubmit(run: Run, server: Server) -> None:
    """Put a run back that `was_not_submitted`; give up after a quarter of an hour."""
    _put_back(run, f"Kubernetes' API did not take the run's Job: {run.message.removeprefix(NOT_SUBMITTED)}", server)


def release(sight: Sight, run: Run, watch: Watch, server: Server) -> None:
    """Put a run back that is about to start for too long and has no Job: at once where its worker is gone."""
    if run.type != "PENDING" or sight.live_jobs(run.id):
        return
    if any((at := failed_at(job)) and at >= run.since for job in sight.jobs.get(run.id, [])):
        return  # it had a Job: crashes.py
    if _may_still_come(run, sight.workers):
        if watch.seconds(f"claimed {run.id} {run.since}") >= CLAIM_SECONDS:
            _put_back(run, f"It was claimed by a worker, which made no Job of it for {CLAIM_SECONDS} s", server)
    elif watch.seconds(f"orphan {run.id} {run.since}") >= ORPHAN_SECONDS:
        _put_back(run, "Its worker was gone before it had created the run's Job", server)


def _may_still_come(run: Run, workers: list[Object]) -> bool:
    """Whether the process that claimed the run is there still."""
    claimed_by = run.labels.get(_WORKER)
    for worker in workers:
        start = running_since(worker, "worker")
        if claimed_by in (None, worker["metadata"]["name"]) and start and start <= run.since:
            return True
    if claimed_by is None or not workers:
        return False
    # A worker that is none of this release's pods, such as one that a person started: its claims are its own.
    ours = workers[0]["metadata"]["name"].rsplit("-", 2)[0]
    return bool(str(claimed_by).rsplit("-", 2)[0] != ours)


def _put_back(run: Run, reason: str, server: Server) -> None:
    """Schedule the run again, or crash it where that was tried for a quarter of an hour."""
    tried = [since(datetime.fromisoformat(state["timestamp"])) for state in server.history(run) if _is_ours(state)]
    waited = max((seconds for seconds in tried if seconds < 2 * GIVE_UP_SECONDS), default=0.0)
    if waited < GIVE_UP_SECONDS:
        now = datetime.now(UTC).isoformat()
        taken = server.set_state(run, "SCHEDULED", "AwaitingRetry", f"{MARK}: {reason}", scheduled_time=now)
    else:
        message = f"Given up after {waited / 60:.0f} minutes of trying to start it. {reason}."
        taken = server.set_state(run, "CRASHED", "Crashed", message, force=run.type == "CRASHED")
    if taken:
        logger.warning("Flow run %s: %s: %s", run.name, MARK if waited < GIVE_UP_SECONDS else "given up", reason)


def _is_ours(state: object) -> bool:
    return isinstance(state, dict) and str(state.get("message") or "").startswith(MARK)
