"""A probe of a C library, run in a child process: a library that hangs is killed, and one that crashes takes no agent with it.

The child is this module, `python -m agents.node.probes.child FACTORY LIBRARY`. It answers each line it is sent with one line
of JSON, and lives on between calls, so that the library stays initialised. What the library itself prints is thrown away.
"""

import ctypes
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict
from importlib import import_module
from threading import Event, Timer
from typing import IO, Any, cast

from agents.node.probes.probe import Device, Instance, Partition, Probe, Process, Reading, Sensors
from scheduler.domain.hardware import Health

DEADLINE_SECONDS = 30.0
"""For one answer; then the child is killed and another one is tried. The watch, whose deadline is shorter, has reported it by then
and gone on; but starting NVML takes many seconds on a node of eight cards without persistence mode, and must not be cut short."""
ENDING_SECONDS = 0.2
"""How long a child that gave no answer may take to end by itself, so that what is reported is its own end."""
MAX_ANSWER_BYTES = 2**20


class ChildError(RuntimeError):
    """The child hung, died or raised; its own words are in the message."""


class ChildProbe:
    """The probe that `factory` (`module:function`) makes of a library, in a child of its own.

    `libraries` in order of preference: names for the loader, or paths where vendors install them. None that can be loaded is
    an empty reading, and starts no child.
    """

    def __init__(self, name: str, factory: str, libraries: Sequence[str], deadline_seconds: float = DEADLINE_SECONDS) -> None:
        self.name = name
        self._factory, self._libraries, self._deadline_seconds = factory, libraries, deadline_seconds
        self._child: subprocess.Popen[bytes] | None = None

    def probe(self) -> Reading:
        """Raises ChildError."""
        if self._child is None:
            library = self._found()
            if library is None:
                return Reading()
            self._child = _start(self._factory, library)
        answer = self._answer(self._child)
        if "raised" in answer:
            raise ChildError(answer["raised"])
        return _reading(answer)

    def is_there(self) -> bool:
        """Whether there is a library to be asked."""
        return self._child is not None or self._found() is not None

    def _found(self) -> str | None:
        return next(filter(_loads, self._libraries), None)

    def _answer(self, child: subprocess.Popen[bytes]) -> Any:
        asks, answers = cast(IO[bytes], child.stdin), cast(IO[bytes], child.stdout)
        expired = Event()

        def cut_off() -> None:
            expired.set()
            child.kill()

        timer = Timer(self._deadline_seconds, cut_off)
        timer.start()
        try:
            asks.write(b"\n")
            asks.flush()
            return json.loads(answers.readline(MAX_ANSWER_BYTES))
        except (OSError, ValueError) as error:
            self._child = None
            for pipe in (asks, answers):
                with suppress(OSError):
                    pipe.close()
            with suppress(subprocess.TimeoutExpired):
                child.wait(ENDING_SECONDS)
            child.kill()
            status = child.wait()
            raise ChildError(f"the library {_end(status, expired.is_set())}") from error
        finally:
            timer.cancel()


def _loads(library: str) -> bool:
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True


def _end(status: int, expired: bool) -> str:
    if expired:
        return "did not answer in time, and its process was killed"
    return (
        f"crashed: its process died of {signal.Signals(-status).name}" if status < 0 else f"ended its process with status {status}"
    )


def _start(factory: str, library: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", __name__, factory, library]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)


def _reading(answer: Any) -> Reading:
    """The reading that `asdict` took apart."""
    return Reading(**answer | {"devices": tuple(map(_device, answer["devices"]))})


def _device(said: Any) -> Device:
    mig = said["mig"] and Partition(said["mig"]["slices"], tuple(Instance(**instance) for instance in said["mig"]["instances"]))
    processes = said["sensors"]["processes"]
    told = {"processes": None if processes is None else tuple(Process(**each) for each in processes)}
    whole = {"mig": mig, "sensors": Sensors(**said["sensors"] | told), "health": Health(said["health"])}
    return Device(**said | whole | {"health_reasons": tuple(said["health_reasons"])})


def _serve(factory: str, library: str) -> None:
    """Answers until nobody asks any more; what is written to the usual output never mixes with the answers."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    module, _, function = factory.partition(":")
    make: Callable[[str], Probe] = getattr(import_module(module), function)
    probe = make(library)
    for _ in sys.stdin:
        try:
            answer = asdict(probe.probe())
        except Exception as error:
            answer = {"raised": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the agent decides when to stop, and closes our input then
    _serve(*sys.argv[1:])
