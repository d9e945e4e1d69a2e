"""What the chart renders: valid objects, restricted pods, and each value where it belongs."""

import asyncio
import json
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from prefect.client.schemas.objects import FlowRun
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect_kubernetes.worker import KubernetesWorkerJobConfiguration

from rendering import CHART, ROOT, Manifest, Render, helm_template, need

GOLDEN = Path(__file__).parent / "golden" / "chart-default.yaml"
KUBERNETES = "1.34"
CASES = sorted((CHART / "ci").glob("*.yaml"))


# ---- reading what was rendered


def job_template(manifests: list[Manifest]) -> dict[str, Any]:
    [work_pool] = [each for each in manifests if each["metadata"]["name"].endswith("-work-pool")]
    template: dict[str, Any] = json.loads(work_pool["data"]["base-job-template.json"])
    return template


def flow_run_job(manifests: list[Manifest], **job_variables: Any) -> Manifest:
    """The Job that Prefect's worker makes of our template, by its own code."""
    # An address that is never asked: without one Prefect would start a server.
    with temporary_settings({PREFECT_API_URL: "http://127.0.0.1:1/api"}):
        configuration = asyncio.run(
            KubernetesWorkerJobConfiguration.from_template_and_values(job_template(manifests), job_variables)
        )
    configuration.prepare_for_flow_run(FlowRun(flow_id="11111111-1111-1111-1111-111111111111", name="able-otter"))
    return configuration.job_manifest


def flow_run_container(manifests: list[Manifest], **job_variables: Any) -> Manifest:
    [container] = flow_run_job(manifests, **job_variables)["spec"]["template"]["spec"]["containers"]
    return dict(container)


def pod_specs(manifests: list[Manifest]) -> dict[str, Manifest]:
    specs = {"flow-run": flow_run_job(manifests)["spec"]["template"]["spec"]}
    for each in manifests:
        if each["kind"] == "Pod":
            specs[each["metadata"]["name"]] = each["spec"]
        elif each["kind"] == "CronJob":
            specs[f"{each['metadata']['name']}-shell"] = each["spec"]["jobTemplate"]["spec"]["template"]["spec"]
        elif "template" in each.get("spec", {}):
            specs[each["metadata"]["name"]] = each["spec"]["template"]["spec"]
    return specs


def environment(container: Manifest) -> dict[str, Any]:
    """One entry for each variable, and a failure where one is there twice."""
    names = [each["name"] for each in container["env"]]
    assert len(names) == len(set(names)), names
    return {each["name"]: each.get("value", each.get("valueFrom")) for each in container["env"]}


def server_container(render: Render, values: dict[str, Any]) -> Manifest:
    [server] = render(values, kind="Deployment", component="server")
    [container] = server["spec"]["template"]["spec"]["containers"]
    return dict(container)


def worker_container(render: Render, values: dict[str, Any], name: str = "worker") -> Manifest:
    [worker] = render(values, kind="Deployment", component="worker")
    [container] = [each for each in worker["spec"]["template"]["spec"]["containers"] if each["name"] == name]
    return dict(container)


# ---- the whole


@pytest.mark.parametrize("case", CASES, ids=lambda path: path.stem)
def test_every_object_and_the_flow_runs_job_pass_kubernetes_schema(render: Render, case: Path) -> None:
    manifests = render(yaml.safe_load(case.read_text()))

    job = flow_run_job(manifests)
    # Prefect insists on these two where Kubernetes does not know them, and drops them unread.
    for key in ("parallelism", "completions"):
        del job["spec"]["template"]["spec"][key]
    for each in [*manifests, job]:
        kubernetes_validate.validate(each, KUBERNETES, strict=True)


@pytest.mark.parametrize("case", CASES, ids=lambda path: path.stem)
def test_every_object_carries_the_standard_labels_and_its_namespace(render: Render, case: Path) -> None:
    for each in render(yaml.safe_load(case.read_text())):
        labels = each["metadata"]["labels"]
        assert {"name", "instance", "component", "version", "managed-by"} <= {
            key.removeprefix("app.kubernetes.io/") for key in labels
        }, each["metadata"]["name"]
        assert each["metadata"]["namespace"] == "dbtpod"


@pytest.mark.parametrize("case", CASES, ids=lambda path: path.stem)
def test_every_pod_meets_the_restricted_standard_flow_runs_included(render: Render, case: Path) -> None:
    for name, spec in pod_specs(render(yaml.safe_load(case.read_text()))).items():
        assert spec["securityContext"]["runAsNonRoot"] is True, name
        assert spec["securityContext"]["runAsUser"] > 0, name
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, name
        assert not {"hostNetwork", "hostPID", "hostIPC"} & set(spec), name
        for container in spec["containers"]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }, name
        assert all(
            {"persistentVolumeClaim", "emptyDir", "configMap", "projected"} & set(each) for each in spec["volumes"]
        ), name


@pytest.mark.parametrize("case", CASES, ids=lambda path: path.stem)
def test_only_the_workers_pod_has_a_token(render: Render, case: Path) -> None:
    manifests = render(yaml.safe_load(case.read_text()))

    mounting = [name for name, spec in pod_specs(manifests).items() if spec["automountServiceAccountToken"]]
    assert [name.rpartition("-")[2] for name in mounting] == ["worker"]
    assert all(each["automountServiceAccountToken"] is False for each in manifests if each["kind"] == "ServiceAccount")


def test_the_default_render_is_the_recorded_one() -> None:
    """Refresh with UPDATE_GOLDEN=1 pytest tests/test_chart.py, and read the difference."""
    done = helm_template({})
    # Helm 3 and 4 differ in blank lines, and the password is another one each time.
    text = re.sub(r"auth-string: \S{20,}", "auth-string: <random>", re.sub(r"\n+", "\n", done.stdout))
    if os.environ.get("UPDATE_GOLDEN"):
        GOLDEN.write_text(text)

    assert text.splitlines() == GOLDEN.read_text().splitlines()


def test_the_plain_manifests_are_the_charts_rendering() -> None:
    need("helm")
    rendered = subprocess.run([ROOT / "k8s" / "render"], capture_output=True, text=True, check=True).stdout

    assert rendered.splitlines() == (ROOT / "k8s" / "dbtpod.yaml").read_text().splitlines(), "run `make manifests`"


def test_the_plain_manifests_password_job_is_valid_and_names_the_same_image_and_secret(render: Render) -> None:
    objects = list(yaml.safe_load_all((ROOT / "k8s" / "auth.yaml").read_text()))

    for each in objects:
        kubernetes_validate.validate(each, KUBERNETES, strict=True)
    [container] = objects[-1]["spec"]["template"]["spec"]["containers"]
    assert container["image"] == server_container(render, {})["image"]
    assert '"name": "dbtpod-auth"' in container["args"][0]


# ---- the values file is the manual


def leaves(values: dict[str, Any], path: str = "") -> Iterator[str]:
    for key, value in values.items():
        whole = f"{path}.{key}" if path else key
        # Free-form maps end here: what is in them is Kubernetes' own.
        if isinstance(value, dict) and value and key not in ("resources", "podSecurityContext"):
            yield from leaves(value, whole)
        else:
            yield whole


def schema_leaves(node: dict[str, Any], path: str = "") -> Iterator[str]:
    for key, child in node["properties"].items():
        whole = f"{path}.{key}" if path else key
        if child.get("$ref") == "#/$defs/secretKey":
            yield from (f"{whole}.name", f"{whole}.key")
        elif "properties" in child:
            yield from schema_leaves(child, whole)
        elif whole != "global":
            yield whole


def test_values_and_schema_name_the_same_keys() -> None:
    schema = json.loads((CHART / "values.schema.json").read_text())

    assert sorted(leaves(yaml.safe_load((CHART / "values.yaml").read_text()))) == sorted(schema_leaves(schema))


def test_the_case_that_sets_everything_sets_every_value() -> None:
    values = set(leaves(yaml.safe_load((CHART / "values.yaml").read_text())))
    everything = set(leaves(yaml.safe_load((CHART / "ci" / "all-values.yaml").read_text())))
    # What does not go together with a server and a password of one's own.
    elsewhere = {"prefect.apiUrl", "prefect.apiKeySecret.name", "prefect.authSecret.name"}

    assert {path for path in values - elsewhere if not any(each.startswith(path) for each in everything)} == set()


def test_every_value_is_used_by_a_template_and_every_use_is_a_value() -> None:
    values = set(leaves(yaml.safe_load((CHART / "values.yaml").read_text())))
    text = "".join(path.read_text() for path in (CHART / "templates").rglob("*") if path.is_file())
    used = set(re.findall(r"\.Values\.([A-Za-z.]+[A-Za-z])", text))
    # Read through `with` or `range`: the parent is what the template names.
    parents = {"image", "prefect", "server.ingress"}

    unknown = {use for use in used if not any(value == use or value.startswith(f"{use}.") for value in values)}
    assert {use for use in unknown if not use.startswith("jobs.resources.")} == set()
    assert {value for value in values - used if not any(value.startswith(f"{parent}.") for parent in parents)} == set()


def test_every_object_of_the_schema_refuses_what_it_does_not_know() -> None:
    def open_objects(node: Any, path: str) -> Iterator[str]:
        if isinstance(node, dict):
            if "properties" in node and node.get("type") == "object" and node.get("additionalProperties") is not False:
                yield path
            for key, child in node.items():
                yield from open_objects(child, f"{path}/{key}")

    assert list(open_objects(json.loads((CHART / "values.schema.json").read_text()), "")) == []


# ---- mistakes


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"server": {"enabld": False}}, "enabld"),
        ({"warehouse": {"size": 10}}, "/warehouse/size"),
        ({"warehouse": {"existingclaim": "gold"}}, "existingclaim"),
        ({"warehouse": {"accessMode": "ReadOnlyMany"}}, "/warehouse/accessMode"),
        ({"jobs": {"resources": {"limit": {"memory": "2Gi"}}}}, "limit"),
        ({"jobs": {"env": {"A": "b"}}}, "/jobs/env"),
        ({"jobs": {"env": [{"name": "A", "value": 1}]}}, "/jobs/env"),
        ({"worker": {"queryInterval": "2s"}}, "/worker/queryInterval"),
        ({"prefect": {"apiUrl": "api.prefect.cloud"}}, "/prefect/apiUrl"),
        ({"image": {"digest": "latest"}}, "/image/digest"),
    ],
)
def test_a_wrong_type_or_a_misspelt_value_is_refused_by_name(values: dict[str, Any], told: str) -> None:
    done = helm_template(values)

    assert done.returncode != 0
    assert told in done.stderr


def test_values_that_do_not_go_together_are_told_all_at_once() -> None:
    done = helm_template(
        {
            "server": {"enabled": False},
            "prefect": {"apiKeySecret": {"name": "key"}, "authSecret": {"name": "login"}},
            "jobs": {"volumes": [{"name": "scratch", "emptyDir": {}}]},
        }
    )

    assert done.returncode != 0
    assert "server.enabled is false and prefect.apiUrl is empty" in done.stderr
    assert "prefect.apiKeySecret.name and prefect.authSecret.name are both set" in done.stderr
    assert 'jobs.volumes has "scratch"' in done.stderr


def test_the_api_of_another_server_is_refused_while_this_release_has_its_own() -> None:
    done = helm_template({"prefect": {"apiUrl": "https://prefect.example.com/api"}})

    assert "prefect.apiUrl is set, but this release runs its own server" in done.stderr


# ---- the flow run


def test_a_flow_run_is_one_try_of_one_pod_that_stays_a_day_for_its_log(render: Render) -> None:
    job = flow_run_job(render())["spec"]

    assert job["backoffLimit"] == 0
    assert job["template"]["spec"]["restartPolicy"] == "Never"
    assert job["ttlSecondsAfterFinished"] == 86400
    assert job["activeDeadlineSeconds"] == 21600


def test_a_flow_run_pod_mounts_the_users_own_claim(render: Render) -> None:
    manifests = render({"warehouse": {"existingClaim": "gold"}})

    [volume] = [
        each for each in flow_run_job(manifests)["spec"]["template"]["spec"]["volumes"] if each["name"] == "warehouse"
    ]
    assert volume["persistentVolumeClaim"] == {"claimName": "gold"}
    claims = [each["metadata"]["name"] for each in manifests if each["kind"] == "PersistentVolumeClaim"]
    assert not [name for name in claims if name.endswith("-warehouse")]


def test_the_pod_for_a_persons_commands_is_on_the_volume_as_a_flow_runs_and_never_starts_by_itself(
    render: Render,
) -> None:
    values = {"warehouse": {"existingClaim": "gold", "keepGenerations": 5}, "jobs": {"nodeSelector": {"pool": "batch"}}}
    manifests = render(values)

    [pattern] = [each for each in manifests if each["kind"] == "CronJob"]
    shell, flow_run = (pod_specs(manifests)[name] for name in ("dbtpod-warehouse-shell", "flow-run"))
    [container], [running] = shell["containers"], flow_run["containers"]
    assert pattern["spec"]["suspend"] is True
    for key in ("securityContext", "nodeSelector", "serviceAccountName"):
        assert shell[key] == flow_run[key], key
    assert shell["volumes"][0] == flow_run["volumes"][0]
    assert environment(container).items() <= environment(running).items()
    assert environment(container)["DBTPOD_KEEP_GENERATIONS"] == "5"


def test_the_warehouse_stays_when_the_release_goes(render: Render) -> None:
    [claim] = render(kind="PersistentVolumeClaim", component="warehouse")

    assert claim["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep"


def test_the_warehouse_is_made_as_asked(render: Render) -> None:
    warehouse = {"size": "50Gi", "storageClass": "fast", "accessMode": "ReadWriteOncePod"}
    [claim] = render({"warehouse": warehouse}, kind="PersistentVolumeClaim", component="warehouse")

    assert claim["spec"] == {
        "accessModes": ["ReadWriteOncePod"],
        "storageClassName": "fast",
        "resources": {"requests": {"storage": "50Gi"}},
    }


def test_how_the_warehouse_is_kept_reaches_the_flow(render: Render) -> None:
    warehouse = {"publish": False, "keepGenerations": 7, "allowNetworkFilesystem": True}
    variables = environment(flow_run_container(render({"warehouse": warehouse})))

    assert variables["DUCKDB_PATH"] == "/data/work/warehouse.duckdb"
    assert variables["DBTPOD_PUBLISH"] == "false"
    assert variables["DBTPOD_KEEP_GENERATIONS"] == "7"
    assert variables["DBTPOD_ALLOW_NETWORK_FILESYSTEM"] == "true"


def test_duckdb_learns_the_pods_memory_limit_and_where_to_spill(render: Render) -> None:
    variables = environment(flow_run_container(render()))

    assert variables["DBTPOD_POD_MEMORY_BYTES"]["resourceFieldRef"]["resource"] == "limits.memory"
    assert variables["DBTPOD_TEMP_DIRECTORY"] == "/tmp/duckdb"


def test_a_resource_that_nobody_set_is_not_asked_for(render: Render) -> None:
    assert flow_run_container(render())["resources"]["limits"] == {"memory": "2Gi"}


def test_a_deployment_overrides_resources_image_and_deadline(render: Render) -> None:
    override = {"image": "mine:1", "memory_limit": "8Gi", "cpu_limit": "4", "active_deadline_seconds": 60}
    job = flow_run_job(render(), **override)

    assert job["spec"]["activeDeadlineSeconds"] == 60
    [container] = job["spec"]["template"]["spec"]["containers"]
    assert container["image"] == "mine:1"
    assert container["resources"]["limits"] == {"cpu": "4", "memory": "8Gi"}


def test_a_deployments_environment_goes_over_the_charts_and_leaves_the_rest(render: Render) -> None:
    secret = {"secretKeyRef": {"name": "source", "key": "password"}}
    env = [{"name": "A", "value": "chart"}, {"name": "B", "value": "chart"}, {"name": "C", "valueFrom": secret}]
    variables = environment(
        flow_run_container(render({"jobs": {"env": env}}), env={"A": "mine", "DBTPOD_PUBLISH": "0"})
    )

    assert (variables["A"], variables["B"], variables["C"]) == ("mine", "chart", secret)
    assert variables["DBTPOD_PUBLISH"] == "0"


def test_secrets_by_reference_reach_the_flow_run(render: Render) -> None:
    sources = [{"secretRef": {"name": "warehouse-credentials"}}]

    assert flow_run_container(render({"jobs": {"envFrom": sources}}))["envFrom"] == sources


def test_job_volumes_go_beside_the_charts_own(render: Render) -> None:
    values = {"volumes": [{"name": "lake", "emptyDir": {}}], "volumeMounts": [{"name": "lake", "mountPath": "/lake"}]}
    manifests = render({"jobs": values})

    assert [each["mountPath"] for each in flow_run_container(manifests)["volumeMounts"]] == ["/data", "/tmp", "/lake"]
    volumes = flow_run_job(manifests)["spec"]["template"]["spec"]["volumes"]
    assert [each["name"] for each in volumes] == ["warehouse", "scratch", "lake"]


def test_where_flow_runs_go_is_said_for_them_and_for_the_volumes_first_pod(render: Render) -> None:
    scheduling = {"nodeSelector": {"pool": "batch"}, "tolerations": [{"key": "batch", "operator": "Exists"}]}
    manifests = render({"jobs": scheduling})

    [first] = [each for each in manifests if each["kind"] == "Job" and each["metadata"]["name"] == "dbtpod-warehouse"]
    for spec in (flow_run_job(manifests)["spec"]["template"]["spec"], first["spec"]["template"]["spec"]):
        assert {key: spec[key] for key in scheduling} == scheduling


def test_labels_and_annotations_of_jobs_survive_a_deployments_own(render: Render) -> None:
    values = {"labels": {"cost-center": "bi"}, "annotations": {"note": "ours"}}
    job = flow_run_job(render({"jobs": values}), labels={"team": "x"}, annotations={"why": "theirs"})

    for metadata in (job["metadata"], job["spec"]["template"]["metadata"]):
        assert {"cost-center": "bi", "team": "x", "app.kubernetes.io/component": "flow-run"}.items() <= metadata[
            "labels"
        ].items()
        assert metadata["annotations"] == {"note": "ours", "why": "theirs"}


def test_the_jobs_name_says_which_flow_and_which_run(render: Render) -> None:
    name = job_template(render())["variables"]["properties"]["name"]["default"]

    assert name == "{{ ctx.flow.name }}-{{ ctx.flow_run.name }}"


def test_ids_of_the_cluster_are_used_where_ours_are_taken_away(render: Render) -> None:
    values = {"podSecurityContext": {"runAsUser": None, "runAsGroup": None, "fsGroup": None}}
    for spec in pod_specs(render(values)).values():
        assert not {"runAsUser", "runAsGroup", "fsGroup"} & set(spec["securityContext"])
        assert spec["securityContext"]["runAsNonRoot"] is True


# ---- one value, everywhere it belongs


def test_one_image_is_everywhere(render: Render) -> None:
    digest = f"sha256:{'0' * 64}"
    image = {"repository": "registry.example.com/dbtpod", "tag": "2", "digest": digest, "pullPolicy": "Always"}

    for name, spec in pod_specs(render({"image": image})).items():
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


def digest_of(container: Manifest) -> str:
    [digest] = [each for each in container["args"] if each.startswith("--digest=")]
    return str(digest)


def worker_spec(render: Render) -> Manifest:
    [worker] = render(kind="Deployment", component="worker")
    return dict(worker["spec"]["template"]["spec"])


def test_the_worker_may_only_follow_jobs_and_pods_of_its_namespace(render: Render) -> None:
    [role] = render(kind="Role")

    assert {(*rule["resources"], *rule["verbs"]) for rule in role["rules"]} == {
        ("jobs", "create", "get", "list", "watch", "delete"),
        ("pods", "list", "watch"),
        ("events", "list"),
        ("pods/log", "get"),
    }
    assert not render(kind="ClusterRole")


# ---- the server, here or elsewhere


def test_the_password_is_asked_for_and_never_stands_in_a_manifest(render: Render) -> None:
    reference = {"secretKeyRef": {"name": "login", "key": "auth-string"}}
    values = {"server": {"auth": {"existingSecret": "login"}}}

    assert environment(server_container(render, values))["PREFECT_SERVER_API_AUTH_STRING"] == reference
    variables = environment(worker_container(render, values))
    assert variables["PREFECT_API_AUTH_STRING"] == reference
    assert variables["PREFECT_INTEGRATIONS_KUBERNETES_WORKER_API_AUTH_STRING_SECRET_NAME"] == "login"
    assert not render(values, kind="Secret")


def test_a_database_takes_the_place_of_the_servers_volume(render: Render) -> None:
    values = {"server": {"database": {"existingSecret": "db", "key": "uri", "port": 6432}}}

    variables = environment(server_container(render, values))
    assert variables["PREFECT_SERVER_DATABASE_CONNECTION_URL"] == {"secretKeyRef": {"name": "db", "key": "uri"}}
    assert not render(values, kind="PersistentVolumeClaim", component="server")
    [policy] = render(values, kind="NetworkPolicy", component="server")
    assert policy["spec"]["egress"] == [{"ports": [{"protocol": "TCP", "port": 6432}]}]


def test_prefect_cloud_needs_no_server_and_no_password_but_a_key(render: Render) -> None:
    values = yaml.safe_load((CHART / "ci" / "prefect-cloud-values.yaml").read_text())

    assert not render(values, component="server")
    variables = environment(worker_container(render, values))
    assert variables["PREFECT_API_URL"] == values["prefect"]["apiUrl"]
    assert variables["PREFECT_API_KEY"] == {"secretKeyRef": {"name": "prefect-cloud", "key": "api-key"}}
    assert "PREFECT_API_AUTH_STRING" not in variables
    [policy] = render(values, kind="NetworkPolicy", component="prefect-clients")
    assert policy["spec"]["egress"] == [{"ports": [{"protocol": "TCP", "port": 443}]}]


def test_another_servers_port_is_open_to_its_clients(render: Render) -> None:
    values = {"server": {"enabled": False}, "prefect": {"apiUrl": "http://prefect.tools:4201/api"}}

    [policy] = render(values, kind="NetworkPolicy", component="prefect-clients")
    assert policy["spec"]["egress"] == [{"ports": [{"protocol": "TCP", "port": 4201}]}]


def test_the_page_finds_the_api_under_any_host_and_port(render: Render) -> None:
    assert environment(server_container(render, {}))["PREFECT_SERVER_UI_API_URL"] == "/api"


def test_run_history_is_kept_as_long_as_said(render: Render) -> None:
    variables = environment(server_container(render, {"server": {"retentionDays": 7}}))

    assert variables["PREFECT_SERVER_SERVICES_DB_VACUUM_RETENTION_PERIOD"] == "604800"


def test_an_ingress_opens_the_page_only_where_a_host_is_named(render: Render) -> None:
    assert not render(kind="Ingress")

    ingress = {"host": "prefect.example.com", "className": "nginx", "tlsSecret": "tls"}
    [made] = render({"server": {"ingress": ingress}}, kind="Ingress")
    assert made["spec"]["ingressClassName"] == "nginx"
    assert made["spec"]["tls"] == [{"hosts": ["prefect.example.com"], "secretName": "tls"}]


def test_what_dbt_reads_is_open_to_flow_runs_alone(render: Render) -> None:
    rule = {"to": [{"ipBlock": {"cidr": "10.1.0.0/16"}}], "ports": [{"protocol": "TCP", "port": 5432}]}
    [policy] = render({"networkPolicy": {"extraEgress": [rule]}}, kind="NetworkPolicy", component="flow-run")

    assert policy["spec"]["egress"] == [rule]
    assert policy["spec"]["podSelector"]["matchLabels"]["app.kubernetes.io/component"] == "flow-run"


def test_every_pod_is_denied_what_no_arrow_allows(render: Render) -> None:
    [everything] = render(kind="NetworkPolicy", component="all")

    [components] = everything["spec"]["podSelector"]["matchExpressions"]
    assert set(components["values"]) == {"server", "worker", "register", "flow-run", "warehouse", "test"}
    assert everything["spec"]["policyTypes"] == ["Ingress", "Egress"]
    assert not render({"networkPolicy": {"enabled": False}}, kind="NetworkPolicy")
