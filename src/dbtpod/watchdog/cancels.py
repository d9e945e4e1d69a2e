"""Ends cancelled runs that have no process which could: their pod has not started, or is gone."""

import logging

from dbtpod.watchdog.cluster import Cluster, Object
from dbtpod.watchdog.server import Run, Server
from dbtpod.watchdog.sight import Sight, has_started
from dbtpod.watchdog.watch import Watch

# A pod that goes is not listed before its process has reported the end.
GONE_SECONDS = 15
# What a pod gets to end by itself once its run is Cancelled.
LINGER_SECONDS = 60

logger = logging.getLogger("dbtpod.watchdog")


def cancel(sight: Sight, run: Run, watch: Watch, server: Server, cluster: Cluster) -> None:
    """End a cancelling run without a process: remove its Job first, so that the message is true."""
    if run.type != "CANCELLING":
        return
    jobs, pods = sight.live_jobs(run.id), sight.live_pods(run.id)
    if any(has_started(pod) for pod in pods):
        return  # it stops dbt, and reports that itself
    if run.started and not jobs and watch.seconds(f"cancelled {run.id}") < GONE_SECONDS:
        return
    for job in jobs:
        cluster.delete_job(job["metadata"]["name"])
    if jobs:
        message = "Cancelled before its pod started. Its Job and its pod were deleted."
    elif run.started:
        message = "Cancelled. Its pod was gone before it could stop dbt."
    else:
        message = "Cancelled before it had a pod."
    if server.set_state(run, "CANCELLED", "Cancelled", message):
        logger.warning("Flow run %s: %s", run.name, message)


def clean(job: Object, pods: list[Object], watch: Watch, cluster: Cluster) -> None:
    """Delete the Job of a run that is Cancelled: at once if its pod has not started, else after a minute."""
    name = job["metadata"]["name"]
    if not any(has_started(pod) for pod in pods) or watch.seconds(f"lingers {name}") >= LINGER_SECONDS:
        cluster.delete_job(name)
        logger.warning("Job %s was deleted: its flow run was cancelled.", name)
