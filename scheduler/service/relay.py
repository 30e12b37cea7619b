"""The relay: what the journal has and the cost stream has not is copied over, again and again (docs/adr/0019-feed.md).

The journal is the outbox: a record is in it with the transaction that posted it. Where to go on is what the stream itself says, so
there is no cursor that could be wrong: relays may die anywhere, two of them may run at once, Redis may be flushed.
"""

import logging
from collections.abc import Callable
from threading import Event

from prometheus_client import CollectorRegistry, Counter, Gauge
from redis import RedisError
from redis.backoff import AbstractBackoff
from sqlalchemy import select
from sqlalchemy.exc import OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.orm import Session

from scheduler.billing.events import cost_event
from scheduler.billing.journal import Row
from scheduler.service.journal import FEED, stored
from scheduler.store.database import CITY, Database
from scheduler.store.stream import EMPTY, CostStream, End
from scheduler.store.tables import CostRecordRow, JournalHeadRow

log = logging.getLogger(__name__)

BATCH = 500
"""Records copied in one turn: some two megabytes."""

WINDOW = 20_000
"""Records kept in the stream: some sixty megabytes. Who falls further behind reads on over HTTP."""

POLL_SECONDS = 0.2
MAX_FAILURES = 20
"""Failures in a row that are told apart: the pause has long reached its longest."""


class RelayMetrics:
    """The counters of one relay, in a registry of its own. No label names a tenant or a job."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        self.lag = Gauge("suanwang_relay_lag_records", "Records of the journal that the stream has not had yet.", registry=registry)
        self.copied = Counter("suanwang_relay_records", "Records copied into the stream.", registry=registry)
        self.refills = Counter(
            "suanwang_relay_refills", "Times the stream began anew: it was empty, or not of this journal.", registry=registry
        )
        self.failures = Counter("suanwang_relay_failures", "Turns in which a store did not answer.", ["store"], registry=registry)
        for store in ("sql", "redis"):
            self.failures.labels(store)


class Relay:
    """One copier. `source` is the city's address, which its events name."""

    def __init__(
        self, database: Database, stream: CostStream, source: str, metrics: RelayMetrics, backoff: AbstractBackoff
    ) -> None:
        self._database = database
        self._stream = stream
        self._source = source
        self._metrics = metrics
        self._backoff = backoff

    def run(self, stop: Event, beat: Callable[[bool], None]) -> None:
        """Take turns until told to stop. While a store does not answer the pauses between turns grow, with jitter.

        `beat` is told after each turn whether both stores answered.
        """
        failures = 0
        pause = 0.0
        while not stop.wait(pause):
            try:
                pause = 0.0 if self.turn() else POLL_SECONDS
                failures = 0
                beat(True)
            except (RedisError, OperationalError, PoolTimeoutError) as error:
                store = "redis" if isinstance(error, RedisError) else "sql"
                self._metrics.failures.labels(store).inc()
                beat(False)
                failures = min(failures + 1, MAX_FAILURES)
                pause = self._backoff.compute(failures)
                log.warning("%s is not answering (%s), trying again in %.1f s", store, type(error).__name__, pause)

    def turn(self) -> bool:
        """Copy what comes next, a batch at most. Whether there is more to copy at once.

        The stream is asked before the journal: what it has was committed then, so the journal must know it. Where it does not, the
        stream is of another history (a database put back to an earlier state, a stranger's entry) and begins anew.
        """
        end = self._stream.end()
        with self._database.read(CITY) as session:
            head = session.get(JournalHeadRow, FEED)
            last = head.sequence if head is not None else 0
            known = _knows(session, end)
            rows = _records(session, max(end.sequence, last - self._stream.window)) if known else []
        if not known:
            log.warning("the stream ends at %d with no record of this journal: it begins anew", end.sequence)
            self._stream.drop()
            return True
        if rows and end == EMPTY:
            self._metrics.refills.inc()
        self._metrics.copied.inc(self._stream.append([(row.sequence, cost_event(row, self._source)) for row in rows]))
        at = rows[-1].sequence if rows else end.sequence
        self._metrics.lag.set(max(0, last - at))
        return at < last


def _knows(session: Session, end: End) -> bool:
    """Whether the record that a stream ends with is the one that stands there in the journal."""
    if end == EMPTY:
        return True
    found = session.get(CostRecordRow, end.sequence)
    return found is not None and found.hash == end.hash


def _records(session: Session, after: int) -> list[Row]:
    query = select(CostRecordRow).where(CostRecordRow.sequence > after).order_by(CostRecordRow.sequence).limit(BATCH)
    return [stored(row) for row in session.scalars(query)]
