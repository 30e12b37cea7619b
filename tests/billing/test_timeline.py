"""Every second of an attempt is charged or free for one reason."""

from datetime import datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.billing.metering import whole_seconds
from scheduler.billing.timeline import Course, Unbilled, lost_from, seconds_within
from tests.builders import NOW, after

moments = st.integers(0, 5_000_000_000).map(lambda micros: NOW + timedelta(microseconds=micros))


def test_an_attempt_in_the_parts_that_fare_alike() -> None:
    course = Course(started=after(seconds=10), max_runtime_seconds=100, lost_from=after(seconds=90))
    assert course.stretches(NOW, after(seconds=95)) == [
        ((NOW, after(seconds=10)), Unbilled.STARTING),
        ((after(seconds=10), after(seconds=90)), None),
        ((after(seconds=90), after(seconds=95)), Unbilled.NODE_LOST),
    ]
    late = Course(started=NOW, max_runtime_seconds=100)
    assert [free for _, free in late.stretches(NOW, after(seconds=101))] == [None, Unbilled.OVERTIME]
    assert [free for _, free in Course(None, 100).stretches(NOW, after(seconds=101))] == [Unbilled.STARTING]


@pytest.mark.parametrize(
    ("checkpoint", "expected"),
    [(None, 10), (5, 10), (60, 60), (200, 100)],
    ids=["none", "of an earlier attempt", "since the start", "after the last observation"],
)
def test_what_is_lost_is_what_came_after_the_last_checkpoint_or_the_start(checkpoint: int | None, expected: int) -> None:
    saved = None if checkpoint is None else after(seconds=checkpoint)
    assert lost_from(after(seconds=10), saved, after(seconds=100)) == after(seconds=expected)


@given(started=st.none() | moments, lost=st.none() | moments, runtime=st.integers(1, 5_000), cuts=st.lists(moments, min_size=2))
def test_however_it_is_cut_every_second_is_in_one_part_and_fares_the_same(
    started: datetime | None, lost: datetime | None, runtime: int, cuts: list[datetime]
) -> None:
    course, edges = Course(started, runtime, lost), sorted(cuts)
    whole = by_reason(course, [edges[0], edges[-1]])
    assert by_reason(course, edges) == whole
    assert sum(whole.values()) == whole_seconds(edges[0], edges[-1])


def by_reason(course: Course, edges: list[datetime]) -> dict[Unbilled | None, int]:
    found: dict[Unbilled | None, int] = {}
    for start, end in pairwise(edges):
        for span, free in course.stretches(start, end):
            found[free] = found.get(free, 0) + whole_seconds(*span)
    return {free: seconds for free, seconds in found.items() if seconds}


def test_seconds_of_silences_are_cut_at_both_ends() -> None:
    silences = [(NOW, after(seconds=10)), (after(seconds=20), after(seconds=30))]
    assert seconds_within(silences, after(seconds=5), after(seconds=22)) == 7
    assert seconds_within(silences, after(seconds=12), after(seconds=18)) == 0
