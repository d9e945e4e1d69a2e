"""Adds to a crashed run what Kubernetes knows of its end, and ends runs once whose deadline has passed."""

import logging
from datetime import datetime

from dbtpod.watchdog.cluster import Cluster, Object, job_of
from dbtpod.watchdog.ended import DEADLINE, failed_at, reason_of_end
from dbtpod.watchdog.server import Run, Server
from dbtpod.watchdog.sight import Sight
from dbtpod.watchdog.watch import Watch

# The flow run's label that its pod sets as it publishes.
GENERATION = "dbtpod.generation"
# What Prefect's observer and our automation say of a pod that ended: that it did.
NO_REASON = ("No active or succeeded pods found for any job", "No heartbeat for")
FINAL = ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")
# A pod that is ended puts its run back before it goes, or in the same moment.
PODS_OWN_SECONDS = 30
# Prefect's observer waits for 30 s before it ends such a run.
UNSEEN_SECONDS = 60

logger = logging.getLogger("dbtpod.watchdog")


def explain(sight: Sight, run: Run, server: Server) -> None:
    """Write the reason, and what the run had published, into a crashed run's message."""
    message = run.message
    if message.startswith(NO_REASON):
        jobs = sorted(sight.jobs.get(run.id, []), key=lambda job: str(job["metadata"]["creationTimestamp"]))
        reason = reason_of_end(jobs[-1], _pods_of(jobs[-1], sight, run)) if jobs else ""
        message = reason or message
    if generation := run.labels.get(GENERATION):
        published = f"Generation {generation} was published before."
        message = message if published in message else f"{message.rstrip('. ')}. {published}"
    if message != run.message and server.set_state(run, "CRASHED", "Crashed", message, force=True):
        logger.warning("Flow run %s crashed: %s", run.name, message)


def end_at_deadline(sight: Sight, run: Run, server: Server, cluster: Cluster) -> None:
    """End a run that still runs although its Job's deadline has passed: a pod that is ended puts its run back."""
    passed = [(job, at) for job in sight.jobs.get(run.id, []) if (at := failed_at(job, DEADLINE))]
    if not passed or run.type == "CANCELLING":
        return
    job, at = max(passed, key=lambda each: each[1])
    if _was_started_again(run, at, server):
        return
    message = reason_of_end(job, [])
    if server.set_state(run, "CRASHED", "Crashed", message):
        logger.warning("Ended flow run %s: %s", run.name, message)
        for other in sight.live_jobs(run.id):
            cluster.delete_job(other["metadata"]["name"])


def end_without_pod(sight: Sight, run: Run, watch: Watch, server: Server) -> None:
    """End a run that is about to start and whose Job has failed, where Prefect's observer did not see that."""
    failed = [job for job in sight.jobs.get(run.id, []) if (at := failed_at(job)) and at >= run.since]
    if run.type != "PENDING" or not failed or sight.live_jobs(run.id):
        return
    if watch.seconds(f"failed {run.id}") >= UNSEEN_SECONDS:
        reason = reason_of_end(failed[-1], _pods_of(failed[-1], sight, run)) or NO_REASON[0]
        server.set_state(run, "CRASHED", "Crashed", reason)
        logger.warning("Ended flow run %s: %s", run.name, reason)


def _pods_of(job: Object, sight: Sight, run: Run) -> list[Object]:
    return [pod for pod in sight.pods.get(run.id, []) if job_of(pod) == job["metadata"]["name"]]


def _was_started_again(run: Run, at: datetime, server: Server) -> bool:
    """Whether a person started the run again after it had ended for its deadline."""
    states = sorted(server.history(run), key=lambda each: str(each["timestamp"]))
    ends = [index for index, each in enumerate(states) if each["type"] in FINAL]
    if not ends or ends[-1] + 1 >= len(states):
        return False
    again = datetime.fromisoformat(states[ends[-1] + 1]["timestamp"])
    return (again - at).total_seconds() > PODS_OWN_SECONDS
