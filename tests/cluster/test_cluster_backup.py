"""Backups of a release in S3, and one restored into another release, by the commands of docs/backup.md."""

import json
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

import pages
import s3
from kube import Cluster
from pod_s3 import PodS3
from release import BUILD, SMOKE, Release
from waiting import until

pytestmark = [pytest.mark.cluster, pytest.mark.soak, pytest.mark.timeout(900)]

ORDERS = "select count(*), sum(net_amount) from fct_orders"
PREFIX = "prod/shop"
RESTORE = "kubectl -n dbtpod create job restore"


@pytest.fixture(scope="module")
def bucket(cluster: Cluster) -> Iterator[PodS3]:
    one = PodS3(cluster, "objects")
    one.start()
    yield one
    one.remove()


@contextmanager
def installed(cluster: Cluster, namespace: str, bucket: PodS3) -> Iterator[Release]:
    """A release without schedules, with its backups in that bucket."""
    one = Release(cluster, cluster.namespace(namespace))
    credentials = {"AWS_ACCESS_KEY_ID": s3.KEY, "AWS_SECRET_ACCESS_KEY": s3.SECRET}
    metadata = {"name": "s3-credentials", "namespace": namespace}
    cluster.apply({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": credentials})
    values = {
        "enabled": True,
        "bucket": s3.BUCKET,
        "prefix": PREFIX,
        "endpoint": f"http://{bucket.address}",
        "credentialsSecret": "s3-credentials",
    }
    one.install("--set-json", f"backup={json.dumps(values)}", "--set", "environment.schedules=false")
    yield one
    one.disconnect()
    cluster.kubectl("delete", "namespace", namespace, "--wait=false")


@pytest.fixture(scope="module")
def first(cluster: Cluster, bucket: PodS3) -> Iterator[Release]:
    with installed(cluster, "backup-first", bucket) as one:
        yield one


@pytest.fixture(scope="module")
def second(cluster: Cluster, bucket: PodS3) -> Iterator[Release]:
    with installed(cluster, "backup-second", bucket) as one:
        yield one


def job(release: Release, cron_job: str, name: str) -> tuple[str, str]:
    """Run a CronJob's Job now; how it ended, Complete or Failed, and its log."""
    release.kubectl("create", "job", name, f"--from=cronjob/dbtpod-{cron_job}")

    def end() -> str:
        status: dict[str, Any] = json.loads(release.kubectl("get", "job", name, "--output=json"))["status"]
        ended = [each["type"] for each in status.get("conditions", ()) if each["status"] == "True"]
        return next((each for each in ("Complete", "Failed") if each in ended), "")

    how = until(end, 180, f"the end of {name}")
    return how, release.kubectl("logs", f"job/{name}")


def test_a_build_goes_to_the_bucket_and_the_check_restores_it(first: Release) -> None:
    first.prefect.completed(BUILD)

    how, said = job(first, "backup", "backup-now")
    again = job(first, "backup", "backup-again")
    check = job(first, "backup-test", "check-now")

    assert how == "Complete", said
    assert "Backed up: generation 1" in said
    assert again[0] == "Complete"
    assert "were in s3://backups/prod/shop already" in again[1]
    assert check[0] == "Complete", check[1]
    assert "can be restored: generation 1" in check[1]


def test_it_is_restored_into_an_empty_release_by_the_commands_of_the_page(first: Release, second: Release) -> None:
    second.start_shell()
    first.start_shell()
    assert second.generation() == ""
    [block] = [each for each in pages.blocks() if each.page == "docs/backup.md" and RESTORE in each.text]

    for line in block.text.splitlines():
        second.kubectl(*shlex.split(line.replace("kubectl -n dbtpod ", "")), seconds=320)

    assert second.generation() == "000001"
    assert second.rows(ORDERS) == first.rows(ORDERS)
    # And builds go on from there.
    run = second.prefect.completed(SMOKE)
    assert "copied from /data/published/000001/" in second.pod_log(run["id"])


def test_a_backup_that_was_changed_is_found_by_the_check(first: Release, bucket: PodS3) -> None:
    bucket.shell(
        f"for f in /data/{s3.BUCKET}/{PREFIX}/*/export.tar; do printf x | dd of=$f bs=1 seek=70000 conv=notrunc; done"
    )

    how, said = job(first, "backup-test", "check-damage")

    assert how == "Failed"
    assert "cannot be restored" in said
    assert "is not what was sent" in said
