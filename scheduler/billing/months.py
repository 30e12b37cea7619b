"""Months of account: which statement a record is in, so that every record is in exactly one and a closed statement never changes.

Months are Asia/Shanghai. The books of a month stay open for `CLOSING_DAYS` days after it, in which most of what is late arrives:
running jobs' last lines, clusters that were silent. A record goes into the month its period begins in while that month's books are
open; what is posted later, a correction or a late line, goes into the oldest month whose books are still open, as an adjustment
that names the month it is for; what is bought ahead goes into the month it was posted in. Nothing but the record itself decides,
so the sum over statements is the sum over the journal.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Self

from scheduler.domain.clock import CHINA, rfc3339

CLOSING_DAYS = 3
"""Days of the next month in which a month's books are still open: they close at the end of the third, Asia/Shanghai."""

POSTING_SKEW = timedelta(hours=1)
"""The most by which the moments of two records may be in another order than their sequences: clocks differ, transactions wait."""

_MONTH = re.compile(r"(20\d{2}|21\d{2})-(0[1-9]|1[0-2])", re.ASCII)


@dataclass(frozen=True, slots=True, order=True)
class Month:
    """A calendar month in Asia/Shanghai."""

    year: int
    month: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """The month of a text such as `2026-11`. Raises ValueError saying what is allowed."""
        found = _MONTH.fullmatch(text)
        if found is None:
            raise ValueError(f"{text!r} is not a month: write for example 2026-11")
        return cls(int(found[1]), int(found[2]))

    @classmethod
    def of(cls, moment: datetime) -> Self:
        """The month an aware moment is in."""
        local = moment.astimezone(CHINA)
        return cls(local.year, local.month)

    @property
    def next(self) -> "Month":
        return Month(self.year + self.month // 12, self.month % 12 + 1)

    @property
    def previous(self) -> "Month":
        return Month(self.year - (self.month == 1), (self.month - 2) % 12 + 1)

    @property
    def start(self) -> datetime:
        """Its first moment; its end is the start of the next: half-open."""
        return datetime(self.year, self.month, 1, tzinfo=CHINA)

    @property
    def end(self) -> datetime:
        return self.next.start

    @property
    def closes_at(self) -> datetime:
        """From when on nothing goes into its statement any more."""
        return self.end + timedelta(days=CLOSING_DAYS)

    def __str__(self) -> str:
        return f"{self.year:04d}-{self.month:02d}"


def months_between(first: Month, until: Month) -> Iterator[Month]:
    """Every month from `first` on, before `until`."""
    while first < until:
        yield first
        first = first.next


def month_starts(start: datetime, end: datetime) -> list[datetime]:
    """Where months begin, after the month a moment is in until another moment."""
    return [month.start.astimezone(UTC) for month in months_between(Month.of(start).next, Month.of(end).next)]


class MonthOfAccount:
    """Decides whether records belong into one month's statement, by comparing their own times as text, which sorts as time does."""

    def __init__(self, month: Month) -> None:
        self.month = month
        self._start, self._end = rfc3339(month.start), rfc3339(month.end)
        self._closes = rfc3339(month.closes_at)
        self._previous_closes = rfc3339(month.previous.closes_at)

    def has(self, record: Mapping[str, Any]) -> bool:
        """Whether a record is in the statement of this month."""
        posted, begins = record["posted_at"], record["period_start"]
        if not self._start <= posted < self._closes:
            return False
        if begins < self._start:
            return bool(posted >= self._previous_closes)
        return bool(begins < self._end or posted < self._end)

    def adjusts(self, record: Mapping[str, Any]) -> Month | None:
        """The earlier month a record is for, if it is one of those whose books were closed; None for this month's own."""
        if record["period_start"] >= self._start:
            return None
        return Month.of(datetime.fromisoformat(record["period_start"]))
