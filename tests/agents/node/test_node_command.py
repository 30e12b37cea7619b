"""`suanwang agent node` as an operator types it."""

import json
import os
import signal
import socket
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import httpx
import pytest
import typer
from typer.testing import CliRunner

from agents.node.command import node
from agents.node.loop import Order
from agents.node.table import print_report
from scheduler.contract.inventory import NodeReport

PROGRAM = "import typer; from agents.node.command import node; typer.run(node)"

app = typer.Typer()
app.command("node")(node)


def test_once_as_json_is_one_valid_report() -> None:
    result = CliRunner().invoke(app, ["--once", "--json", "--hostname", "gpu-01", "--label", "rack=r1", "--label", "note=a=b"])
    assert result.exit_code == 0
    document = json.loads(result.stdout)
    report = NodeReport.model_validate(document)
    assert (report.hostname, report.labels) == ("gpu-01", {"rack": "r1", "note": "a=b"})
    wanted = {"vendor", "model", "hardware_class", "uuid", "memory_bytes", "health"}
    assert all(wanted <= card.keys() for card in document["accelerators"])


def test_once_is_a_readable_table() -> None:
    result = CliRunner().invoke(app, ["--once", "--hostname", "gpu-01"])
    assert result.exit_code == 0
    assert result.stdout.startswith("gpu-01: ")


def _report(**fields: object) -> NodeReport:
    always = {"hostname": "gpu-01", "boot": "b", "sequence": 0, "observed_at": "2026-01-01T00:00:00Z"}
    return NodeReport.model_validate(always | {"agent_version": "0", "cpu_cores": 8, "memory_bytes": 2**34} | fields)


def test_a_cpu_only_node_says_so_plainly(capsys: pytest.CaptureFixture[str]) -> None:
    print_report(_report(probes=[{"probe": "nvml", "found": 0}]))
    assert capsys.readouterr().out == "gpu-01: 8 cores, 16 GiB\nNo accelerators: this is a CPU-only node.\n"


def test_a_node_whose_probe_failed_is_not_called_cpu_only(capsys: pytest.CaptureFixture[str]) -> None:
    print_report(_report(probes=[{"probe": "nvml", "found": 0, "error": "timeout [5 s]"}]))
    assert capsys.readouterr().out == "gpu-01: 8 cores, 16 GiB\nprobe nvml: timeout [5 s]\n"


def test_a_table_shows_missing_sensors_as_missing_and_what_ails_a_card(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    card = {"index": 0, "vendor": "metax", "model": "MXC500", "hardware_class": "domestic", "uuid": "GPU-7", "memory_bytes": 2**36}
    sensors: dict[str, object] = {"utilisation_percent": 0, "power_milliwatts": 36_900, "sm_clock_mhz": 980, "link_count": 7}
    sensors |= {"pcie_generation": 4, "pcie_width": 16, "process_count": 2}
    sensors["processes"] = [{"pid": 41, "memory_bytes": 2**31, "name": "train"}, {"pid": 42}]
    ill = {"health": "degraded", "health_reasons": ["memory_errors", "reset_required"]}
    print_report(_report(driver_version="2.3", toolkit_version="1.9", accelerators=[card | sensors | ill]))
    printed = capsys.readouterr().out
    assert "driver 2.3, toolkit 1.9" in printed
    row = next(line.split() for line in printed.splitlines() if "MXC500" in line)
    assert " ".join(row) == "0 metax MXC500 domestic degraded -/64 GiB 0 % 37 W - 980 MHz 4×16 7 2 GPU-7"
    assert "GPU-7 is used by train 41 (2048 MiB), a process 42" in printed
    assert "GPU-7 is degraded: memory_errors, reset_required" in printed


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "--city and --token-file are needed"),
        (["--city", "http://city"], "--city and --token-file are needed"),
        (["--json"], "--json goes with --once"),
        (["--city", "city", "--token-file", "token"], "--city 'city': Input should be a valid URL"),
        (["--city", "http://city", "--token-file", "none"], "--token-file 'none': No such file or directory"),
        (["--city", "http://city", "--token-file", "empty"], "--token-file: empty does not hold a token"),
        (["--city", "http://city", "--token-file", "two"], "--token-file: two does not hold a token"),
        (["--once", "--hostname", "GPU 1"], "--hostname 'GPU 1': String should match"),
        (["--once", "--label", "rack"], "--label 'rack': write it as KEY=VALUE"),
        (["--once", "--label", "=r1"], "--label '': String should match"),
    ],
)
def test_wrong_use_is_one_clear_line(arguments: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name, content in {"token": "t0ken", "empty": "\n", "two": "s3cret\ns3cret"}.items():
        Path(name).write_text(content)
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 2
    assert result.stderr.startswith(f"suanwang agent node: {said}")
    assert result.stderr.count("\n") == 1
    assert "s3cret" not in result.stderr


HEAVY = {"ray", "kubernetes", "sqlalchemy", "redis", "fastapi", "numpy"}
UNUSED = {"pydantic", "httpx", "typer", "rich", "asyncio"}
"""What the long-running process does without, so that it and its child stay within their 60 MB (benchmarks/footprint.py)."""


def _modules(program: str) -> set[str]:
    told = subprocess.run([sys.executable, "-c", f"{program}\nimport sys; print(*sys.modules)"], check=True, capture_output=True)
    return set(told.stdout.decode().splitlines()[-1].split())


def test_the_agent_is_light() -> None:
    assert not HEAVY & _modules("import agents.node.command")


def test_the_process_that_goes_on_reporting_and_its_child_carry_still_less() -> None:
    assert not (HEAVY | UNUSED) & _modules("import agents.node.loop")
    assert not (HEAVY | UNUSED | {"yaml", "psutil", "http"}) & _modules("import agents.node.probes.child, agents.node.probes.nvml")


@pytest.mark.processes
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_the_agent_cleanly(tmp_path: Path, number: signal.Signals) -> None:
    token_file = tmp_path / "token"
    token_file.write_text("s3cret")
    # Nothing listens on port 1, so the agent is soon between two tries.
    arguments = ["--city", "http://127.0.0.1:1", "--token-file", str(token_file), "--first-within", "0"]
    with subprocess.Popen([sys.executable, "-c", PROGRAM, *arguments], stderr=subprocess.PIPE, text=True) as agent:
        assert agent.stderr is not None
        first = agent.stderr.readline()
        agent.send_signal(number)
        rest = agent.stderr.read()
        assert agent.wait(30) == 0
    assert "the city is not available" in first
    assert rest.splitlines()[-1].endswith("stopped")
    assert "Traceback" not in rest
    assert "s3cret" not in first + rest


@pytest.mark.processes
def test_it_says_how_it_stands_where_it_is_told_to(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    (tmp_path / "token").write_text("s3cret")
    arguments = ["--city", "http://127.0.0.1:1", "--token-file", str(tmp_path / "token"), "--first-within", "0"]
    command = [sys.executable, "-c", PROGRAM, *arguments, "--probe-port", str(port)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as agent:
        assert agent.stderr is not None
        assert "the city is not available" in agent.stderr.readline()
        answers = [_asked(port, path) for path in ("livez", "readyz", "metrics")]
        agent.terminate()
        agent.communicate(timeout=30)
    assert answers[:2] == ["200 ok", "503 no"]
    assert "process_resident_memory_bytes" in answers[2]


def _asked(port: int, path: str) -> str:
    response = httpx.get(f"http://127.0.0.1:{port}/{path}", trust_env=False)
    return f"{response.status_code} {response.text.strip()}"


@pytest.mark.processes
def test_the_real_processes_load_nothing_heavy_whatever_they_do(tmp_path: Path, mock_library: Path) -> None:
    """Every module that is loaded, at the start or later, by a process that reports and by the child that reads NVML for it."""
    token_file = tmp_path / "token"
    token_file.write_text("s3cret")
    order = Order("http://127.0.0.1:1", str(token_file), "gpu-01", "boot", "0", 0, probe_host="", probe_port=None)
    env = os.environ | {"PYTHONPROFILEIMPORTTIME": "1", "LD_LIBRARY_PATH": str(mock_library)}
    loop = subprocess.Popen(
        [sys.executable, "-m", "agents.node.loop", json.dumps(asdict(order))], env=env, stderr=subprocess.PIPE, text=True
    )
    with loop:
        assert loop.stderr is not None
        told = []
        for line in loop.stderr:
            told.append(line)
            if "the city is not available" in line:  # a report has been made, and posted in vain
                loop.send_signal(signal.SIGTERM)
        assert loop.wait(30) == 0
    library = str(mock_library / "libnvidia-ml.so.1")
    command = [sys.executable, "-m", "agents.node.probes.child", "agents.node.probes.nvml:nvidia", library]
    child = subprocess.run(command, env=env, input="\n", capture_output=True, text=True, timeout=60, check=True)
    assert len(json.loads(child.stdout)["devices"]) == 2
    for imported, needed in (("".join(told), "agents.node.reporter"), (child.stderr, "pynvml")):
        modules = {line.rpartition("|")[2].strip() for line in imported.splitlines() if line.startswith("import time:")}
        assert needed in modules
        assert not {module.partition(".")[0] for module in modules} & (HEAVY | UNUSED)
