"""A Job that Kubernetes would refuse fails the release, with Kubernetes' own text in the terminal."""

from pathlib import Path

import pytest
import yaml

from kube import REPO, CommandFailed
from release import Release

pytestmark = pytest.mark.cluster


@pytest.mark.soak
def test_what_kubernetes_refuses_of_a_run_is_helms_output_and_nothing_is_registered(
    release: Release, tmp_path: Path
) -> None:
    before = release.prefect.call("GET", "work_pools/dbtpod")["base_job_template"]
    # What the chart's own checks do not see: a deployment's variables.
    content = yaml.safe_load((REPO / "prefect.yaml").read_text())
    first, second, *_ = content["deployments"]
    first["work_pool"] = {"job_variables": {"memory_request": "3Gi"}}
    second["work_pool"] = {"job_variables": {"cpu_request": "lots", "labels": {"team": "data & co"}}}
    (tmp_path / "prefect.yaml").write_text(yaml.safe_dump(content))

    with pytest.raises(CommandFailed) as failed:
        release.install("--set-file", f"prefectYaml={tmp_path / 'prefect.yaml'}")

    said = str(failed.value)
    assert "Kubernetes refuses the Job of a run, so nothing was registered." in said
    assert f"{first['name']}: " in said and "must be less than or equal to memory limit of 2Gi" in said
    assert f"{second['name']}: " in said and "quantities must match" in said
    assert release.prefect.call("GET", "work_pools/dbtpod")["base_job_template"] == before

    release.install()
    assert "dbt-build-daily" in release.registration()
