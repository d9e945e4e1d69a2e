"""Why a pod does not start: what Kubernetes 1.34 said of real pods (data/kubernetes), and what people are told."""

import json
from typing import Any

import pytest

from dbtpod.watchdog.stuck import CREATING, Obstacle, has_no_pod, obstacle_of_job, obstacle_of_pod
from record import DATA

PODS = DATA / "kubernetes" / "pods.json"
RECORDED: dict[str, dict[str, Any]] = json.loads(PODS.read_text())


def obstacle(name: str) -> Obstacle:
    found = obstacle_of_pod(RECORDED[name])
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("pod", "reason", "detail", "advice"),
    [
        ("image", "ImagePullBackOff", "dbtpod:nope", "image.tag"),
        ("never", "ErrImageNeverPull", "dbtpod:nope", "image.tag"),
        ("badname", "InvalidImageName", "Dbtpod:nope", "image.repository"),
        ("secret", "CreateContainerConfigError", 'secret "source" not found', "jobs.env"),
        ("claim", "Unschedulable", 'persistentvolumeclaim "gold" not found', "warehouse.existingClaim"),
    ],
)
def test_a_mistake_is_told_with_kubernetes_reason_and_the_value_to_correct(
    pod: str, reason: str, detail: str, advice: str
) -> None:
    found = obstacle(pod)

    assert found.is_misconfiguration
    assert found.reason == reason
    assert detail in found.detail
    assert advice in found.advice


def test_a_full_cluster_may_still_make_room() -> None:
    found = obstacle("memory")

    assert not found.is_misconfiguration
    assert "Insufficient memory" in found.detail
    assert "jobs.resources" in found.advice


def test_a_pod_that_waits_for_its_volume_may_still_get_it() -> None:
    found = obstacle("mount")

    assert not found.is_misconfiguration
    assert found.reason == CREATING
    assert "jobs.volumes" in found.advice


def test_a_pod_that_runs_or_is_being_removed_has_no_obstacle() -> None:
    removed = RECORDED["image"] | {"metadata": {"name": "image", "deletionTimestamp": "2026-11-23T03:41:38Z"}}

    assert obstacle_of_pod(RECORDED["healthy"]) is None
    assert obstacle_of_pod(removed) is None


def test_a_job_for_which_kubernetes_makes_no_pod_is_known_from_one_that_has_it() -> None:
    assert has_no_pod(RECORDED["job-podless"])
    assert not has_no_pod(RECORDED["job-running"])


LIMIT = 'pods "x" is forbidden: maximum memory usage per Container is 1Gi, but limit is 2Gi'
SECURITY = 'pods "x" is forbidden: violates PodSecurity "restricted:latest": allowPrivilegeEscalation != false'
UNSET = 'pods "x" is forbidden: failed quota: mem: must specify limits.memory for: prefect-job'
QUOTA = 'pods "x" is forbidden: exceeded quota: mem, requested: limits.memory=2Gi, used: limits.memory=1Gi'
WEBHOOK = 'Internal error occurred: failed calling webhook "policy.example.com": connect: connection refused'


@pytest.mark.parametrize(
    ("event", "mistake"), [(LIMIT, True), (SECURITY, True), (UNSET, True), (QUOTA, False), (WEBHOOK, False)]
)
def test_a_refused_pod_is_told_in_kubernetes_words_and_only_what_may_pass_is_waited_for(
    event: str, mistake: bool
) -> None:
    found = obstacle_of_job(event)

    assert event in str(found)
    assert found.is_misconfiguration is mistake


def test_the_message_says_what_happened_and_then_what_to_do() -> None:
    what, what_to_do = str(obstacle("secret")).splitlines()

    assert what == 'could not start: CreateContainerConfigError: secret "source" not found.'
    assert what_to_do.endswith("Then run the deployment again.")
