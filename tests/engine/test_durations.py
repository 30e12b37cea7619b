"""What is expected of jobs that do not say how long they take."""

from hypothesis import given, settings
from hypothesis import strategies as st

from scheduler.engine.durations import Durations, Seen

HOUR = 3600


def _ended(cards: int, *seconds: int) -> list[Seen]:
    return [Seen(cards, each, ended=True) for each in seconds]


def test_before_anything_is_seen_who_has_run_longer_is_expected_to_go_on_longer() -> None:
    nothing = Durations.of([])
    expected = [nothing.seconds_left(1, attained) for attained in (0, HOUR, 10 * HOUR, 1000 * HOUR)]
    assert expected == sorted(expected)
    assert expected[0] < HOUR < expected[-1]


def test_jobs_that_always_end_soon_are_expected_to() -> None:
    learned = Durations.of(_ended(1, *[90] * 50))
    assert learned.seconds_left(1, 0) < 200
    assert learned.seconds_left(1, 60) < 60, "it is about to end"
    assert learned.seconds_left(1, 500) > 10 * learned.seconds_left(1, 60), "it is one of those that never end"


def test_a_job_that_still_runs_says_that_jobs_take_longer() -> None:
    some = _ended(1, *[HOUR] * 20)
    more = [*some, *(Seen(1, 10 * HOUR, ended=False) for _ in range(20))]
    assert Durations.of(more).seconds_left(1, 2 * HOUR) > Durations.of(some).seconds_left(1, 2 * HOUR)


def test_widths_are_learned_apart_and_start_from_all() -> None:
    learned = Durations.of([*_ended(1, *[100] * 40), *_ended(8, *[50 * HOUR] * 40)])
    assert learned.seconds_left(8, 0) > 10 * learned.seconds_left(1, 0)
    assert learned.seconds_left(1, 0) < learned.seconds_left(2, 0) < learned.seconds_left(8, 0), "of width 2 nothing was seen"


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.builds(Seen, st.sampled_from((1, 8)), st.integers(0, 10**9), st.booleans()), max_size=30),
    st.integers(0, 10**9),
)
def test_something_is_always_left(seen: list[Seen], attained: int) -> None:
    learned = Durations.of(seen)
    assert all(learned.seconds_left(cards, attained) >= 1 for cards in (1, 2, 8))
