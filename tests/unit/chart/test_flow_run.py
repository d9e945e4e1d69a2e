"""The Job of a flow run: each value where it belongs, and a deployment's own over it."""

import pytest

from rendered import environment, flow_run_container, flow_run_job, job_template, pod_specs
from rendering import Render

pytestmark = pytest.mark.xdist_group("chart")


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

    assert variables["DBTPOD_VOLUME"] == "/data"
    assert variables["DBTPOD_PUBLISH"] == "false"
    assert variables["DBTPOD_KEEP_GENERATIONS"] == "7"
    assert variables["DBTPOD_ALLOW_NETWORK_FILESYSTEM"] == "true"


def test_where_the_data_is_and_how_many_write_reaches_the_flow(render: Render) -> None:
    remote = {"kind": "remote", "writers": 2, "egress": {"ports": [5432]}}
    ours = environment(flow_run_container(render()))
    theirs = environment(flow_run_container(render({"warehouse": remote})))

    names = ("DBTPOD_WAREHOUSE_KIND", "DBTPOD_WAREHOUSE_WRITERS")
    assert [ours[name] for name in names] == ["file", "1"]
    assert [theirs[name] for name in names] == ["remote", "2"]


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

    [first] = [
        each for each in manifests if each["kind"] == "Job" and each["metadata"]["name"].startswith("dbtpod-warehouse-")
    ]
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
    specs = pod_specs(render(values))

    assert len(specs) > 3
    for spec in specs.values():
        assert not {"runAsUser", "runAsGroup", "fsGroup"} & set(spec["securityContext"])
        assert spec["securityContext"]["runAsNonRoot"] is True
