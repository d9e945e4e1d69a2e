"""Why a run's pod ended, as Kubernetes has it: pure functions over its objects."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

DEADLINE = "DeadlineExceeded"
# What the kubelet writes for a container that it lost with its node.
LOST_WITH_NODE = 255


def failed_at(job: Mapping[str, Any], reason: str = "") -> datetime | None:
    """Return when this Job failed, for that reason if one is given; None where it did not."""
    for condition in job.get("status", {}).get("conditions") or []:
        failed = condition["type"] == "Failed" and condition["status"] == "True"
        if failed and reason in ("", condition.get("reason", "")):
            return datetime.fromisoformat(condition["lastTransitionTime"])
    return None


def reason_of_end(job: Mapping[str, Any], pods: Iterable[Mapping[str, Any]]) -> str:
    """Say in a sentence why the run's pod ended, with the value to raise where there is one; empty if not known."""
    if failed_at(job, DEADLINE):
        seconds = job["spec"].get("activeDeadlineSeconds")
        return (
            f"The run was longer than its deadline of {seconds} s, so Kubernetes ended its pod (DeadlineExceeded). "
            "Raise jobs.activeDeadlineSeconds, or active_deadline_seconds in the deployment's job_variables."
        )
    return next((reason for pod in pods if (reason := reason_of_pod(pod))), "")


def reason_of_pod(pod: Mapping[str, Any]) -> str:
    """Say in a sentence why this pod ended; empty if Kubernetes has no more to say than that it did.

    >>> ended = {"state": {"terminated": {"reason": "OOMKilled", "exitCode": 137}}}
    >>> reason_of_pod({"metadata": {"name": "able-otter"}, "status": {"containerStatuses": [ended]}})
    'The pod able-otter needed more memory than its limit (OOMKilled). Raise jobs.resources.limits.memory.'
    """
    status, name = pod.get("status", {}), pod["metadata"]["name"]
    if reason := status.get("reason"):  # Evicted, NodeLost, NodeShutdown, …: the kubelet's or the node controller's
        return f"The pod {name} was ended by Kubernetes: {reason}: {status.get('message', '').strip()}".rstrip(" :")
    for condition in status.get("conditions") or []:
        if condition["type"] == "DisruptionTarget" and condition["status"] == "True":
            return f"The pod {name} was ended by Kubernetes: {condition['reason']}: {condition.get('message', '')}"
    for container in status.get("containerStatuses") or []:
        if ended := container.get("state", {}).get("terminated"):
            return _reason_of_container(name, ended)
    return ""


def _reason_of_container(pod: str, ended: Mapping[str, Any]) -> str:
    code, reason = ended.get("exitCode"), ended.get("reason", "")
    if reason == "OOMKilled":
        return f"The pod {pod} needed more memory than its limit (OOMKilled). Raise jobs.resources.limits.memory."
    if code == LOST_WITH_NODE:
        return f"The pod {pod} was lost with its node {ended.get('message', '')}".strip() + "."
    if ended.get("signal") or (code or 0) > 128:
        signal = ended.get("signal") or code - 128  # type: ignore[operator]
        return f"The pod {pod} was ended by signal {signal} ({reason or 'no reason given'})."
    return f"The pod {pod} ended with exit code {code} ({reason or 'no reason given'})." if code else ""
