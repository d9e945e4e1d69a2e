"""What is in a rendered chart: the pods, and the Job that Prefect's worker makes of its template."""

import asyncio
import json
from typing import Any
from uuid import uuid4

from rendering import Manifest, Render


def job_template(manifests: list[Manifest]) -> dict[str, Any]:
    [work_pool] = [each for each in manifests if each["metadata"]["name"].endswith("-work-pool")]
    template: dict[str, Any] = json.loads(work_pool["data"]["base-job-template.json"])
    return template


def flow_run_job(manifests: list[Manifest], **job_variables: Any) -> Manifest:
    """The Job that Prefect's worker makes of our template, by its own code."""
    # Here, for each process that collects the tests would spend ten seconds on it.
    from prefect.client.schemas.objects import FlowRun
    from prefect.settings import PREFECT_API_URL, temporary_settings
    from prefect_kubernetes.worker import KubernetesWorkerJobConfiguration

    # An address that is never asked: without one Prefect would start a server.
    with temporary_settings({PREFECT_API_URL: "http://127.0.0.1:1/api"}):
        configuration = asyncio.run(
            KubernetesWorkerJobConfiguration.from_template_and_values(job_template(manifests), job_variables)
        )
    configuration.prepare_for_flow_run(FlowRun(flow_id=uuid4(), name="able-otter"))
    return dict(configuration.job_manifest)


def flow_run_container(manifests: list[Manifest], **job_variables: Any) -> Manifest:
    [container] = flow_run_job(manifests, **job_variables)["spec"]["template"]["spec"]["containers"]
    return dict(container)


def pod_specs(manifests: list[Manifest]) -> dict[str, Manifest]:
    specs = {"flow-run": flow_run_job(manifests)["spec"]["template"]["spec"]}
    for each in manifests:
        if each["kind"] == "Pod":
            specs[each["metadata"]["name"]] = each["spec"]
        elif each["kind"] == "CronJob":
            specs[f"{each['metadata']['name']}-shell"] = each["spec"]["jobTemplate"]["spec"]["template"]["spec"]
        elif "template" in each.get("spec", {}):
            specs[each["metadata"]["name"]] = each["spec"]["template"]["spec"]
    return specs


def environment(container: Manifest) -> dict[str, Any]:
    """One entry for each variable, and a failure where one is there twice."""
    names = [each["name"] for each in container["env"]]
    assert len(names) == len(set(names)), names
    return {each["name"]: each.get("value", each.get("valueFrom")) for each in container["env"]}


def server_container(render: Render, values: dict[str, Any]) -> Manifest:
    [server] = render(values, kind="Deployment", component="server")
    [container] = server["spec"]["template"]["spec"]["containers"]
    return dict(container)


def worker_container(render: Render, values: dict[str, Any], name: str = "worker") -> Manifest:
    [worker] = render(values, kind="Deployment", component="worker")
    [container] = [each for each in worker["spec"]["template"]["spec"]["containers"] if each["name"] == name]
    return dict(container)


def digest_of(container: Manifest) -> str:
    [digest] = [each for each in container["args"] if each.startswith("--digest=")]
    return str(digest)


def worker_spec(render: Render) -> Manifest:
    [worker] = render(kind="Deployment", component="worker")
    return dict(worker["spec"]["template"]["spec"])
