"""What tenants used before, fading by half with every half-life."""

from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scheduler.engine.history import FINENESS, HALF_LIVES, History
from tests.engine.builders import SECOND

HOUR = 3600 * SECOND
H = 24 * HOUR

Span = tuple[int, int, int | None]
"""Milli-cards, from when, and until when: None for one that goes on."""

NOW = 1000 * H

spans = st.tuples(
    st.integers(1, 64_000),
    st.integers(NOW - 4 * H, NOW),
    st.one_of(st.none(), st.integers(0, 4 * H)),
).map(lambda span: (span[0], span[1], None if span[2] is None else min(NOW, span[1] + span[2])))


def told(each: Sequence[Span], origin: int = NOW - 10 * H) -> History:
    history = History(H, origin)
    for amount, start, end in each:
        history.begin("t", [amount], start)
        if end is not None:
            history.end("t", [amount], end)
    return history


def past(history: History, now: int = NOW) -> float:
    """Milli-cards held on average."""
    return float(history.past(now).held["t"][0]) / FINENESS


def test_who_has_always_held_something_has_it_as_past() -> None:
    assert past(told([(8000, NOW - 60 * H, None)], NOW - 60 * H)) == pytest.approx(8000, abs=0.002)


def test_what_was_held_counts_half_after_every_half_life() -> None:
    history = told([(8000, NOW - 60 * H, NOW)], NOW - 60 * H)
    assert [past(history, NOW + after * H) for after in range(4)] == pytest.approx([8000, 4000, 2000, 1000], abs=0.002)


def test_what_runs_grows_towards_what_it_holds() -> None:
    history = told([(8000, NOW, None)])
    assert [past(history, NOW + after * H) for after in range(4)] == [0, 4000, 6000, 7000]


@settings(max_examples=100, deadline=None)
@given(st.lists(spans, min_size=1, max_size=6))
def test_it_is_the_integral_of_what_was_held(each: list[Span]) -> None:
    steps = 4000
    width = 4 * H / steps
    moments = [NOW - 4 * H + (number + 0.5) * width for number in range(steps)]
    rate = 0.6931471805599453 / H
    integral = sum(
        amount * 2 ** -((NOW - at) / H) * width * rate
        for amount, start, end in each
        for at in moments
        if start <= at < (NOW if end is None else end)
    )
    # the sum over the middles of its steps may miss half a step at every end of a span
    assert past(told(each)) == pytest.approx(integral, abs=sum(amount for amount, _, _ in each) * rate * width + 1)


@settings(max_examples=100, deadline=None)
@given(st.lists(spans, min_size=1, max_size=8), st.randoms(use_true_random=False))
def test_the_sequence_in_which_it_is_told_does_not_matter(each: list[Span], shuffle: object) -> None:
    mixed = History(H, NOW - 10 * H)
    tellings = [(mixed.begin, amount, start) for amount, start, _ in each]
    tellings += [(mixed.end, amount, end) for amount, _, end in each if end is not None]
    shuffle.shuffle(tellings)  # type: ignore[attr-defined]
    for tell, amount, at in tellings:
        tell("t", [amount], at)
    assert mixed.past(NOW).held["t"].tolist() == told(each).past(NOW).held["t"].tolist()


@settings(max_examples=60, deadline=None)
@given(st.lists(spans, min_size=1, max_size=6), st.integers(0, 5 * H))
def test_one_that_was_kept_and_one_that_is_rebuilt_later_say_the_same(each: list[Span], later: int) -> None:
    """All but what lies before the later origin: that is less than a thousandth of what was held."""
    now = NOW + later
    kept, rebuilt = told(each), told(each, History.origin_for(H, now))
    assert past(kept, now) == pytest.approx(past(rebuilt, now), abs=sum(amount for amount, _, _ in each) / 2**HALF_LIVES)


def test_what_was_before_the_origin_does_not_count_and_what_is_ahead_does_not_count_yet() -> None:
    assert past(told([(8000, NOW - 20 * H, NOW - 15 * H)])) == 0
    assert past(told([(8000, NOW + H, None)])) == 0


def test_hours_are_those_that_were_used_with_the_old_ones_halved() -> None:
    found = told([(8000, NOW - HOUR, NOW)]).past(NOW + H)
    assert found.unit_hours("t", 0) == 4, "8 card-hours, a half-life ago"
    assert found.unit_hours("stranger", 0) == 0
