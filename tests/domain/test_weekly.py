"""Hours of the week: which it is at a moment, when they begin and end, and whether two of them share a minute."""

from datetime import UTC, datetime, timedelta
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.domain.clock import CHINA
from scheduler.domain.weekly import DAY_MINUTES, WEEK_MINUTES, Week, WeeklyHours, first_overlap, parse_time_of_day

MONDAY = datetime(2026, 3, 2, tzinfo=CHINA)
MINUTES = st.integers(0, DAY_MINUTES - 1)
HOURS = st.builds(WeeklyHours, MINUTES, MINUTES, st.frozensets(st.integers(0, 6), min_size=1)).filter(
    lambda each: each.start_minute != each.until_minute
)


def minutes_of(hours: WeeklyHours) -> set[int]:
    """Every minute of the week that hours hold, told one by one from what they mean."""
    found = set()
    for day in hours.weekdays:
        minute = day * DAY_MINUTES + hours.start_minute
        while minute % DAY_MINUTES != hours.until_minute:
            found.add(minute % WEEK_MINUTES)
            minute += 1
    return found


@given(HOURS)
def test_spans_are_the_minutes_that_are_meant(hours: WeeklyHours) -> None:
    assert {minute for start, end in hours.spans() for minute in range(start, end)} == minutes_of(hours)


@given(st.lists(HOURS, max_size=3))
def test_an_overlap_is_found_where_there_is_one(hours: list[WeeklyHours]) -> None:
    shared = {pair for pair in combinations(range(len(hours)), 2) if minutes_of(hours[pair[0]]) & minutes_of(hours[pair[1]])}
    found = first_overlap(hours)
    assert (found is None) == (not shared)
    assert found is None or found in shared


@given(HOURS, st.integers(0, 3 * WEEK_MINUTES * 60), st.integers(0, 2 * WEEK_MINUTES * 60))
def test_a_week_changes_at_its_edges_and_nowhere_else(hours: WeeklyHours, seconds: int, length: int) -> None:
    week, start = Week([hours]), MONDAY + timedelta(seconds=seconds)
    end = start + timedelta(seconds=length)
    minute = (start - MONDAY) // timedelta(minutes=1) % WEEK_MINUTES
    assert week.at(start.astimezone(UTC)) == (0 if minute in minutes_of(hours) else None)
    edges = week.edges(start.astimezone(UTC), end)
    assert edges == sorted(set(edges))
    second = timedelta(seconds=1)
    for edge in edges:
        assert start < edge < end
        assert week.at(edge - second) != week.at(edge)
    expected = 0
    inside, minutes = (
        minutes_of(hours),
        range((start - MONDAY) // timedelta(minutes=1) + 1, -((MONDAY - end) // timedelta(minutes=1))),
    )
    for each in minutes:
        expected += (each % WEEK_MINUTES in inside) != ((each - 1) % WEEK_MINUTES in inside)
    assert len(edges) == expected


def test_a_week_without_hours_has_no_edges() -> None:
    assert Week([]).edges(MONDAY, MONDAY + timedelta(days=99)) == []
    assert Week([]).at(MONDAY) is None


@pytest.mark.parametrize(("text", "minute"), [("00:00", 0), ("07:30", 450), ("23:59", 1439)])
def test_a_time_of_day_is_its_minute(text: str, minute: int) -> None:
    assert parse_time_of_day(text) == minute


@pytest.mark.parametrize("text", ["24:00", "7:30", "07:60", "0730", "07:30:00", "", "07:30 ", "１２:00"])
def test_what_is_no_time_of_day_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not a time of day"):
        parse_time_of_day(text)
