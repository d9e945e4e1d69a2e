"""Worker, watchdog and registration: each value everywhere it belongs."""

import json

import pytest

from rendered import digest_of, environment, job_template, pod_specs, server_container, worker_container, worker_spec
from rendering import Render

pytestmark = pytest.mark.xdist_group("chart")


def test_one_image_is_everywhere(render: Render) -> None:
    digest = f"sha256:{'0' * 64}"
    image = {"repository": "registry.example.com/dbtpod", "tag": "2", "digest": digest, "pullPolicy": "Always"}

    specs = pod_specs(render({"image": image}))

    assert len(specs) > 3
    for name, spec in specs.items():
        for container in spec["containers"]:
            assert container["image"] == f"registry.example.com/dbtpod@{digest}", name
            assert container["imagePullPolicy"] == "Always", name


def test_the_namespace_of_the_release_drives_observer_watchdog_and_template(render: Render) -> None:
    assert environment(worker_container(render, {}))["PREFECT_INTEGRATIONS_KUBERNETES_OBSERVER_NAMESPACES"] == "dbtpod"
    assert "--namespace=dbtpod" in worker_container(render, {}, "watchdog")["args"]
    assert job_template(render())["job_configuration"]["namespace"] == "dbtpod"


def test_the_pools_name_reaches_worker_watchdog_and_registration(render: Render) -> None:
    values = {"workPool": {"name": "analytics"}}

    [register] = render(values, kind="Job", component="register")
    [registering] = register["spec"]["template"]["spec"]["containers"]
    for container in (worker_container(render, values), worker_container(render, values, "watchdog"), registering):
        assert "--pool=analytics" in container["args"]


def test_the_worker_looks_as_often_and_as_far_ahead_as_said(render: Render) -> None:
    variables = environment(worker_container(render, {"worker": {"queryInterval": 0.5, "prefetchSeconds": 30}}))

    assert variables["PREFECT_WORKER_QUERY_SECONDS"] == "0.5"
    assert variables["PREFECT_WORKER_PREFETCH_SECONDS"] == "30"


def test_registration_may_take_as_long_as_said(render: Render) -> None:
    [job] = render({"register": {"deadlineSeconds": 1800}}, kind="Job", component="register")

    assert job["spec"]["activeDeadlineSeconds"] == 1800


def test_a_changed_job_template_is_registered_by_a_new_job(render: Render) -> None:
    [before] = render(kind="Job", component="register")
    [after] = render({"jobs": {"ttlSecondsAfterFinished": 60}}, kind="Job", component="register")

    assert before["metadata"]["name"] != after["metadata"]["name"]


def test_what_is_registered_is_in_the_workers_pod_so_that_any_verb_of_helm_reaches_the_watchdog(render: Render) -> None:
    changed = {"jobs": {"ttlSecondsAfterFinished": 60}}

    digests = [digest_of(worker_container(render, values, "watchdog")) for values in ({}, changed)]
    assert digests[0] != digests[1]
    for values, digest in zip(({}, changed), digests, strict=True):
        [job] = render(values, kind="Job", component="register")
        assert digest_of(job["spec"]["template"]["spec"]["containers"][0]) == digest


def test_the_watchdog_registers_again_with_the_same_pod_as_helms_hook(render: Render) -> None:
    [hook] = render(kind="Job", component="register")
    [held] = render(kind="ConfigMap", component="register")

    again = json.loads(held["data"]["register-job.json"])
    assert again["spec"] == hook["spec"]
    assert "name" not in again["metadata"]
    assert again["metadata"]["labels"].items() <= hook["metadata"]["labels"].items()
    [mounted] = [each for each in worker_spec(render)["volumes"] if each["name"] == "base-job-template"]
    assert {"configMap": {"name": held["metadata"]["name"]}} in mounted["projected"]["sources"]


def test_no_liveness_probe_asks_what_depends_on_another_process(render: Render) -> None:
    watchdog, worker = worker_container(render, {}, "watchdog"), worker_container(render, {})

    assert watchdog["livenessProbe"]["httpGet"]["path"] == "/alive"
    assert worker["livenessProbe"]["httpGet"] == {"path": "/worker", "port": watchdog["ports"][0]["containerPort"]}
    assert "--with-healthcheck" not in worker["args"]


def test_a_server_that_is_slow_is_given_minutes_before_it_is_taken_for_dead(render: Render) -> None:
    server = server_container(render, {})

    for probe, minutes in (("livenessProbe", 8), ("startupProbe", 15)):
        assert server[probe]["periodSeconds"] * server[probe]["failureThreshold"] >= 60 * minutes
    assert server["livenessProbe"]["timeoutSeconds"] >= 60


def test_the_number_of_late_runs_reaches_the_watchdog(render: Render) -> None:
    assert "--late-runs=3" in worker_container(render, {"worker": {"lateRuns": 3}}, "watchdog")["args"]


def test_the_worker_may_only_follow_jobs_and_pods_of_its_namespace(render: Render) -> None:
    [role] = render(kind="Role", component="worker")

    assert {(*rule["resources"], *rule["verbs"]) for rule in role["rules"]} == {
        ("jobs", "create", "get", "list", "watch", "delete"),
        ("pods", "list", "watch"),
        ("events", "list"),
        ("pods/log", "get"),
    }
    assert not render(kind="ClusterRole")
