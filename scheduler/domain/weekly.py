"""Hours that come again every week, in local time of China: `22:00` until `08:00`, on some days of the week or on all.

China has kept one offset since 1991 (before any time this product knows), so the minutes of its weeks are all there.
"""

import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from scheduler.domain.clock import CHINA
from scheduler.domain.faults import Fault

WEEKDAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
DAY_MINUTES = 24 * 60
WEEK_MINUTES = 7 * DAY_MINUTES

_TIME = re.compile(r"([01]\d|2[0-3]):([0-5]\d)", re.ASCII)


def parse_time_of_day(text: str) -> int:
    """The minute of the day of `HH:MM`. Raises Fault saying what is allowed."""
    found = _TIME.fullmatch(text)
    if found is None:
        raise Fault("time_of_day", value=text)
    return int(found[1]) * 60 + int(found[2])


@dataclass(frozen=True, slots=True)
class WeeklyHours:
    """From one minute of the day until another, on the days (0 is Monday) on which it starts; until an earlier minute is until that
    minute of the next day."""

    start_minute: int
    until_minute: int
    weekdays: frozenset[int]

    def spans(self) -> Iterator[tuple[int, int]]:
        """Its parts as minutes of the week, each within one week: what crosses the end of the week is two."""
        length = (self.until_minute - self.start_minute) % DAY_MINUTES
        for day in sorted(self.weekdays):
            start = day * DAY_MINUTES + self.start_minute
            end = start + length
            yield start, min(end, WEEK_MINUTES)
            if end > WEEK_MINUTES:
                yield 0, end - WEEK_MINUTES


class Week:
    """Which of several hours that never overlap it is, at any moment."""

    def __init__(self, hours: Iterable[WeeklyHours]) -> None:
        spans = sorted((start, end, number) for number, each in enumerate(hours) for start, end in each.spans())
        self._spans = spans
        starts = {(start, number) for start, _, number in spans}
        ends = {(end % WEEK_MINUTES, number) for _, end, number in spans}
        self._edges = sorted(
            {minute for minute, _ in starts ^ ends}
        )  # hours that go on over the end of the week do not change there

    def at(self, moment: datetime) -> int | None:
        """The number of the hours a moment lies in; None where it lies in none."""
        minute = _minute_of_week(moment)
        position = bisect_right(self._spans, minute, key=lambda span: span[0])
        if position == 0:
            return None
        _, end, number = self._spans[position - 1]
        return number if minute < end else None

    def edges(self, start: datetime, end: datetime) -> list[datetime]:
        """Every moment strictly inside [start, end) at which hours begin or end: at most two a week for each day of each."""
        if not self._edges:
            return []
        local = start.astimezone(CHINA)
        monday = local.replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=local.weekday())
        found = []
        while monday < end:
            found += [edge for minute in self._edges if start < (edge := monday + timedelta(minutes=minute)) < end]
            monday += timedelta(days=7)
        return found


def first_overlap(hours: Iterable[WeeklyHours]) -> tuple[int, int] | None:
    """The numbers of two hours that share a minute; None if no two do."""
    spans = sorted((start, end, number) for number, each in enumerate(hours) for start, end in each.spans())
    reach, holder = 0, 0
    for start, end, number in spans:
        if start < reach:
            return min(holder, number), max(holder, number)
        reach, holder = end, number
    return None


def _minute_of_week(moment: datetime) -> int:
    local = moment.astimezone(CHINA)
    return local.weekday() * DAY_MINUTES + local.hour * 60 + local.minute
