"""A real embedded city for the tests: `suanwang up` as a process, in a folder of its own."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event
from typing import Any

import psutil

from api.cli.folder import Folder
from api.client import Client

START_SECONDS = 90.0
STEP_SECONDS = 60.0
_CLOCK = Event()


class UpCity:
    """A running `suanwang up`, and ways to look at it and to hurt it."""

    def __init__(self, process: subprocess.Popen[bytes], folder: Folder) -> None:
        self.process = process
        self.folder = folder

    def client(self, token: str) -> Client:
        return Client(self.folder.url(), self.folder.token(token))

    def family(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children(recursive=True)

    def part(self, name: str) -> psutil.Process:
        """The process of one part, by a word of its command line."""
        return next(process for process in self.family() if name in process.cmdline())

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return suanwang(*arguments, "--data", str(self.folder.root))

    def json(self, *arguments: str) -> Any:
        result = self.run(*arguments)
        assert result.returncode == 0, result.stderr
        return json.loads(result.stdout)


@contextmanager
def up(root: Path) -> Iterator[UpCity]:
    """A city that is up; interrupted at the end if it still runs."""
    command = [sys.executable, "-m", "api.cli.main", "up", "--data", str(root), "--port", "0"]
    with (root.parent / f"{root.name}.out").open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, start_new_session=True)
    try:
        wait(lambda: b"Ctrl-C stops it" in Path(output.name).read_bytes() or process.poll() is not None, START_SECONDS)
        assert process.poll() is None, Path(output.name).read_text()
        yield UpCity(process, Folder(root))
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGINT)
            process.wait(30)


def suanwang(*arguments: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "api.cli.main", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, **(env or {})},
    )


def wait(until: Callable[[], object], seconds: float = STEP_SECONDS) -> None:
    """Poll a real process until something holds; fails the test when it does not in time."""
    deadline = time.monotonic() + seconds
    while not until():
        assert time.monotonic() < deadline, "not in time"
        _CLOCK.wait(0.1)


def gone(processes: list[psutil.Process], seconds: float = 20.0) -> bool:
    """Whether every one of some processes has ended."""
    _, alive = psutil.wait_procs(processes, timeout=seconds)
    return not [process for process in alive if process.status() != psutil.STATUS_ZOMBIE]
