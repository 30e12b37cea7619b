"""Backfill: what may start in front of a blocked job, and that what was promised is kept."""

from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scheduler.engine.cycle import cycle
from scheduler.engine.fleet import Fleet
from scheduler.engine.order import QueuedJob
from scheduler.engine.snapshot import ActiveRun, Backfill, Decisions, Snapshot
from tests.engine.builders import HOPPER, SECOND, gang, job, node, place, run, snapshot

FOUR = Fleet.of([node(f"n{number}") for number in range(4)])


def busy(*names: str, ends_at: int) -> list[ActiveRun]:
    return [run(name, place(FOUR, name), preemptible=False, ends_at=ends_at * SECOND) for name in names]


HEAD = job("head", gang(4), submitted_at=1, max_runtime_seconds=500)


@pytest.mark.parametrize(
    ("runtime", "starts"),
    [(100, True), (101, False), (None, False)],
    ids=["ends when the head starts", "would still run then", "nobody knows"],
)
def test_what_is_behind_may_start_only_if_it_ends_in_time(runtime: int | None, starts: bool) -> None:
    small = job("small", gang(1), submitted_at=2, max_runtime_seconds=runtime)
    decisions = cycle(snapshot(FOUR, [HEAD, small], busy("n0", "n1", "n2", ends_at=100)))
    assert decisions.promised_at == {"head": 100 * SECOND}
    assert [grant.job for grant in decisions.grants] == (["small"] if starts else [])
    if not starts:
        (reason,) = decisions.verdicts["small"].reasons
        assert (reason.code, dict(reason.numbers)) == ("waiting_behind_reservation", {"cluster": "a", "seconds": 100})


def test_what_fits_beside_the_promised_place_may_stay() -> None:
    head = job("head", gang(3), submitted_at=1, max_runtime_seconds=500)
    endless = job("endless", gang(1), submitted_at=2)
    second = job("second", gang(1), submitted_at=3)
    fleet_busy = busy("n0", "n1", ends_at=100)
    decisions = cycle(snapshot(FOUR, [head, endless, second], fleet_busy))
    assert [grant.job for grant in decisions.grants] == ["endless"], "one of two free nodes is left over at 100 s, not both"


def test_another_pool_of_cards_is_not_bound() -> None:
    fleet = Fleet.of([node("n0"), node("n1"), node("h0", kind=HOPPER)])
    head = job("head", gang(2, models=frozenset({"910B3"})), submitted_at=1)
    other = job("other", gang(1, models=frozenset({"H800"})), submitted_at=2)
    running = [run("r", place(fleet, "n0"), preemptible=False, ends_at=100 * SECOND)]
    assert [grant.job for grant in cycle(snapshot(fleet, [head, other], running)).grants] == ["other"]


def test_without_known_ends_nothing_is_promised_and_nobody_is_held_back() -> None:
    decisions = cycle(
        snapshot(FOUR, [HEAD, job("small", gang(1), submitted_at=2)], [run("r", place(FOUR, "n0"), preemptible=False)])
    )
    assert decisions.promised_at == {}
    assert [grant.job for grant in decisions.grants] == ["small"]


def test_conservative_promises_everyone_a_place_beside_the_others() -> None:
    second = job("second", gang(3), submitted_at=2, max_runtime_seconds=50)
    moment = snapshot(FOUR, [HEAD, second], [*busy("n0", ends_at=100), *busy("n1", ends_at=200)])
    easy = cycle(moment)
    conservative = cycle(Snapshot(**{**vars(moment), "backfill": Backfill.CONSERVATIVE}))
    assert easy.promised_at == {"head": 200 * SECOND}
    assert conservative.promised_at == {"head": 200 * SECOND, "second": 100 * SECOND}, "it ends before the head starts"


@dataclass(frozen=True)
class Arrival:
    nodes: int
    seconds: int
    at: int


ARRIVALS = st.lists(
    st.builds(Arrival, nodes=st.integers(1, 4), seconds=st.integers(1, 30), at=st.integers(0, 40)), min_size=1, max_size=12
)


@settings(max_examples=150)
@given(ARRIVALS, st.sampled_from(Backfill))
def test_the_promise_to_a_blocked_head_is_never_broken(arrivals: list[Arrival], backfill: Backfill) -> None:
    """On virtual time, with jobs that run exactly as long as they said: a blocked head never starts late.

    Promises to those behind it hold within a round: who is ahead of them may still start earlier than promised, and elsewhere.
    """
    jobs = {
        f"j{number:02}": job(f"j{number:02}", gang(each.nodes), submitted_at=each.at, max_runtime_seconds=each.seconds)
        for number, each in enumerate(arrivals)
    }
    waiting, running, promised, started = dict[str, QueuedJob](), dict[str, ActiveRun](), dict[str, int](), dict[str, int]()
    to_come = dict(jobs)
    now = 0
    while to_come or waiting or running:
        now = min([each.submitted_at * SECOND for each in to_come.values()] + [each.ends_at for each in running.values()])
        running = {name: each for name, each in running.items() if each.ends_at > now}
        for name in [name for name, each in to_come.items() if each.submitted_at * SECOND <= now]:
            waiting[name] = to_come.pop(name)
        decisions = _round(now, waiting, running, backfill)
        head = next(iter(decisions.promised_at), None)
        if head is not None:
            promised.setdefault(head, decisions.promised_at[head])
        for grant in decisions.grants:
            begun = waiting.pop(grant.job)
            seconds = begun.max_runtime_seconds or 0
            ends_at = now + seconds * SECOND
            running[grant.job] = ActiveRun(grant.job, grant.job, "t", 50, False, grant.place, ends_at=ends_at)
            started[grant.job] = now
    assert set(started) == set(jobs)
    late = {name: (started[name], at) for name, at in promised.items() if started[name] > at}
    assert not late


def _round(now: int, waiting: dict[str, QueuedJob], running: dict[str, ActiveRun], backfill: Backfill) -> Decisions:
    moment = snapshot(FOUR, list(waiting.values()), list(running.values()), now=now)
    return cycle(Snapshot(**{**vars(moment), "backfill": backfill}))
