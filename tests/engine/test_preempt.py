"""Whose gang is stopped for a job of higher priority."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations

import pytest
from hypothesis import given, settings

from scheduler.engine.backlog import Backlog
from scheduler.engine.cycle import cycle, serve
from scheduler.engine.fleet import Allocation, Fleet
from scheduler.engine.order import QueuedJob
from scheduler.engine.place import Place, place_in
from scheduler.engine.preempt import MAX_SEARCHES, cheapest_victims
from scheduler.engine.runs import Runs
from scheduler.engine.shape import Shape
from scheduler.engine.sleepers import Everybody
from scheduler.engine.snapshot import ActiveRun, CutShort, Snapshot
from tests.engine import oracle
from tests.engine.builders import HOPPER, SECOND, gang, job, node, place, quote, run, snapshot
from tests.engine.strategies import snapshots

FLEET = Fleet.of([node("n1"), node("n2")])
NOW = 3600 * SECOND


def _stopped(runs: list[ActiveRun], shape: Shape, priority: int = 75, fleet: Fleet = FLEET) -> set[str]:
    moment = snapshot(fleet, [job("urgent", shape, priority=priority)], runs, now=NOW)
    return {preemption.attempt for preemption in cycle(moment).preemptions}


def test_the_run_that_loses_least_is_stopped() -> None:
    fresh = run("fresh", place(FLEET, "n1"), safe_at=NOW - 10 * SECOND)
    stale = run("stale", place(FLEET, "n2"), safe_at=NOW - 60 * SECOND)
    assert _stopped([stale, fresh], gang()) == {"fresh"}
    assert _stopped([stale, fresh], gang(2)) == {"fresh", "stale"}


def test_nothing_is_stopped_where_the_job_fits_anyway() -> None:
    assert _stopped([run("r", place(FLEET, "n1"))], gang()) == set()


def test_equals_and_the_protected_are_left_alone() -> None:
    equal = run("equal", place(FLEET, "n1"), priority=75)
    protected = run("protected", place(FLEET, "n2"), preemptible=False)
    assert _stopped([equal, protected], gang()) == set()


def test_who_has_not_run_its_minimum_is_left_alone_and_the_job_is_told_until_when() -> None:
    fresh = run("fresh", place(FLEET, "n1"), safe_at=NOW, protected_until=NOW + 60 * SECOND)
    seasoned = run("seasoned", place(FLEET, "n2"), safe_at=0, protected_until=NOW)
    assert _stopped([fresh, seasoned], gang()) == {"seasoned"}, "though stopping the other would lose nothing"
    decisions = cycle(snapshot(FLEET, [job("urgent", gang(2), priority=75)], [fresh, seasoned], now=NOW))
    assert decisions.preemptions == ()
    waits, held = decisions.verdicts["urgent"].reasons
    assert (waits.code, held.code) == ("waiting_for_cards", "held_by_min_runtime")
    assert dict(held.numbers) == {"cluster": "a", "runs": 2, "until": "1970-01-01T01:01:00Z"}
    later = snapshot(FLEET, [job("urgent", gang(2), priority=75)], [fresh, seasoned], now=NOW + 60 * SECOND)
    assert {each.attempt for each in cycle(later).preemptions} == {"fresh", "seasoned"}


def test_a_job_is_protected_from_when_it_is_granted() -> None:
    served = serve(snapshot(FLEET, [], now=NOW), Backlog([job("j", min_runtime_seconds=60), job("k")]), Everybody(2))
    assert {each.job: each.protected_until for each in served.started} == {"j": NOW + 60 * SECOND, "k": 0}


def test_a_search_that_is_cut_short_is_counted_and_told() -> None:
    """Stopping `low` helps none of these gangs of two nodes; after `MAX_SEARCHES` of them it is not even tried."""
    runs = [run("low", place(FLEET, "n1")), run("equal", place(FLEET, "n2"), priority=75)]
    wide = [job(f"j{number:02}", gang(2, cpu_milli=number), priority=75, submitted_at=number) for number in range(MAX_SEARCHES + 2)]
    decisions = cycle(snapshot(FLEET, wide, runs))
    assert decisions.cut_short == CutShort(preemptions=2)
    told = [[reason.code for reason in decisions.verdicts[each.id].reasons] for each in wide]
    assert told == [["waiting_for_cards"]] * MAX_SEARCHES + [["waiting_for_cards", "search_limited"]] * 2
    limited = decisions.verdicts[wide[-1].id].reasons[1]
    assert "64" in limited.text("en")
    assert "抢占" in limited.text("zh")


def test_a_search_among_too_many_gangs_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sixteen single cards hold two nodes; with one gang a place, and no closer look, nobody finds two nodes."""
    monkeypatch.setattr("scheduler.engine.preempt.MAX_VICTIMS", 1)
    runs = [
        run(f"{name}-{slot}", Place(0, 0, (Allocation(FLEET.index["a", name], (slot,), 1000, 0, 0),), 0.0))
        for name in ("n1", "n2")
        for slot in range(8)
    ]
    decisions = cycle(snapshot(FLEET, [job("wide", gang(2), priority=75)], runs))
    assert decisions.cut_short == CutShort(preemptions=1)
    assert decisions.verdicts["wide"].reasons[-1].code == "search_limited"
    monkeypatch.undo()
    assert len(cycle(snapshot(FLEET, [job("wide", gang(2), priority=75)], runs)).preemptions) == 16


def test_where_the_cheapest_gangs_do_not_help_it_looks_node_by_node() -> None:
    """Three hundred cheap gangs of one card are spread over nodes whose other cards are dear; one node is cheap as a whole."""
    fleet = Fleet.of([node(f"n{number:03}") for number in range(301)])
    runs = [
        run(f"{row:03}-{slot}", Place(0, 0, (Allocation(row, (slot,), 1000, 0, 0),), 0.0), safe_at=NOW - (slot > 0) * 900 * SECOND)
        for row in range(300)
        for slot in range(8)
    ]
    runs += [
        run(f"300-{slot}", Place(0, 0, (Allocation(300, (slot,), 1000, 0, 0),), 0.0), safe_at=NOW - 10 * SECOND)
        for slot in range(8)
    ]
    moment = snapshot(fleet, [], runs, now=NOW)
    room = cheapest_victims(moment, moment.free, (), job("urgent", priority=75), Runs.of(runs)).room
    assert room is not None
    assert {victim.attempt for victim in room.victims} == {f"300-{slot}" for slot in range(8)}
    assert room.lost_card_seconds == 80


def test_nobody_is_stopped_in_vain() -> None:
    lower = run("lower", place(FLEET, "n1"))
    higher = run("higher", place(FLEET, "n2"), priority=90)
    assert _stopped([lower, higher], gang(2)) == set(), "stopping one does not help a gang of two nodes"


def test_a_victim_that_turns_out_not_to_be_needed_goes_on() -> None:
    cheap = run("cheap", place(FLEET, "n1", cards=2), safe_at=None)
    whole = run("whole", place(FLEET, "n2"), safe_at=NOW - 60 * SECOND)
    other = run("other", Place(0, 0, (Allocation(0, (2, 3, 4, 5, 6, 7), 1000, 0, 0),), 0.0), preemptible=False)
    assert _stopped([cheap, whole, other], gang()) == {"whole"}, "n1 stays full whether or not `cheap` stops"


def test_a_job_that_only_holds_the_cores_makes_room_too() -> None:
    hog = run("hog", Place(0, -1, (Allocation(0, (), 0, 64_000, 0),), 0.0))
    idle = Fleet.of([node("n1")])
    assert _stopped([hog], gang(1, 8, cpu_milli=32_000), fleet=idle) == {"hog"}


def test_runs_on_other_models_are_no_help() -> None:
    fleet = Fleet.of([node("n1"), node("n2", kind=HOPPER)])
    runs = [run("ascend", place(fleet, "n1"), safe_at=NOW), run("hopper", place(fleet, "n2"), safe_at=0)]
    assert _stopped(runs, gang(models=frozenset({"H800"})), fleet=fleet) == {"hopper"}


def test_a_place_without_a_price_is_not_made_room_in() -> None:
    fleet = Fleet.of([node("n1"), node("n1", cluster="b")])
    runs = [run("in-a", place(fleet, "n1"), safe_at=NOW), run("in-b", place(fleet, "n1", cluster="b"), safe_at=0)]
    moment = snapshot(fleet, [], runs, {("", "b", "910B3"): quote(1)}, now=NOW)
    room = cheapest_victims(moment, moment.free, (), job("urgent", priority=75), Runs.of(runs)).room
    assert room is not None
    assert [victim.attempt for victim in room.victims] == ["in-b"]
    assert room.lost_card_seconds == 3600 * 8


def test_what_a_stop_loses() -> None:
    where = place(FLEET, "n1", cards=4)
    assert run("not-started", where).lost_card_seconds(NOW) == 0
    assert run("started", where, safe_at=NOW - 10 * SECOND).lost_card_seconds(NOW) == 40
    assert run("from-the-future", where, safe_at=NOW + SECOND).lost_card_seconds(NOW) == 0


@settings(max_examples=150, deadline=None)
@given(snapshots())
def test_never_more_than_needed(moment: Snapshot) -> None:
    """The room holds the gang once every victim has stopped, and not if any one of them goes on."""
    for wanted in [replace(each, shapes=(shape,)) for each in moment.queue for shape in each.shapes]:
        room = cheapest_victims(moment, moment.free, (), wanted, Runs.of(moment.runs)).room
        if room is None or not room.victims:
            continue
        assert all(victim.priority < wanted.priority for victim in room.victims)
        assert _fits(moment, wanted.shapes[0], room.place, room.victims)
        for victim in room.victims:
            others = [each for each in room.victims if each is not victim]
            assert not _fits(moment, wanted.shapes[0], room.place, others)


@settings(max_examples=50, deadline=None)
@given(snapshots())
def test_no_other_set_of_gangs_loses_less(moment: Snapshot) -> None:
    """Every set of gangs that may be stopped, tried one after another."""
    for wanted in [replace(each, shapes=(shape,)) for each in moment.queue for shape in each.shapes]:
        if _fits_anywhere(moment, wanted, ()):
            continue
        room = cheapest_victims(moment, moment.free, (), wanted, Runs.of(moment.runs)).room
        preemptible = [
            each
            for each in moment.runs
            if each.preemptible and not each.releasing and each.priority < wanted.priority and each.protected_until <= moment.now
        ]
        losses = [
            sum(each.lost_card_seconds(moment.now) for each in stopped)
            for size in range(1, len(preemptible) + 1)
            for stopped in combinations(preemptible, size)
            if _fits_anywhere(moment, wanted, stopped)
        ]
        assert (room is None) == (not losses)
        if room is not None:
            assert room.lost_card_seconds == min(losses)


def _fits_anywhere(moment: Snapshot, wanted: QueuedJob, stopped: Sequence[ActiveRun]) -> bool:
    free = moment.free.copy()
    for each in stopped:
        free.give(each.place.allocations)
    options = oracle.options(moment.fleet, free, wanted, wanted.shapes[0])
    models = [None, *(kind.model for kind in moment.fleet.kinds)]
    return any(moment.prices is None or (wanted.terms, cluster, models[kind + 1]) in moment.prices for cluster, kind in options)


def _fits(moment: Snapshot, shape: Shape, where: Place, stopped: Sequence[ActiveRun]) -> bool:
    free = moment.free.copy()
    for each in stopped:
        free.give(each.place.allocations)
    return place_in(moment.fleet, free, shape, where.kind, where.cluster) is not None


def test_who_starts_in_this_round_cannot_be_asked_to_stop_in_it() -> None:
    """It has no attempt yet that could be asked. A moved run of low priority starts before those of higher priority are served."""
    runs = Runs.of([run("fresh", place(FLEET, "n1")), run("other", place(FLEET, "n2"), priority=90)])
    moment = snapshot(FLEET, [], list(runs), now=NOW)
    urgent = job("urgent", gang(), priority=75)
    assert cheapest_victims(moment, moment.free, [], urgent, runs).room is not None
    runs.fresh.add("fresh")
    assert cheapest_victims(moment, moment.free, [], urgent, runs).room is None
