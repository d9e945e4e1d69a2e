"""The server, here or elsewhere, and who may reach it."""

import pytest
import yaml

from rendered import environment, server_container, worker_container
from rendering import CHART, Render

pytestmark = pytest.mark.xdist_group("chart")


def test_the_password_is_asked_for_and_never_stands_in_a_manifest(render: Render) -> None:
    reference = {"secretKeyRef": {"name": "login", "key": "auth-string"}}
    values = {"server": {"auth": {"existingSecret": "login"}}}

    assert environment(server_container(render, values))["PREFECT_SERVER_API_AUTH_STRING"] == reference
    variables = environment(worker_container(render, values))
    assert variables["PREFECT_API_AUTH_STRING"] == reference
    assert variables["PREFECT_INTEGRATIONS_KUBERNETES_WORKER_API_AUTH_STRING_SECRET_NAME"] == "login"
    assert not render(values, kind="Secret")


def test_prefect_cloud_needs_no_server_and_no_password_but_a_key(render: Render) -> None:
    values = yaml.safe_load((CHART / "ci" / "prefect-cloud-values.yaml").read_text())

    assert not render(values, component="server")
    variables = environment(worker_container(render, values))
    assert variables["PREFECT_API_URL"] == values["prefect"]["apiUrl"]
    assert variables["PREFECT_API_KEY"] == {"secretKeyRef": {"name": "prefect-cloud", "key": "token"}}
    assert "PREFECT_API_AUTH_STRING" not in variables
    [policy] = render(values, kind="NetworkPolicy", component="prefect-clients")
    assert policy["spec"]["egress"] == [{"ports": [{"protocol": "TCP", "port": 443}]}]


def test_another_servers_port_is_open_to_its_clients(render: Render) -> None:
    values = {"server": {"enabled": False}, "prefect": {"apiUrl": "http://prefect.tools:4201/api"}}

    [policy] = render(values, kind="NetworkPolicy", component="prefect-clients")
    assert policy["spec"]["egress"] == [{"ports": [{"protocol": "TCP", "port": 4201}]}]


def test_the_page_finds_the_api_under_any_host_and_port(render: Render) -> None:
    assert environment(server_container(render, {}))["PREFECT_SERVER_UI_API_URL"] == "/api"


def test_run_history_is_kept_as_long_as_said(render: Render) -> None:
    variables = environment(server_container(render, {"server": {"retentionDays": 7}}))

    assert variables["PREFECT_SERVER_SERVICES_DB_VACUUM_RETENTION_PERIOD"] == "604800"


def test_an_ingress_opens_the_page_only_where_a_host_is_named(render: Render) -> None:
    assert not render(kind="Ingress")

    ingress = {"host": "prefect.example.com", "className": "nginx", "tlsSecret": "tls"}
    [made] = render({"server": {"ingress": ingress}}, kind="Ingress")
    assert made["spec"]["ingressClassName"] == "nginx"
    assert made["spec"]["tls"] == [{"hosts": ["prefect.example.com"], "secretName": "tls"}]


def test_what_dbt_reads_is_open_to_flow_runs_alone(render: Render) -> None:
    rule = {"to": [{"ipBlock": {"cidr": "10.1.0.0/16"}}], "ports": [{"protocol": "TCP", "port": 5432}]}
    [policy] = render({"networkPolicy": {"extraEgress": [rule]}}, kind="NetworkPolicy", component="flow-run")

    assert policy["spec"]["egress"] == [rule]
    assert policy["spec"]["podSelector"]["matchLabels"]["app.kubernetes.io/component"] == "flow-run"


def test_the_database_of_the_warehouse_is_open_to_flow_runs_alone(render: Render) -> None:
    to = [{"ipBlock": {"cidr": "10.0.0.5/32"}}]
    rule = {"to": [{"podSelector": {}}]}
    warehouse = {"kind": "remote", "egress": {"to": to, "ports": [5432, 6432]}}
    made = render({"warehouse": warehouse, "networkPolicy": {"extraEgress": [rule]}}, kind="NetworkPolicy")

    [policy] = [each for each in made if each["metadata"]["name"].endswith("-flow-run")]
    ports = [{"protocol": "TCP", "port": 5432}, {"protocol": "TCP", "port": 6432}]
    assert policy["spec"]["egress"] == [{"ports": ports, "to": to}, rule]
    assert policy["spec"]["podSelector"]["matchLabels"]["app.kubernetes.io/component"] == "flow-run"
    assert str(made).count("10.0.0.5/32") == 1


def test_a_database_at_any_address_is_open_at_its_ports_only(render: Render) -> None:
    warehouse = {"kind": "remote", "egress": {"ports": [5432]}}
    [policy] = render({"warehouse": warehouse}, kind="NetworkPolicy", component="flow-run")

    assert policy["spec"]["egress"] == [{"ports": [{"protocol": "TCP", "port": 5432}]}]


def test_every_pod_is_denied_what_no_arrow_allows(render: Render) -> None:
    [everything] = render(kind="NetworkPolicy", component="all")

    [components] = everything["spec"]["podSelector"]["matchExpressions"]
    assert set(components["values"]) == {"server", "worker", "register", "flow-run", "warehouse", "test"}
    assert everything["spec"]["policyTypes"] == ["Ingress", "Egress"]
    assert not render({"networkPolicy": {"enabled": False}}, kind="NetworkPolicy")
