"""Keeps a family of processes from outliving its owner: `python -P keeper.py COMMAND ARGUMENT...`.

The keeper runs the command and waits until its own standard input ends, which the kernel sees to however its owner dies, or
until it is asked to stop, or until the command ends. Then it kills every descendant. It is a "child subreaper": processes
whose parent died, in whatever session or process group they put themselves, become its children, so none gets lost. Linux only.
"""

import ctypes
import os
import select
import signal
import subprocess
import sys
from types import FrameType

import psutil

POLL_SECONDS = 0.2
PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36


class _AskedToStopError(Exception):
    pass


def main(command: list[str]) -> int:
    """Runs until the family is to end, and returns 0 if that was wished, 1 if the command ended by itself."""
    signal.signal(signal.SIGTERM, _ask_to_stop)
    signal.signal(signal.SIGINT, _ask_to_stop)
    _prctl(PR_SET_CHILD_SUBREAPER, 1)
    try:
        # preexec_fn is unsafe beside other threads only, and here are none.
        child = subprocess.Popen(command, stdin=subprocess.DEVNULL, preexec_fn=_die_with_keeper)  # noqa: PLW1509
        ended = _wait(child.pid)
    except _AskedToStopError:
        ended = False
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _kill_family()
    return 1 if ended else 0


def _wait(child: int) -> bool:
    """Whether the command ended by itself, rather than the owner."""
    while True:
        readable, _, _ = select.select([sys.stdin.fileno()], [], [], POLL_SECONDS)
        if readable and not os.read(sys.stdin.fileno(), 1):
            return False
        if _reap(child):
            return True


def _reap(child: int) -> bool:
    """Buries the dead; whether `child` was among them."""
    among = False
    while True:
        try:
            pid, _ = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return True
        if pid == 0:
            return among
        among = among or pid == child


def _kill_family() -> None:
    """Again and again, since a process may fork while its siblings are being killed."""
    me = psutil.Process()
    while family := me.children(recursive=True):
        for process in family:
            try:
                process.kill()
            except psutil.NoSuchProcess:
                continue
        psutil.wait_procs(family, timeout=POLL_SECONDS)
        _reap(0)


def _die_with_keeper() -> None:
    """In the child: should even the keeper be killed, the command goes with it, and Ray ties its own processes to that."""
    _prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def _prctl(option: int, value: int) -> None:
    if ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def _ask_to_stop(_signal: int, _frame: FrameType | None) -> None:
    raise _AskedToStopError


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
