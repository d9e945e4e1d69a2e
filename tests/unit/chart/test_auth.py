"""The server's password: in no render, created once in the cluster, and followed where it is used."""

import subprocess
from typing import Any

import pytest
import yaml

from rendered import pod_specs, server_container, worker_container
from rendering import CHART, Render, helm_template

pytestmark = pytest.mark.xdist_group("chart")

CASES = sorted((CHART / "ci").glob("*.yaml"))
CLOUD = yaml.safe_load((CHART / "ci" / "prefect-cloud-values.yaml").read_text())


@pytest.mark.parametrize("case", CASES, ids=lambda path: path.stem)
def test_two_renders_are_byte_equal_and_hold_no_secret(case: Any) -> None:
    command = ["helm", "template", "dbtpod", str(CHART), "--values", str(case), "--kube-version", "1.34.0"]
    helm_template({})  # skips where there is no helm

    first, second = (subprocess.run(command, capture_output=True, check=True).stdout for _ in range(2))

    assert first == second
    assert b"kind: Secret\n" not in first


def test_the_password_is_created_before_all_else_and_its_rights_go_with_the_job(render: Render) -> None:
    objects = {each["kind"]: each["metadata"] for each in render(component="auth")}

    assert set(objects) == {"ServiceAccount", "Role", "RoleBinding", "NetworkPolicy", "Job"}
    for kind, metadata in objects.items():
        annotations = metadata["annotations"]
        assert annotations["helm.sh/hook"] == "pre-install,pre-upgrade", kind
        assert "hook-succeeded" in annotations["helm.sh/hook-delete-policy"], kind
        assert int(annotations["helm.sh/hook-weight"]) == (-5 if kind == "Job" else -10), kind


def test_its_account_may_create_secrets_and_annotate_its_own_and_nothing_else(render: Render) -> None:
    [role] = render(kind="Role", component="auth")

    assert [(rule["resources"], rule["verbs"], rule.get("resourceNames")) for rule in role["rules"]] == [
        (["secrets"], ["create"], None),
        (["secrets"], ["patch"], ["dbtpod-auth"]),
    ]


@pytest.mark.parametrize("values", [{"server": {"auth": {"existingSecret": "login"}}}, CLOUD])
def test_a_password_of_ones_own_needs_no_job(render: Render, values: dict[str, Any]) -> None:
    assert not render(values, component="auth")


def test_another_image_makes_another_job_as_none_can_be_changed(render: Render) -> None:
    names = {
        each["metadata"]["name"]
        for values in ({}, {"image": {"tag": "4f0c1d2"}})
        for each in render(values, kind="Job", component="auth")
    }

    assert len(names) == 2


@pytest.mark.parametrize(
    ("values", "variable", "name", "key"),
    [
        ({}, "PREFECT_API_AUTH_STRING", "dbtpod-auth", "auth-string"),
        ({"server": {"auth": {"existingSecret": "login"}}}, "PREFECT_API_AUTH_STRING", "login", "auth-string"),
        (CLOUD, "PREFECT_API_KEY", "prefect-cloud", "token"),
    ],
)
def test_worker_and_watchdog_end_when_the_secret_in_their_environment_changes(
    render: Render, values: dict[str, Any], variable: str, name: str, key: str
) -> None:
    for container in (worker_container(render, values), worker_container(render, values, "watchdog")):
        followed(pod_specs(render(values))["dbtpod-worker"], container, {variable: (name, key)})


def test_the_server_ends_when_password_or_database_change(render: Render) -> None:
    values = {"server": {"auth": {"existingSecret": "login"}, "database": {"existingSecret": "db", "key": "uri"}}}
    secrets = {
        "PREFECT_SERVER_API_AUTH_STRING": ("login", "auth-string"),
        "PREFECT_SERVER_DATABASE_CONNECTION_URL": ("db", "uri"),
    }

    followed(pod_specs(render(values))["dbtpod-server"], server_container(render, values), secrets)


def followed(spec: dict[str, Any], container: dict[str, Any], secrets: dict[str, tuple[str, str]]) -> None:
    """Each variable's Secret is mounted too, at the file that the command compares it with."""
    assert container["command"] == ["dbtpod", "follow"]
    options = [each.removeprefix("--secret=") for each in container["args"] if each.startswith("--secret=")]
    files = dict(each.split("=") for each in options)
    assert set(files) == set(secrets)
    [mount] = [each for each in container["volumeMounts"] if each["name"] == "secrets"]
    [volume] = [each for each in spec["volumes"] if each["name"] == "secrets"]
    sources = {
        f"{mount['mountPath']}/{item['path']}": (source["secret"]["name"], item["key"])
        for source in volume["projected"]["sources"]
        for item in source["secret"]["items"]
    }
    environment = {each["name"]: each.get("valueFrom", {}).get("secretKeyRef") for each in container["env"]}
    for variable, (name, key) in secrets.items():
        assert environment[variable] == {"name": name, "key": key}
        assert sources[files[variable]] == (name, key)
