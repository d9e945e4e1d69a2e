"""Prefect's pages behind an OAuth proxy, by the values of docs/access.md: the proxy's login first, then Prefect's."""

import base64
import hashlib
from collections.abc import Iterator

import httpx
import pytest

import pages
from kube import Cluster, command, pod
from release import SMOKE, Release

# The proxy is a Go program, built here: minutes, the first time.
pytestmark = [pytest.mark.cluster, pytest.mark.soak, pytest.mark.timeout(1200)]

MODULE = "github.com/oauth2-proxy/oauth2-proxy/v7@v7.15.6"
IMAGE = "oauth2-proxy:for-tests"
USER, PASSWORD = "ann", "let me in"
NOWHERE = "http://login.invalid"
# It signs in by its own list of users; the identity provider, which none of them needs, is an address that is nowhere.
ARGUMENTS = (
    "/oauth2-proxy",
    "--http-address=0.0.0.0:4180",
    "--upstream=http://dbtpod-server:4200",
    "--htpasswd-file=/dev/stdin",
    "--display-htpasswd-form",
    "--cookie-secure=false",
    f"--cookie-secret={'0' * 32}",
    "--client-id=tests",
    "--client-secret=tests",
    "--email-domain=*",
    "--provider=oidc",
    "--skip-oidc-discovery",
    f"--oidc-issuer-url={NOWHERE}",
    f"--login-url={NOWHERE}/authorize",
    f"--redeem-url={NOWHERE}/token",
    f"--oidc-jwks-url={NOWHERE}/keys",
)


@pytest.fixture(scope="module")
def image(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The proxy on the node, in an image with nothing else but a shell."""
    folder = tmp_path_factory.mktemp("oauth2-proxy")
    command("go", "install", MODULE, seconds=900, GOBIN=str(folder), CGO_ENABLED="0")
    (folder / "Dockerfile").write_text("FROM busybox:1.35\nCOPY oauth2-proxy /oauth2-proxy\n")
    command("docker", "build", "--quiet", "--tag", IMAGE, str(folder), seconds=120)
    cluster.load(IMAGE)
    return IMAGE


@pytest.fixture(scope="module")
def behind(cluster: Cluster, image: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Release]:
    """The release by the page's values, and the proxy beside it."""
    [block] = [each for each in pages.executed("values") if each.heading == "Behind an OAuth proxy"]
    values = tmp_path_factory.mktemp("values") / "values.yaml"
    values.write_text(block.text)
    one = Release(cluster, cluster.namespace("oauth-proxy"))
    one.install("--values", str(values))

    digest = base64.b64encode(hashlib.sha1(PASSWORD.encode()).digest()).decode()  # noqa: S324 (what a list of users has)
    users = f"{USER}:{{SHA}}{digest}"
    proxy = pod("proxy", ("sh", "-c", f"echo '{users}' | exec \"$@\"", "sh", *ARGUMENTS), {}, {})
    proxy["metadata"]["labels"] = {"app.kubernetes.io/name": "oauth2-proxy", "app": "proxy"}
    proxy["spec"]["containers"][0]["image"] = image
    proxy["spec"]["containers"][0]["readinessProbe"] = {"httpGet": {"path": "/ping", "port": 4180}, "periodSeconds": 1}
    one.start_pod(proxy)
    metadata = {"name": "proxy", "namespace": one.namespace}
    ports = {"selector": {"app": "proxy"}, "ports": [{"port": 4180}]}
    cluster.apply({"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": ports})
    yield one
    one.disconnect()
    cluster.kubectl("delete", "namespace", one.namespace, "--wait=false")


@pytest.fixture
def browser(behind: Release) -> Iterator[httpx.Client]:
    """What keeps the proxy's cookie."""
    with (
        behind.cluster.forwarded(behind.namespace, "proxy", 4180) as address,
        httpx.Client(base_url=address, timeout=30) as client,
    ):
        yield client


def sign_in(browser: httpx.Client, password: str = PASSWORD) -> int:
    form = {"username": USER, "password": password, "rd": "/"}
    return browser.post("/oauth2/sign_in", data=form).status_code


def test_nobody_sees_the_pages_before_the_proxys_login(browser: httpx.Client) -> None:
    assert browser.get("/api/admin/version").status_code == httpx.codes.FORBIDDEN
    assert sign_in(browser, "not the password") == httpx.codes.UNAUTHORIZED
    assert browser.get("/dashboard").status_code == httpx.codes.FORBIDDEN


def test_after_it_prefect_asks_for_its_own_password(behind: Release, browser: httpx.Client) -> None:
    assert sign_in(browser) == httpx.codes.FOUND

    page = browser.get("/dashboard", headers={"Accept": "text/html"})  # an API's client is told that there is none
    assert "<title>Prefect" in page.text
    assert browser.get("/api/admin/version").status_code == httpx.codes.UNAUTHORIZED
    user, _, password = behind.prefect.auth.partition(":")
    answer = browser.get("/api/admin/version", auth=(user, password))
    assert answer.status_code == httpx.codes.OK, answer.text


def test_runs_do_not_go_through_the_proxy(behind: Release) -> None:
    behind.prefect.completed(SMOKE)
