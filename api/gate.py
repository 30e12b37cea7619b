"""How many node reports one process works on at a time: 20,000 agents that come at once are told when to come again, not queued."""

from collections.abc import AsyncIterator
from threading import Lock
from typing import Annotated

from fastapi import Depends, Request

from api.problems import ProblemError

MAX_REPORTS = 32
"""Worked on, and waiting for one of the server's threads (40), at a time; the others of these are left to everybody else."""
RETRY_SECONDS = 8
"""Asked for of whom is turned away. Agents wait up to twice as long; one that is turned away once is still heard of within 30 s."""
BUSY_FROM = 0.5
"""Share of MAX_REPORTS from which the next reports are asked for later."""


class Gate:
    """Counts who is inside. Safe to be shared between threads."""

    def __init__(self, most: int = MAX_REPORTS) -> None:
        self._most = most
        self._inside = 0
        self._lock = Lock()

    def enter(self) -> bool:
        """Whether there was room."""
        with self._lock:
            if self._inside >= self._most:
                return False
            self._inside += 1
            return True

    def leave(self) -> None:
        with self._lock:
            self._inside -= 1

    @property
    def is_busy(self) -> bool:
        return self._inside > self._most * BUSY_FROM


async def _through(request: Request) -> AsyncIterator[Gate]:
    """On the event loop, before any thread is asked for. Raises ProblemError where there is no room."""
    gate: Gate = request.app.state.report_gate
    if not gate.enter():
        raise ProblemError("too_many_reports", seconds=RETRY_SECONDS).after(RETRY_SECONDS)
    try:
        yield gate
    finally:
        gate.leave()


ThroughGate = Annotated[Gate, Depends(_through)]
