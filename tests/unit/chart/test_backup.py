"""Backups: two CronJobs and a pattern for a pod that restores, what they may reach, and the alerts about them."""

from typing import Any

import pytest
import yaml

from rendered import environment, flow_run_job
from rendering import CHART, Manifest, Render, helm_template

pytestmark = pytest.mark.xdist_group("chart")

BACKUP: dict[str, Any] = {"backup": {"enabled": True, "bucket": "backups"}}
TOGETHER = ["reader", "flow-run", "warehouse", "backup"]


def cron_jobs(manifests: list[Manifest]) -> dict[str, Manifest]:
    """Those of backups, by their names."""
    found = {each["metadata"]["name"]: each["spec"] for each in manifests if each["kind"] == "CronJob"}
    return {name: spec for name, spec in found.items() if name != "dbtpod-warehouse"}


def pod_of(cron_job: Manifest) -> Manifest:
    return dict(cron_job["jobTemplate"]["spec"]["template"]["spec"])


def test_by_default_there_is_nothing_of_it(render: Render) -> None:
    assert cron_jobs(render()) == {}


def test_a_backup_reads_the_volume_the_check_has_none_and_a_restore_waits_for_a_person(render: Render) -> None:
    made = cron_jobs(render(BACKUP))

    assert list(made) == ["dbtpod-backup", "dbtpod-backup-test", "dbtpod-restore"]
    assert [made[name].get("suspend", False) for name in made] == [False, False, True]
    [backup, check, restore] = [pod_of(each)["containers"][0] for each in made.values()]
    assert (backup["command"], check["command"]) == (["dbtpod", "backup", "run"], ["dbtpod", "backup", "check"])
    assert backup["volumeMounts"][0] == {"name": "warehouse", "mountPath": "/data", "readOnly": True}
    assert restore["volumeMounts"][0] == {"name": "warehouse", "mountPath": "/data"}
    assert [each["name"] for each in check["volumeMounts"]] == ["scratch"]
    assert [each["name"] for each in pod_of(made["dbtpod-backup-test"])["volumes"]] == ["scratch"]


def test_two_of_one_kind_do_not_run_at_once_and_one_that_cannot_start_fails(render: Render) -> None:
    for spec in cron_jobs(render(BACKUP)).values():
        assert spec["concurrencyPolicy"] == "Forbid"
        assert spec["jobTemplate"]["spec"]["backoffLimit"] == 0
        assert spec["jobTemplate"]["spec"]["activeDeadlineSeconds"] > 3600
        # Without a failed Job there is no alert.
        assert spec["failedJobsHistoryLimit"] == 1


def test_what_the_values_say_reaches_each_pod(render: Render) -> None:
    values = yaml.safe_load((CHART / "ci" / "all-values.yaml").read_text())

    for name, spec in {
        name: spec for name, spec in cron_jobs(render(values)).items() if name != "gold-warehouse"
    }.items():
        [container] = pod_of(spec)["containers"]
        variables = environment(container)
        assert variables["DBTPOD_BACKUP_BUCKET"] == "backups", name
        assert variables["DBTPOD_BACKUP_PREFIX"] == "prod/shop"
        assert variables["DBTPOD_BACKUP_ENDPOINT"] == "http://s3.example.com:9000"
        assert variables["DBTPOD_BACKUP_REGION"] == "eu-central-1"
        assert variables["DBTPOD_BACKUP_KEEP"] == "30"
        assert container["envFrom"] == [{"secretRef": {"name": "s3-credentials"}}]
        assert container["resources"]["limits"] == {"memory": "2Gi"}
        assert pod_of(spec)["nodeSelector"] == {"pool": "batch"}
        assert pod_of(spec)["serviceAccountName"] == "gold-backup"


def test_without_a_folder_it_is_the_releases_own(render: Render) -> None:
    [container] = pod_of(cron_jobs(render(BACKUP))["dbtpod-backup"])["containers"]

    assert environment(container)["DBTPOD_BACKUP_PREFIX"] == "dbtpod/dbtpod"
    assert "envFrom" not in container


def test_the_pods_have_an_account_of_their_own_with_a_role_or_the_users(render: Render) -> None:
    role = {"eks.amazonaws.com/role-arn": "arn:aws:iam::1:role/r"}
    ours = render({"backup": BACKUP["backup"] | {"serviceAccount": {"annotations": role}}})
    own = render({"backup": BACKUP["backup"] | {"serviceAccount": {"name": "mine"}}})

    [account] = [
        each for each in ours if each["kind"] == "ServiceAccount" and each["metadata"]["name"] == "dbtpod-backup"
    ]
    assert account["metadata"]["annotations"] == role
    assert {pod_of(each)["serviceAccountName"] for each in cron_jobs(own).values()} == {"mine"}
    assert not [each for each in own if each["kind"] == "ServiceAccount" and "backup" in each["metadata"]["name"]]


def together(pod: Manifest) -> list[str]:
    """The components that a pod has to be beside."""
    terms = pod.get("affinity", {}).get("podAffinity", {}).get("requiredDuringSchedulingIgnoredDuringExecution", [])
    return [name for term in terms for name in term["labelSelector"]["matchExpressions"][0]["values"]]


def test_what_has_the_volume_runs_on_one_node_and_the_check_anywhere(render: Render) -> None:
    manifests = render(BACKUP)
    made = cron_jobs(manifests)

    assert together(flow_run_job(manifests)["spec"]["template"]["spec"]) == TOGETHER
    assert together(pod_of(made["dbtpod-backup"])) == together(pod_of(made["dbtpod-restore"])) == TOGETHER
    assert together(pod_of(made["dbtpod-backup-test"])) == []
    many = cron_jobs(render(BACKUP | {"warehouse": {"accessMode": "ReadWriteMany"}}))
    assert together(pod_of(many["dbtpod-backup"])) == []


@pytest.mark.parametrize(
    ("endpoint", "port"),
    [("", 443), ("https://s3.example.com", 443), ("http://minio.minio.svc", 80), ("http://minio.minio.svc:9000", 9000)],
)
def test_the_policies_let_backups_reach_the_port_of_s3_and_what_the_values_add(
    render: Render, endpoint: str, port: int
) -> None:
    more = {"ports": [{"protocol": "TCP", "port": 8333}]}
    values = {"backup": BACKUP["backup"] | {"endpoint": endpoint}, "networkPolicy": {"backupEgress": [more]}}

    [policy] = render(values, kind="NetworkPolicy", component="backup")

    assert policy["spec"]["egress"] == [{"ports": [{"protocol": "TCP", "port": port}]}, more]
    [selected] = policy["spec"]["podSelector"]["matchExpressions"]
    assert selected["values"] == ["backup", "backup-test"]
    [denied] = render(values, kind="NetworkPolicy", component="all")
    assert set(selected["values"]) <= set(denied["spec"]["podSelector"]["matchExpressions"][0]["values"])


def test_the_longest_name_of_a_release_is_short_enough_for_a_cron_job() -> None:
    done = helm_template(BACKUP | {"fullnameOverride": "a" * 63})

    names = [line.split()[1] for line in done.stdout.splitlines() if line.startswith("  name: a")]
    assert done.returncode == 0
    assert max(len(name) for name in names if name.endswith(("-backup-test", "-restore", "-warehouse"))) == 52


def test_an_alert_is_about_a_job_that_failed_after_the_last_that_succeeded(render: Render) -> None:
    metrics = {"metrics": {kind: {"enabled": True} for kind in ("serviceMonitor", "rules")}}
    [rules] = [each for each in render(BACKUP | metrics) if each["kind"] == "PrometheusRule"]
    found = {each["alert"]: each["expr"] for each in rules["spec"]["groups"][0]["rules"]}

    jobs = 'namespace="dbtpod",job_name=~"dbtpod-backup-[0-9]+"'
    assert found["DbtpodBackupFailed"] == (
        f"max(kube_job_status_start_time{{{jobs}}} and on (namespace, job_name) "
        f'kube_job_failed{{{jobs},condition="true"}} == 1) > '
        '(max(kube_cronjob_status_last_successful_time{namespace="dbtpod",cronjob="dbtpod-backup"}) or vector(0))'
    )
    assert 'cronjob="dbtpod-backup-test"' in found["DbtpodBackupCheckFailed"]
