"""How people reach the UI from outside: an ingress or a route, at any path; and how clients reach the API inside."""

from typing import Any

import httpx
import pytest

from rendered import environment, flow_run_container, server_container, worker_container
from rendering import Render, helm_template

pytestmark = pytest.mark.xdist_group("chart")

GATEWAY = {"name": "shared", "namespace": "gateways", "sectionName": "https"}


def test_a_route_of_the_gateway_api_takes_the_place_of_the_ingress(render: Render) -> None:
    values = {"server": {"httpRoute": {"host": "prefect.example.com", "parentRefs": [GATEWAY]}}}

    [route] = render(values, kind="HTTPRoute")
    assert route["spec"]["parentRefs"] == [GATEWAY]
    assert route["spec"]["hostnames"] == ["prefect.example.com"]
    assert route["spec"]["rules"][0]["backendRefs"] == [{"name": "dbtpod-server", "port": 4200}]
    assert not render(values, kind="Ingress")
    assert environment(worker_container(render, values))["PREFECT_UI_URL"] == "https://prefect.example.com"
    [policy] = render(values, kind="NetworkPolicy", component="server")
    assert {"namespaceSelector": {}} in policy["spec"]["ingress"][0]["from"]


@pytest.mark.parametrize(
    ("path", "api"), [("/", "/api"), ("/prefect", "/prefect/api"), ("/tools/prefect", "/tools/prefect/api")]
)
def test_ui_api_probes_clients_and_links_agree_on_the_path(render: Render, path: str, api: str) -> None:
    server: dict[str, Any] = {"path": path, "ingress": {"host": "tools.example.com", "tlsSecret": "tls"}}
    values = {"server": server}

    container = server_container(render, values)
    variables = environment(container)
    assert variables["PREFECT_SERVER_UI_API_URL"] == api
    assert variables.get("PREFECT_SERVER_API_BASE_PATH", "/api") == api
    assert variables.get("PREFECT_UI_SERVE_BASE", "/") == path
    probes = {container[probe]["httpGet"]["path"] for probe in ("startupProbe", "readinessProbe", "livenessProbe")}
    assert probes == {f"{api}/health", f"{api}/ready"}
    client = environment(worker_container(render, values))
    assert client["PREFECT_API_URL"] == f"http://dbtpod-server.dbtpod.svc:4200{api}"
    assert client["PREFECT_UI_URL"] == f"https://tools.example.com{path}".rstrip("/")
    [ingress] = render(values, kind="Ingress")
    assert ingress["spec"]["rules"][0]["http"]["paths"][0]["path"] == path


def test_a_run_has_the_uis_address_of_its_worker_for_the_links_of_its_report(render: Render) -> None:
    from prefect.settings import PREFECT_UI_URL, temporary_settings

    address = environment(worker_container(render, {}))["PREFECT_UI_URL"]

    with temporary_settings({PREFECT_UI_URL: address}):
        assert environment(flow_run_container(render({})))["PREFECT_UI_URL"] == address


def test_a_usual_no_proxy_matches_the_servers_address(render: Render, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://192.0.2.10:3128")
    monkeypatch.setenv("NO_PROXY", "localhost,127.0.0.1,.svc,.cluster.local,10.0.0.0/8")
    address = httpx.URL(environment(worker_container(render, {}))["PREFECT_API_URL"])

    def goes_direct(url: httpx.URL) -> bool:
        with httpx.Client() as client:
            return client._transport_for_url(url) is client._transport

    assert goes_direct(address)
    assert not goes_direct(httpx.URL("http://dbtpod-server:4200/api"))


@pytest.mark.parametrize(
    ("server", "said"),
    [
        ({"ingress": {"tlsSecret": "tls"}}, "server.ingress.tlsSecret has no effect without server.ingress.host"),
        ({"httpRoute": {"host": "a.example"}}, "without server.httpRoute.parentRefs"),
        ({"httpRoute": {"parentRefs": [GATEWAY]}}, "parentRefs has no effect without server.httpRoute.host"),
        (
            {"ingress": {"host": "a.example"}, "httpRoute": {"host": "a.example", "parentRefs": [GATEWAY]}},
            "server.ingress.host and server.httpRoute.host are both set",
        ),
        ({"path": "prefect"}, "/server/path"),
        ({"path": "/prefect/"}, "/server/path"),
    ],
)
def test_what_cannot_work_is_refused_with_the_reason(server: dict[str, Any], said: str) -> None:
    done = helm_template({"server": server})

    assert done.returncode != 0
    assert said in done.stderr
