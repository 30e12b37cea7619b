"""Whose turn it is when everybody can be stopped: the least service left, but for who is critical or overdue."""

from collections.abc import Mapping, Sequence

from scheduler.engine.order import Order, QueuedJob
from scheduler.engine.precedence import precedence
from tests.engine.builders import SECOND, gang, job

CARDS = 16


def _served(
    jobs: Sequence[QueuedJob],
    order: Order = Order.SHORTEST,
    now: int = 0,
    patience: int = 1_000_000,
    credit: Mapping[str, int] | None = None,
) -> list[str]:
    standing = precedence(jobs, order, CARDS, now * SECOND, patience, credit or {})
    return [each.id for each in sorted(jobs, key=lambda each: (standing(each), each.submitted_at, each.id))]


def _job(id_: str, cards: int, seconds: int, arrives: int = 0, attained: int = 0) -> QueuedJob:
    return job(
        id_,
        gang(1, cards),
        submitted_at=arrives * SECOND,
        max_runtime_seconds=attained + seconds,
        attained_seconds=attained,
    )


def test_the_least_service_goes_first_not_the_least_time() -> None:
    wide, narrow = _job("wide", 8, 10), _job("narrow", 1, 70)
    others = [_job(f"filler{number}", 8, 100, arrives=1) for number in range(8)]
    assert _served([wide, narrow, *others])[:2] == ["narrow", "wide"]


def test_what_has_been_done_no_longer_counts() -> None:
    others = [_job(f"filler{number}", 8, 100) for number in range(8)]
    assert _served([_job("fresh", 8, 30), _job("nearly-done", 8, 20, attained=500), *others])[:2] == ["nearly-done", "fresh"]


def test_who_needs_as_long_as_all_the_work_takes_runs_from_now_on() -> None:
    jobs = [_job("long", 1, 1000), _job("longer", 1, 1100), *(_job(f"short{number}", 8, 10) for number in range(10))]
    assert _served(jobs)[:2] == ["longer", "long"], "16 cards are through with everything in 181 seconds"


def test_an_expectation_makes_nobody_critical() -> None:
    expected = [job(f"e{number}", gang(1, 1), expected_seconds=1000 - number) for number in range(3)]
    assert _served(expected) == ["e2", "e1", "e0"]


def test_who_has_waited_too_long_goes_by_age() -> None:
    young = [_job(f"young{number}", 8, 40, arrives=90) for number in range(8)]
    old = [_job("older", 8, 100, arrives=0), _job("old", 8, 90, arrives=1)]
    assert _served([*young, *old], now=100)[-2:] == ["old", "older"]
    assert _served([*young, *old], now=100, patience=50)[:2] == ["older", "old"]


def test_the_overdue_leave_a_quarter_of_the_cards_to_the_others() -> None:
    old = [_job(f"old{number}", 8, 1000, arrives=number) for number in range(4)]
    young = _job("young", 8, 1, arrives=5000)
    assert _served([*old, young], now=5000, patience=1) == ["old0", "old1", "young", "old2", "old3"]


def test_a_run_counts_what_stopping_it_would_lose() -> None:
    others = [_job(f"filler{number}", 8, 100) for number in range(8)]
    pair = [_job("runs", 8, 50), _job("waits", 8, 45)]
    assert _served([*pair, *others])[:2] == ["waits", "runs"]
    assert _served([*pair, *others], credit={"runs": 8 * 6})[:2] == ["runs", "waits"]


def test_attained_service_counts_in_doubling_levels_and_age_within_one() -> None:
    jobs = [
        job("second", gang(1, 1), submitted_at=2, attained_seconds=70),
        job("first", gang(1, 1), submitted_at=1, attained_seconds=110),
        job("next-level", gang(1, 2), submitted_at=0, attained_seconds=70),
        job("new", gang(1, 8), submitted_at=3),
    ]
    assert _served(jobs, Order.LEAST_ATTAINED) == ["new", "first", "second", "next-level"]
