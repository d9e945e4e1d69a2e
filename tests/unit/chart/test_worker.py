"""Worker, watchdog and registration: each value everywhere it belongs."""

import json

import pytest

from rendered import digest_of, environment, job_template, pod_specs, server_container, worker_container, worker_spec
from rendering import Render, helm_template

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
    [worker] = render(kind="Deployment", component="worker")

    again = json.loads(worker["spec"]["template"]["metadata"]["annotations"]["dbtpod/register-job"])
    assert again["spec"] == hook["spec"]
    assert "name" not in again["metadata"]
    assert again["metadata"]["labels"].items() <= hook["metadata"]["labels"].items()
    [mounted] = [each for each in worker_spec(render)["volumes"] if each["name"] == "registration"]
    assert mounted["downwardAPI"]["items"] == [
        {
            "path": "register-job.json",
            "fieldRef": {"fieldPath": "metadata.annotations['dbtpod/register-job']"},
        }
    ]


def test_a_registration_brings_what_it_registers_so_that_an_older_one_registers_what_was_its_own(
    render: Render,
) -> None:
    values = {"jobs": {"ttlSecondsAfterFinished": 60}, "prefectYaml": "deployments: []\n"}
    manifests = render(values)
    [hook] = [each for each in manifests if each["kind"] == "Job" and "register" in each["metadata"]["name"]]
    pod = hook["spec"]["template"]

    assert json.loads(pod["metadata"]["annotations"]["dbtpod/base-job-template"]) == job_template(manifests)
    assert pod["metadata"]["annotations"]["dbtpod/prefect-yaml"] == values["prefectYaml"]
    # Nothing of it can be another by the time that it starts; the cluster's authority is the cluster's own.
    named = [each["configMap"]["name"] for each in pod["spec"]["volumes"] if "configMap" in each]
    assert named == ["kube-root-ca.crt"]


def test_registration_comes_with_each_verb_of_helm(render: Render) -> None:
    [hook] = render(kind="Job", component="register")

    assert hook["metadata"]["annotations"]["helm.sh/hook"] == "post-install,post-upgrade,post-rollback"


def test_the_pool_has_the_name_of_the_release_and_its_owner_is_in_the_arguments(render: Render) -> None:
    [hook] = render({"fullnameOverride": "shop"}, kind="Job", component="register")
    [container] = hook["spec"]["template"]["spec"]["containers"]

    assert "--pool=shop" in container["args"]
    assert "--owner=dbtpod/dbtpod" in container["args"]
    assert hook["spec"]["template"]["spec"]["automountServiceAccountToken"] is False
    for name in ("worker", "watchdog"):
        assert "--pool=shop" in worker_container(render, {"fullnameOverride": "shop"}, name)["args"]


def test_a_text_of_prefect_yaml_that_fits_in_no_annotation_is_refused() -> None:
    done = helm_template({"prefectYaml": "#" * 100_001})

    assert done.returncode != 0
    assert "prefectYaml has 100001 bytes" in done.stderr


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
        ("jobs", "create", "get", "list", "watch", "patch", "delete"),
        ("pods", "list", "watch"),
        ("events", "list"),
        ("pods/log", "get"),
    }
    assert not render(kind="ClusterRole")
