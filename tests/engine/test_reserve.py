"""Backfill: what may start in front of a blocked job, and that what was promised is kept."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scheduler.contract.window import WindowKind
from scheduler.engine.cycle import Served, cycle
from scheduler.engine.fleet import Fleet
from scheduler.engine.reserve import MAX_PROMISES
from scheduler.engine.snapshot import ActiveRun, Backfill, CutShort, Snapshot
from scheduler.engine.state import State
from scheduler.engine.window import Window
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


def test_what_is_left_beside_a_promise_is_given_once() -> None:
    """Of ten cores the head needs six at 100 s: four are left for jobs that will still run then, once and not twice."""
    fleet = Fleet.of([node("n0", cpus=10)])
    ends = run("ends", place(fleet, "n0", cards=4), preemptible=False, ends_at=100 * SECOND)
    head = job("head", gang(1, 8, cpu_milli=6_000), submitted_at=1, max_runtime_seconds=500)
    endless = [job(f"endless-{number}", gang(1, 0, cpu_milli=4_000), submitted_at=2 + number) for number in range(2)]
    short = job("short", gang(1, 0, cpu_milli=4_000), submitted_at=9, max_runtime_seconds=100)
    decisions = cycle(snapshot(fleet, [head, *endless, short], [ends]))
    assert decisions.promised_at["head"] == 100 * SECOND
    assert [grant.job for grant in decisions.grants] == ["endless-0", "short"]


def test_promises_that_were_not_looked_for_are_counted_and_told() -> None:
    one = Fleet.of([node("n0")])
    queue = [job(f"j{number:02}", gang(1), submitted_at=number, max_runtime_seconds=50) for number in range(MAX_PROMISES + 3)]
    running = [run("r", place(one, "n0"), preemptible=False, ends_at=100 * SECOND)]
    decisions = cycle(replace(snapshot(one, queue, running), backfill=Backfill.CONSERVATIVE))
    assert (len(decisions.promised_at), decisions.cut_short) == (MAX_PROMISES, CutShort(promises=1)), "three jobs, in one line"
    assert {decisions.verdicts[each.id].reasons[-1].code for each in queue[MAX_PROMISES:]} == {"search_limited"}


def test_conservative_promises_each_job_of_a_line_its_own_start() -> None:
    """Three alike wait for one node: each is promised the end of the one before."""
    one = Fleet.of([node("n0")])
    queue = [job(f"j{number}", gang(1), submitted_at=number, max_runtime_seconds=50) for number in range(3)]
    moment = snapshot(one, queue, [run("r", place(one, "n0"), preemptible=False, ends_at=100 * SECOND)])
    assert cycle(moment).promised_at == {"j0": 100 * SECOND}
    decisions = cycle(replace(moment, backfill=Backfill.CONSERVATIVE))
    assert decisions.promised_at == {f"j{number}": (100 + 50 * number) * SECOND for number in range(3)}


@dataclass(frozen=True)
class Arrival:
    """A job that comes at `at` and runs for `takes` of the `seconds` it asked for."""

    nodes: int
    per_node: int
    cores: int
    seconds: int
    takes: int
    at: int


ARRIVALS = st.lists(
    st.builds(
        lambda seconds, share, **rest: Arrival(seconds=seconds, takes=max(1, seconds * share // 4), **rest),
        nodes=st.integers(1, 4),
        per_node=st.sampled_from((0, 1, 4, 8, 8)),
        cores=st.integers(1, 6),
        seconds=st.integers(1, 30),
        share=st.integers(1, 4),
        at=st.integers(0, 40),
    ),
    min_size=1,
    max_size=12,
)
MAINTENANCE = st.one_of(
    st.just(()),
    st.builds(
        lambda start, length, nodes: (
            Window("w", WindowKind.MAINTENANCE, start * SECOND, (start + length) * SECOND, 0, frozenset(nodes)),
        ),
        st.integers(0, 60),
        st.integers(1, 30),
        st.sets(st.integers(0, 3), min_size=1),
    ),
)
SMALL = Fleet.of([node(f"n{number}", cpus=cpus) for number, cpus in enumerate((8, 10, 12, 16))])


@settings(max_examples=150, deadline=None)
@given(ARRIVALS, st.sampled_from(Backfill), MAINTENANCE)
def test_the_promise_to_a_blocked_head_is_never_broken(
    arrivals: list[Arrival], backfill: Backfill, windows: tuple[Window, ...]
) -> None:
    """On virtual time, with cores as scarce as cards, runs that end early and maintenance: a blocked head never starts late, and
    nobody is on a node in maintenance."""
    promised, started = dict[str, int](), dict[str, int]()
    for now, served in _lived(SMALL, arrivals, backfill, windows):
        if served.promises:
            promised.setdefault(served.promises[0].job, served.promises[0].at)
        started |= {grant.job: now for grant in served.grants}
        for run_ in served.runs:
            for window in windows:
                inside = {part.node for part in run_.place.allocations} & window.nodes
                assert not inside or run_.ends_at <= window.start or now >= window.end
    assert len(started) == len(arrivals)
    assert not {name: (started[name], at) for name, at in promised.items() if started[name] > at}


@settings(max_examples=150, deadline=None)
@given(ARRIVALS, st.sampled_from(Backfill), MAINTENANCE)
def test_after_every_round_all_promises_can_be_kept_together(
    arrivals: list[Arrival], backfill: Backfill, windows: tuple[Window, ...]
) -> None:
    """The timetable of a round: what runs, to its last second, and every promised job from its start to its end, fit into the
    network at every moment. So no backfilled job delays any promised job."""
    for now, served in _lived(SMALL, arrivals, backfill, windows):
        assert backfill is Backfill.CONSERVATIVE or len(served.promises) <= 2, "one for the cards, one for jobs without"
        held = [(now, each.ends_at, each.place) for each in served.runs]
        held += [(each.at, each.until, each.place) for each in served.promises]
        for moment in {start for start, _, _ in held}:
            free = SMALL.all_free()
            for start, end, where in held:
                if start <= moment < end:
                    free.take(where.allocations)
            assert min(free.card_milli.min(), free.cpu_milli.min(), free.memory_bytes.min()) >= 0
        for start, end, where in held:
            nodes = {part.node for part in where.allocations}
            assert not any(nodes & window.nodes and start < window.end and window.start < end for window in windows)


def _lived(fleet: Fleet, arrivals: list[Arrival], backfill: Backfill, windows: tuple[Window, ...]) -> Iterator[tuple[int, Served]]:
    """Every round of a network on virtual time until nothing is left to do."""
    to_come = {
        f"j{number:02}": (
            job(
                f"j{number:02}",
                gang(each.nodes, each.per_node, cpu_milli=each.cores * 1000),
                submitted_at=each.at * SECOND,
                max_runtime_seconds=each.seconds,
            ),
            each.takes,
        )
        for number, each in enumerate(arrivals)
    }
    state = State(fleet, backfill=backfill)
    state.set_windows(windows, 0)
    ends: dict[str, int] = {}
    now = -1
    while len(ends) < len(to_come) or max(ends.values()) > now:
        moments = [each.submitted_at for each, _ in to_come.values()] + list(ends.values()) + [each.end for each in windows]
        now = min(moment for moment in moments if moment > now)
        for name in [name for name, end in ends.items() if end == now]:
            state.end(name)
        state.submit(each for each, _ in to_come.values() if each.submitted_at == now)
        served = state.round(now)
        ends |= {grant.job: now + to_come[grant.job][1] * SECOND for grant in served.grants}
        yield now, served
