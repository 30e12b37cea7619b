"""Jobs that need a time of service, interrupted or not: small traces worked out by hand, random ones against what must hold."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scheduler.engine.order import Order, QueuedJob, cards_asked
from scheduler.replay.driver import Outcome
from scheduler.replay.policy import Discipline, Policy, Told
from scheduler.replay.service import RETHINK_SECONDS, Work, WorkTrace, alike_nodes, gang_of, serve
from scheduler.replay.trace import SECOND

SHORTEST = Policy(Order.SHORTEST)


def _work(id_: str, cards: int, takes: int, arrives: int = 0) -> Work:
    return Work(QueuedJob(id_, "t", 0, arrives * SECOND, (gang_of(cards, 8),)), takes * SECOND)


def _serve(policy: Policy, *works: Work, nodes: int = 1) -> Outcome:
    return serve(WorkTrace(alike_nodes("c", nodes, 8), works), policy)


def _seconds(micros: list[int]) -> list[float]:
    return sorted(each / SECOND for each in micros)


LONG, SHORT, LAST = _work("long", 8, 100), _work("short", 8, 10, arrives=20), _work("last", 8, 200, arrives=21)


def test_a_shorter_job_interrupts_and_the_interrupted_goes_on_where_it_was() -> None:
    found = _serve(SHORTEST, LONG, SHORT, LAST)
    assert _seconds(list(found.completions)) == [10, 110, 289]
    assert (found.preemptions, found.lost_card_seconds, found.makespan) == (1, 0, 310 * SECOND)
    assert _seconds(list(found.waits)) == [0, 0, 89], "the wait is for the first start"


def test_what_was_not_saved_is_done_again_and_counted() -> None:
    found = _serve(Policy(Order.SHORTEST, checkpoint_seconds=15), LONG, SHORT, LAST)
    assert (found.preemptions, found.lost_card_seconds) == (1, 5 * 8)
    assert _seconds(list(found.completions)) == [10, 115, 294]
    assert found.card_milli_micros == 8000 * (310 + 5) * SECOND


def test_who_would_lose_more_than_is_gained_is_left_alone() -> None:
    found = _serve(Policy(Order.SHORTEST, checkpoint_seconds=1000), LONG, _work("middling", 8, 70, arrives=20), LAST)
    assert (found.preemptions, found.lost_card_seconds) == (0, 0)


def test_nobody_is_stopped_before_it_has_run_for_a_while() -> None:
    found = _serve(Policy(Order.SHORTEST, min_run_seconds=30), LONG, SHORT, LAST)
    assert found.preemptions == 0
    found = _serve(Policy(Order.SHORTEST, min_run_seconds=20), LONG, SHORT, LAST)
    assert found.preemptions == 1


def test_a_discipline_says_who_may_pass_the_first_that_waits() -> None:
    works = (
        _work("half", 4, 100),
        _work("whole", 8, 10, arrives=1),
        _work("small", 4, 90, arrives=2),
        _work("slow", 4, 200, arrives=3),
    )
    strict = _serve(Policy(discipline=Discipline.STRICT), *works)
    assert _seconds(list(strict.waits)) == [0, 99, 107, 108]
    backfill = _serve(Policy(discipline=Discipline.BACKFILL), *works)
    assert _seconds(list(backfill.waits)) == [0, 0, 99, 107], "the small one ends before the whole node is promised"
    assert strict.preemptions == backfill.preemptions == 0


def test_where_nothing_is_told_the_least_served_goes_first() -> None:
    policy = Policy(Order.LEAST_ATTAINED, Told.NOTHING)
    found = _serve(policy, _work("long", 8, 3 * RETHINK_SECONDS), _work("new", 8, 60, arrives=RETHINK_SECONDS + 1))
    assert _seconds(list(found.completions))[0] == 60
    assert found.preemptions == 1


def test_what_others_took_is_learned() -> None:
    """Thirty jobs of a minute; then one that has run for hours meets another that is new, which is expected to be through soon."""
    past = [_work(f"past{number:02d}", 8, 60, arrives=100 * number) for number in range(30)]
    meeting = [_work("stays", 8, 80_000, arrives=4000), _work("new", 8, 60, arrives=50_000)]
    found = _serve(Policy(Order.SHORTEST, Told.NOTHING), *past, *meeting)
    assert found.preemptions == 1
    assert found.completions[-2] == 60 * SECOND


def test_a_job_that_no_cluster_could_hold_is_never_placed() -> None:
    found = _serve(SHORTEST, _work("giant", 16, 10), _work("fits", 8, 10))
    assert (found.placed, found.never) == (1, 1)
    assert found.reasons["never_larger_than_cluster"] == 1


@pytest.mark.parametrize(("cards", "shape"), [(1, (1, 1)), (8, (1, 8)), (12, (2, 6)), (32, (4, 8)), (11, (11, 1)), (20, (4, 5))])
def test_a_gang_is_spread_evenly_over_the_fewest_nodes(cards: int, shape: tuple[int, int]) -> None:
    found = gang_of(cards, 8)
    assert (found.nodes, found.per_node) == (found.min_nodes, found.per_node) == shape


@pytest.mark.parametrize(
    ("told", "seconds"), [("exact", 3000), ("x2", 6000), ("x10", 30_000), ("user-limit", 14_400), ("nothing", None)]
)
def test_what_is_told_of_a_duration(told: str, seconds: int | None) -> None:
    assert Told(told).of(3000) == seconds


@st.composite
def traces(draw: st.DrawFn) -> WorkTrace:
    widths, takes, arrivals = st.sampled_from((1, 2, 4, 8, 8, 12, 16)), st.integers(1, 400), st.integers(0, 200)
    works = [_work(f"j{number:02d}", draw(widths), draw(takes), draw(arrivals)) for number in range(draw(st.integers(1, 14)))]
    return WorkTrace(alike_nodes("c", 2, 8), tuple(works))


policies = st.builds(
    Policy,
    st.sampled_from(Order),
    st.sampled_from(Told),
    st.sampled_from(Discipline),
    st.sampled_from((0, 30, 1000)),
    st.sampled_from((0, 50)),
    st.sampled_from((10, 100, 1600)),
)


@settings(max_examples=40, deadline=None)
@given(traces(), policies)
def test_every_job_gets_all_its_service_and_what_is_lost_is_counted(trace: WorkTrace, policy: Policy) -> None:
    found = serve(trace, policy)
    assert found.placed == found.jobs == len(trace.works)
    served = sum(cards_asked(work.job) * work.takes for work in trace.works)
    lost = found.card_milli_micros // 1000 - served
    assert found.lost_card_seconds == lost // SECOND
    assert policy.checkpoint_seconds or lost == 0
    assert policy.discipline is Discipline.RESCHEDULE or found.preemptions == 0
    assert sum(found.completions) >= sum(work.takes for work in trace.works)
    assert found.most_card_milli <= found.cards * 1000


@settings(max_examples=20, deadline=None)
@given(traces(), policies, st.randoms(use_true_random=False))
def test_the_order_of_the_rows_does_not_matter(trace: WorkTrace, policy: Policy, shuffle: random.Random) -> None:
    works = list(trace.works)
    shuffle.shuffle(works)
    assert serve(WorkTrace(trace.nodes, tuple(works)), policy) == serve(trace, policy)


def test_a_long_job_is_not_put_off_for_ever() -> None:
    """Short jobs keep both nodes busy without end; the long one is served once it has waited as long as patience allows."""
    short = [_work(f"s{number:03d}", 8, 20, arrives=9 * number) for number in range(100)]
    long = _work("long", 16, 600, arrives=1)
    assert _longest(10, [*short, long]) < _longest(1600, [*short, long])


def _longest(patience: int, works: list[Work]) -> int:
    found = serve(WorkTrace(alike_nodes("c", 2, 8), tuple(works)), Policy(Order.SHORTEST, Told.EXACT, patience=patience))
    return max(found.completions) // SECOND
