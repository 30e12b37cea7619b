"""What a launcher must do, and the three ways it may fail. A new kind of cluster is one class with these six methods.

A run is named by its attempt and its fencing token, and every launcher derives the name it uses in its cluster from the
two. So launching twice starts one program, and a restarted agent finds its runs again by asking the cluster.
"""

from dataclasses import dataclass
from typing import Protocol

from scheduler.contract.sync import Cause, DesiredRun, ObservedRun


class LauncherUnavailableError(Exception):
    """The cluster did not answer: nothing is known of its runs now, so nothing may be said about them. Try again later."""


class LauncherGoneError(Exception):
    """What the launcher runs on has ended for good; so must the agent."""


class LaunchRefusedError(Exception):
    """This run cannot be started as it is described. The message goes to its owner: it holds no secret and no environment."""

    def __init__(self, message: str, cause: Cause = Cause.LAUNCH_REFUSED) -> None:
        super().__init__(message)
        self.cause = cause


@dataclass(frozen=True, slots=True)
class LogPiece:
    """Bytes `start` to `start + len(data)` of all that a rank has printed. A rank is one node of a gang, in the order placed.

    `end` is how many bytes it has printed so far, where the launcher knows. `waits`: what comes next cannot be had just now,
    so that an empty piece is not the end of what there is, though the rank may have ended.
    """

    start: int
    data: bytes = b""
    end: int | None = None
    waits: bool = False


class Launcher(Protocol):
    """Every method may raise LauncherUnavailableError or LauncherGoneError. None blocks longer than a network call."""

    def observe(self) -> list[ObservedRun]:
        """Every run the cluster has, finished ones included until they are forgotten, also those started before a restart."""

    def launch(self, run: DesiredRun) -> None:
        """Starts a run and returns at once; does nothing if it is there already. Raises LaunchRefusedError."""

    def stop(self, attempt: str, token: int) -> None:
        """Asks a run to end, kills it after a grace, and returns at once. Does nothing to one that ended or never was."""

    def forget(self, attempt: str, token: int) -> None:
        """Removes what the cluster keeps of a finished run, except its checkpoints."""

    def read_log(self, attempt: str, token: int, rank: int, offset: int, max_bytes: int) -> LogPiece:
        """At most `max_bytes` of what a rank printed, from byte `offset` of it on, or from the first byte after that which is still
        kept. Empty at its end, or where there is none."""

    def close(self) -> None:
        """Releases what the agent holds. Runs go on."""
