"""The registration's pod: which of its containers may do what."""

import pytest

from rendering import Render

pytestmark = pytest.mark.xdist_group("chart")

TOKEN = "/var/run/secrets/kubernetes.io/serviceaccount"


def test_only_the_container_that_tries_a_job_has_a_token_and_it_has_no_password(render: Render) -> None:
    [job] = render(kind="Job", component="register")
    spec = job["spec"]["template"]["spec"]
    [dry_run], [register] = spec["initContainers"], spec["containers"]

    assert spec["automountServiceAccountToken"] is False
    assert TOKEN in {each["mountPath"] for each in dry_run["volumeMounts"]}
    assert TOKEN not in {each["mountPath"] for each in register["volumeMounts"]}
    assert "env" not in dry_run
    assert f"--dry-run={out_of(dry_run['args'])}" in register["args"]


def test_it_knows_the_kind_and_the_writers_by_which_it_checks_the_profile_and_limits_the_queue(render: Render) -> None:
    values = {
        "warehouse": {"kind": "remote", "writers": 3, "egress": {"ports": [5432]}},
        "environment": {"target": "prod"},
    }
    [job] = render(values, kind="Job", component="register")
    [register] = job["spec"]["template"]["spec"]["containers"]

    given = {each["name"]: each.get("value") for each in register["env"]}
    assert (given["DBTPOD_WAREHOUSE_KIND"], given["DBTPOD_WAREHOUSE_WRITERS"], given["DBT_TARGET"]) == (
        "remote",
        "3",
        "prod",
    )
    [before] = render(kind="Job", component="register")
    assert job["metadata"]["name"] != before["metadata"]["name"]


def test_the_registration_may_create_jobs_and_nothing_else(render: Render) -> None:
    [role] = render(kind="Role", component="register")
    [binding] = render(kind="RoleBinding", component="register")

    assert role["rules"] == [{"apiGroups": ["batch"], "resources": ["jobs"], "verbs": ["create"]}]
    assert [each["name"] for each in binding["subjects"]] == ["dbtpod-register"]


def out_of(args: list[str]) -> str:
    [out] = [each.removeprefix("--out=") for each in args if each.startswith("--out=")]
    return out
