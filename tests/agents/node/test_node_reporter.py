"""One call to a city over real HTTP on this machine: what it answers, and what becomes of answers that are none."""

import json
import shutil
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest

from agents.node.reporter import MAX_ANSWER_BYTES, Reporter
from agents.terms import RETRY_AFTER_MOST_SECONDS, CityRefusedError, CityUnavailableError

ACCEPTED = b'{"next_report_seconds": 12}'


@contextmanager
def _city(
    status: int, body: bytes, headers: dict[str, str] | None = None, tls: tuple[Path, Path] | None = None
) -> Iterator[tuple[str, list[tuple[str, dict[str, str], bytes]]]]:
    """A city that gives one answer, its address, and what it was sent."""
    sent: list[tuple[str, dict[str, str], bytes]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            content = self.rfile.read(int(self.headers["Content-Length"]))
            sent.append((self.path, dict(self.headers), content))
            self.send_response(status)
            for name, value in (headers or {}).items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        if tls is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*tls)
            server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"{'https' if tls else 'http'}://127.0.0.1:{server.server_port}", sent
        finally:
            server.shutdown()
            thread.join()


def _failure(status: int, body: bytes = b"", headers: dict[str, str] | None = None) -> CityUnavailableError:
    with _city(status, body, headers) as (url, _), pytest.raises(CityUnavailableError) as failure:
        Reporter(url, "t0ken").report({})
    return failure.value


def test_a_report_is_posted_with_the_token_and_the_pace_comes_back() -> None:
    with _city(202, ACCEPTED) as (url, sent):
        reporter = Reporter(f"{url}/behind/a/proxy/", "t0ken")
        assert [reporter.report({"hostname": "算-1"}) for _ in range(2)] == [12, 12]
    path, headers, content = sent[0]
    assert (path, headers["Authorization"], headers["Content-Type"]) == (
        "/behind/a/proxy/v1/nodes/report",
        "Bearer t0ken",
        "application/json",
    )
    assert json.loads(content) == {"hostname": "算-1"}


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("17", 17),
        (" 5 ", 5),
        ("999999", RETRY_AFTER_MOST_SECONDS),
        ("9" * 400, None),
        ("soon", None),
        ("-3", None),
        ("²", None),
        (None, None),
    ],
)
@pytest.mark.parametrize("status", [429, 503])
def test_a_city_that_cannot_now_says_when_to_come_again(status: int, header: str | None, seconds: int | None) -> None:
    if header == "²":
        header = header.encode().decode("latin-1")
    failure = _failure(status, headers={"Retry-After": header} if header else None)
    assert failure.retry_after_seconds == seconds
    assert f"answered {status}" in str(failure)


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{", b'{"next_report_seconds": "soon"}', b"\xff", b" " * (MAX_ANSWER_BYTES + 9) + ACCEPTED]
)
def test_an_answer_that_cannot_be_read_is_no_answer(body: bytes) -> None:
    assert "cannot read" in str(_failure(202, body))


def test_a_refusal_carries_the_problems_code() -> None:
    with _city(401, b'{"code": "token_revoked", "detail": "no"}') as (url, _), pytest.raises(CityRefusedError) as refusal:
        Reporter(url, "t0ken").report({})
    assert (refusal.value.status, refusal.value.code) == (401, "token_revoked")


@pytest.mark.parametrize("body", [b"<html>", b"[1]", b'{"code": 1}'])
def test_a_refusal_without_a_problem_document_is_one_all_the_same(body: bytes) -> None:
    with _city(404, body) as (url, _), pytest.raises(CityRefusedError, match=r"404 unknown"):
        Reporter(url, "t0ken").report({})


def test_nobody_at_the_address_is_a_city_that_is_not_available() -> None:
    with pytest.raises(CityUnavailableError, match=r"http://127\.0\.0\.1:1: "):
        Reporter("http://user:s3cret@127.0.0.1:1", "t0ken").report({})


def test_a_city_over_https_is_believed_by_the_authorities_it_is_given_and_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("needs openssl to make a certificate")
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    made = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-subj", "/CN=city", "-days", "2")
    names = ("-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(certificate))
    subprocess.run([openssl, "req", "-x509", *made, *names], check=True, capture_output=True)
    with _city(202, ACCEPTED, tls=(certificate, key)) as (url, sent):
        with pytest.raises(CityUnavailableError, match="certificate verify failed"):
            Reporter(url, "t0ken").report({})
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        assert Reporter(url, "t0ken").report({}) == 12
    assert len(sent) == 1
