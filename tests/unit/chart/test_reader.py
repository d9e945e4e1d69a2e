"""The reader: what its pod holds and may do, who reaches it, where it runs, and who is given its address."""

import json
import subprocess
from typing import Any

import pytest
import yaml

from rendered import environment, flow_run_container, flow_run_job, pod_specs
from rendering import CHART, Manifest, Render, helm_template, need

pytestmark = pytest.mark.xdist_group("chart")

ON: dict[str, Any] = {"reader": {"enabled": True}}
ANYWHERE: dict[str, Any] = {**ON, "warehouse": {"accessMode": "ReadWriteMany"}}
INGRESS = {"server": {"ingress": {"host": "prefect.example.com", "tlsSecret": "tls"}}}
ROUTE = {"server": {"httpRoute": {"host": "tools.example.com", "parentRefs": [{"name": "shared"}]}}}
PEER = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "bi"}}}
TOGETHER = {
    "topologyKey": "kubernetes.io/hostname",
    "labelSelector": {
        "matchLabels": {"app.kubernetes.io/instance": "dbtpod"},
        "matchExpressions": [
            {"key": "app.kubernetes.io/component", "operator": "In", "values": ["reader", "flow-run", "warehouse"]}
        ],
    },
}


def deployment(render: Render, values: dict[str, Any]) -> Manifest:
    [found] = render(values, kind="Deployment", component="reader")
    return found


def spec(render: Render, values: dict[str, Any]) -> Manifest:
    return dict(deployment(render, values)["spec"]["template"]["spec"])


def container(render: Render, values: dict[str, Any]) -> Manifest:
    [found] = spec(render, values)["containers"]
    return dict(found)


def volume(pod: Manifest, name: str) -> Manifest:
    [found] = [each for each in pod["volumes"] if each["name"] == name]
    return dict(found)


def peers(render: Render, values: dict[str, Any]) -> list[Manifest]:
    """Who may reach the reader beside helm test."""
    [policy] = render(values, kind="NetworkPolicy", component="reader")
    [rule] = policy["spec"]["ingress"]
    assert rule["ports"] == [{"protocol": "TCP", "port": 4300}]
    test, *others = rule["from"]
    assert test["podSelector"]["matchLabels"]["app.kubernetes.io/component"] == "test"
    return list(others)


def required(pod: Manifest) -> list[Manifest]:
    affinity = pod.get("affinity", {}).get("podAffinity", {})
    return list(affinity.get("requiredDuringSchedulingIgnoredDuringExecution", []))


# --- off ---


def test_by_default_there_is_nothing_of_it(render: Render) -> None:
    assert not render(component="reader")
    assert "reader" not in helm_template({}, "--show-only", "templates/networkpolicy.yaml").stdout
    assert "DBTPOD_READER_URL" not in environment(flow_run_container(render(INGRESS)))
    [ingress] = render(INGRESS, kind="Ingress")
    assert len(ingress["spec"]["rules"][0]["http"]["paths"]) == 1
    [test] = render(kind="Pod", component="test")
    assert test["spec"]["containers"][0]["args"] == ["--pool=dbtpod"]


# --- the pod ---


def test_the_volume_is_mounted_read_only_and_the_claim_is_not(render: Render) -> None:
    pod = spec(render, ON)

    mounts = {each["mountPath"]: each for each in container(render, ON)["volumeMounts"]}
    assert mounts["/data"] == {"name": "warehouse", "mountPath": "/data", "readOnly": True}
    assert volume(pod, "warehouse")["persistentVolumeClaim"] == {"claimName": "dbtpod-warehouse"}
    assert [path for path, each in mounts.items() if not each.get("readOnly")] == ["/tmp"]
    assert volume(pod, "scratch")["emptyDir"] == {"sizeLimit": "5Gi"}


def test_it_has_no_token_and_an_account_without_rights(render: Render) -> None:
    pod = spec(render, ON)

    assert pod["automountServiceAccountToken"] is False
    assert pod["serviceAccountName"] == "dbtpod-reader"
    assert "serviceAccountToken" not in str(pod["volumes"])
    bound = {subject["name"] for each in render(ON, kind="RoleBinding") for subject in each["subjects"]}
    assert "dbtpod-reader" not in bound


def test_it_knows_the_warehouse_and_its_image_as_flow_runs_do(render: Render) -> None:
    values = {**ON, "environment": {"target": "prod"}}
    run = flow_run_container(render(values))

    ours, runs = environment(container(render, values)), environment(run)
    assert container(render, values)["image"] == run["image"]
    shared = {"DBTPOD_VOLUME", "DBT_TARGET", "DBTPOD_WAREHOUSE_KIND", "DBTPOD_PUBLISH", "PREFECT_API_URL"}
    assert {name: ours[name] for name in shared} == {name: runs.get(name, ours[name]) for name in shared}
    assert ours["DBTPOD_POD_MEMORY_BYTES"]["resourceFieldRef"]["containerName"] == "reader"


def test_it_is_asked_for_its_health_at_its_path(render: Render) -> None:
    found = container(render, {"reader": {"enabled": True, "path": "/shop/data"}})

    assert environment(found)["DBTPOD_READER_PATH"] == "/shop/data"
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert found[probe]["httpGet"] == {"path": "/shop/data/health", "port": "http"}
    assert found["args"][-4:] == ["dbtpod", "reader", "--host=0.0.0.0", "--port=4300"]


def test_what_lets_flow_runs_use_the_volume_is_true_of_it_too(render: Render) -> None:
    values = {**ON, "jobs": {"securityContext": {"fsGroup": 30001, "supplementalGroups": [5000]}}}

    assert spec(render, values)["securityContext"]["fsGroup"] == 30001
    assert spec(render, values)["securityContext"]["supplementalGroups"] == [5000]


# --- its login ---


def test_it_asks_for_prefects_login_by_the_same_secret(render: Render) -> None:
    assert login(render, ON) == {"name": "dbtpod-auth", "key": "auth-string"}
    own = {**ON, "server": {"auth": {"existingSecret": "prefect-login"}}}
    assert login(render, own) == {"name": "prefect-login", "key": "auth-string"}
    elsewhere = yaml.safe_load((CHART / "ci" / "other-server-values.yaml").read_text())
    assert login(render, elsewhere | ON) == {"name": "prefect-login", "key": "login"}


def test_it_asks_for_a_login_of_its_own_where_one_is_named(render: Render) -> None:
    values = {"reader": {"enabled": True, "auth": {"existingSecret": "reader-login"}}}

    assert login(render, values) == {"name": "reader-login", "key": "auth-string"}
    asks = environment(container(render, values))["PREFECT_API_AUTH_STRING"]
    assert asks == {"secretKeyRef": {"name": "dbtpod-auth", "key": "auth-string"}}


def test_it_is_given_no_key_of_prefect_cloud(render: Render) -> None:
    values = yaml.safe_load((CHART / "ci" / "reader-values.yaml").read_text())

    variables = environment(container(render, values))
    assert variables["PREFECT_API_URL"] == values["prefect"]["apiUrl"]
    assert login(render, values) == {"name": "reader-login", "key": "auth-string"}
    assert "prefect-cloud" not in str(deployment(render, values))


def login(render: Render, values: dict[str, Any]) -> Any:
    """The Secret of its login: in its environment, and as the file by which a change of it is seen."""
    found = container(render, values)
    reference = environment(found)["DBTPOD_READER_AUTH"]["secretKeyRef"]
    assert "--secret=DBTPOD_READER_AUTH=/etc/dbtpod-secrets/reader-login" in found["args"]
    sources = volume(spec(render, values), "secrets")["projected"]["sources"]
    [file] = [each["secret"] for each in sources if each["secret"]["items"][0]["path"] == "reader-login"]
    assert (file["name"], file["items"][0]["key"]) == (reference["name"], reference["key"])
    return reference


# --- who reaches it, and whom it reaches ---


@pytest.mark.parametrize("path", ["/", "/prefect"])
def test_its_path_is_before_the_servers_on_the_same_host(render: Render, path: str) -> None:
    ingress, route = ({**ON, "server": {**each["server"], "path": path}} for each in (INGRESS, ROUTE))

    [made] = render(ingress, kind="Ingress")
    paths = made["spec"]["rules"][0]["http"]["paths"]
    assert [each["path"] for each in paths] == ["/reader", path]
    assert [each["backend"]["service"]["name"] for each in paths] == ["dbtpod-reader", "dbtpod-server"]
    [made] = render(route, kind="HTTPRoute")
    rules = made["spec"]["rules"]
    assert [each["matches"][0]["path"]["value"] for each in rules] == ["/reader", path]
    assert [each["backendRefs"][0] for each in rules] == [
        {"name": "dbtpod-reader", "port": 4300},
        {"name": "dbtpod-server", "port": 4200},
    ]


def test_its_service_leads_to_its_port(render: Render) -> None:
    [service] = render(ON, kind="Service", component="reader")

    assert service["metadata"]["name"] == "dbtpod-reader"
    assert service["spec"]["ports"] == [{"name": "http", "port": 4300, "targetPort": "http"}]
    assert container(render, ON)["ports"] == [{"name": "http", "containerPort": 4300}]
    labels = deployment(render, ON)["spec"]["template"]["metadata"]["labels"]
    assert service["spec"]["selector"].items() <= labels.items()


def test_without_a_host_and_peers_only_helm_test_reaches_it(render: Render) -> None:
    assert peers(render, ON) == []
    [policy] = render(ON, kind="NetworkPolicy", component="test")
    [rule] = policy["spec"]["egress"]
    assert rule["to"][0]["podSelector"]["matchLabels"]["app.kubernetes.io/component"] == "reader"


def test_who_opens_the_prefect_ui_opens_the_reader_unless_it_has_peers_of_its_own(render: Render) -> None:
    controller = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "ingress-nginx"}}}
    policy = {"networkPolicy": {"serverFrom": [controller]}}

    assert peers(render, {**ON, **INGRESS}) == [{"namespaceSelector": {}}]
    assert peers(render, {**ON, **INGRESS, **policy}) == [controller]
    assert peers(render, {"reader": {"enabled": True, "from": [PEER]}, **INGRESS, **policy}) == [PEER]


def test_it_reaches_dns_and_prefect_and_nothing_else(render: Render) -> None:
    def selects_it(policy: Manifest) -> bool:
        selector = policy["spec"]["podSelector"]
        values = [each["values"] for each in selector.get("matchExpressions", [])]
        component = selector["matchLabels"].get("app.kubernetes.io/component")
        return component == "reader" or any("reader" in each for each in values)

    found = {each["metadata"]["name"]: each["spec"] for each in render(ON, kind="NetworkPolicy") if selects_it(each)}

    assert set(found) == {"dbtpod-all", "dbtpod-prefect-clients", "dbtpod-reader"}
    assert found["dbtpod-all"]["policyTypes"] == ["Ingress", "Egress"]
    opened = [rule for each in found.values() for rule in each.get("egress", [])]
    assert [[port["port"] for port in rule["ports"]] for rule in opened] == [[53, 53], [4200]]
    [server] = render(ON, kind="NetworkPolicy", component="server")
    admitted = server["spec"]["ingress"][0]["from"][0]["podSelector"]["matchExpressions"][0]["values"]
    assert "reader" in admitted


def test_helm_test_asks_for_its_health(render: Render) -> None:
    [test] = render(ON, kind="Pod", component="test")

    assert "--reader=http://dbtpod-reader.dbtpod.svc:4300/reader" in test["spec"]["containers"][0]["args"]


@pytest.mark.parametrize(
    ("values", "address"),
    [
        (INGRESS, "https://prefect.example.com/reader"),
        (ROUTE, "https://tools.example.com/reader"),
        ({"reader": {"enabled": True, "url": "https://a.example/reader/", "from": [PEER]}}, "https://a.example/reader"),
        ({}, None),
    ],
    ids=["ingress", "route", "its own", "none"],
)
def test_flow_runs_are_given_its_address_for_people(render: Render, values: dict[str, Any], address: str) -> None:
    assert environment(flow_run_container(render(ON | values))).get("DBTPOD_READER_URL") == address


def test_the_notes_say_how_to_open_it_and_where_its_password_is() -> None:
    assert "port-forward service/dbtpod-reader" not in notes({})
    assert (
        "kubectl -n dbtpod port-forward service/dbtpod-reader 4300     and open http://localhost:4300/reader"
    ) in notes(ON)
    said = notes({"reader": {"enabled": True, "auth": {"existingSecret": "reader-login"}}, **INGRESS})
    assert "\n  https://prefect.example.com/reader\n" in said
    assert "get secret reader-login -o jsonpath='{.data.auth-string}'" in said
    elsewhere = yaml.safe_load((CHART / "ci" / "other-server-values.yaml").read_text()) | ON
    elsewhere["prefect"]["authSecret"]["key"] = "login.txt"
    assert "get secret prefect-login -o jsonpath='{.data.login\\.txt}'" in notes(elsewhere)


def notes(values: dict[str, Any]) -> str:
    need("helm")
    install = ["helm", "install", "dbtpod", str(CHART), "--namespace", "dbtpod", "--dry-run=client", "--values", "-"]
    done = subprocess.run(install, input=json.dumps(values), capture_output=True, text=True, check=True)
    return done.stdout.partition("NOTES:")[2]


# --- where it runs ---


def test_on_a_volume_of_one_node_all_that_mount_it_are_on_that_node(render: Render) -> None:
    manifests = render(ON)

    pods = pod_specs(manifests)
    together = {name for name, each in pods.items() if required(each) == [TOGETHER]}
    [first] = [name for name in pods if name.startswith("dbtpod-warehouse-") and not name.endswith("-shell")]
    assert together == {"flow-run", "dbtpod-reader", "dbtpod-warehouse-shell", first}
    mounting = {
        name
        for name, each in pods.items()
        if any("dbtpod-warehouse" in str(one.get("persistentVolumeClaim")) for one in each.get("volumes", []))
    }
    assert together == mounting


def test_the_rule_that_keeps_them_together_asks_nothing_of_the_first_of_them(render: Render) -> None:
    """Kubernetes schedules a pod by such a rule anywhere, if the rule matches that pod itself and no other."""
    manifests = render(ON)
    templates = [flow_run_job(manifests)["spec"]["template"], deployment(render, ON)["spec"]["template"]]

    for template in templates:
        labels = template["metadata"]["labels"]
        [term] = required(template["spec"])
        assert term["labelSelector"]["matchLabels"].items() <= labels.items()
        assert labels["app.kubernetes.io/component"] in term["labelSelector"]["matchExpressions"][0]["values"]


def test_on_a_volume_of_one_node_the_reader_is_where_flow_runs_may_be(render: Render) -> None:
    node: dict[str, Any] = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [{}]}}
    near = {"topologyKey": "zone", "labelSelector": {"matchLabels": {"app": "source"}}}
    jobs = {
        "nodeSelector": {"pool": "batch"},
        "tolerations": [{"key": "batch", "operator": "Exists"}],
        "affinity": {"nodeAffinity": node, "podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [near]}},
    }
    manifests = render({**ON, "jobs": jobs})

    for name in ("flow-run", "dbtpod-reader", "dbtpod-warehouse-shell"):
        pod = pod_specs(manifests)[name]
        assert pod["nodeSelector"] == jobs["nodeSelector"], name
        assert pod["tolerations"] == jobs["tolerations"], name
        assert pod["affinity"]["nodeAffinity"] == node, name
        assert required(pod) == [near, TOGETHER], name


def test_on_a_volume_of_many_nodes_no_pod_follows_another(render: Render) -> None:
    manifests = render({**ANYWHERE, "jobs": {"nodeSelector": {"pool": "batch"}}})

    assert [name for name, each in pod_specs(manifests).items() if required(each)] == []
    assert "nodeSelector" not in pod_specs(manifests)["dbtpod-reader"]


def test_without_a_reader_flow_runs_follow_no_pod(render: Render) -> None:
    assert [name for name, each in pod_specs(render()).items() if required(each)] == []


def test_a_new_pod_waits_for_the_old_ones_end_only_where_both_have_to_be_on_one_node(render: Render) -> None:
    assert deployment(render, ON)["spec"]["strategy"] == {"type": "Recreate"}
    strategy = deployment(render, ANYWHERE)["spec"]["strategy"]
    assert strategy == {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}
