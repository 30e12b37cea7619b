"""The clock a workload runs on: virtual time that jumps from event to event, or real time that passes."""

from collections.abc import Callable
from typing import Protocol

NANOSECONDS_PER_MICROSECOND = 1000
MICROSECONDS_PER_SECOND = 1_000_000


class Clock(Protocol):
    """Microseconds since the run began."""

    def now(self) -> int:
        """What time it is."""
        ...

    def reach(self, moment: int) -> int:
        """Let time pass until a moment (not at all if it has passed), and say what time it is then."""
        ...


class VirtualClock:
    """Time passes only by being reached: deciding takes none of it."""

    def __init__(self) -> None:
        self._now = 0

    def now(self) -> int:
        return self._now

    def reach(self, moment: int) -> int:
        self._now = max(self._now, moment)
        return self._now


class RealClock:
    """Time of a monotonic clock from the moment this is made. `wait` sleeps so many seconds, or a little less or more."""

    def __init__(self, monotonic_ns: Callable[[], int], wait: Callable[[float], object]) -> None:
        self._monotonic_ns = monotonic_ns
        self._wait = wait
        self._start = monotonic_ns()

    def now(self) -> int:
        return (self._monotonic_ns() - self._start) // NANOSECONDS_PER_MICROSECOND

    def reach(self, moment: int) -> int:
        while (left := moment - self.now()) > 0:
            self._wait(left / MICROSECONDS_PER_SECOND)
        return self.now()
