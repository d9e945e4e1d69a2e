"""The workflows of GitHub and the linters' settings: what is pinned, what is allowed, and what has a reason."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from rendering import CHART, ROOT

FILES = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
TEXTS = {path.stem: path.read_text() for path in FILES}
WORKFLOWS: dict[str, dict[str, Any]] = {name: yaml.safe_load(text) for name, text in TEXTS.items()}
JOBS = [(name, job) for name, workflow in WORKFLOWS.items() for job in workflow["jobs"]]
BASES = dict(
    line.split("=") for line in (ROOT / "image" / "bases.env").read_text().splitlines() if not line.startswith("#")
)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_each_action_is_a_commit_with_its_version_beside_it(path: Path) -> None:
    used = [each for each in re.findall(r"uses: (.+)", path.read_text()) if not each.startswith("./")]

    assert used
    assert [each for each in used if not re.fullmatch(r"[\w./-]+@[0-9a-f]{40} # v[\d.]+", each)] == []


def test_the_same_action_has_the_same_commit_everywhere() -> None:
    pins = {(name, pin) for text in TEXTS.values() for name, pin in re.findall(r"uses: ([\w/-]+)@(\w+)", text)}

    assert len({name for name, _ in pins}) == len(pins)


def test_only_the_jobs_that_publish_may_write() -> None:
    writing = {
        job
        for name, job in JOBS
        for right in WORKFLOWS[name]["jobs"][job].get("permissions", {}).values()
        if right == "write"
    }

    assert writing == {"image", "chart"}
    assert (WORKFLOWS["ci"]["permissions"], WORKFLOWS["release"]["permissions"]) == ({"contents": "read"}, {})


@pytest.mark.parametrize(("name", "job"), JOBS)
def test_a_job_has_an_end_and_leaves_no_token_in_its_checkout(name: str, job: str) -> None:
    one = WORKFLOWS[name]["jobs"][job]

    assert "uses" in one or one["timeout-minutes"] <= 350
    checkouts = [step for step in one.get("steps", []) if step.get("uses", "").startswith("actions/checkout@")]
    assert [step["with"]["persist-credentials"] for step in checkouts] == [False] * len(checkouts)


def test_nothing_is_published_before_the_tests_and_the_scan() -> None:
    jobs = WORKFLOWS["release"]["jobs"]
    steps = [step.get("uses", "").partition("@")[0] for step in jobs["image"]["steps"]]

    assert jobs["test"]["uses"] == "./.github/workflows/ci.yml"
    assert {"version", "test"} <= set(jobs["image"]["needs"]) and "image" in jobs["chart"]["needs"]
    assert max(i for i, each in enumerate(steps) if "trivy" in each) < steps.index("docker/login-action")


def test_what_is_pushed_is_for_two_architectures_with_sbom_and_provenance() -> None:
    steps = WORKFLOWS["release"]["jobs"]["image"]["steps"]
    pushed = [step["with"] for step in steps if step.get("with", {}).get("push")]

    assert {each["target"] for each in pushed} == {"runtime", "build", "demo"}
    assert {each["platforms"] for each in pushed} == {"linux/amd64,linux/arm64"}
    assert {(each["sbom"], each["provenance"]) for each in pushed} == {(True, "mode=max")}


def test_the_oldest_kubernetes_that_is_tested_is_the_charts_and_helm_is_3_and_4() -> None:
    matrix = WORKFLOWS["ci"]["jobs"]["cluster"]["strategy"]["matrix"]
    versions = [each["version"] for each in matrix["kubernetes"]]
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())

    assert chart["kubeVersion"] == f">={versions[0]}.0-0"
    assert sorted(versions, key=lambda each: [int(part) for part in each.split(".")]) == versions
    assert all(each["node"].startswith(f"kindest/node:v{each['version']}.") for each in matrix["kubernetes"])
    assert [each[:3] for each in matrix["helm"]] == ["v3.", "v4."]


def test_workflows_makefile_and_image_have_one_uv() -> None:
    steps = [step for name, job in JOBS for step in WORKFLOWS[name]["jobs"][job].get("steps", [])]
    used = {step["with"]["version"] for step in steps if "setup-uv@" in step.get("uses", "")}

    assert used == set(re.findall(r'"uv==([\d.]+)"', (ROOT / "Makefile").read_text()))
    assert BASES["UV_IMAGE"].partition("@")[0] == f"ghcr.io/astral-sh/uv:{used.pop()}"


def test_a_release_is_built_with_the_base_images_of_the_dockerfile_by_digest() -> None:
    defaults = dict(re.findall(r"^ARG (\w+_IMAGE)=(\S+)$", (ROOT / "image" / "Dockerfile").read_text(), re.MULTILINE))

    assert {name: image.partition("@")[0] for name, image in BASES.items()} == defaults
    assert re.search(r"@sha256:[0-9a-f]{64}$", BASES["PYTHON_IMAGE"])


def test_renovates_patterns_find_what_is_pinned() -> None:
    managers = json.loads((ROOT / "renovate.json").read_text())["customManagers"]

    for each in managers:
        [pattern] = each["matchStrings"]
        for file in each["managerFilePatterns"]:
            assert re.search(pattern.replace("(?<", "(?P<"), (ROOT / file).read_text()), (file, pattern)


def test_each_exception_of_a_linter_has_its_reason() -> None:
    trivy = yaml.safe_load((ROOT / "lint" / "trivyignore.yaml").read_text())["misconfigurations"]
    lines = [line.strip() for name in ("lint/checkov.yaml", ".hadolint.yaml") for line in lines_of(name)]

    assert all(len(each["statement"]) > 40 for each in trivy)
    left_out = [i for i, line in enumerate(lines) if re.match(r"- (CKV|DL)", line)]
    assert len(left_out) > 5
    assert [lines[i] for i in left_out if not lines[i - 1].startswith("# ")] == []


def lines_of(name: str) -> list[str]:
    return (ROOT / name).read_text().splitlines()
