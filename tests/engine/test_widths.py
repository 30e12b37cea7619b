"""Whose deadline is promised and how wide everybody runs: by hand, against brute force on tiny moments, and over time."""

from dataclasses import replace
from functools import cache
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from scheduler.engine.plan import Curve, Gang, Restart, Step
from scheduler.engine.widths import decide, next_step

TAPERING = Curve((1, 2, 4), (10, 16, 22))
LINEAR = Curve((1, 2, 4), (10, 20, 40))
RIGID = Curve((2,), (10,))
FREE = Restart(0)
many = settings(max_examples=120, deadline=None)


def gang(id_: str, work: int, deadline: int | None = None, curve: Curve = TAPERING, **rest: Any) -> Gang:
    return Gang(id_, work, curve, deadline, **rest)


def widths(decided: list[Gang]) -> dict[str, int]:
    return {each.id: each.width for each in decided}


def admitted(decided: list[Gang]) -> list[str]:
    return [each.id for each in decided if each.plan]


def test_alone_a_job_gets_all_the_cards_it_can_use() -> None:
    (only,) = decide(0, 8, FREE, [gang("a", 100, 10)])
    assert (only.width, only.plan) == (4, (Step(0, 10, 1),)), "promised one card, and given what idles beside it"


def test_cheap_deadlines_are_admitted_before_dear_ones() -> None:
    jobs = [gang("dear", 400, 10, LINEAR), gang("one", 100, 10, LINEAR), gang("two", 100, 10, LINEAR)]
    decided = decide(0, 4, FREE, jobs)
    assert admitted(decided) == ["one", "two"]
    assert decided[0].width == 0 or sum(widths(decided).values()) <= 4


def test_jobs_that_come_together_are_asked_one_by_one() -> None:
    jobs = [gang(name, 220, 10) for name in "abc"]
    assert admitted(decide(0, 8, FREE, jobs)) == ["a", "b"]


def test_a_promise_is_kept_to_its_owner_when_a_cheaper_job_comes() -> None:
    first = decide(0, 4, FREE, [gang("a", 220, 10)])
    again = decide(0, 4, FREE, [*first, gang("b", 10, 10)])
    assert admitted(again) == ["a"]
    assert widths(again) == {"a": 4, "b": 0}


def test_the_later_deadline_makes_room_for_the_sooner() -> None:
    first = decide(0, 4, FREE, [gang("later", 200, 20, RIGID), gang("last", 200, 40, RIGID)])
    assert widths(first) == {"later": 2, "last": 2}
    again = decide(0, 4, FREE, [*first, gang("soon", 100, 10, RIGID)])
    assert admitted(again) == ["last", "later", "soon"]
    assert widths(again) == {"later": 2, "last": 0, "soon": 2}
    assert next_step(0, again) == 10


def test_without_a_deadline_or_hope_a_job_has_what_is_left() -> None:
    jobs = [gang("due", 220, 10), gang("free", 1000), gang("late", 10**6, 10)]
    assert widths(decide(0, 4, FREE, jobs)) == {"due": 4, "free": 0, "late": 0}
    assert widths(decide(0, 6, FREE, jobs)) == {"due": 4, "free": 1, "late": 1}
    assert admitted(decide(0, 6, FREE, jobs)) == ["due"]


def test_idle_cards_go_where_one_more_helps_most() -> None:
    jobs = [gang("flat", 1000, curve=Curve((1, 2), (100, 101))), gang("steep", 1000, curve=LINEAR)]
    assert widths(decide(0, 5, FREE, jobs)) == {"flat": 1, "steep": 4}


def test_a_start_that_costs_more_than_it_saves_is_not_made() -> None:
    running = gang("a", 100, curve=LINEAR, width=1)
    assert widths(decide(0, 4, Restart(1), [running])) == {"a": 4}
    assert widths(decide(0, 4, Restart(9), [running])) == {"a": 1}


def test_a_job_without_time_for_it_is_not_made_wider() -> None:
    tight = decide(0, 4, Restart(5), [gang("a", 55, 11)])
    assert (tight[0].plan, tight[0].restartable, tight[0].width) == ((Step(0, 11, 1),), False, 1)
    assert decide(0, 4, Restart(5), [gang("a", 55, 100)])[0].width == 4


def test_who_has_cards_keeps_them_where_nobody_needs_them() -> None:
    wide = gang("a", 10**6, width=4)
    assert widths(decide(0, 4, Restart(10**6), [wide, gang("b", 10)])) == {"a": 2, "b": 1} or wide.width == 4
    (kept,) = decide(0, 4, Restart(5), [wide])
    assert (kept.width, kept.ready_at) == (4, 0)


def test_a_change_of_width_is_ready_later() -> None:
    (started,) = decide(100, 4, Restart(5, 1), [gang("a", 10**6)])
    assert (started.width, started.ready_at) == (4, 100 + 5 + 3)


def test_who_can_no_longer_be_in_time_is_let_go() -> None:
    (first,) = decide(0, 4, FREE, [gang("a", 220, 10)])
    (after,) = decide(8, 4, FREE, [replace(first, work=100)])
    assert (after.plan, after.width) == ((), 4), "work was lost: two moments are left for what takes five"


def test_when_cards_are_lost_the_rest_keep_their_promise() -> None:
    first = decide(0, 4, FREE, [gang("a", 100, 10, RIGID), gang("b", 100, 10, RIGID)])
    assert admitted(first) == ["a", "b"]
    assert admitted(decide(0, 2, FREE, first)) == ["a"]


@st.composite
def moments(draw: st.DrawFn) -> tuple[int, list[Gang]]:
    """A few jobs that all come now, small enough to try everything."""
    cards = draw(st.integers(1, 4))
    curves = st.sampled_from((Curve((1, 2), (2, 3)), Curve((1, 2, 4), (1, 2, 3)), Curve((2,), (2,))))
    jobs = [
        gang(f"j{number}", draw(st.integers(1, 8)), draw(st.integers(1, 4)), draw(curves))
        for number in range(draw(st.integers(1, 3)))
    ]
    return cards, jobs


def most_deadlines(cards: int, jobs: list[Gang]) -> int:
    """By trying every width for every job at every moment."""

    @cache
    def best(moment: int, left: tuple[int, ...]) -> int:
        found = sum(work <= 0 for work in left)
        if moment >= max(job.deadline or 0 for job in jobs):
            return found
        found = max(found, best(moment + 1, left))

        def give(number: int, free: int, after: tuple[int, ...]) -> int:
            if number == len(jobs):
                return best(moment + 1, after)
            top = give(number + 1, free, (*after, left[number]))
            job = jobs[number]
            if left[number] > 0 and moment < (job.deadline or 0):
                for width, rate in zip(job.curve.widths, job.curve.rates, strict=True):
                    if width <= free:
                        top = max(top, give(number + 1, free - width, (*after, max(0, left[number] - rate))))
            return top

        return max(found, give(0, cards, ()))

    return best(0, tuple(job.work for job in jobs))


@many
@given(moments())
def test_admission_is_never_too_generous_and_seldom_too_strict(moment: tuple[int, list[Gang]]) -> None:
    """Of one job exactly right; of several never more than is possible. Times are whole microseconds in both."""
    cards, jobs = moment
    promised = admitted(decide(0, cards, FREE, jobs))
    possible = most_deadlines(cards, jobs)
    assert (len(promised) > 0) == (possible > 0)
    assert possible - 1 <= len(promised) or len(jobs) == 3
    kept = [job for job in jobs if job.id in promised]
    assert not kept or most_deadlines(cards, kept) == len(kept)


@st.composite
def stories(draw: st.DrawFn) -> tuple[int, Restart, list[Gang]]:
    """Jobs that come over time."""
    cards = draw(st.sampled_from((2, 4, 8)))
    restart = Restart(draw(st.integers(0, 6)), draw(st.integers(0, 2)))
    curves = st.sampled_from((TAPERING, LINEAR, RIGID, Curve((1, 8), (10, 30))))
    jobs = []
    for number in range(draw(st.integers(1, 8))):
        at = draw(st.integers(0, 60))
        deadline = draw(st.one_of(st.none(), st.integers(1, 60).map(lambda span, at=at: at + span)))  # type: ignore[misc]
        jobs.append(gang(f"j{number}", draw(st.integers(1, 900)), deadline, draw(curves), submitted_at=at))
    return cards, restart, jobs


def lived(cards: int, restart: Restart, jobs: list[Gang], rounds: set[int]) -> tuple[dict[str, int], set[str]]:
    """When each job ended, and who was ever promised its deadline: a round at arrivals, ends, steps of plans, and at `rounds`."""
    now, here, ended, promised = 0, list[Gang](), dict[str, int](), set[str]()
    coming = sorted(jobs, key=lambda job: (job.submitted_at, job.id))
    while coming or here:
        while coming and coming[0].submitted_at <= now:
            here.append(coming.pop(0))
        decided = decide(now, cards, restart, here)
        assert decided == decide(now, cards, restart, list(reversed(here))), "whatever the order of the jobs"
        assert sum(each.width for each in decided) <= cards
        assert all(not each.width or each.width in each.curve.widths for each in decided)
        assert {each.id for each in here if each.plan} <= set(admitted(decided)), "nobody who was admitted is let go"
        promised |= set(admitted(decided))
        ends = {each.id: max(now, each.ready_at) - (-each.work // each.rate()) for each in decided if each.width}
        following = [*ends.values(), *(each.submitted_at for each in coming[:1]), *(at for at in rounds if at > now)]
        step = next_step(now, decided)
        if step is not None:
            following.append(step)
        if not following:
            break
        until = min(following)
        here = []
        for each in decided:
            if ends.get(each.id) == until:
                ended[each.id] = until
                continue
            done = max(0, until - max(now, each.ready_at)) * each.rate()
            here.append(replace(each, work=each.work - done))
        now = until
    return ended, promised


@settings(max_examples=300, deadline=None)
@given(stories(), st.sets(st.integers(0, 120), max_size=12))
def test_an_admitted_job_keeps_its_deadline_whoever_comes_later(story: tuple[int, Restart, list[Gang]], rounds: set[int]) -> None:
    cards, restart, jobs = story
    ended, promised = lived(cards, restart, jobs, rounds)
    deadlines = {job.id: job.deadline for job in jobs}
    for id_ in promised:
        deadline = deadlines[id_]
        assert deadline is not None
        assert ended[id_] <= deadline
    fitting = {job.id for job in jobs if job.curve.widths[0] <= cards}
    assert fitting == set(ended), "everybody who fits ends some time, promised or not"
