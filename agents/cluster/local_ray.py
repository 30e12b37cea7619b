"""A Ray of our own on this machine, for the embedded city: one head node, everything in one folder, loopback only.

`ray start --head --block` is not left alone with its dozen processes: a keeper (`agents.cluster.keeper`) runs it and kills
all of them when we stop or die. `ray stop` is never called: it would end other people's Ray on the machine.
"""

import importlib.util
import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from threading import Event
from types import TracebackType
from typing import IO, Self

import httpx

from agents.cluster import keeper
from agents.cluster.files import FolderInUseError, hold, write_atomically

READY_SECONDS = 90.0
STOP_SECONDS = 15.0
FREE_SECONDS = 10.0
ATTEMPTS = 2
POLL_SECONDS = 0.1
OBJECT_STORE_BYTES = 100 * 2**20

MOST_SOCKET_PATH_BYTES = 107
SESSION_SOCKET_BYTES = len("/session_2026-01-01_00-00-00_000000_1234567/sockets/plasma_store.1")
"""What Ray appends to its folder to name a socket, whose path the kernel limits to MOST_SOCKET_PATH_BYTES."""

KEPT_VARIABLES = ("HOME", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "TZ", "USER")
KEPT_PREFIXES = ("ASCEND_", "CUDA_", "NVIDIA_")
"""What of our environment Ray and so the tenants' programs get to see: no credential that happens to stand there."""


class LocalRayError(Exception):
    """Ray cannot be started here; the message says why and what to do, in one line."""


class LocalRay:
    """A running Ray head: `address` is its Jobs API, `token` opens it. A context manager; leaving it ends every process."""

    def __init__(self, folder: Path, *, node_name: str, num_cpus: int, memory_bytes: int, stop: Event) -> None:
        """Starts it and returns when it takes jobs, after some 5 s on an idle machine. What was in `folder` before is removed.

        `node_name` is what the city calls this machine, and so what Ray must; `memory_bytes` is what the city knows it to have.
        Once `stop` is set it is no longer waited for. Raises LocalRayError, and OSError when the folder cannot be written.
        """
        if importlib.util.find_spec("ray") is None:
            raise LocalRayError("Ray is not installed: install suanwang[embedded], or give --ray-address of a running Ray")
        self._stop = stop
        self._node_name = node_name
        self._memory_bytes = memory_bytes
        self._lock = _hold_when_free(folder, stop)
        self._folder_handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        self._keeper: subprocess.Popen[bytes] | None = None
        try:
            folder.chmod(0o700)  # Ray makes its folders writable for everyone
            for name in ("ray", "tmp"):
                shutil.rmtree(folder / name, ignore_errors=True)
                (folder / name).mkdir()
            self.token = secrets.token_urlsafe(32)
            self.token_file = folder / "token"
            write_atomically(self.token_file, self.token.encode(), mode=0o600)
            self._folder = folder
            self._start(num_cpus)
        except BaseException:
            self.close()
            raise

    def is_running(self) -> bool:
        return self._keeper is not None and self._keeper.poll() is None

    def close(self) -> None:
        """Ends every process of this Ray, its jobs too, and returns when they are gone (well under a second)."""
        if self._keeper is not None:
            self._stop_keeper(self._keeper)
            self._keeper = None
        for handle in (self._folder_handle, self._lock):
            if handle >= 0:
                os.close(handle)
        self._folder_handle = self._lock = -1

    def _start(self, num_cpus: int) -> None:
        """Free ports are found by asking for them, and may be gone a second later: then once more with others."""
        for attempt in range(1, ATTEMPTS + 1):
            port, client_port = _free_ports(2)
            self.address = f"http://127.0.0.1:{port}"
            with (self._folder / "ray.log").open("wb") as output:
                self._keeper = self._spawn(num_cpus, port, client_port, output)
            if self._wait_until_ready():
                return
            self._stop_keeper(self._keeper)
            if attempt == ATTEMPTS:
                raise LocalRayError(f"Ray did not start: {_complaint(self._folder / 'ray.log')} (see {self._folder / 'ray.log'})")

    def _spawn(self, num_cpus: int, port: int, client_port: int, output: IO[bytes]) -> subprocess.Popen[bytes]:
        root = self._short_root()
        ray = [
            sys.executable,
            "-m",
            "ray.scripts.scripts",
            "start",
            "--head",
            "--block",
            "--disable-usage-stats",
            "--log-color=false",
        ]
        ray += [
            f"--node-name={self._node_name}",
            "--node-ip-address=127.0.0.1",
            "--port=0",
            "--min-worker-port=0",
            "--max-worker-port=0",
        ]
        ray += ["--dashboard-agent-listen-port=0", f"--ray-client-server-port={client_port}"]
        ray += ["--include-dashboard=true", "--dashboard-host=127.0.0.1", f"--dashboard-port={port}"]
        ray += [
            f"--num-cpus={num_cpus}",
            f"--memory={self._memory_bytes}",
            f"--object-store-memory={OBJECT_STORE_BYTES}",
            f"--temp-dir={root / 'ray'}",
        ]
        # No autoscaler and no log monitor: one node, and logs are read from their files. Both only cost time and memory.
        ray += ["--no-monitor", "--include-log-monitor=false"]
        return subprocess.Popen(
            [sys.executable, "-P", keeper.__file__, *ray],
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=self._folder / "tmp",
            env=_environment(os.environ, root, self.token_file.absolute()),
            pass_fds=[self._lock],
            start_new_session=True,
        )

    def _short_root(self) -> Path:
        """The folder by a name short enough for sockets: itself, or our open handle on it, which /proc shows to our children."""
        folder = self._folder.absolute()
        if len(os.fsencode(folder / "ray")) + SESSION_SOCKET_BYTES <= MOST_SOCKET_PATH_BYTES:
            return folder
        short = Path(f"/proc/{os.getpid()}/fd/{self._folder_handle}")
        if not short.is_dir():
            raise LocalRayError(f"{folder} is too long a path for Ray's sockets: choose a shorter --data")
        return short

    def _wait_until_ready(self) -> bool:
        """Whether Ray takes jobs, or need not any more; False once it has ended. Raises LocalRayError at the deadline.

        The Jobs API answers a second before there is a node to run a job, and also when that node failed to start.
        """
        deadline = time.monotonic() + READY_SECONDS
        headers = {"Authorization": f"Bearer {self.token}"}
        with httpx.Client(base_url=self.address, headers=headers, timeout=2.0, trust_env=False) as http:
            while self.is_running():
                try:
                    nodes = http.get("/api/v0/nodes")
                    if nodes.is_success and '"ALIVE"' in nodes.text:
                        return True
                except httpx.TransportError:
                    pass
                if time.monotonic() > deadline:
                    raise LocalRayError(f"Ray did not get ready in {READY_SECONDS:.0f} s (see {self._folder / 'ray.log'})")
                if self._stop.wait(POLL_SECONDS):
                    return True
        return False

    def _stop_keeper(self, process: subprocess.Popen[bytes]) -> None:
        if process.stdin is not None:
            process.stdin.close()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


def _environment(ours: Mapping[str, str], root: Path, token_file: Path) -> dict[str, str]:
    """Ray's environment: no RAY_ variable of ours (RAY_ADDRESS would lead it elsewhere), and our Python first on its path."""
    kept = {name: value for name, value in ours.items() if name in KEPT_VARIABLES or name.startswith(KEPT_PREFIXES)}
    return kept | {
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), ours.get("PATH", os.defpath)]),
        "TMPDIR": str(root / "tmp"),
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(token_file),
        "RAY_USAGE_STATS_ENABLED": "0",
        # Meant for laptops: without a cluster in mind Ray keeps 127.0.0.1 as its address, and every port of it on loopback.
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
        "RAY_enable_metrics_collection": "0",
        "DASHBOARD_METRIC_PORT": "0",
        # A job Ray has no room for cannot be stopped until it is given up, so give it up soon.
        "RAY_JOB_START_TIMEOUT_SECONDS": "60",
    }


def _hold_when_free(folder: Path, stop: Event) -> int:
    """The folder's lock; the keeper of an owner that was killed lets go of it when the last of its family is dead."""
    deadline = time.monotonic() + FREE_SECONDS
    while True:
        try:
            return hold(folder)
        except FolderInUseError as error:
            if stop.wait(POLL_SECONDS) or time.monotonic() > deadline:
                raise LocalRayError(str(error)) from error


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()


def _complaint(path: Path) -> str:
    """The last line that names an error, else the last one."""
    lines = path.read_text("utf-8", errors="replace").strip().splitlines() or ["it said nothing"]
    return next((line for line in reversed(lines) if "Error: " in line), lines[-1])
