"""What the commands for a cluster name, in the pages and in the chart's notes, is in the chart."""

import json
import re
import subprocess
from collections.abc import Iterator

import pytest

import pages
from dbtpod.registration import deployments
from pages import ROOT
from rendering import CHART, Manifest, Render, need

# As kubectl's short words stand for them.
KINDS = {"deploy": "deployment", "pvc": "persistentvolumeclaim"}


@pytest.fixture(scope="module")
def notes() -> str:
    """The chart's notes, with its defaults."""
    need("helm")
    install = ["helm", "install", "dbtpod", str(CHART), "--namespace", "dbtpod", "--dry-run=client"]
    return subprocess.run(install, capture_output=True, text=True, check=True).stdout.split("NOTES:")[1]


def test_what_a_cluster_command_names_is_in_the_chart(render: Render, notes: str) -> None:
    manifests = render({"backup": {"enabled": True, "bucket": "backups"}})
    names = {(each["kind"].lower(), each["metadata"]["name"]) for each in manifests}
    # Created in the cluster.
    [auth] = [each for each in manifests if each["kind"] == "Job" and "auth" in each["metadata"]["name"]]
    [argument] = [each for each in auth["spec"]["template"]["spec"]["containers"][0]["args"] if "--secret=" in each]
    names.add(("secret", argument.removeprefix("--secret=")))
    labels = [each["metadata"]["labels"] for each in manifests] + list(pod_labels(manifests))
    known = {file.name for file in deployments.read(ROOT / "prefect.yaml", environment={}).deployments}
    commands = [*pages.commands(notes), *(block.text for block in pages.executed("cluster"))]
    commands += [span for _, span in pages.quoted() if span.startswith("kubectl -n")]

    for command in commands:
        for found in re.findall(r"\b(deploy|service)/([\w-]+)|\b(secret|pvc) ([\w-]+)", command):
            kind, name = filter(None, found)
            assert (KINDS.get(kind, kind), name) in names, command
        for selector in re.findall(r"-l (app\S+)", command):
            wanted = dict(each.split("=") for each in selector.split(","))
            assert any(wanted.items() <= each.items() for each in labels), command
        for claim in re.findall(r'"claimName": "([^"]+)"', command):
            assert ("persistentvolumeclaim", claim) in names, command
        for name in re.findall(r"prefect deployment run [\w-]+/([\w-]+)", command):
            assert name in known, command


def pod_labels(manifests: list[Manifest]) -> Iterator[dict[str, str]]:
    for each in manifests:
        if "template" in each.get("spec", {}):
            yield each["spec"]["template"]["metadata"]["labels"]
        if each["kind"] == "ConfigMap" and "base-job-template.json" in each.get("data", {}):
            template = json.loads(each["data"]["base-job-template.json"])
            yield template["job_configuration"]["job_manifest"]["spec"]["template"]["metadata"]["labels"]
