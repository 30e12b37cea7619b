"""Hands the kept logs of runs that have ended to a command of the operator's, which puts them into an object store or elsewhere.

As PostgreSQL's `archive_command` does: the command is run once for each log, and again until it ends with 0. One log at a time is
put together in a file, from what the launcher still has, and the command runs beside the loop. What is to be archived is noted on
disk when a run is launched, so a restart forgets none; a run's logs are kept in its cluster until they are archived or given up.
"""

import json
import logging
import shlex
import subprocess
from collections.abc import Callable, Container, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Thread

from prometheus_client import CollectorRegistry, Counter

from agents.cluster.files import write_atomically
from agents.cluster.launcher import Launcher
from agents.cluster.reconcile import RunKey
from scheduler.contract.sync import RUN_FINAL, DesiredRun, ObservedRun

COMMAND_SECONDS = 600.0
"""A command that takes longer is ended and counts as failed."""

READ_BYTES = 2**20
"""Of a log that is put together, in one round of the loop."""

MOST_LOG_BYTES = 256 * 2**20
"""Of one log; what is beyond is left out."""

MOST_WAITING = 1_000
"""Runs whose logs wait; of more, those that ended first are given up."""

MOST_TRIES = 100
"""Of one log, over which the pauses have grown to ten minutes: three quarters of a day."""

MOST_PAUSE_SECONDS = 600.0
TEXT_LENGTH = 500

PLACES = frozenset("pjatr%")
"""What may come after a `%` in the command: path, job, attempt, token, rank, and a plain `%`."""

log = logging.getLogger(__name__)

Execute = Callable[[list[str]], str | None]
"""Runs a command; None, or what went wrong."""


class ArchiveMetrics:
    """How many logs were archived, how often the command failed, and how many logs were given up."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.archived = Counter("suanwang_logs_archived", "Logs handed over.", registry=registry)
        self.failures = Counter("suanwang_log_archive_failures", "Times the command failed.", registry=registry)
        self.given_up = Counter("suanwang_logs_not_archived", "Logs given up.", registry=registry)


def parse_command(text: str) -> list[str]:
    """The arguments of a command: split as a shell would, and run without one. Raises ValueError saying what is allowed."""
    try:
        arguments = shlex.split(text)
    except ValueError as error:
        raise ValueError(f"--log-archive: {error}") from error
    placed = {argument[at + 1 : at + 2] for argument in arguments for at in _percents(argument)}
    if not arguments or not placed <= PLACES or "p" not in placed:
        raise ValueError("--log-archive: a command with %p in it is needed; %j %a %t %r and %% are allowed beside it")
    return arguments


def filled(arguments: list[str], values: Mapping[str, str]) -> list[str]:
    """The arguments with their places filled. A value is never split and starts no option: it stands where its `%` stood."""
    return ["".join(_parts(argument, {**values, "%": "%"})) for argument in arguments]


def execute(arguments: list[str]) -> str | None:
    """Run it without a shell, input or terminal, and end it in time."""
    try:
        done = subprocess.run(arguments, stdin=subprocess.DEVNULL, capture_output=True, timeout=COMMAND_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        return f"it took longer than {COMMAND_SECONDS:.0f} s"
    except OSError as error:
        return f"{arguments[0]}: {error.strerror}"
    said = done.stderr.decode("utf-8", "replace").strip()[-TEXT_LENGTH:]
    return None if done.returncode == 0 else f"exit code {done.returncode}{f': {said}' if said else ''}"


@dataclass(slots=True)
class _Task:
    """The log that is being archived now. `until`: before it, nothing is tried again."""

    key: RunKey
    rank: int
    offset: int = 0
    written: int = 0
    ready: bool = False
    tries: int = 0
    until: float = 0.0


class Archive:
    """For one loop. `folder` is its own: a file for each run that is to be archived, and the log that is at hand."""

    def __init__(
        self,
        arguments: list[str],
        launcher: Launcher,
        folder: Path,
        metrics: ArchiveMetrics,
        wake: Event,
        execute: Execute = execute,
    ) -> None:
        self._arguments = arguments
        self._launcher = launcher
        self._folder = folder
        self._metrics = metrics
        self._wake = wake
        self._execute = execute
        self._task: _Task | None = None
        self._running: Thread | None = None
        self._outcome: str | None = None
        folder.mkdir(parents=True, exist_ok=True)

    def expect(self, run: DesiredRun) -> None:
        """A run is about to be launched: its logs are wanted once it has ended. Raises OSError."""
        if self.is_done((run.attempt, run.fencing_token)):
            self._write_note((run.attempt, run.fencing_token), run.job, 0)

    def drop(self, key: RunKey) -> None:
        """It was not launched: there is nothing to archive."""
        self._note(key).unlink(missing_ok=True)

    def keep_only(self, keys: Container[RunKey]) -> None:
        """Runs that are neither there nor wanted any more have no logs to be had: what was deleted by hand is given up."""
        for path in self._folder.glob("*.json"):
            attempt, _, token = path.stem.rpartition(".")
            if (attempt, int(token)) not in keys:
                self._give_up((attempt, int(token)), 1, "its run is no longer there")

    def is_done(self, key: RunKey) -> bool:
        """Whether nothing of a run waits to be archived."""
        return not self._note(key).exists()

    def step(self, observed: list[ObservedRun], now: float) -> None:
        """One bounded piece of work; never waits for the command. Raises OSError, and what a launcher raises."""
        if self._running is not None:
            if self._running.is_alive():
                return
            self._running = None
            self._conclude(now)
        waiting = [run for run in observed if run.state in RUN_FINAL and not self.is_done((run.attempt, run.fencing_token))]
        waiting.sort(key=lambda run: (str(run.finished_at), run.attempt))
        for run in waiting[: max(0, len(waiting) - MOST_WAITING)]:
            self._give_up((run.attempt, run.fencing_token), run.ranks, "too many runs wait")
        task = self._current(waiting[-MOST_WAITING:])
        if task is None or now < task.until:
            return
        if not task.ready:
            self._put_together(task)
        if task.ready:
            self._hand_over(task)

    def _current(self, waiting: list[ObservedRun]) -> _Task | None:
        ranks = {(run.attempt, run.fencing_token): run.ranks for run in waiting}
        if self._task is not None and self._task.key not in ranks:
            self._task = None
        if self._task is None and waiting:
            key = next(iter(ranks))
            _, rank = self._noted(key)
            self._task = _Task(key, rank)
            self._file.unlink(missing_ok=True)
        if self._task is not None and self._task.rank >= ranks[self._task.key]:
            self._note(self._task.key).unlink()
            self._task = None
        return self._task

    def _put_together(self, task: _Task) -> None:
        """The next part of the log; what is no longer kept is left out."""
        piece = self._launcher.read_log(*task.key, rank=task.rank, offset=task.offset, max_bytes=READ_BYTES)
        with self._file.open("ab") as file:
            file.truncate(task.written)  # a disk that was full may have taken a part of this piece already
            file.write(piece.data)
        task.offset, task.written = piece.start + len(piece.data), task.written + len(piece.data)
        task.ready = (not piece.data and not piece.waits) or task.written >= MOST_LOG_BYTES

    def _hand_over(self, task: _Task) -> None:
        job, _ = self._noted(task.key)
        attempt, token = task.key
        values = {"p": str(self._file), "j": job, "a": attempt, "t": str(token), "r": str(task.rank)}
        command = filled(self._arguments, values)

        def run() -> None:
            self._outcome = self._execute(command)
            self._wake.set()

        task.tries += 1
        self._running = Thread(target=run, name="log-archive", daemon=True)
        self._running.start()

    def _conclude(self, now: float) -> None:
        task, trouble = self._task, self._outcome
        if task is None:
            return
        if trouble is None:
            self._metrics.archived.inc()
            self._go_on(task)
            return
        self._metrics.failures.inc()
        log.warning("archiving the log of %s (rank %d) failed, try %d: %s", task.key[0], task.rank, task.tries, trouble)
        task.until = now + min(2.0 ** min(task.tries, 10), MOST_PAUSE_SECONDS)
        if task.tries >= MOST_TRIES:
            self._metrics.given_up.inc()
            log.error("the log of %s (rank %d) is not archived: given up after %d tries", task.key[0], task.rank, task.tries)
            self._go_on(task)

    def _go_on(self, task: _Task) -> None:
        """The next rank of the same run, or, when it has no more, the next run."""
        job, _ = self._noted(task.key)
        self._write_note(task.key, job, task.rank + 1)
        self._file.unlink(missing_ok=True)
        self._task = _Task(task.key, task.rank + 1)

    def _give_up(self, key: RunKey, ranks: int, why: str) -> None:
        log.error("the logs of %s are not archived: %s", key[0], why)
        self._metrics.given_up.inc(ranks)
        self._note(key).unlink()

    def _noted(self, key: RunKey) -> tuple[str, int]:
        """The job of a run, and the first of its ranks that is not archived yet."""
        found = json.loads(self._note(key).read_bytes())
        return str(found["job"]), int(found["next_rank"])

    def _write_note(self, key: RunKey, job: str, next_rank: int) -> None:
        write_atomically(self._note(key), json.dumps({"job": job, "next_rank": next_rank}).encode())

    def _note(self, key: RunKey) -> Path:
        return self._folder / f"{key[0]}.{key[1]}.json"

    @property
    def _file(self) -> Path:
        return self._folder / "current.log"


def _percents(argument: str) -> Iterator[int]:
    at = argument.find("%")
    while at >= 0:
        yield at
        at = argument.find("%", at + 2)


def _parts(argument: str, values: Mapping[str, str]) -> Iterator[str]:
    before = 0
    for at in _percents(argument):
        yield argument[before:at]
        yield values[argument[at + 1]]
        before = at + 2
    yield argument[before:]
