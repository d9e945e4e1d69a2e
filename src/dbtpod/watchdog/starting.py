"""Ends runs whose pod cannot start, and names those whose pod runs but never reaches Prefect."""

import logging
from dataclasses import dataclass, replace

from dbtpod.watchdog.cluster import Cluster, Object, job_of, run_of
from dbtpod.watchdog.server import Run, Server
from dbtpod.watchdog.sight import Sight, age, running_since, since
from dbtpod.watchdog.stuck import CREATING, Obstacle, has_no_pod, obstacle_of_job, obstacle_of_pod
from dbtpod.watchdog.watch import Watch

# A registry or a new Secret may be a moment late; a person who typed a wrong tag should not wait longer.
MISCONFIGURED_SECONDS = 60
# A pod has reached Prefect a few seconds after its start; a slow node may take a minute.
SILENT_SECONDS = 90
# Before that the event that says why a Job has no pod may not be there.
JOB_SECONDS = 5
SILENT = (
    "The pod {pod} has been running for {seconds:.0f} s, and this run has heard nothing of it: it does not reach "
    "Prefect's API. Check, from that pod, the network policies, a proxy (HTTP_PROXY and NO_PROXY in jobs.env), DNS, "
    "and the pod's log."
)

logger = logging.getLogger("dbtpod.watchdog")


@dataclass(frozen=True)
class Starting:
    """What it takes to judge and end a start; `timeout` is jobs.startTimeoutSeconds."""

    cluster: Cluster
    server: Server
    watch: Watch
    timeout: float

    def judge_pod(self, pod: Object, run: Run | None) -> None:
        """End the pod's run where it has waited long enough for a pod that cannot start."""
        if (obstacle := obstacle_of_pod(pod)) and self._is_over(pod, obstacle):
            if obstacle.reason == CREATING and (event := self.cluster.newest_event("Pod", pod["metadata"]["name"])):
                obstacle = replace(obstacle, detail=event)
            self._end(run, job_of(pod), f"The pod {pod['metadata']['name']} {obstacle}")

    def judge_job(self, job: Object, run: Run | None) -> None:
        """End the Job's run where Kubernetes makes no pod for it."""
        name = job["metadata"]["name"]
        if not has_no_pod(job) or age(job) < JOB_SECONDS:
            return
        obstacle = obstacle_of_job(self.cluster.newest_event("Job", name, "FailedCreate"))
        if self._is_over(job, obstacle):
            self._end(run, name, f"The pod of Job {name} {obstacle}")

    def listen(self, sight: Sight, run: Run, warned: set[str]) -> None:
        """Warn once of a run whose pod runs and is not heard of, and end it after the start timeout."""
        if run.type != "PENDING":
            return
        for pod in sight.live_pods(run.id):
            start = running_since(pod)
            # A scheduled run's pod is there early, and waits for its time.
            if not start or since(run.expected) < 0 or min(since(start), since(run.expected)) < SILENT_SECONDS / 2:
                continue
            name, uid = pod["metadata"]["name"], pod["metadata"]["uid"]
            seconds = self.watch.seconds(f"silent {uid}")
            message = SILENT.format(pod=name, seconds=since(start))
            if seconds >= self.timeout:
                self._end(run, job_of(pod), message)
            elif seconds >= SILENT_SECONDS / 2 and uid not in warned:
                warned.add(uid)
                logger.warning("Flow run %s: %s", run.name, message)
                self.server.warn(run, message)

    def _is_over(self, item: Object, obstacle: Obstacle) -> bool:
        # Since when it is a misconfiguration counts: an image that is pulled again after an error is one all along.
        key = f"obstacle {item['metadata']['uid']}"
        seconds = self.watch.seconds(key)
        return (obstacle.is_misconfiguration and seconds >= MISCONFIGURED_SECONDS) or age(item) >= self.timeout

    def _end(self, run: Run | None, job: str, message: str) -> None:
        if run and run.type == "RUNNING":
            return  # in another pod: a rescheduled run has a Job of its own
        # Before the Job is deleted, or Prefect's observer would give that as the reason.
        if run and run.type == "PENDING" and self.server.set_state(run, "CRASHED", "Crashed", message):
            logger.warning("Ended flow run %s: %s", run.name, message)
        self.cluster.delete_job(job)


def is_for(item: Object, sight: Sight) -> Run | None:
    """The live run that a Job or a pod is for."""
    return sight.runs.get(run_of(item))
