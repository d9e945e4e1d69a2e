"""Why a flow run's pod does not start, by what Kubernetes says: pure functions over its objects.

Kubernetes waits without end for an image or a claim that does not exist, and Prefect's run with it.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

# A quota may free up, and a webhook that could not be called may answer again; a limit or a policy stays as it is.
MAY_PASS = re.compile(r"exceeded quota|failed calling webhook|[Tt]imeout|timed out|etcdserver|Internal error")
MISSING_CLAIM = re.compile(r'persistentvolumeclaim "[^"]*" (not found|is being deleted)')
IMAGE = "Correct image.repository, image.tag or image.pullSecrets, or the deployment's own job_variables.image."
REFERENCE = "Create the Secret or ConfigMap that it names, or correct jobs.env and jobs.envFrom."
CLAIM = "Create that claim, or correct warehouse.existingClaim or jobs.volumes."
NODE = "Make room on a node, or correct jobs.resources, jobs.nodeSelector, jobs.affinity or jobs.tolerations."
POLICY = "Correct jobs.resources or the deployment's job_variables, or the namespace's limits and policies."
QUOTA = "Raise the namespace's quota, wait until it is free, or correct jobs.resources."
CONTROLLER = "See whether Kubernetes' controller manager runs."
# Its event says more than its status.
CREATING = "ContainerCreating"
# Waiting reasons of a container that only a person can correct.
MISCONFIGURATIONS = {
    "ErrImagePull": IMAGE,
    "ImagePullBackOff": IMAGE,
    "InvalidImageName": IMAGE,
    "ErrImageNeverPull": IMAGE,
    "CreateContainerConfigError": REFERENCE,
    "CreateContainerError": "Correct the deployment's job_variables or the jobs values.",
}


@dataclass(frozen=True)
class Obstacle:
    """What keeps a pod from starting, in Kubernetes' words, and what a person can do about it."""

    reason: str
    detail: str
    advice: str
    # True: waiting cannot help. False: a node, a volume or an image may still arrive.
    is_misconfiguration: bool

    def __str__(self) -> str:
        """Say what happened in one line, and what to do in the next."""
        what = f"{self.reason}: {self.detail.rstrip('.')}." if self.detail else f"{self.reason}."
        return f"could not start: {what}\n{self.advice} Then run the deployment again."


def obstacle_of_pod(pod: Mapping[str, Any]) -> Obstacle | None:
    """What keeps this pod from starting; None when it has started, has ended, or is being removed."""
    status = pod.get("status", {})
    if status.get("phase") != "Pending" or "deletionTimestamp" in pod.get("metadata", {}):
        return None
    return _waiting_container(status) or _unscheduled(status) or _still_creating()


def has_no_pod(job: Mapping[str, Any]) -> bool:
    """Whether Kubernetes made no pod for this Job so far; False when it has ended or is being removed."""
    status = job.get("status", {})
    had = any(status.get(key) for key in ("active", "terminating", "succeeded", "failed", "conditions"))
    return not had and "deletionTimestamp" not in job["metadata"]


def obstacle_of_job(event: str) -> Obstacle:
    """Why a Job has no pod, from the text of its newest FailedCreate event; empty where there is none yet."""
    if not event:
        return Obstacle("FailedCreate", "Kubernetes made no pod, and says no reason.", CONTROLLER, False)
    waits = MAY_PASS.search(event)
    return Obstacle("FailedCreate", event, QUOTA if waits else POLICY, not waits)


def _waiting_container(status: Mapping[str, Any]) -> Obstacle | None:
    for container in [*status.get("initContainerStatuses", []), *status.get("containerStatuses", [])]:
        waiting = container.get("state", {}).get("waiting", {})
        if advice := MISCONFIGURATIONS.get(waiting.get("reason", "")):
            return Obstacle(waiting["reason"], waiting.get("message", ""), advice, True)
    return None


def _unscheduled(status: Mapping[str, Any]) -> Obstacle | None:
    for condition in status.get("conditions", []):
        if condition["type"] == "PodScheduled" and condition["status"] == "False":
            detail = condition.get("message", "")
            missing = bool(MISSING_CLAIM.search(detail))
            return Obstacle(condition.get("reason", "Unschedulable"), detail, CLAIM if missing else NODE, missing)
    return None


def _still_creating() -> Obstacle:
    detail = "its volumes are not mounted or its image is not there yet"
    return Obstacle(CREATING, detail, "Correct jobs.volumes, warehouse.existingClaim or the image.", False)
