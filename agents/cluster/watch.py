"""Waits, beside the loop, for the city to desire something else, and wakes the loop then.

A thread of its own with one request open at a time, which says nothing and decides nothing: what it hears is only that a sync is
worth while. Without it the loop would hear of a grant at its next sync, some seconds later.
"""

from collections.abc import Iterator
from random import Random
from threading import Event, Lock, Thread
from typing import Protocol, Self

from agents.terms import CityRefusedError, CityUnavailableError, backoff_seconds, retry_seconds
from scheduler.contract.sync import Watched

WAIT_SECONDS = 20
"""How long the city may wait with its answer: less than proxies on the way leave a silent connection open."""

PAUSE_SECONDS = 0.25
"""Between two requests, whatever was answered: a city that answers at once is not asked in a tight loop."""

REFUSED_RETRY_SECONDS = 30.0


class WatchPort(Protocol):
    def watch(self, cluster: str, revision: str, wait_seconds: int) -> Watched:
        """Raises CityUnavailableError or CityRefusedError."""


class Watch:
    """What the loop holds (`hold`), and whether the city is known to desire something else by now (`is_stale`).

    As a context it runs the thread; at its end the thread is left to its last answer, which nobody hears.
    """

    def __init__(self, city: WatchPort, cluster: str, wake: Event, rng: Random) -> None:
        self._city = city
        self._cluster = cluster
        self._wake = wake
        self._rng = rng
        self._lock = Lock()
        self._held: str | None = None
        self._stale = False
        self._due = Event()
        """There is a revision to watch from."""
        self._closed = Event()

    @property
    def is_stale(self) -> bool:
        return self._stale

    def hold(self, revision: str) -> None:
        """The loop has what was desired at this revision."""
        with self._lock:
            self._held, self._stale = revision, False
        self._due.set()

    def step(self, backoff: Iterator[float]) -> float:
        """One request, once there is a revision to watch from. Returns how long to pause; draws on `backoff` where the city did not
        answer."""
        self._due.wait()
        held = self._held
        if held is None or self._closed.is_set():
            return 0.0
        try:
            found = self._city.watch(self._cluster, held, WAIT_SECONDS).revision
        except CityRefusedError:
            return self._rng.uniform(0.5, 1.0) * REFUSED_RETRY_SECONDS
        except CityUnavailableError as error:
            return retry_seconds(error, backoff, self._rng)
        with self._lock:
            if found != held == self._held:  # else the loop has synced meanwhile
                self._stale = True
                self._due.clear()
                self._wake.set()
        return PAUSE_SECONDS

    def __enter__(self) -> Self:
        Thread(target=self._run, name="watch", daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closed.set()
        self._due.set()

    def _run(self) -> None:
        backoff = backoff_seconds(self._rng)
        while not self._closed.is_set():
            pause = self.step(backoff)
            if pause == PAUSE_SECONDS:
                backoff = backoff_seconds(self._rng)
            self._closed.wait(pause)
