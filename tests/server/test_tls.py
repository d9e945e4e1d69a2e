"""Clients of Prefect's API that share a TLS context: they trust what each alone would."""

import datetime
import ssl
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from ipaddress import ip_address
from pathlib import Path

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from prefect.client import orchestration
from prefect.client.orchestration import PrefectClient, SyncPrefectClient
from prefect.settings import PREFECT_API_SSL_CERT_FILE, PREFECT_API_TLS_INSECURE_SKIP_VERIFY, temporary_settings

from dbtpod.faststart import tls
from serving import serving


class Answers(BaseHTTPRequestHandler):
    """Says OK to each request."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for 127.0.0.1 that is its own authority, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "dbtpod")])
    now = datetime.datetime.now(datetime.UTC)
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    file = tmp_path_factory.mktemp("tls") / "certificate.pem"
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    file.write_bytes(secret + signed.public_bytes(serialization.Encoding.PEM))
    return file


@pytest.fixture
def api(certificate: Path) -> Iterator[str]:
    """An API over TLS with that certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    with serving(Answers, context) as port:
        yield f"https://127.0.0.1:{port}/api"


@pytest.fixture(autouse=True)
def shared(monkeypatch: pytest.MonkeyPatch) -> None:
    # Put back after the test.
    monkeypatch.setattr(orchestration, "ssl", ssl)
    tls._of.cache_clear()
    tls.share()


def problem(api: str) -> str:
    """What keeps a new client from that API; empty for nothing."""
    with SyncPrefectClient(api) as client:
        found = client.api_healthcheck()
    assert found is None or isinstance(found, httpx.ConnectError), found
    return str(found or "")


def test_the_clients_of_a_process_read_the_authorities_once(monkeypatch: pytest.MonkeyPatch) -> None:
    made = []
    make = ssl.create_default_context
    monkeypatch.setattr(ssl, "create_default_context", lambda **options: made.append(options) or make(**options))

    for kind in (SyncPrefectClient, PrefectClient, SyncPrefectClient):
        kind("http://127.0.0.1:1/api")

    assert len(made) == 1


def test_a_client_trusts_the_authorities_of_its_settings_alone(api: str, certificate: Path) -> None:
    refused = "certificate verify failed"
    assert refused in problem(api)
    with temporary_settings({PREFECT_API_SSL_CERT_FILE: str(certificate)}):
        assert problem(api) == ""
    with temporary_settings({PREFECT_API_TLS_INSECURE_SKIP_VERIFY: True}):
        assert problem(api) == ""
    # A context that does not verify is no other client's.
    assert refused in problem(api)
