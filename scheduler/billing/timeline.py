"""What becomes of every second between the grant and the end of an attempt: charged, or free of charge for a reason. Pure.

The policy (`docs/adr/0018-metering.md`): time runs from the grant on. Until the program begins it is free (`starting`), and so is
what runs past `max_runtime` (`overtime`) and what is lost with a node or cluster (`node_lost`): all since the last checkpoint, or
since the start where there is none. A stretch nobody has published a price for is free too (`no_price`). Everything else is
charged, whatever became of the job: a program that failed, a run that was stopped for others, a retry, a silence of its cluster
after which the run was still there.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from scheduler.billing.metering import Line, split, whole_seconds
from scheduler.domain.reasons import Reason

Span = tuple[datetime, datetime]
"""[start, end)."""


class Unbilled(StrEnum):
    """Why time that is held is not charged."""

    STARTING = "starting"
    NODE_LOST = "node_lost"
    OVERTIME = "overtime"
    NO_PRICE = "no_price"

    def reason(self) -> Reason:
        """The same for people."""
        return _REASONS[self]


_REASONS = {
    Unbilled.STARTING: Reason("starting"),
    Unbilled.NODE_LOST: Reason("node_lost"),
    Unbilled.OVERTIME: Reason("overtime"),
    Unbilled.NO_PRICE: Reason("no_price"),
}


@dataclass(frozen=True, slots=True)
class Course:
    """How an attempt went. `started` is when its program began, `lost_from` from when on its work is lost, None where it is not."""

    started: datetime | None
    max_runtime_seconds: int
    lost_from: datetime | None = None

    def unbilled(self, moment: datetime) -> Unbilled | None:
        """Why a moment of it is free; None where it is charged."""
        if self.started is None or moment < self.started:
            return Unbilled.STARTING
        if self.lost_from is not None and moment >= self.lost_from:
            return Unbilled.NODE_LOST
        return Unbilled.OVERTIME if moment >= self._limit(self.started) else None

    def stretches(self, start: datetime, end: datetime) -> list[tuple[Span, Unbilled | None]]:
        """[start, end) in the parts that fare alike, in order."""
        limit = None if self.started is None else self._limit(self.started)
        cuts = [moment for moment in (self.started, self.lost_from, limit) if moment is not None]
        return [((begin, finish), self.unbilled(begin)) for begin, finish in split(start, end, cuts)]

    def _limit(self, started: datetime) -> datetime:
        return started + timedelta(seconds=self.max_runtime_seconds)


def lost_from(started: datetime, checkpoint: datetime | None, end: datetime) -> datetime:
    """From when on the work of an attempt is lost that ended with its node or cluster: from its last checkpoint or its start."""
    return min(max(started, checkpoint or started), end)


def unpriced(start: datetime, end: datetime, lines: Iterable[Line]) -> list[Span]:
    """What lines, in order of time, leave of [start, end)."""
    left, begin = [], start
    for line in lines:
        if line.start > begin:
            left.append((begin, line.start))
        begin = line.end
    return [*left, (begin, end)] if begin < end else left


def seconds_within(spans: Iterable[Span], start: datetime, end: datetime) -> int:
    """How many whole seconds of [start, end) lie in some spans that do not overlap."""
    return sum(max(0, whole_seconds(max(start, since), min(end, until))) for since, until in spans)
