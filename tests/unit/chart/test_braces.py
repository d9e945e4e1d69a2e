"""What the values say with two braces reaches a flow run's pod, though Prefect's template language has them too."""

from typing import Any

import pytest

from rendered import environment, flow_run_job
from rendering import Render

pytestmark = pytest.mark.xdist_group("chart")

# A Vault agent's template; words of ours and of Prefect; and braces in odd numbers.
TEXTS = [
    '{{ with secret "kv/shop" }}export PASSWORD={{ .Data.password }}{{ end }}',
    "{{ name }}-{{ctx.flow.name}}-{{ $HOME }}",
    "{{ braces }}",
    "{{",
    "{{{ x }}}}",
    "}} {{ 'quoted' }} \"{{ y }}\"",
]


@pytest.mark.parametrize("text", TEXTS)
def test_braces_of_the_values_reach_a_flow_runs_pod(render: Render, text: str) -> None:
    match = {"key": "disk", "operator": "In", "values": [text]}
    terms = {"nodeSelectorTerms": [{"matchExpressions": [match]}]}
    first = {"name": "first", "image": "tools", "args": [text], "env": [{"name": "A", "value": text}]}
    reference = {"name": "KEY", "valueFrom": {"configMapKeyRef": {"name": "a", "key": text}}}
    volume = {"name": "more", "csi": {"driver": "secrets", "volumeAttributes": {"template": text}}}
    jobs: dict[str, Any] = {
        "annotations": {"vault.hashicorp.com/agent-inject-template-shop": text},
        "env": [{"name": "TEMPLATE", "value": text}, reference],
        "volumes": [volume],
        "volumeMounts": [{"name": "more", "mountPath": "/more", "subPath": text}],
        "affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": terms}},
        "initContainers": [first],
    }

    job = flow_run_job(render({"jobs": jobs}))

    for metadata in (job["metadata"], job["spec"]["template"]["metadata"]):
        assert metadata["annotations"] == jobs["annotations"]
    spec = job["spec"]["template"]["spec"]
    [container] = spec["containers"]
    assert environment(container)["TEMPLATE"] == text
    assert environment(container)["KEY"] == reference["valueFrom"]
    assert volume in spec["volumes"]
    assert jobs["volumeMounts"][0] in container["volumeMounts"]
    assert spec["affinity"] == jobs["affinity"]
    assert first.items() <= spec["initContainers"][0].items()


def test_a_deployments_own_variables_are_still_filled(render: Render) -> None:
    values = {"jobs": {"env": [{"name": "TEMPLATE", "value": "{{ x }}"}, {"name": "THREADS", "value": "4"}]}}

    job = flow_run_job(render(values), env={"THREADS": "8"}, annotations={"team": "bi"}, memory_limit="3Gi")

    [container] = job["spec"]["template"]["spec"]["containers"]
    variables = environment(container)
    assert (variables["TEMPLATE"], variables["THREADS"]) == ("{{ x }}", "8")
    assert job["metadata"]["annotations"] == {"team": "bi"}
    assert container["resources"]["limits"]["memory"] == "3Gi"
