"""What is said of a Job that Kubernetes refuses, and what is no verdict; a cluster test asks a real API."""

import json
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from dbtpod.registration import dry_run
from dbtpod.registration.variant import Variant
from rendered import job_template
from rendering import render_chart

pytestmark = pytest.mark.xdist_group("chart")

MISMATCH = 'Invalid value: "3Gi": must be less than or equal to memory limit of 2Gi'
INVALID = {
    "message": "Job.batch is invalid",
    "details": {"causes": [{"field": "spec.template.spec.containers[0].resources.requests", "message": MISMATCH}]},
}
UNKNOWN = {"message": 'Job in version "v1" cannot be handled as a Job: strict decoding error: unknown field "x"'}
NO_RIGHT = {"message": 'jobs.batch is forbidden: User "x" cannot create resource "jobs" in API group "batch"'}
DENIED = {"message": 'admission webhook "policy.example" denied the request: no limits'}


@pytest.fixture
def template(tmp_path: Path) -> Path:
    path = tmp_path / "template.json"
    path.write_text(json.dumps(job_template(render_chart())))
    return path


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Three deployments, two of which set the same."""

    def entry(name: str, variables: dict[str, Any] | None) -> dict[str, Any]:
        pool = {"name": "dbtpod", "work_queue_name": "duckdb-writer", "job_variables": variables}
        return {"name": name, "entrypoint": "dbtpod.flows.commands", "work_pool": pool}

    large = {"memory_request": "3Gi", "image": "{{ prefect.variables.image }}"}
    entries = [entry("small", None), entry("large", large), entry("large-too", large)]
    path = tmp_path / "prefect.yaml"
    path.write_text(yaml.safe_dump({"deployments": entries}))
    return path


class Api:
    """Kubernetes' API as far as a dry run asks it; answers those Jobs that request 3Gi."""

    def __init__(self, code: int, body: dict[str, Any]) -> None:
        self.asked: list[httpx.Request] = []
        self._code, self._body = code, body

    def answer(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(request)
        refused = "3Gi" in request.content.decode()
        return httpx.Response(self._code, json=self._body) if refused else httpx.Response(201, json={})

    def client(self) -> httpx.Client:
        return httpx.Client(base_url="https://kubernetes", transport=httpx.MockTransport(self.answer))


@pytest.mark.parametrize(
    ("code", "body", "reason"),
    [
        (422, INVALID, f"spec.template.spec.containers[0].resources.requests: {MISMATCH}"),
        (400, UNKNOWN, UNKNOWN["message"]),
        (403, DENIED, DENIED["message"]),
    ],
)
def test_what_kubernetes_refuses_is_said_once_for_the_deployments_that_it_is_of(
    file: Path, template: Path, code: int, body: dict[str, Any], reason: str
) -> None:
    api = Api(code, body)

    said = dry_run.refusals(file, Variant(), template, api.client())

    head, line = said.splitlines()
    assert head.startswith("Kubernetes refuses the Job of a run, so nothing was registered.")
    assert line == f"  large, large-too: {reason}"
    # One Job for each set of variables, none of which is made.
    assert [dict(each.url.params) for each in api.asked] == [{"dryRun": "All", "fieldValidation": "Strict"}] * 2


def test_the_job_is_the_one_that_the_worker_would_create(file: Path, template: Path) -> None:
    api = Api(201, {})

    assert dry_run.refusals(file, Variant(), template, api.client()) == ""

    small, large = (json.loads(each.content) for each in api.asked)
    container = large["spec"]["template"]["spec"]["containers"][0]
    assert large["metadata"]["labels"]["prefect.io/flow-run-id"]
    assert container["resources"]["requests"]["memory"] == "3Gi"
    assert container["image"] == small["spec"]["template"]["spec"]["containers"][0]["image"]
    assert "parallelism" not in large["spec"]["template"]["spec"]
    assert "AUTH_STRING" not in json.dumps(large)


@pytest.mark.parametrize(
    ("code", "body"), [(500, {}), (503, {}), (401, {}), (429, {}), (403, NO_RIGHT)], ids=lambda each: str(each)[:20]
)
def test_an_api_that_gives_no_verdict_stops_no_registration(
    file: Path, template: Path, code: int, body: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    assert dry_run.refusals(file, Variant(), template, Api(code, body).client()) == ""
    assert "did not say whether it takes the Job of a run" in caplog.text


def test_a_template_that_prefect_refuses_is_a_refusal_too(file: Path, template: Path) -> None:
    given = json.loads(template.read_text())
    given["job_configuration"]["job_manifest"]["spec"]["template"]["spec"]["completions"] = 3
    template.write_text(json.dumps(given))

    said = dry_run.refusals(file, Variant(), template, Api(201, {}).client())

    assert "small, large, large-too" in said and "completions must have value 1" in said


def test_an_error_in_prefect_yaml_is_left_to_the_registration(file: Path, template: Path) -> None:
    file.write_text("deployments: [")

    assert dry_run.refusals(file, Variant(), template, Api(422, INVALID).client()) == ""
