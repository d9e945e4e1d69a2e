"""What the values say of a pod reaches the pods of server, worker, registration, flow runs and reader alike."""

import json
from typing import Any

import pytest

from rendered import environment, flow_run_job, pod_specs
from rendering import Manifest, Render

pytestmark = pytest.mark.xdist_group("chart")

COMPONENTS = ("server", "worker", "register", "jobs", "reader")
POD: dict[str, Any] = {
    "env": [
        {"name": "PREFECT_LOGGING_LEVEL", "value": "DEBUG"},
        {"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "tokens", "key": "token"}}},
    ],
    "envFrom": [{"secretRef": {"name": "more"}}],
    "volumes": [{"name": "more", "configMap": {"name": "more"}}],
    "volumeMounts": [{"name": "more", "mountPath": "/more", "readOnly": True}],
    "annotations": {"prometheus.io/scrape": "true"},
    "labels": {"cost-center": "bi"},
    "nodeSelector": {"pool": "batch"},
    "tolerations": [{"key": "batch", "operator": "Exists"}],
    "affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [{}]}}},
    "topologySpreadConstraints": [{"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule"}],
    "priorityClassName": "high",
    "initContainers": [{"name": "first", "image": "tools", "args": ["go"]}],
    "resources": {"requests": {"cpu": "11m", "memory": "111Mi"}, "limits": {"memory": "1111Mi"}},
    "serviceAccount": {"annotations": {"eks.amazonaws.com/role-arn": "arn:aws:iam::1:role/r"}},
}
SERVER = "dbtpod-server.dbtpod.svc"


# A reader that may be anywhere: on a volume of one node it is where the flow runs are (test_reader.py).
READER: dict[str, Any] = {"reader": {"enabled": True}, "warehouse": {"accessMode": "ReadWriteMany"}}


def with_reader(component: str, values: dict[str, Any]) -> dict[str, Any]:
    """These values of a component, and whatever makes it one of the release's."""
    return {**READER, component: {**READER.get(component, {}), **values}}


def pod(manifests: list[Manifest], component: str) -> Manifest:
    """The pod template of a component."""
    if component == "jobs":
        return dict(flow_run_job(manifests)["spec"]["template"])
    kind = "Job" if component == "register" else "Deployment"
    [one] = [
        each
        for each in manifests
        if each["kind"] == kind and each["metadata"]["labels"]["app.kubernetes.io/component"] == component
    ]
    return dict(one["spec"]["template"])


def account(manifests: list[Manifest], name: str) -> list[Manifest]:
    return [each for each in manifests if each["kind"] == "ServiceAccount" and each["metadata"]["name"] == name]


@pytest.mark.parametrize("component", COMPONENTS)
def test_what_the_values_say_of_a_pod_is_in_it(render: Render, component: str) -> None:
    template = pod(render(with_reader(component, POD)), component)

    spec = template["spec"]
    assert template["metadata"]["annotations"]["prometheus.io/scrape"] == "true"
    assert template["metadata"]["labels"]["cost-center"] == "bi"
    for key in ("nodeSelector", "tolerations", "affinity", "topologySpreadConstraints", "priorityClassName"):
        assert spec[key] == POD[key], key
    # The registration has one of its own behind it.
    first = spec["initContainers"][0]
    assert POD["initContainers"][0].items() <= first.items()
    assert first["securityContext"]["allowPrivilegeEscalation"] is False
    assert POD["volumes"][0] in spec["volumes"]
    # Worker and watchdog are two containers of one pod.
    for container in spec["containers"]:
        variables = environment(container)
        assert variables["PREFECT_LOGGING_LEVEL"] == "DEBUG"
        assert variables["TOKEN"] == POD["env"][1]["valueFrom"]
        assert container["envFrom"] == POD["envFrom"]
        assert POD["volumeMounts"][0] in container["volumeMounts"]
    assert spec["containers"][0]["resources"] == POD["resources"]


@pytest.mark.parametrize("component", COMPONENTS)
def test_a_pods_service_account_is_annotated_or_the_users_own(render: Render, component: str) -> None:
    ours = render(with_reader(component, POD))
    own = render(with_reader(component, {"serviceAccount": {"name": "mine"}}))

    name = pod(ours, component)["spec"]["serviceAccountName"]
    [made] = account(ours, name)
    assert made["metadata"]["annotations"] == POD["serviceAccount"]["annotations"]
    assert pod(own, component)["spec"]["serviceAccountName"] == "mine"
    assert account(own, name) == account(own, "mine") == []


def test_the_workers_rights_are_those_of_its_own_account_too(render: Render) -> None:
    [binding] = render({"worker": {"serviceAccount": {"name": "starter"}}}, kind="RoleBinding", component="worker")

    assert [each["name"] for each in binding["subjects"]] == ["starter"]


def test_the_passwords_job_runs_where_the_registration_does_with_rights_of_its_own_and_before_all_objects(
    render: Render,
) -> None:
    [job] = render({"register": POD | {"serviceAccount": {"name": "registrar"}}}, kind="Job", component="auth")

    template = job["spec"]["template"]
    assert template["metadata"]["annotations"] == POD["annotations"]
    assert template["metadata"]["labels"]["cost-center"] == "bi"
    for key in ("nodeSelector", "tolerations", "affinity", "topologySpreadConstraints", "priorityClassName"):
        assert template["spec"][key] == POD[key], key
    assert template["spec"]["serviceAccountName"] == "dbtpod-auth"
    # What the values name may be of this release, and is not there yet.
    [container] = template["spec"]["containers"]
    assert not {"volumes", "initContainers"} & set(template["spec"])
    assert not {"env", "envFrom", "volumeMounts"} & set(container)
    assert container["resources"] == POD["resources"]


def test_containers_beside_server_and_worker_are_restricted_unless_they_say_otherwise(render: Render) -> None:
    beside = {"name": "proxy", "image": "oauth2-proxy", "securityContext": {"readOnlyRootFilesystem": False}}
    manifests = render({"server": {"extraContainers": [beside]}, "worker": {"extraContainers": [beside]}})

    for component in ("server", "worker"):
        added = pod(manifests, component)["spec"]["containers"][-1]
        assert added["name"] == "proxy"
        assert added["securityContext"]["readOnlyRootFilesystem"] is False
        assert added["securityContext"]["capabilities"] == {"drop": ["ALL"]}


def test_a_change_of_the_registrations_pod_registers_again(render: Render) -> None:
    """By the digest, which the worker's pod has too."""
    before, after = (pod(render(values), "worker") for values in ({}, {"register": {"labels": {"a": "b"}}}))

    assert before != after


def all_containers(manifests: list[Manifest]) -> dict[str, Manifest]:
    """Each container of ours that speaks with more than the Kubernetes API, the watchdog's Job with them."""
    specs = {name: spec for name, spec in pod_specs(manifests).items() if spec["containers"][0]["name"] != "auth"}
    again = pod(manifests, "worker")["metadata"]["annotations"]["dbtpod/register-job"]
    specs["register-again"] = json.loads(again)["spec"]["template"]["spec"]
    return {
        f"{name} {each['name']}": each | {"pod": spec} for name, spec in specs.items() for each in spec["containers"]
    }


@pytest.mark.parametrize("kind", ["configMap", "secret"])
def test_every_container_trusts_the_authorities_of_the_values(render: Render, kind: str) -> None:
    containers = all_containers(render(READER | {"certificateAuthorities": {kind: "company", "key": "bundle.pem"}}))

    assert len(containers) >= 9
    for name, each in containers.items():
        variables = environment(each | {"env": each.get("env", [])})
        file = "/etc/dbtpod-certificates/bundle.pem"
        assert name.endswith(" warehouse") or {variables[key] for key in ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE")} == {
            file
        }
        [mount] = [mount for mount in each["volumeMounts"] if file.startswith(f"{mount['mountPath']}/")]
        [volume] = [volume for volume in each["pod"]["volumes"] if volume["name"] == mount["name"]]
        assert volume[kind] == {"name" if kind == "configMap" else "secretName": "company"}


def test_every_client_goes_through_the_proxy_but_not_to_the_server_or_the_cluster(render: Render) -> None:
    values = {**READER, "proxy": {"url": "http://proxy.example.com:3128", "noProxy": [".corp"]}}
    containers = all_containers(render(values))

    for name in [each for each in containers if not each.endswith(" warehouse")]:
        variables = environment(containers[name])
        for key in ("HTTPS_PROXY", "HTTP_PROXY", "https_proxy", "http_proxy"):
            assert variables[key] == values["proxy"]["url"], name
        assert variables["NO_PROXY"] == variables["no_proxy"]
        assert {SERVER, "localhost", ".svc", ".corp", "$(KUBERNETES_SERVICE_HOST)"} <= set(
            variables["NO_PROXY"].split(",")
        )


def test_the_network_policies_let_every_pod_reach_the_proxy(render: Render) -> None:
    [policy] = render({"proxy": {"url": "http://proxy.example.com:3128"}}, kind="NetworkPolicy", component="proxy")

    assert policy["spec"]["egress"] == [{"ports": [{"protocol": "TCP", "port": 3128}]}]
    assert not render(kind="NetworkPolicy", component="proxy")


def test_a_server_elsewhere_is_reached_through_the_proxy(render: Render) -> None:
    cloud = {"server": {"enabled": False}, "prefect": {"apiUrl": "https://api.prefect.cloud/api"}}
    containers = all_containers(render(cloud | {"proxy": {"url": "http://proxy.example.com:3128"}}))

    assert "api.prefect.cloud" not in environment(containers["dbtpod-worker worker"])["NO_PROXY"]
