"""The processes of an embedded city: started, restarted when they die, and all of them stopped at the end.

They stay in our process group, so Ctrl-C and a signal to the group reach each; and the kernel ends each when we die, however.
"""

import ctypes
import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

STOP_SECONDS = 20.0
MAX_RESTARTS = 20
_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None, use_errno=True)


@dataclass
class Child:
    """One process of the city and how to start it again."""

    name: str
    command: Sequence[str]
    environment: Mapping[str, str]
    log: Path
    process: subprocess.Popen[bytes]
    restarts: int = 0


class Children:
    """Every process of a city, in order of start."""

    def __init__(self, logs: Path) -> None:
        self._logs = logs
        self._children: dict[str, Child] = {}

    def start(self, name: str, command: Sequence[str], environment: Mapping[str, str] | None = None) -> Child:
        log = self._logs / f"{name}.log"
        child = Child(name, command, environment or {}, log, _spawn(command, environment or {}, log))
        self._children[name] = child
        return child

    def restart_dead(self) -> list[str]:
        """Start again whoever has died, each at most `MAX_RESTARTS` times. Returns their names."""
        dead = [child for child in self._children.values() if child.process.poll() is not None and child.restarts < MAX_RESTARTS]
        for child in dead:
            child.process = _spawn(child.command, child.environment, child.log)
            child.restarts += 1
        return [child.name for child in dead]

    def given_up(self) -> list[Child]:
        """Who has died for good."""
        return [child for child in self._children.values() if child.process.poll() is not None and child.restarts >= MAX_RESTARTS]

    def __getitem__(self, name: str) -> Child:
        return self._children[name]

    def stop(self) -> None:
        """Ask everyone to stop, last started first, and kill who has not within `STOP_SECONDS`."""
        deadline = time.monotonic() + STOP_SECONDS
        running = [child.process for child in reversed(self._children.values()) if child.process.poll() is None]
        for process in running:
            process.terminate()
        for process in running:
            try:
                process.wait(max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._children.clear()


def last_words(log: Path, lines: int = 3) -> str:
    """The end of a process's log, for a message about its death."""
    try:
        return " | ".join(log.read_text("utf-8", "replace").strip().splitlines()[-lines:])
    except OSError:
        return "no log"


def _spawn(command: Sequence[str], environment: Mapping[str, str], log: Path) -> subprocess.Popen[bytes]:
    with log.open("ab") as output:
        return subprocess.Popen(
            list(command),
            env={**os.environ, **environment},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            preexec_fn=_die_with_parent,  # noqa: PLW1509 - started from the main thread, before any lock could be held
        )


def _die_with_parent() -> None:
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
