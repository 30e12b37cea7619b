"""Curves, and the narrowest plan that meets a deadline: by hand, and against an oracle that tries every cap on every span."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scheduler.engine.plan import MAX_WORK, Curve, Gang, Plan, Restart, Step, Timeline, level_needed

LINEAR = Curve((1, 2, 4), (10, 20, 40))
TAPERING = Curve((1, 2, 4), (10, 16, 22))
FREE = Restart(0)
many = settings(max_examples=150, deadline=None)


def gang(work: int, deadline: int | None, curve: Curve = TAPERING, **rest: Any) -> Gang:
    return Gang("g", work, curve, deadline, **rest)


def planned(timeline: Timeline, asked: Gang) -> Plan:
    found = timeline.narrowest(asked)
    assert found is not None
    return found[0]


def test_a_curve_leaves_out_widths_that_do_not_help() -> None:
    assert Curve.of([(4, 9), (1, 5), (2, 9), (8, 8), (16, 10)]) == Curve((1, 2, 16), (5, 9, 10))


@pytest.mark.parametrize(
    ("widths", "rates"), [((), ()), ((1, 2), (5,)), ((2, 1), (5, 6)), ((1, 2), (5, 5)), ((0, 1), (1, 2)), ((1,), (0,))]
)
def test_what_is_no_curve_is_refused(widths: tuple[int, ...], rates: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"needed|rise"):
        Curve(widths, rates)


@pytest.mark.parametrize("work", [0, -1, MAX_WORK + 1])
def test_work_has_limits(work: int) -> None:
    with pytest.raises(ValueError, match="units of work"):
        gang(work, 10)


def test_the_narrowest_width_that_suffices_is_planned_from_now_on() -> None:
    timeline = Timeline(100, 8, FREE)
    assert planned(timeline, gang(100, 110)) == (Step(100, 110, 1),)
    assert planned(timeline, gang(101, 110)) == (Step(100, 107, 2),)
    assert timeline.narrowest(gang(221, 110)) is None, "four cards do 220"
    assert timeline.narrowest(gang(1, 100)) is timeline.narrowest(gang(1, None)) is None


def test_a_start_costs_its_time_and_who_goes_on_pays_nothing() -> None:
    timeline = Timeline(0, 8, Restart(3, 1))
    assert planned(timeline, gang(61, 10)) == (Step(0, 9, 2),), "five to start on two cards, then 61 at 16"
    found = timeline.narrowest(gang(100, 10, width=1, ready_at=0))
    assert found == ((Step(0, 10, 1),), False)
    assert planned(timeline, gang(80, 10, width=1, ready_at=2)) == (Step(0, 10, 1),)
    assert timeline.narrowest(gang(101, 10, width=1, ready_at=0)) is None, "two cards would do 80 after their start"


def test_time_to_be_started_again_is_reserved_where_there_is_some() -> None:
    timeline = Timeline(0, 8, Restart(2))
    found = timeline.narrowest(gang(100, 100))
    assert found == ((Step(0, 16, 1),), True), "two to start, ten of work, and twice two in case"
    assert timeline.narrowest(gang(100, 15)) == ((Step(0, 12, 1),), False)


def test_a_plan_goes_round_what_is_taken() -> None:
    timeline = Timeline(0, 4, FREE)
    timeline.take((Step(5, 10, 3),))
    assert planned(timeline, gang(16 * 10 + 10 * 5, 15)) == (Step(0, 5, 2), Step(5, 10, 1), Step(10, 15, 2))
    timeline.take((Step(5, 10, 1),))
    assert planned(timeline, gang(22 * 5, 10)) == (Step(0, 5, 4),)
    assert timeline.narrowest(gang(22 * 5 + 1, 10)) is None


def test_what_is_not_there_cannot_be_taken() -> None:
    timeline = Timeline(0, 4, FREE)
    timeline.take((Step(0, 5, 3),))
    with pytest.raises(ValueError, match="more cards"):
        timeline.copy().take((Step(4, 6, 2),))
    timeline.take((Step(-5, 0, 4), Step(4, 6, 1)))


def test_a_deadline_in_the_far_future_does_not_overflow() -> None:
    fast = Curve((1, 2), (10**6, 10**7))
    timeline = Timeline(0, 2, FREE)
    timeline.take((Step(0, 10, 2),))
    assert planned(timeline, gang(MAX_WORK, 2**60, fast)) == (Step(10, 10 + -(-MAX_WORK // 10**7), 2),)


def test_the_level_that_is_needed_counts_the_start() -> None:
    assert level_needed(0, Restart(3), gang(155, 10)) is level_needed(0, FREE, gang(5, None)) is None
    assert [level_needed(0, Restart(3), gang(work, 10)) for work in (70, 71, 154)] == [0, 1, 2]
    assert level_needed(0, Restart(3), gang(100, 10, width=1)) == 0


@st.composite
def timelines(draw: st.DrawFn) -> Timeline:
    """Up to eight cards of which some are taken for some time."""
    timeline = Timeline(0, draw(st.integers(1, 8)), Restart(draw(st.integers(0, 3)), draw(st.integers(0, 1))))
    for _ in range(draw(st.integers(0, 4))):
        start = draw(st.integers(0, 20))
        step = Step(start, start + draw(st.integers(1, 15)), draw(st.integers(1, 4)))
        trial = timeline.copy()
        try:
            trial.take((step,))
        except ValueError:
            continue
        timeline = trial
    return timeline


@st.composite
def gangs(draw: st.DrawFn) -> Gang:
    curve = draw(st.sampled_from((LINEAR, TAPERING, Curve((2, 8), (9, 30)))))
    width = draw(st.sampled_from((0, *curve.widths)))
    return gang(draw(st.integers(1, 600)), draw(st.integers(1, 40)), curve, width=width, ready_at=draw(st.integers(0, 3)))


def free_at(timeline: Timeline, moment: int) -> int:
    """By trying to take cards."""
    for width in range(timeline.cards, 0, -1):
        try:
            timeline.copy().take((Step(moment, moment + 1, width),))
        except ValueError:
            continue
        return width
    return 0


def finishes(timeline: Timeline, asked: Gang, widths: list[int]) -> int | None:
    """When the work is done, going through time one unit after the other at given widths; None by the deadline."""
    work, held, ready = asked.work, asked.width, asked.ready_at
    for moment, width in enumerate(widths):
        if width != held:
            held, ready = width, moment + timeline.restart.micros(width)
        if held and moment >= ready:
            work -= asked.curve.rates[asked.curve.widths.index(held)]
        if work <= 0:
            return moment + 1
    return None


def capped(timeline: Timeline, asked: Gang, cap: int) -> list[int]:
    """As wide as is free up to a cap, at every moment until the deadline."""
    assert asked.deadline is not None
    frees = [free_at(timeline, moment) for moment in range(asked.deadline)]
    return [max((width for width in asked.curve.widths if width <= min(free, cap)), default=0) for free in frees]


@many
@given(timelines(), gangs())
def test_a_plan_ends_in_time_on_cards_that_are_free_and_is_the_narrowest(timeline: Timeline, asked: Gang) -> None:
    assert asked.deadline is not None
    found = timeline.narrowest(asked)
    # what a plan reckons with a stall that outlasts its span may be pessimistic, so the oracle without stalls bounds it from above
    caps = [cap for cap in asked.curve.widths if finishes(timeline, asked, capped(timeline, asked, cap)) is not None]
    if found is None:
        assert not caps or timeline.restart.base or timeline.restart.per_doubling
        return
    plan, restartable = found
    timeline.copy().take(plan)
    widths = [next((step.width for step in plan if step.start <= moment < step.end), 0) for moment in range(asked.deadline)]
    end = finishes(timeline, asked, widths)
    assert end is not None
    twice = timeline.restart.micros(asked.curve.widths[-1]) + timeline.restart.micros(min(caps))
    assert end + twice <= asked.deadline or not restartable
    assert max(step.width for step in plan) >= min(caps)
    if timeline.restart == FREE:
        assert max(step.width for step in plan) <= min(caps)


def test_a_job_that_has_ended_is_not_undone_by_a_stall_that_comes_after() -> None:
    """It ends within the first microsecond; that nothing is free in the second, and a start costs two, is no matter."""
    timeline = Timeline(0, 4, Restart(2))
    timeline.take((Step(1, 2, 4),))
    assert planned(timeline, gang(1, 3, LINEAR, width=2)) == (Step(0, 1, 2),)


@many
@given(timelines(), gangs(), st.integers(1, 10))
def test_more_time_never_needs_more_cards(timeline: Timeline, asked: Gang, later: int) -> None:
    assert asked.deadline is not None
    found, with_more = timeline.narrowest(asked), timeline.narrowest(replace(asked, deadline=asked.deadline + later))
    if found is not None:
        assert with_more is not None
        assert max(step.width for step in with_more[0]) <= max(step.width for step in found[0])
