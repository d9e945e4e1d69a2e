"""Whatever brings another release into the cluster, the Prefect server follows: pool, job template and deployments."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from kube import REPO, CommandFailed
from release import SMOKE, Release
from waiting import until

pytestmark = [pytest.mark.cluster, pytest.mark.soak, pytest.mark.timeout(600)]

KEPT, CHANGED = 86400, 600


@pytest.fixture
def upgraded(warehouse: Release, tmp_path: Path) -> Iterator[str]:
    """A second release with another job template and one deployment less; the revision before it."""
    [revision] = [each["revision"] for each in history(warehouse) if each["status"] == "deployed"]
    warehouse.install(*options(tmp_path))
    assert seconds_kept(warehouse) == CHANGED
    assert SMOKE not in warehouse.prefect.deployments()
    yield str(revision)
    warehouse.install()


def options(folder: Path, name: str = "") -> list[str]:
    """What makes a release another one for the Prefect server; `name` is the last deployment's, if it is given."""
    content = yaml.safe_load((REPO / "prefect.yaml").read_text())
    content["deployments"] = [each for each in content["deployments"] if each["name"] != SMOKE.partition("/")[2]]
    content["deployments"][-1]["name"] = name or content["deployments"][-1]["name"]
    (folder / "prefect.yaml").write_text(yaml.safe_dump(content))
    values = f"jobs.ttlSecondsAfterFinished={CHANGED}"
    return ["--set", values, "--set-file", f"prefectYaml={folder / 'prefect.yaml'}"]


def is_back(release: Release) -> bool:
    return seconds_kept(release) == KEPT and SMOKE in release.prefect.deployments()


def test_a_rollback_has_reached_the_server_when_helm_returns(warehouse: Release, upgraded: str) -> None:
    warehouse.cluster.helm("rollback", "dbtpod", upgraded, "--namespace", warehouse.namespace, "--wait")

    # By Helm's hook: the next run is one of the release that was rolled back to.
    assert is_back(warehouse)


def test_the_workers_undone_rollout_reaches_the_server(warehouse: Release, upgraded: str, tmp_path: Path) -> None:
    warehouse.kubectl("rollout", "undo", "deployment/dbtpod-worker")

    until(lambda: is_back(warehouse), 180, "what the worker's release registers")
    # Helm 4 does not write over what kubectl has written, unless it is told to: with other values, they are its own.
    warehouse.install("--force-conflicts", *options(tmp_path))


def test_an_upgrade_that_fails_half_way_is_undone_on_the_server_too(warehouse: Release, tmp_path: Path) -> None:
    # The server refuses this name, after the pool has its new job template.
    refused = options(tmp_path, "dbt/orders")

    with pytest.raises(CommandFailed):
        warehouse.install(*refused, "--rollback-on-failure")

    warehouse.disconnect()
    assert history(warehouse)[-1]["status"] == "deployed"
    assert is_back(warehouse)


def history(release: Release) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(
        release.cluster.helm("history", "dbtpod", "--namespace", release.namespace, "--output", "json")
    )
    return found


def seconds_kept(release: Release) -> int:
    template = release.prefect.call("GET", "work_pools/dbtpod")["base_job_template"]
    return int(template["job_configuration"]["job_manifest"]["spec"]["ttlSecondsAfterFinished"])
