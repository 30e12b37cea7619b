"""Whom an agent believes to be its city: over a real TLS handshake."""

import ssl
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from ipaddress import ip_address
from pathlib import Path
from threading import Thread

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from agents.city import City, TokenFile
from agents.terms import CityUnavailableError
from scheduler.contract.sync import SyncRequest

HOST = "127.0.0.1"


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A city's own certificate and its key in one PEM file, signed by nobody else."""
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "city")])
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address(HOST))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    file = tmp_path_factory.mktemp("tls") / "city.pem"
    encoding, kept = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    file.write_bytes(key.private_bytes(encoding, kept, serialization.NoEncryption()) + made.public_bytes(encoding))
    return file


class _Answers(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        body = b'{"desired": [], "revision": "0-0", "next_sync_milliseconds": 500}'
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture(scope="module")
def city_url(certificate: Path) -> Iterator[str]:
    server = HTTPServer((HOST, 0), _Answers)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = Thread(target=server.serve_forever)
    thread.start()
    yield f"https://{HOST}:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def token(tmp_path: Path) -> TokenFile:
    file = tmp_path / "token"
    file.write_text("t0ken")
    return TokenFile(file)


def test_a_city_of_a_private_authority_is_believed_by_its_file(
    city_url: str, token: TokenFile, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    with City(city_url, token) as city:
        assert city.sync("c1", SyncRequest(agent="a", observed=[])).desired == []


def test_without_that_file_it_is_not(city_url: str, token: TokenFile) -> None:
    with City(city_url, token) as city, pytest.raises(CityUnavailableError, match="CERTIFICATE_VERIFY"):
        city.sync("c1", SyncRequest(agent="a", observed=[]))


@pytest.mark.parametrize(("header", "seconds"), [("17", 17), (None, None), ("Wed, 21 Oct 2026 07:28:00 GMT", None)])
@pytest.mark.parametrize("status", [429, 503])
def test_a_city_that_cannot_now_says_when_to_come_again(
    token: TokenFile, status: int, header: str | None, seconds: int | None
) -> None:
    headers = {"Retry-After": header} if header else {}
    answer = httpx.MockTransport(lambda _: httpx.Response(status, headers=headers))
    with City("http://city", token, answer) as city, pytest.raises(CityUnavailableError) as failure:
        city.sync("c1", SyncRequest(agent="a", observed=[]))
    assert failure.value.retry_after_seconds == seconds


def test_an_answer_that_cannot_be_unpacked_is_a_city_that_did_not_answer(tmp_path: Path) -> None:
    """A proxy on the way may cut a packed body short: it must not end the agent's loop."""
    token = tmp_path / "token"
    token.write_text("token\n")
    broken = httpx.MockTransport(
        lambda _: httpx.Response(200, headers={"Content-Encoding": "gzip"}, stream=httpx.ByteStream(b"{}"))
    )
    with City("http://city", TokenFile(token), transport=broken) as city, pytest.raises(CityUnavailableError):
        city.sync("c1", SyncRequest(agent="a"))
