"""Runs one rank: its program in a session of its own, what it prints in a bounded log, and nothing left of it when it is over.

- The log is a row of files of SEGMENT_BYTES each under Ray's own log folder, where Ray's API reads them; the oldest are dropped.
- On SIGTERM the program has its grace, then it is killed. Ray signals a job's whole tree and so the program itself; where nobody
  does (`owned`), we pass the signal on. `owned` also means that the end of our standard input is the end of our owner.
- Of cards that Ray only counts, ranks on a node share out which are whose.
- Processes the program left behind are killed with it: they would hold the cards. A guard kills them should we be killed.
"""

from __future__ import annotations

import ctypes
import fcntl
import json
import os
import selectors
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path
from typing import Any, NoReturn

FOLDER = "suanwang"
SEGMENT_BYTES = 262_144
SEGMENTS = 64
"""How much of a rank's log is kept: the last 16 MiB."""
KEPT_LOGS = 128
"""How many ranks' logs a node keeps, 2 GiB of them at most."""

READ_BYTES = 65_536
DRAIN_SECONDS = 2.0
"""How long what is still in the pipe is read after the program and all it started are gone."""
ORPHAN_POLL_SECONDS = 0.01
CARDS_SECONDS = 10.0
"""For ranks that Ray takes to have ended to let go of their cards."""
CARDS_POLL_SECONDS = 0.1
CANNOT_START = 127
PR_SET_CHILD_SUBREAPER = 36


def main(spec: dict[str, Any]) -> int:
    """Runs `spec["program"]` with `spec["variables"]` beside our own, and returns its exit code."""
    asked: list[int] = []
    wakes = _wake_on_signals(asked)
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    root = Path(spec.get("logs") or output_folder()) / FOLDER
    make_room(root)
    log = Log(root / spec["folder"])
    killed_before = oom_kills()
    try:
        variables = {**filled(spec["variables"], {spec["port_mark"]: str(free_port())}), **cards_of_its_own(root, spec["cards"])}
    except NoCardsError as error:
        say(spec["attempt"], ended={"cause": "not_placed", "detail": str(error)})
        return 1
    if asked:
        return 128 + signal.SIGTERM
    try:
        program = subprocess.Popen(
            spec["program"],
            env={**os.environ, **variables},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    except (OSError, ValueError) as error:
        why = f"{spec['program'][0]}: {getattr(error, 'strerror', None) or error}"
        say(spec["attempt"], ended={"exit_code": CANNOT_START, "cause": "launch_refused", "detail": f"cannot be started: {why}"})
        return CANNOT_START
    guard = Guard(program.pid)
    say(spec["attempt"], began=time.time())
    watch = Watch(program, log, guard, wakes, asked, owned=spec["owned"], grace_seconds=spec["grace_seconds"])
    code = watch.run()
    ended: dict[str, Any] = {"exit_code": code}
    if code == 128 + signal.SIGKILL and not watch.killed and oom_kills() > killed_before:
        ended["cause"] = "out_of_memory"
    say(spec["attempt"], ended=ended)
    guard.dismiss()
    return code


def filled(variables: dict[str, str], known: dict[str, str]) -> dict[str, str]:
    """The variables with the marks replaced that were left where only a node knows the value."""
    return {name: known.get(value, value) for name, value in variables.items()}


def free_port() -> int:
    """One that was free a moment ago."""
    with socket.socket() as one:
        one.bind(("", 0))
        return int(one.getsockname()[1])


class NoCardsError(Exception):
    """Ray has set cards aside for us, and yet others still hold them."""


def cards_of_its_own(root: Path, cards: dict[str, Any] | None) -> dict[str, str]:
    """The variable that says which of its node's cards a program sees, for cards of which Ray only keeps count.

    Each card is a lock that a rank holds as long as it runs. There are enough, because Ray counts; a rank that has just ended may
    hold its own a little longer. Raises NoCardsError.
    """
    if cards is None:
        return {}
    taken: list[str] = []
    deadline = time.monotonic() + CARDS_SECONDS
    while True:
        for number in range(cards["total"]):
            if len(taken) < cards["count"] and str(number) not in taken and _lock(root / f"{cards['resource']}-{number}"):
                taken.append(str(number))
        if len(taken) == cards["count"]:
            return {cards["variable"]: ",".join(sorted(taken, key=int))}
        if time.monotonic() > deadline:
            raise NoCardsError(f"only {len(taken)} of {cards['count']} {cards['resource']} are free, though Ray counts more")
        time.sleep(CARDS_POLL_SECONDS)


def _lock(path: Path) -> bool:
    """Whether the file is ours now, until we end."""
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        return False
    return True


def say(attempt: str, **what: Any) -> None:
    print(f"suanwang: {attempt} {json.dumps(what)}", flush=True)  # noqa: T201


def output_folder() -> str:
    """The folder of the file that our output goes to. Of a process that Ray started that is its log folder on this node."""
    return os.path.dirname(os.readlink("/proc/self/fd/1"))  # noqa: PTH115, PTH120


class Log:
    """What was written from byte n * SEGMENT_BYTES on lies in the file called n. A lock on the folder says it is in use."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._lock = os.open(folder, os.O_RDONLY)
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        self._number = -1
        self._file: Any = None
        self._next()

    def write(self, data: bytes) -> None:
        """A disk that takes no more ends the log and not the program."""
        while data and self._file is not None:
            room = SEGMENT_BYTES - self._size
            try:
                written = self._file.write(data[:room])
                self._size += written
                data = data[written:]
                if self._size == SEGMENT_BYTES:
                    self._next()
            except OSError as error:
                print(f"its log ends here: {error.strerror}", flush=True)  # noqa: T201
                self._file = None

    def _next(self) -> None:
        if self._file is not None:
            self._file.close()
        self._number += 1
        self._size = 0
        self._file = self._path(self._number).open("wb", buffering=0)
        if self._number >= SEGMENTS:
            self._path(self._number - SEGMENTS).unlink()

    def _path(self, number: int) -> Path:
        return self._folder / f"{number:08d}.log"


def make_room(root: Path) -> None:
    """Removes the logs of ended ranks, those that ended longest ago first, so that with one more there are KEPT_LOGS."""
    folders = []
    for folder in root.glob("*/*"):
        try:
            folders.append((folder.stat().st_mtime, folder))
        except OSError:
            continue
    surplus = len(folders) - KEPT_LOGS + 1
    for _, folder in sorted(folders):
        if surplus <= 0:
            return
        if not _in_use(folder):
            shutil.rmtree(folder, ignore_errors=True)
            surplus -= 1
            try:
                folder.parent.rmdir()
            except OSError:
                continue  # another rank of the run has its log there


def _in_use(folder: Path) -> bool:
    try:
        handle = os.open(folder, os.O_RDONLY)
    except OSError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return True
    else:
        return False
    finally:
        os.close(handle)


def oom_kills() -> int:
    """How many processes the kernel has killed for memory: in our control group, or on this machine where groups do not say."""
    try:
        group = Path("/proc/self/cgroup").read_text().partition("0::/")[2].partition("\n")[0]
        counts = Path("/sys/fs/cgroup", group.lstrip("/"), "memory.events").read_text()
    except OSError:
        counts = Path("/proc/vmstat").read_text()
    return sum(int(line.split()[1]) for line in counts.splitlines() if line.startswith("oom_kill "))


class Watch:
    """Waits for the program to end, reading what it prints. `killed`: whether it was we who killed it."""

    def __init__(
        self,
        program: subprocess.Popen[bytes],
        log: Log,
        guard: Guard,
        wakes: int,
        asked: list[int],
        *,
        owned: bool,
        grace_seconds: float,
    ) -> None:
        assert program.stdout is not None  # noqa: S101
        self.killed = False
        self._pid = program.pid
        self._output = program.stdout.fileno()
        self._log = log
        self._guard = guard
        self._asked = asked
        self._owned = owned
        self._grace_seconds = grace_seconds
        self._code: int | None = None
        self._stopping = False
        self._output_open = True
        self._deadline: float | None = None
        """Of the grace while the program runs, of reading what it printed afterwards."""
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._output, selectors.EVENT_READ, self._on_output)
        self._selector.register(wakes, selectors.EVENT_READ, lambda: os.read(wakes, READ_BYTES))
        if owned:
            self._selector.register(0, selectors.EVENT_READ, self._on_owner)

    def run(self) -> int:
        while self._code is None or (self._output_open and not self._is_due()):
            patience = None if self._deadline is None else max(0.0, self._deadline - time.monotonic())
            for key, _ in self._selector.select(patience):
                key.data()
            if self._asked and not self._stopping:
                self._stop()
            if self._code is None and self._is_due():
                self._kill()
            self._reap()
        return self._code

    def _on_output(self) -> None:
        data = os.read(self._output, READ_BYTES)
        self._log.write(data)
        if not data:
            self._output_open = False
            self._selector.unregister(self._output)

    def _on_owner(self) -> None:
        if not os.read(0, READ_BYTES):
            self._selector.unregister(0)
            self._deadline = time.monotonic()

    def _stop(self) -> None:
        self._stopping = True
        self._deadline = time.monotonic() + self._grace_seconds
        if self._owned:
            _signal_group(self._pid, signal.SIGTERM)

    def _kill(self) -> None:
        self.killed = True
        self._deadline = None
        _signal_group(self._pid, signal.SIGKILL)

    def _is_due(self) -> bool:
        return self._deadline is not None and time.monotonic() >= self._deadline

    def _reap(self) -> None:
        for pid, status in _dead_children():
            if pid == self._pid:
                self._code = os.WEXITSTATUS(status) if os.WIFEXITED(status) else 128 + os.WTERMSIG(status)
                self._deadline = time.monotonic() + DRAIN_SECONDS
                _signal_group(self._pid, signal.SIGKILL)
                _kill_orphans(self._guard.pid, self._deadline)


def _wake_on_signals(asked: list[int]) -> int:
    """A descriptor that can be read whenever a child has died or we were asked to stop, which `asked` then says."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    signal.set_wakeup_fd(writer)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.signal(signal.SIGTERM, lambda number, _: asked.append(number))
    signal.pthread_sigmask(signal.SIG_SETMASK, set())  # Ray blocks signals in its processes; a program expects none blocked
    return reader


class Guard:
    """A child that outlives us, however we die, to kill the program's group then, unless it was dismissed before."""

    def __init__(self, group: int) -> None:
        reader, self._writer = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            _stand_guard(reader, group)
        os.close(reader)

    def dismiss(self) -> None:
        os.write(self._writer, b".")


def _stand_guard(reader: int, group: int) -> NoReturn:
    try:
        os.setsid()
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        nowhere = os.open(os.devnull, os.O_RDWR)
        for number, handle in enumerate((reader, nowhere, nowhere)):
            os.dup2(handle, number)
        os.closerange(3, os.sysconf("SC_OPEN_MAX"))
        if not os.read(0, 1):
            _signal_group(group, signal.SIGKILL)
    finally:
        os._exit(0)


def _signal_group(group: int, number: int) -> None:
    try:
        os.killpg(group, number)
    except ProcessLookupError:
        return


def _dead_children() -> list[tuple[int, int]]:
    dead: list[tuple[int, int]] = []
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return dead
        if pid == 0:
            return dead
        dead.append((pid, status))


def _kill_orphans(spared: int, deadline: float) -> None:
    """What the program started in sessions of its own has become our child, and its children after it: kill until none is left."""
    while time.monotonic() < deadline:
        family = [pid for pid in _descendants(os.getpid()) if pid != spared]
        if not family:
            return
        for pid in family:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        time.sleep(ORPHAN_POLL_SECONDS)
        _dead_children()


def _descendants(ancestor: int) -> list[int]:
    children: dict[int, list[int]] = {}
    for entry in os.scandir("/proc"):
        if entry.name.isdigit():
            try:
                stat = Path(entry.path, "stat").read_text(errors="replace")
            except OSError:
                continue
            children.setdefault(int(stat.rpartition(")")[2].split()[1]), []).append(int(entry.name))
    found, unseen = [], [ancestor]
    while unseen:
        below = children.get(unseen.pop(), [])
        found += below
        unseen += below
    return found
