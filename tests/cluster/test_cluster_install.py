"""What `helm install --wait` leaves behind: nothing to do by hand."""

import json
from datetime import datetime
from pathlib import Path

import pytest

from kube import IMAGE, REPO, command
from release import BUILD, FRESHNESS, FULL_REFRESH, RUN, SMOKE, Release
from waiting import until

pytestmark = pytest.mark.cluster

SCHEDULES = {
    BUILD: ("0 6 * * *", "duckdb-writer"),
    SMOKE: ("0 * * * *", "duckdb-writer"),
    FRESHNESS: ("0 */6 * * *", "duckdb-reader"),
    FULL_REFRESH: (None, "duckdb-writer"),
    RUN: (None, "duckdb-writer"),
    "dbt-build-if-fresher/dbt-build-if-fresher": (None, "duckdb-writer"),
}


def test_the_deployments_are_there_with_their_schedules_and_queues(release: Release) -> None:
    found = {
        name: ([each["schedule"] for each in deployment["schedules"]], deployment["work_queue_name"])
        for name, deployment in release.prefect.deployments().items()
    }

    assert found == {
        name: ([{"cron": cron, "timezone": "UTC", "day_or": True}] if cron else [], queue)
        for name, (cron, queue) in SCHEDULES.items()
    }


# With SQLAlchemy 2.1 a server makes no run at all, and looks healthy.
@pytest.mark.parametrize(
    ("deployment", "hours"),
    [
        (BUILD, {6}),
        (SMOKE, set(range(24))),
        (FRESHNESS, {0, 6, 12, 18}),
    ],
)
def test_a_schedule_makes_runs_at_its_hours(release: Release, deployment: str, hours: set[int]) -> None:
    prefect = release.prefect
    found = prefect.deployments()[deployment]
    prefect.pause(deployment, paused=False)

    runs = until(lambda: prefect.coming(found["id"]), 60, "runs made by the schedule")
    prefect.pause(deployment, paused=found["paused"])

    times = [datetime.fromisoformat(run["expected_start_time"]) for run in runs]
    assert {time.minute for time in times} == {0}
    assert {time.hour for time in times} <= hours


def test_the_pool_has_the_job_template_that_the_chart_rendered(release: Release) -> None:
    rendered = json.loads(release.kubectl("get", "configmap", "dbtpod-work-pool", "--output", "json"))

    template = release.prefect.call("GET", "work_pools/dbtpod")["base_job_template"]

    assert template == json.loads(rendered["data"]["base-job-template.json"])
    assert template["variables"]["properties"]["image"]["default"] == IMAGE


def test_one_writer_runs_at_a_time_and_readers_have_no_limit(release: Release) -> None:
    queues = release.prefect.call("POST", "work_pools/dbtpod/queues/filter")

    limits = {queue["name"]: queue["concurrency_limit"] for queue in queues}

    assert limits["duckdb-writer"] == 1
    assert limits["duckdb-reader"] is None


def test_the_page_and_the_api_want_the_password(release: Release) -> None:
    answer = release.prefect.http.get("deployments/count", auth=("admin", "guessed"))

    assert answer.status_code == 401


def test_the_registration_says_what_it_did_and_when_each_deployment_runs_next(release: Release) -> None:
    said = release.registration()

    for name, (cron, queue) in SCHEDULES.items():
        assert any(name in line and (cron or "by hand") in line and queue in line for line in said.splitlines()), said


def test_installing_again_changes_nothing(release: Release) -> None:
    before = release.prefect.deployments()
    pods = {pod["metadata"]["name"] for pod in release.pods("server") + release.pods("worker")}

    release.install()

    assert {pod["metadata"]["name"] for pod in release.pods("server") + release.pods("worker")} == pods
    after = release.prefect.deployments()
    assert {name: each["id"] for name, each in after.items()} == {name: each["id"] for name, each in before.items()}
    said = release.registration()
    assert "created" not in said and "removed" not in said and "updated" not in said, said


def test_helm_test_runs_the_deployment_with_the_tag_to_its_end(release: Release) -> None:
    said = release.cluster.helm("test", "dbtpod", "--namespace", release.namespace, "--timeout", "3m")

    assert "Succeeded" in said


def test_prefect_deploy_from_a_users_shell_brings_a_deployment_that_runs_as_a_pod(
    release: Release, tmp_path: Path
) -> None:
    command("cp", "-R", "prefect.yaml", "flows", "dbt_project", str(tmp_path))
    file = tmp_path / "prefect.yaml"
    file.write_text(file.read_text().replace("name: dbt-smoke-hourly", "name: smoke-of-a-user"))
    shell = {**release.prefect.environment, "PREFECT_HOME": str(tmp_path / "home")}

    # sh, because `prefect deploy` reads the folder that it is in.
    prefect = REPO / ".venv/bin/prefect"
    command("sh", "-c", f"cd {tmp_path} && {prefect} --no-prompt deploy --all", **shell)

    try:
        run = release.prefect.completed("dbt-smoke/smoke-of-a-user")
        assert len(release.pods_of(run["id"])) == 1
    finally:
        release.prefect.call(
            "DELETE", f"deployments/{release.prefect.deployments()['dbt-smoke/smoke-of-a-user']['id']}"
        )
