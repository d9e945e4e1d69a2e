"""What the chart renders: valid objects, restricted pods, and the recorded rendering."""

import os
import re
import subprocess
from pathlib import Path

import kubernetes_validate
import pytest
import yaml

from rendered import flow_run_job, pod_specs
from rendering import CHART, ROOT, Manifest, Render, helm_template, need

pytestmark = pytest.mark.xdist_group("chart")

GOLDEN = Path(__file__).parent / "default.yaml"
KUBERNETES = "1.34"
CASES = sorted((CHART / "ci").glob("*.yaml"))


@pytest.mark.parametrize("case", CASES, ids=lambda path: path.stem)
def test_every_object_and_the_flow_runs_job_pass_kubernetes_schema(render: Render, case: Path) -> None:
    manifests = render(yaml.safe_load(case.read_text()))

    job = flow_run_job(manifests)
    # Prefect insists on these two where Kubernetes does not know them, and drops them unread.
    for key in ("parallelism", "completions"):
        del job["spec"]["template"]["spec"][key]
    assert len(manifests) > 10
    assert [fault for each in [*manifests, job] if (fault := fault_of(each))] == []


def fault_of(manifest: Manifest) -> str:
    """What Kubernetes' schema says against it; empty where it is valid, and for what Kubernetes does not define."""
    if manifest["apiVersion"].startswith(("gateway.networking.k8s.io/", "monitoring.coreos.com/")):
        return ""
    try:
        kubernetes_validate.validate(manifest, KUBERNETES, strict=True)
    except kubernetes_validate.ValidationError as error:
        return f"{manifest['kind']}: {error.message}"
    return ""


def test_a_key_that_kubernetes_does_not_know_is_a_fault(render: Render) -> None:
    [claim] = render(kind="PersistentVolumeClaim", component="warehouse")
    claim["spec"]["acessModes"] = claim["spec"].pop("accessModes")

    assert "acessModes" in fault_of(claim)


@pytest.mark.parametrize("case", CASES, ids=lambda path: path.stem)
def test_every_object_carries_the_standard_labels_and_its_namespace(render: Render, case: Path) -> None:
    values = yaml.safe_load(case.read_text())
    # What the user writes there is left as it is.
    values.pop("extraObjects", None)
    manifests = render(values)

    assert manifests
    for each in manifests:
        labels = each["metadata"]["labels"]
        assert {"name", "instance", "component", "version", "managed-by"} <= {
            key.removeprefix("app.kubernetes.io/") for key in labels
        }, each["metadata"]["name"]
        assert each["metadata"]["namespace"] == "dbtpod"


@pytest.mark.parametrize("case", CASES, ids=lambda path: path.stem)
def test_every_pod_meets_the_restricted_standard_flow_runs_included(render: Render, case: Path) -> None:
    specs = pod_specs(render(yaml.safe_load(case.read_text())))

    assert {name.rpartition("-")[2] for name in specs} >= {"run", "worker"}
    for name, spec in specs.items():
        assert spec["securityContext"]["runAsNonRoot"] is True, name
        assert spec["securityContext"]["runAsUser"] > 0, name
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, name
        assert not {"hostNetwork", "hostPID", "hostIPC"} & set(spec), name
        for container in [*spec["containers"], *spec.get("initContainers", [])]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }, name
        allowed = {"persistentVolumeClaim", "emptyDir", "configMap", "secret", "projected", "downwardAPI"}
        assert all(allowed & set(each) for each in spec.get("volumes", [])), name


@pytest.mark.parametrize("case", CASES, ids=lambda path: path.stem)
def test_only_the_worker_and_what_creates_the_password_have_a_token(render: Render, case: Path) -> None:
    manifests = render(yaml.safe_load(case.read_text()))

    specs = pod_specs(manifests).values()
    mounting = {spec["containers"][0]["name"] for spec in specs if spec["automountServiceAccountToken"]}
    assert mounting - {"auth"} == {"worker"}
    accounts = [each for each in manifests if each["kind"] == "ServiceAccount"]
    assert not any(each["automountServiceAccountToken"] for each in accounts)


def test_the_default_render_is_the_recorded_one() -> None:
    """Refresh with UPDATE_GOLDEN=1 pytest tests/unit/chart, and read the difference."""
    done = helm_template({})
    # Helm 3 and 4 differ in blank lines.
    text = re.sub(r"\n+", "\n", done.stdout)
    if os.environ.get("UPDATE_GOLDEN"):
        GOLDEN.write_text(text)

    assert text.splitlines() == GOLDEN.read_text().splitlines()


@pytest.mark.parametrize(("what", "file"), [((), "dbtpod.yaml"), (("claims",), "storage/claims.yaml")])
def test_the_plain_manifests_are_the_charts_rendering(what: tuple[str, ...], file: str) -> None:
    need("helm")
    rendered = subprocess.run([ROOT / "k8s" / "render", *what], capture_output=True, text=True, check=True).stdout

    assert rendered.splitlines() == (ROOT / "k8s" / file).read_text().splitlines(), "run `make manifests`"


def test_deleting_the_plain_manifests_leaves_the_namespace_and_the_volumes() -> None:
    folder = ROOT / "k8s"
    files = yaml.safe_load((folder / "kustomization.yaml").read_text())["resources"]
    deleted = {each["kind"] for file in files for each in yaml.safe_load_all((folder / file).read_text())}
    files = yaml.safe_load((folder / "storage/kustomization.yaml").read_text())["resources"]
    kept = [each["kind"] for file in files for each in yaml.safe_load_all((folder / "storage" / file).read_text())]

    assert not deleted & {"Namespace", "PersistentVolumeClaim", "Secret"}
    assert kept == ["Namespace", "PersistentVolumeClaim", "PersistentVolumeClaim"]


def test_the_first_pod_of_the_volume_is_another_job_for_another_image(render: Render) -> None:
    def job(tag: str) -> Manifest:
        values = {"image": {"repository": "registry.example.com/shop", "tag": tag}}
        [found] = render(values, kind="Job", component="warehouse")
        return found

    assert job("1")["metadata"]["name"] == job("1")["metadata"]["name"] != job("2")["metadata"]["name"]
    # It is gone ten minutes after its end, and is then not missing for Argo CD.
    assert job("1")["metadata"]["annotations"]["argocd.argoproj.io/hook"] == "Sync"


def test_an_uninstall_keeps_the_warehouse_and_the_run_history(render: Render) -> None:
    kept = {
        each["metadata"]["name"]
        for each in render(kind="PersistentVolumeClaim")
        if each["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep"
    }

    assert kept == {"dbtpod-warehouse", "dbtpod-server"}
