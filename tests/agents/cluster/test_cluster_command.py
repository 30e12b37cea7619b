"""`suanwang agent cluster` as an operator meets it: errors in one line, and a prompt end on a signal."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import typer
import yaml
from typer.testing import CliRunner

from agents.cluster.command import cluster
from agents.cluster.files import hold
from tests.agents.cluster.doubles import SITE

app = typer.Typer()
app.command()(cluster)


@pytest.fixture
def options(tmp_path: Path) -> dict[str, str]:
    token = tmp_path / "token"
    token.write_text("secret-token\n")
    site = tmp_path / "site.yaml"
    site.write_text(yaml.safe_dump(SITE))
    return {
        "--city": "http://127.0.0.1:9",
        "--token-file": str(token),
        "--cluster": "site-1",
        "--launcher": "recorded",
        "--data": str(tmp_path / "data"),
        "--site": str(site),
    }


def arguments(options: dict[str, str]) -> list[str]:
    return [part for option in options.items() for part in option]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"--token-file": "/nowhere/token"}, "/nowhere/token: No such file or directory"),
        ({"--data": "/proc/nothing"}, "/proc/nothing: No such file or directory"),
        ({"--site": "/nowhere/site.yaml"}, "/nowhere/site.yaml: No such file"),
        ({"--cluster": "other"}, "cluster: it describes site-1, not other"),
        ({"--cluster": "a b"}, "--cluster 'a b'"),
        ({"--city": "127.0.0.1:8000"}, "--city '127.0.0.1:8000': an address such as"),
        ({"--log-archive": "aws s3 cp s3://logs/%j"}, "--log-archive: a command with %p in it is needed"),
        ({"--launcher": "ray"}, "needs either --ray-address URL or --local-ray"),
        ({"--launcher": "kubernetes"}, "--launcher kubernetes needs --config FILE"),
        ({"--launcher": "kubernetes", "--config": "/nowhere/c.yaml"}, "/nowhere/c.yaml: No such file"),
        ({"--launcher": "ray", "--ray-address": "ray://x"}, "--ray-address 'ray://x'"),
        ({"--launcher": "ray", "--ray-resource": "MLU"}, "--ray-resource 'MLU': VENDOR=NAME is needed, such as cambricon=MLU"),
        ({"--launcher": "ray", "--ray-resource": "cambricon=M L U"}, "--ray-resource 'cambricon=M L U': VENDOR=NAME is needed"),
        ({"--launcher": "ray", "--ray-address": "http://x", "--ray-token-file": "/nowhere/t"}, "/nowhere/t: No such file"),
    ],
)
def test_what_an_operator_can_put_right_is_said_in_one_line(options: dict[str, str], change: dict[str, str], said: str) -> None:
    result = CliRunner().invoke(app, arguments(options | change))
    assert result.exit_code == 2
    assert said in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1


def test_a_bad_site_file_names_its_field(options: dict[str, str], tmp_path: Path) -> None:
    bad = tmp_path / "site.yaml"
    bad.write_text(bad.read_text().replace("count: 30", "count: -30"))
    result = CliRunner().invoke(app, arguments(options))
    assert result.exit_code == 2
    assert "site.yaml: nodes.0.count" in result.stderr


def test_a_busy_port_is_said_in_one_line(options: dict[str, str]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        result = CliRunner().invoke(app, arguments(options | {"--probe-port": str(taken.getsockname()[1])}))
    assert result.exit_code == 2
    assert "--probe-port" in result.stderr
    assert "Address already in use" in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1


def test_two_agents_do_not_share_a_folder(options: dict[str, str]) -> None:
    handle = hold(Path(options["--data"]))
    try:
        result = CliRunner().invoke(app, arguments(options))
    finally:
        os.close(handle)
    assert result.exit_code == 2
    assert "in use by another agent" in result.stderr


def test_a_missing_ray_is_said_in_one_line(options: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agents.cluster.local_ray.importlib.util.find_spec", lambda name: None)
    result = CliRunner().invoke(app, [*arguments(options | {"--launcher": "ray"}), "--local-ray"])
    assert result.exit_code == 2
    assert "Ray is not installed: install suanwang[embedded]" in result.stderr


@contextmanager
def city_server(synced: threading.Event) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            reports = self.path == "/v1/nodes/report"
            answer = {"next_report_seconds": 10} if reports else {"desired": [], "next_sync_milliseconds": 60_000}
            body = json.dumps(answer).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)
            if not reports:
                synced.set()

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_at_once_and_cleanly(options: dict[str, str], number: signal.Signals) -> None:
    synced = threading.Event()
    code = "import typer; from agents.cluster.command import cluster; typer.run(cluster)"
    with city_server(synced) as url:
        command = [sys.executable, "-c", code, *arguments(options | {"--city": url})]
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
            assert synced.wait(20)
            process.send_signal(number)
            _, errors = process.communicate(timeout=5)
    assert process.returncode == 0
    assert "Traceback" not in errors
    assert "secret-token" not in errors
