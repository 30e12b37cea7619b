"""Re-scheduling with the runs that may be stopped put back: small moments worked out by hand, random ones against what must be."""

import random
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from scheduler.engine.fleet import Fleet, Free
from scheduler.engine.order import Order, QueuedJob
from scheduler.engine.quota import Queue, Quotas
from scheduler.engine.reschedule import Plan, plan, reschedule
from scheduler.engine.shape import Shape
from scheduler.engine.snapshot import ActiveRun, Snapshot
from tests.engine import oracle
from tests.engine.builders import SECOND, gang, job, node, place, run, snapshot
from tests.engine.strategies import snapshots

FLEET = Fleet.of([node("n1"), node("n2")])


def _moment(queue: Sequence[QueuedJob], runs: Sequence[ActiveRun], now: int = 0, fleet: Fleet = FLEET) -> Snapshot:
    return replace(snapshot(fleet, queue, runs, now=now * SECOND), order=Order.SHORTEST)


def _job(id_: str, cards: int, seconds: int, nodes: int = 1, arrives: int = 0) -> QueuedJob:
    return job(id_, gang(nodes, cards), submitted_at=arrives * SECOND, max_runtime_seconds=seconds)


def _stops(made: Plan) -> dict[str, str | None]:
    return {stop.attempt: stop.by for stop in made.stops}


def _starts(made: Plan) -> dict[str, list[str]]:
    return {grant.job: [FLEET.nodes[part.node].name for part in grant.place.allocations] for grant in made.starts}


def test_nobody_is_stopped_where_there_is_room_beside() -> None:
    runs = [run("long", place(FLEET, "n1"))]
    made = plan(_moment([_job("short", 8, 10)], runs), {"long": _job("job-long", 8, 1000)})
    assert (_stops(made), _starts(made)) == ({}, {"short": ["n2"]})


def test_the_shorter_takes_the_place_of_the_longest() -> None:
    runs = [run("long", place(FLEET, "n1")), run("longer", place(FLEET, "n2"))]
    back = {"long": _job("job-long", 8, 900), "longer": _job("job-longer", 8, 1000)}
    waiting = [_job("short", 8, 10), *(_job(f"filler{number}", 8, 5000) for number in range(4))]
    runs_on = plan(_moment(waiting[1:], runs), back)
    assert _stops(runs_on) == {}, "nobody who waits is shorter, nor can anybody be called critical"
    made = plan(_moment(waiting, runs), back)
    assert (_stops(made), _starts(made)) == ({"longer": "short"}, {"short": ["n2"]})


def test_a_gang_takes_whole_gangs_places() -> None:
    both = replace(place(FLEET, "n1"), allocations=(*place(FLEET, "n1").allocations, *place(FLEET, "n2").allocations))
    back = {"wide": _job("job-wide", 8, 1000, nodes=2)}
    made = plan(_moment([_job("short", 8, 10), *_fillers()], [run("wide", both)]), back)
    assert _stops(made) == {"wide": "short"}
    assert set(_starts(made)) == {"short", "filler0"}, "what the stopped gang leaves is not left idle"


def _fillers() -> list[QueuedJob]:
    return [_job(f"filler{number}", 8, 5000 + number) for number in range(4)]


def test_a_run_that_is_not_put_back_stays() -> None:
    runs = [run("long", place(FLEET, "n1")), run("longer", place(FLEET, "n2"))]
    made = plan(_moment([_job("short", 8, 10), *_fillers()], runs), {"long": _job("job-long", 8, 900)})
    assert (_stops(made), _starts(made)) == ({"long": "short"}, {"short": ["n1"]})


def test_nobody_is_stopped_for_less_than_it_loses() -> None:
    back = {"long": _job("job-long", 16, 100)}
    fleet = Fleet.of([node("n1", cards=16)])
    queue = [_job("short", 16, 80), *(_job(f"filler{number}", 16, 500) for number in range(3))]
    for since, stopped in ((95, {"long": "short"}), (85, {})):
        runs = [run("long", place(fleet, "n1", cards=16), safe_at=since * SECOND)]
        assert _stops(plan(_moment(queue, runs, now=100, fleet=fleet), back)) == stopped


def test_of_equals_whoever_came_first_has_the_place() -> None:
    runs = [run("one", place(FLEET, "n1")), run("other", place(FLEET, "n2"))]
    back = {"one": _job("job-one", 8, 100), "other": _job("job-other", 8, 100)}
    twins = [_job("twin", 8, 100, arrives=1), *_fillers()]
    assert plan(_moment(twins, runs), back) == Plan()


def test_runs_that_lose_nothing_are_moved_together_for_a_gang() -> None:
    runs = [run("one", place(FLEET, "n1", cards=1)), run("other", place(FLEET, "n2", cards=2))]
    back = {"one": _job("job-one", 1, 10), "other": _job("job-other", 2, 10)}
    made = plan(_moment([_job("whole", 8, 20)], runs), back)
    assert _stops(made) == {"one": "whole"}
    assert _starts(made) == {"whole": ["n1"], "job-one": ["n2"]}


def test_runs_that_would_lose_something_are_not_moved() -> None:
    runs = [run("one", place(FLEET, "n1", cards=1), safe_at=0), run("other", place(FLEET, "n2", cards=2), safe_at=0)]
    back = {"one": _job("job-one", 1, 10), "other": _job("job-other", 2, 10)}
    assert plan(_moment([_job("whole", 8, 20)], runs, now=100), back) == Plan()


def test_quota_holds_for_who_is_served_anew() -> None:
    quotas = Quotas.of([Queue("q", nominal={"class:domestic": 8000})])
    quotas.use("q", {"class:domestic": 8000})
    runs = [replace(run("long", place(FLEET, "n1")), queue="q")]
    waiting = [replace(each, queue="q") for each in (_job("short", 8, 10), *_fillers())]
    moment = replace(_moment(waiting, runs), quotas=quotas)
    made = plan(moment, {"long": replace(_job("job-long", 8, 1000), queue="q")})
    assert _stops(made) == {"long": "short"}
    assert set(_starts(made)) == {"short"}, "a second would be over quota, though there are cards"


def test_a_round_grants_what_is_free_and_keeps_the_rest_waiting_for_release() -> None:
    runs = [run("long", place(FLEET, "n1"))]
    moment = _moment([_job("first", 8, 5), _job("second", 8, 6), *_fillers()], runs)
    decisions = reschedule(moment, {"long": _job("job-long", 8, 1000)})
    assert [stop.attempt for stop in decisions.preemptions] == ["long"]
    assert [grant.job for grant in decisions.grants] == ["first"]
    assert decisions.verdicts["second"].reasons[0].code == "waiting_for_release"
    assert decisions.verdicts["filler0"].reasons[0].code == "waiting_for_cards"
    asked = replace(moment, runs=[replace(runs[0], releasing=True)])
    again = reschedule(asked, {"long": _job("job-long", 8, 1000)})
    assert not again.preemptions, "who has been asked to stop is not asked twice"
    assert again.verdicts["second"].reasons[0].code == "waiting_for_release"


def _job_of(fleet: Fleet, each: ActiveRun, seconds: int) -> QueuedJob:
    """The job of a run as it would wait again, asking for what it has."""
    part = each.place.allocations[0]
    shape = Shape(
        nodes=each.place.nodes,
        min_nodes=each.place.nodes,
        per_node=len(part.slots),
        card_milli=part.card_milli,
        models=frozenset({fleet.kinds[each.place.kind].model}) if part.slots else frozenset(),
        cpu_milli=part.cpu_milli,
        memory_bytes=part.memory_bytes,
    )
    return QueuedJob(each.job, each.tenant, each.priority, 0, (shape,), "full", max_runtime_seconds=seconds)


@st.composite
def moments(draw: st.DrawFn) -> tuple[Snapshot, dict[str, QueuedJob]]:
    """Random moments by every order, with some of the preemptible runs put back; jobs told, expected or of unknown length."""
    moment = draw(snapshots())
    lengths = st.one_of(st.none(), st.integers(1, 2000))
    queue = [
        replace(each, max_runtime_seconds=draw(lengths), attained_seconds=draw(st.integers(0, 200)), expected_seconds=draw(lengths))
        for each in moment.queue
    ]
    back = {
        each.attempt: _job_of(moment.fleet, each, draw(st.integers(1, 2000)))
        for each in moment.runs
        if each.preemptible and draw(st.booleans())
    }
    return replace(moment, queue=queue, order=draw(st.sampled_from(Order))), back


many = settings(max_examples=30, deadline=None)


def _carried_out(moment: Snapshot, made: Plan) -> Free:
    """What is free once everybody asked to stop has stopped and everybody has started."""
    stopped = {stop.attempt for stop in made.stops}
    free = moment.free.copy()
    for each in moment.runs:
        if each.releasing or each.attempt in stopped:
            free.give(each.place.allocations)
    for grant in made.starts:
        free.take(grant.place.allocations)
    return free


@many
@given(moments())
def test_once_the_stopped_are_gone_everybody_fits(case: tuple[Snapshot, dict[str, QueuedJob]]) -> None:
    moment, back = case
    free = _carried_out(moment, plan(moment, back))
    assert min(free.card_milli.min(initial=0), free.cpu_milli.min(), free.memory_bytes.min()) >= 0


@many
@given(moments())
def test_only_who_was_put_back_is_stopped_and_never_in_vain(case: tuple[Snapshot, dict[str, QueuedJob]]) -> None:
    moment, back = case
    made = plan(moment, back)
    runs = {each.attempt: each for each in moment.runs}
    starts = {grant.job: grant for grant in made.starts}
    assert len({stop.attempt for stop in made.stops}) == len(made.stops)
    for stop in made.stops:
        assert stop.attempt in back and not runs[stop.attempt].releasing
        assert stop.by in starts and stop.by != runs[stop.attempt].job
        nodes = {part.node for part in runs[stop.attempt].place.allocations}
        assert nodes & {part.node for part in starts[stop.by].place.allocations}
    queued = {each.id for each in moment.queue}
    assert all(grant.job in queued or any(runs[stop.attempt].job == grant.job for stop in made.stops) for grant in made.starts)
    assert not made.stops or queued & starts.keys(), "somebody who waited gains by it"


@many
@given(moments())
def test_nobody_waits_who_would_fit_beside_what_the_plan_leaves(case: tuple[Snapshot, dict[str, QueuedJob]]) -> None:
    moment, back = replace(case[0], windows=()), case[1]  # the oracle knows nothing of windows
    made = plan(moment, back)
    free, started = _carried_out(moment, made), {grant.job for grant in made.starts}
    for each in moment.queue:
        if each.id in started or each.hold is not None:
            continue
        for shape in each.shapes:
            found = (
                oracle.priced_options(moment.fleet, free, each, shape, moment.prices)
                if moment.prices is not None
                else list(oracle.options(moment.fleet, free, each, shape))
            )
            assert not found


@many
@given(moments(), st.randoms(use_true_random=False))
def test_the_order_of_what_is_given_does_not_matter(case: tuple[Snapshot, dict[str, QueuedJob]], shuffle: random.Random) -> None:
    moment, back = case
    queue, runs, items = list(moment.queue), list(moment.runs), list(back.items())
    for each in (queue, runs, items):
        shuffle.shuffle(each)
    again = replace(moment, queue=queue, runs=runs)
    one, other = plan(moment, back), plan(again, dict(items))
    assert set(one.stops) == set(other.stops)
    assert {grant.job: grant for grant in one.starts} == {grant.job: grant for grant in other.starts}


@many
@given(moments())
def test_a_round_says_of_everybody_who_waits_what_becomes_of_it(case: tuple[Snapshot, dict[str, QueuedJob]]) -> None:
    moment, back = case
    before = moment.free.copy()
    decisions = reschedule(moment, back)
    assert sorted([*(grant.job for grant in decisions.grants), *decisions.verdicts]) == sorted(each.id for each in moment.queue)
    assert all(verdict.reasons for verdict in decisions.verdicts.values())
    free = moment.free.copy()
    for grant in decisions.grants:
        free.take(grant.place.allocations)
    assert min(free.card_milli.min(initial=0), free.cpu_milli.min(), free.memory_bytes.min()) >= 0
    assert all(np.array_equal(getattr(before, name), getattr(moment.free, name)) for name in Free.__slots__)
