"""Moving runs so that a blocked gang fits, against every way there is on tiny networks."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scheduler.domain.topology import RACK
from scheduler.engine import consolidate
from scheduler.engine.consolidate import Rearrangement, loss_of_move, rearrange, shape_again
from scheduler.engine.cycle import cycle
from scheduler.engine.fleet import Allocation, Bools, Fleet, Free
from scheduler.engine.order import QueuedJob
from scheduler.engine.place import Place
from scheduler.engine.runs import Runs
from scheduler.engine.shape import Shape
from scheduler.engine.snapshot import ActiveRun, CutShort, Snapshot
from tests.engine.builders import SECOND, gang, job, node, quote, snapshot

NOW = 10_000 * SECOND
RESTART = 60


def movable(
    attempt: str, fleet: Fleet, *where: tuple[str, int, int], lost: int = 0, priority: int = 50, **rest: object
) -> ActiveRun:
    """A run on so many cards from a slot on of each node; it last saved what it did `lost` seconds ago."""
    parts = tuple(Allocation(fleet.index["a", name], tuple(range(slot, slot + cards)), 1000, 0, 0) for name, slot, cards in where)
    shape = gang(len(where), where[0][2])
    again = job(f"job-{attempt}", shape, priority=priority)
    place = Place(0, int(fleet.card_kind[parts[0].node, 0]), parts, 0.0)
    known = {"safe_at": NOW - lost * SECOND, "again": again, **rest}
    return ActiveRun(attempt, again.id, "t", priority, True, place, **known)  # type: ignore[arg-type]


def everywhere(fleet: Fleet) -> Bools:
    return np.ones(len(fleet.nodes), dtype=np.bool_)


def moves(fleet: Fleet, runs: Sequence[ActiveRun], wanted: QueuedJob, **rest: object) -> Rearrangement | None:
    moment = replace(snapshot(fleet, [wanted], runs, now=NOW), restart_seconds=RESTART, **rest)  # type: ignore[arg-type]
    return rearrange(moment, moment.free, lambda _: everywhere(fleet), wanted, Runs.of(runs), moment.quotas).best


def moved(found: Rearrangement | None) -> dict[str, set[str]] | None:
    """Which run goes to which nodes."""
    return None if found is None else {run.attempt: {NAMES[part.node] for part in place.allocations} for run, place in found.moved}


FLEET = Fleet.of([node("n1"), node("n2"), node("n3")])
NAMES = [each.name for each in FLEET.nodes]


def test_scattered_halves_are_brought_together_where_that_loses_least() -> None:
    runs = [
        movable("fresh", FLEET, ("n1", 0, 4), lost=10),
        movable("stale", FLEET, ("n2", 0, 4), lost=100),
        movable("full", FLEET, ("n3", 0, 8), lost=0),
    ]
    found = moves(FLEET, runs, job("head", gang(1, 8)))
    assert moved(found) == {"fresh": {"n2"}}
    assert found is not None
    assert [part.node for part in found.place.allocations] == [FLEET.index["a", "n1"]]
    assert found.lost_card_seconds == 4 * (10 + RESTART)


def test_a_gang_is_moved_as_a_whole_or_not_at_all() -> None:
    wide = movable("wide", FLEET, ("n1", 0, 2), ("n2", 0, 2))
    other = movable("other", FLEET, ("n3", 0, 6))
    assert moved(moves(FLEET, [wide, other], job("head", gang(1, 8)))) == {"wide": {"n2", "n3"}}
    found = moves(FLEET, [wide, other], job("head", gang(2, 7)))
    assert found is None, "two nodes for the gang leave it one, and it needs two"


def test_what_looks_cheapest_on_one_node_may_not_be_in_the_end() -> None:
    fleet = Fleet.of([node(f"n{number}") for number in range(1, 5)])
    wide = movable("wide", fleet, ("n1", 0, 2), ("n4", 0, 2))
    apart = [movable(name, fleet, (name, 0, 2), lost=50) for name in ("n2", "n3")]
    stays = replace(movable("stays", fleet, ("n4", 2, 1)), again=None)
    found = moves(fleet, [wide, *apart, stays], job("head", gang(2, 8)))
    assert found is not None
    assert found.lost_card_seconds == 2 * 2 * (50 + RESTART), "moving `wide`, which is less, spares only one of these"


@pytest.mark.parametrize(
    "changes",
    [{"again": None}, {"preemptible": False}, {"releasing": True}, {"protected_until": NOW + 1}, {"priority": 60}],
    ids=["without a checkpoint", "not preemptible", "stopping already", "protected", "of higher priority"],
)
def test_who_may_not_be_moved_is_not(changes: dict[str, object]) -> None:
    runs = [replace(movable(name, FLEET, (name, 0, 4)), **changes) for name in ("n1", "n2", "n3")]  # type: ignore[arg-type]
    assert moves(FLEET, runs, job("head", gang(1, 8))) is None


def test_what_is_not_free_in_sum_is_not_looked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(consolidate, "MAX_STEPS", 0)
    runs = [movable(name, FLEET, (name, 0, 6)) for name in ("n1", "n2", "n3")]
    assert moves(FLEET, runs, job("head", gang(1, 8))) is None


def test_a_search_that_ran_into_its_limit_finds_nothing_rather_than_something_unproven(monkeypatch: pytest.MonkeyPatch) -> None:
    runs = [movable(name, FLEET, (name, 0, 4)) for name in ("n1", "n2", "n3")]
    assert moved(moves(FLEET, runs, job("head", gang(1, 8)))) == {"n1": {"n2"}}
    monkeypatch.setattr(consolidate, "MAX_STEPS", 1)
    assert moves(FLEET, runs, job("head", gang(1, 8))) is None


@pytest.mark.parametrize(("steps", "cut_short"), [(2_000, CutShort()), (1, CutShort(moves=1))])
def test_a_search_that_a_limit_ended_is_counted(monkeypatch: pytest.MonkeyPatch, steps: int, cut_short: CutShort) -> None:
    monkeypatch.setattr(consolidate, "MAX_STEPS", steps)
    runs = [movable(name, FLEET, (name, 0, 4)) for name in ("n1", "n2", "n3")]
    moment = replace(snapshot(FLEET, [job("head", gang(1, 8))], runs, now=NOW), restart_seconds=RESTART)
    decisions = cycle(moment)
    assert (bool(decisions.preemptions), decisions.cut_short) == (steps > 1, cut_short)


def test_a_gang_goes_only_where_it_has_a_price_and_in_its_rack() -> None:
    racked = Fleet.of([node("n1", rack="r1"), node("n2", rack="r2"), node("n3", rack="r2")])
    runs = [movable(name, racked, (name, 0, 4)) for name in ("n1", "n2", "n3")]
    head = job("head", gang(1, 8, within=RACK))
    assert moves(racked, runs, head, prices={("", "b", "910B3"): quote(1)}) is None
    assert moved(moves(racked, runs, head)) == {"n1": {"n2"}}
    assert moves(racked, runs, job("head", gang(2, 6, within=RACK))) is None, "4 + 4 of r2 do not fit on n1 alone"


def test_nodes_out_of_reach_are_used_by_nobody() -> None:
    runs = [movable(name, FLEET, (name, 0, 4)) for name in ("n1", "n2", "n3")]
    head = job("head", gang(1, 8))
    moment = replace(snapshot(FLEET, [head], runs, now=NOW), restart_seconds=RESTART)

    def reach(of: QueuedJob) -> Bools:
        return np.array([name != ("n1" if of is head else "n2") for name in NAMES])

    assert moved(rearrange(moment, moment.free, reach, head, Runs.of(runs), moment.quotas).best) == {"n2": {"n1"}}


def test_what_a_run_has_is_what_it_asks_for_again() -> None:
    run = movable("r", FLEET, ("n1", 0, 4), ("n2", 0, 4))
    wanted, other = gang(3, 4, min_nodes=1), gang(2, 8)
    assert shape_again(FLEET, job("j", other, wanted), run.place) == replace(wanted, nodes=2, min_nodes=2)
    assert shape_again(FLEET, job("j", other), run.place) is None


# every way there is, in plain Python


@st.composite
def crowded(draw: st.DrawFn) -> tuple[Snapshot, QueuedJob]:
    """A few small nodes, some of their cards held by runs that may be moved, and a gang that wants more."""
    fleet = Fleet.of([node(f"n{number}", cards=draw(st.sampled_from((2, 3, 4)))) for number in range(draw(st.integers(2, 4)))])
    free = fleet.all_free()
    runs: list[ActiveRun] = []
    for number in range(draw(st.integers(1, 5))):
        per_node = draw(st.integers(1, 2))
        having = [row for row in range(len(fleet.nodes)) if (free.card_milli[row] == 1000).sum() >= per_node]
        size = draw(st.sampled_from((1, 1, 1, 2)))
        if len(having) < size:
            continue
        rows = draw(st.permutations(having))[:size]
        parts = tuple(
            Allocation(row, tuple(np.flatnonzero(free.card_milli[row] == 1000)[:per_node].tolist()), 1000, 0, 0) for row in rows
        )
        free.take(parts)
        again = job(f"job-{number}", gang(size, per_node), priority=50)
        lost = draw(st.integers(0, 20)) * SECOND
        may = draw(st.sampled_from((True, True, True, False)))
        place = Place(0, 0, parts, 0.0)
        runs.append(ActiveRun(f"run-{number}", again.id, "t", 50, True, place, NOW - lost, again=again if may else None))
    head = job("head", gang(draw(st.integers(1, 3)), draw(st.integers(1, 4))))
    moment = replace(snapshot(fleet, [head], runs, now=NOW), restart_seconds=draw(st.sampled_from((0, 7))))
    return moment, head


def spare(free: Free) -> list[int]:
    return [int(cards) for cards in (free.card_milli == 1000).sum(axis=1)]


def fit_all(gangs: Sequence[tuple[int, int]], left: Sequence[int]) -> bool:
    """Whether gangs (nodes, cards of each) fit beside each other."""
    if not gangs:
        return True
    (size, per_node), *others = gangs
    return any(fit_all(others, rest) for rest in ways(size, per_node, left))


def ways(size: int, per_node: int, left: Sequence[int]) -> Iterator[list[int]]:
    """What is left of each node for every choice of nodes for a gang."""
    for rows in combinations([row for row, cards in enumerate(left) if cards >= per_node], size):
        yield [cards - per_node * (row in rows) for row, cards in enumerate(left)]


def least_loss(moment: Snapshot, head: QueuedJob) -> int | None:
    """Over every choice of nodes for the gang and every set of runs of which it needs each one there."""
    shape = head.shapes[0]
    candidates = [run for run in moment.runs if run.again is not None]
    losses = []
    for rows in combinations(range(len(moment.fleet.nodes)), shape.nodes):
        for size in range(1, len(candidates) + 1):
            for stopped in combinations(candidates, size):
                fits = [holds(moment, rows, shape, [run for run in stopped if run is not spared]) for spared in (None, *stopped)]
                if fits == [True] + [False] * size:
                    left = [cards - shape.per_node * (row in rows) for row, cards in enumerate(spare(without(moment, stopped)))]
                    gangs = [(run.place.nodes, len(run.place.allocations[0].slots)) for run in stopped]
                    if fit_all(gangs, left):
                        losses.append(sum(loss_of_move(run, NOW, moment.restart_seconds or 0) for run in stopped))
    return min(losses, default=None)


def holds(moment: Snapshot, rows: Sequence[int], shape: Shape, stopped: Sequence[ActiveRun]) -> bool:
    left = spare(without(moment, stopped))
    return all(left[row] >= shape.per_node for row in rows)


def without(moment: Snapshot, stopped: Sequence[ActiveRun]) -> Free:
    free = moment.free.copy()
    for run in stopped:
        free.give(run.place.allocations)
    return free


@settings(max_examples=300, deadline=None)
@given(crowded())
def test_no_other_moves_lose_less_and_where_there_are_any_they_are_found(case: tuple[Snapshot, QueuedJob]) -> None:
    moment, head = case
    shape = head.shapes[0]
    if any(True for _ in ways(shape.nodes, shape.per_node, spare(moment.free))):
        return  # it fits as it is
    found = rearrange(moment, moment.free, lambda _: everywhere(moment.fleet), head, Runs.of(moment.runs), moment.quotas).best
    assert (None if found is None else found.lost_card_seconds) == least_loss(moment, head)


@settings(max_examples=300, deadline=None)
@given(crowded())
def test_everybody_has_a_whole_place_beside_the_others(case: tuple[Snapshot, QueuedJob]) -> None:
    moment, head = case
    before = moment.free.copy()
    found = rearrange(moment, moment.free, lambda _: everywhere(moment.fleet), head, Runs.of(moment.runs), moment.quotas).best
    assert all(np.array_equal(getattr(before, name), getattr(moment.free, name)) for name in Free.__slots__)
    if found is None:
        return
    free = without(moment, [run for run, _ in found.moved])
    for place in (found.place, *(place for _, place in found.moved)):
        free.take(place.allocations)
        assert len({part.node for part in place.allocations}) == place.nodes
    assert free.card_milli.min() >= 0
    for run, place in found.moved:
        assert run.again is not None
        had = [(len(part.slots), part.card_milli, part.cpu_milli) for part in run.place.allocations]
        assert [(len(part.slots), part.card_milli, part.cpu_milli) for part in place.allocations] == had
        assert (place.cluster, place.kind) == (run.place.cluster, run.place.kind)
