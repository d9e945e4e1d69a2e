"""A Job that Kubernetes would refuse fails the release, with Kubernetes' own text in the terminal."""

import json

import pytest

from kube import CommandFailed
from release import Release

pytestmark = pytest.mark.cluster


def test_what_kubernetes_refuses_of_a_run_is_helms_output_and_nothing_is_registered(release: Release) -> None:
    before = release.prefect.call("GET", "work_pools/dbtpod")["base_job_template"]
    mount = json.dumps([{"name": "landing", "mountPath": "/landing"}])

    with pytest.raises(CommandFailed) as failed:
        release.install(
            *("--set", "jobs.resources.requests.memory=3Gi", "--set", "jobs.resources.limits.memmory=4Gi"),
            *("--set-json", f"jobs.volumeMounts={mount}"),
        )

    said = str(failed.value)
    assert "Kubernetes refuses the Job of a run, so nothing was registered." in said
    assert "must be less than or equal to memory limit of 2Gi" in said
    assert "memmory" in said and "must be a standard resource" in said
    assert 'volumeMounts[2].name: Not found: "landing"' in said
    assert release.prefect.call("GET", "work_pools/dbtpod")["base_job_template"] == before

    release.install()
    assert "dbt-build-daily" in release.registration()
