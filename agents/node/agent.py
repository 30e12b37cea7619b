"""The node agent's loop: look, report, wait as long as the city asked, and never give up.

Nothing is buffered. Every attempt sends what is true when it is made, so a city that comes back hears the latest
snapshot and no history. Waiting is done on the stop event alone, so the agent stops at once.
"""

import itertools
import logging
from collections.abc import Callable
from datetime import datetime
from random import Random
from threading import Event
from typing import Protocol

from agents.node.collect import Json, NodeIdentity, collect, read_host
from agents.node.watch import Watch
from agents.terms import CityRefusedError, CityUnavailableError, backoff_seconds, retry_seconds
from scheduler.domain.hardware import Catalogue

log = logging.getLogger(__name__)

REPORT_LEAST_SECONDS = 1
REPORT_MOST_SECONDS = 300
REFUSED_SECONDS = 60.0
JITTER = 0.1

FIRST_WITHIN_SECONDS = 10.0
"""A fleet that is switched on at once spreads its first reports over this long, and those after them are as far apart."""

Observe = Callable[[int], Json]
"""Makes the report with the given sequence number."""


class City(Protocol):
    """Who is reported to: `agents.node.reporter.Reporter` is one."""

    def report(self, report: Json) -> int:
        """Returns in how many seconds the next is wanted. Raises CityUnavailableError or CityRefusedError."""


Beat = Callable[[bool], None]
"""Is told of each report whether the city took it."""

Connect = Callable[[], City]
"""Opens the city with the token as it is now. Raises OSError or ValueError where there is none to read."""


def once(identity: NodeIdentity, watch: Watch, catalogue: Catalogue, *, sequence: int, now: datetime) -> Json:
    """One full report of this machine. Takes as long as the slowest probe, at most the watch's deadline."""
    return collect(identity, read_host(), watch.readings(), catalogue, sequence=sequence, observed_at=now)


class Pace:
    """When the next report is due, by what became of the last: everything an agent does about time, and nothing else."""

    def __init__(self, rng: Random) -> None:
        self._rng = rng
        self._delays = backoff_seconds(rng)

    def first(self, within_seconds: float) -> float:
        """Seconds to wait before the first report: a random part of so many."""
        return self._rng.uniform(0, within_seconds)

    def taken(self, asked_seconds: int) -> float:
        """As long as the city asked, within limits, and about a tenth more or less."""
        self._delays = backoff_seconds(self._rng)
        return self._jittered(min(max(asked_seconds, REPORT_LEAST_SECONDS), REPORT_MOST_SECONDS))

    def unavailable(self, error: CityUnavailableError) -> float:
        """Growing, and never less than the city asked for."""
        return retry_seconds(error, self._delays, self._rng)

    def refused(self) -> float:
        """About a minute: saying it again sooner will not help."""
        self._delays = backoff_seconds(self._rng)
        return self._jittered(REFUSED_SECONDS)

    def _jittered(self, seconds: float) -> float:
        return seconds * self._rng.uniform(1 - JITTER, 1 + JITTER)


def run(
    observe: Observe,
    connect: Connect,
    stop: Event,
    rng: Random,
    first_within_seconds: float = 0.0,
    beat: Beat = lambda _was_taken: None,
) -> None:
    """Reports until `stop` is set, for the first time after a random part of `first_within_seconds`.

    An absent city is tried again with growing, jittered delays; a refusal is logged with what to do about it and tried
    again about once a minute over a new connection, whose token is read afresh: a new token needs no restart.
    """
    sequences, pace = itertools.count(), Pace(rng)
    if first_within_seconds:
        stop.wait(pace.first(first_within_seconds))
    while not stop.is_set():
        try:
            city = connect()
        except (OSError, ValueError) as error:
            log.error("no token to report with: %s", _line(error))
        else:
            _report_until_refused(observe, city, stop, pace, sequences, beat)
        beat(False)
        stop.wait(pace.refused())
    log.info("stopped")


def _report_until_refused(
    observe: Observe, city: City, stop: Event, pace: Pace, sequences: "itertools.count[int]", beat: Beat
) -> None:
    heard, troubles = False, dict[str, str]()
    while not stop.is_set():
        report = observe(next(sequences))
        troubles = _log_new_troubles(report, troubles)
        try:
            asked = city.report(report)
        except CityUnavailableError as error:
            heard, delay = False, pace.unavailable(error)
            log.warning("the city is not available, next try in %.1f s: %s", delay, _line(error))
        except CityRefusedError as error:
            log.error("%s; %s", _line(error), _advice(error))
            return
        else:
            delay = pace.taken(asked)
            if not heard:
                log.info("%s reports %d cards, every %d s", report["hostname"], len(report["accelerators"]), asked)
            heard = True
        beat(heard)
        stop.wait(delay)


def _log_new_troubles(report: Json, known: dict[str, str]) -> dict[str, str]:
    """The probes' errors of this report; each is logged when it appears or changes, not every time it is reported."""
    troubles = {result["probe"]: result["error"] for result in report["probes"] if "error" in result}
    for probe, error in troubles.items():
        if known.get(probe) != error:
            log.warning("probe %s: %s", probe, _line(error))
    return troubles


def _advice(error: CityRefusedError) -> str:
    if error.status in (401, 403):
        return "its token is wrong or revoked: put a valid one into the token file, it is read again within about a minute"
    return "check that --city is the address of a Suanwang city of this agent's version; trying again in about a minute"


def _line(said: object) -> str:
    """One log line of bounded length, whatever the other side wrote."""
    return " ".join(str(said).split())[:300]
