"""What watching a node costs, beside two peers: `uv sync --inexact --group bench`, then `python -m benchmarks.footprint`.

The node agent as it runs (its process and the child that holds NVML), nvitop and gpustat read the same eight cards again and
again through the mock NVML library of the tests, one after the other in one run; so do the bare NVML calls of the agent's own
reading, in a loop of nothing else: the physical floor. The agent reports to a server in this process, the peers print to nowhere.
A reading a second instead of one in ten: it is what a reading costs that is measured, and a tenth of it that is told of a core.

Resident memory is the sum over a subject's processes after its last reading: RSS counts pages that processes share in each of
them, PSS (/proc/PID/smaps_rollup) once. CPU is user and system time of all of them, without starting up. Bytecode is compiled
beforehand, as pip does; what it costs where it is not is measured too.
"""

import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from http.server import BaseHTTPRequestHandler, HTTPServer
from importlib.metadata import version
from pathlib import Path
from threading import Thread
from typing import Any

import psutil

from agents.node.loop import LIGHT, Order
from benchmarks.machine import machine

RESULTS = Path(__file__).parent / "results"
MOCK = Path(__file__).parents[1] / "tests" / "agents" / "node" / "nvml_mock.c"
CARDS = 8
INTERVAL_SECONDS = 10
"""At which the bound on CPU is meant."""
SETTLE_READINGS, READINGS = 5, 60
MAX_RESIDENT_BYTES = 60_000_000
MAX_CPU_SHARE = 0.002

EVERY_SECOND = """
import time
while True:
    read()
    print("read", flush=True)
    time.sleep(1)
"""

NVITOP = """
import json, sys
from nvitop import Device
devices = Device.all()
FIELDS = ("name", "uuid", "bus_id", "memory_total", "memory_used", "gpu_utilization", "power_usage", "temperature", "sm_clock",
          "memory_clock", "total_volatile_uncorrected_ecc_errors", "compute_mode", "mig_mode", "processes")
quiet = open("/dev/null", "w")
def read():
    json.dump([{field: str(getattr(device, field)()) for field in FIELDS} for device in devices], quiet)
"""

GPUSTAT = """
import gpustat
quiet = open("/dev/null", "w")
def read():
    gpustat.new_query().print_json(quiet)
"""

FLOOR = """
import ctypes, os
import pynvml
from agents.node.probes.nvml import NvmlProbe
pynvml.nvmlLib = ctypes.CDLL("libnvidia-ml.so.1")
calls = []
class Noted:
    def __getattr__(self, name):
        function = getattr(pynvml, name)
        def call(*arguments):
            calls.append((function, arguments))
            return function(*arguments)
        return call
probe = NvmlProbe(Noted())
probe.probe()
calls.clear()
probe.probe()
def read():
    for function, arguments in calls:
        try:
            function(*arguments)
        except pynvml.NVMLError:
            pass
"""


@dataclass(frozen=True)
class Cost:
    """Of one subject: its processes, their memory after the last reading, and the seconds of CPU one reading takes."""

    processes: int
    rss_bytes: int
    pss_bytes: int
    readings: int
    cpu_seconds_per_reading: float
    cpu_share: float
    """Of one core, at a reading every INTERVAL_SECONDS."""


class Count:
    """How many readings a subject has made."""

    def __init__(self) -> None:
        self.readings = 0


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(["cc", "-shared", "-fPIC", "-o", f"{folder}/libnvidia-ml.so.1", MOCK], check=True)
        token = Path(folder, "token")
        token.write_text("t0ken")
        compiled = environment(folder) | {"PYTHONPYCACHEPREFIX": f"{folder}/bytecode"}
        compiled.pop("PYTHONDONTWRITEBYTECODE", None)
        plain = environment(folder) | {"PYTHONDONTWRITEBYTECODE": "1", "PYTHONPYCACHEPREFIX": f"{folder}/none"}
        subjects: dict[str, Callable[[], Cost]] = {
            "nvml_calls": lambda: looped(FLOOR, compiled),
            "ours": lambda: ours(token, compiled),
            "ours_with_metrics": lambda: ours(token, compiled, metrics=True),
            "ours_without_bytecode": lambda: ours(token, plain),
            "nvitop": lambda: looped(NVITOP, compiled),
            "gpustat": lambda: looped(GPUSTAT, compiled),
        }
        costs = {}
        for program in (FLOOR, NVITOP, GPUSTAT):
            subprocess.run([sys.executable, "-c", program], env=compiled, check=True)  # leaves its bytecode
        ours(token, compiled, metrics=True, readings=1)  # likewise
        for name, measure in subjects.items():
            costs[name] = measure()
            print(f"{name}: {asdict(costs[name])}", flush=True)
    beyond = costs["ours"].cpu_share - costs["nvml_calls"].cpu_share
    result = {
        "name": "footprint",
        "command": "python -m benchmarks.footprint",
        "machine": machine(),
        "cards": CARDS,
        "interval_seconds": INTERVAL_SECONDS,
        "versions": {name: version(name) for name in ("nvitop", "gpustat", "nvidia-ml-py")},
        "costs": {
            name: asdict(cost)
            | {"rss_mb": cost.rss_bytes / 1e6, "pss_mb": cost.pss_bytes / 1e6}
            | {"cpu_milliseconds_per_reading": cost.cpu_seconds_per_reading * 1e3}
            for name, cost in costs.items()
        },
        "cpu_percent_beyond_nvml": beyond * 100,
        "checks": [
            {"what": "resident bytes, RSS of agent and child", "found": costs["ours"].rss_bytes, "bound": MAX_RESIDENT_BYTES},
            {"what": "share of a core beyond the NVML calls", "found": beyond, "bound": MAX_CPU_SHARE},
        ],
    }
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "footprint.json").write_text(json.dumps(result, indent=2) + "\n")


def environment(library: str) -> dict[str, str]:
    return dict(os.environ) | LIGHT | {"LD_LIBRARY_PATH": library, "MOCK_NVML_CARDS": str(CARDS)}


def ours(token: Path, env: Mapping[str, str], *, metrics: bool = False, readings: int = READINGS) -> Cost:
    """With `metrics` also what it answers at a port, and Prometheus as its client (nobody asks it here)."""
    with city() as (url, count):
        port = free_port() if metrics else None
        order = Order(url, str(token), "bench", "boot", "0", 0, probe_host="127.0.0.1", probe_port=port)
        with subprocess.Popen(
            [sys.executable, "-m", "agents.node.loop", json.dumps(asdict(order))], env=env, stderr=subprocess.DEVNULL
        ) as process:
            return cost(process, count, readings)


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def looped(program: str, env: Mapping[str, str]) -> Cost:
    count = Count()
    command = [sys.executable, "-c", program + EVERY_SECOND]
    with subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:

        def follow() -> None:
            for _ in process.stdout or ():
                count.readings += 1

        Thread(target=follow, daemon=True).start()
        return cost(process, count)


def cost(process: subprocess.Popen[Any], count: Count, readings: int = READINGS) -> Cost:
    """Of a subject that has just been started; it is ended. Raises RuntimeError where it ends by itself."""
    try:
        wait(process, count, SETTLE_READINGS)
        began, first = cpu_seconds(process.pid), count.readings
        wait(process, count, first + readings)
        spent, made = cpu_seconds(process.pid) - began, count.readings - first
        family = processes(process.pid)
        memory = [each.memory_full_info() for each in family]
        each_reading = spent / made
        return Cost(
            processes=len(family),
            rss_bytes=sum(info.rss for info in memory),
            pss_bytes=sum(info.pss for info in memory),
            readings=made,
            cpu_seconds_per_reading=each_reading,
            cpu_share=each_reading / INTERVAL_SECONDS,
        )
    finally:
        process.terminate()


def wait(process: subprocess.Popen[Any], count: Count, readings: int) -> None:
    while count.readings < readings:
        if process.poll() is not None:
            raise RuntimeError(f"a subject ended by itself with status {process.returncode}")
        time.sleep(0.05)


def processes(pid: int) -> list[psutil.Process]:
    process = psutil.Process(pid)
    return [process, *process.children(recursive=True)]


def cpu_seconds(pid: int) -> float:
    return sum(times.user + times.system for times in (process.cpu_times() for process in processes(pid)))


@contextmanager
def city() -> Iterator[tuple[str, Count]]:
    """A server that takes every report and wants the next in a second."""
    count, answer = Count(), b'{"next_report_seconds": 1}'

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            report = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            if len(report["accelerators"]) != CARDS:
                raise RuntimeError(f"the agent reports {len(report['accelerators'])} cards: {report['probes']}")
            self.send_response(202)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)
            count.readings += 1

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", count
        server.shutdown()


if __name__ == "__main__":
    main()
