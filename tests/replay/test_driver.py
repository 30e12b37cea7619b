"""A trace on virtual time: small ones worked out by hand, random ones against a driver that never lets a job sleep."""

import random
from collections import Counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scheduler.engine import state
from scheduler.engine.cycle import Served, cycle, serve
from scheduler.engine.fleet import Fleet
from scheduler.engine.order import QueuedJob, Usage
from scheduler.engine.place import Place
from scheduler.engine.shape import Shape
from scheduler.engine.snapshot import Snapshot, Verdict
from scheduler.replay.driver import Outcome, replay
from scheduler.replay.trace import SECOND, Trace, TraceJob
from tests.engine.builders import gang, job, node
from tests.replay.strategies import traces


def _stay(id_: str, arrives: int, leaves: int, shape: Shape) -> TraceJob:
    return TraceJob(job(id_, shape, submitted_at=arrives * SECOND), leaves * SECOND)


def _one_node(*jobs: TraceJob) -> Outcome:
    return replay(Trace((node("n1", cards=2),), jobs))


def test_a_job_waits_for_the_one_before_it() -> None:
    found = _one_node(_stay("first", 0, 10, gang(1, 2)), _stay("second", 4, 30, gang(1, 1)))
    assert (found.placed, found.waiting, found.never) == (2, 0, 0)
    assert found.waits == [0, 6 * SECOND]
    assert found.completions == [10 * SECOND, 26 * SECOND]
    assert (found.span, found.makespan) == (30 * SECOND, 30 * SECOND)
    assert found.most_card_milli == 2000
    assert found.card_milli_micros == (2000 * 10 + 1000 * 20) * SECOND
    assert found.reasons == {"placed_only_fit": 2}
    assert found.decisions == 3, "two at the arrivals, one when the first had left"


def test_a_job_that_leaves_before_its_turn_was_waiting_and_one_too_large_never() -> None:
    found = _one_node(_stay("first", 0, 10, gang(1, 2)), _stay("patient", 1, 9, gang(1, 1)), _stay("giant", 2, 40, gang(1, 3)))
    assert (found.placed, found.waiting, found.never) == (1, 1, 1)
    assert found.reasons == {"placed_only_fit": 1, "waiting_for_cards": 1, "never_no_such_hardware": 1}
    assert (found.span, found.makespan) == (40 * SECOND, 10 * SECOND)


def test_who_leaves_at_a_moment_makes_room_for_who_arrives_at_it() -> None:
    found = _one_node(_stay("z-leaves", 0, 10, gang(1, 2)), _stay("a-arrives", 10, 20, gang(1, 2)))
    assert found.waits == [0, 0]


def test_a_stay_of_no_time_is_placed_and_gone() -> None:
    found = _one_node(_stay("blink", 5, 5, gang(1, 2)), _stay("next", 5, 8, gang(1, 2)))
    assert found.placed == 2
    assert found.waits == [0, 0]
    assert sorted(found.completions) == [0, 3 * SECOND]
    assert found.card_milli_micros == 2000 * 3 * SECOND


def test_a_stay_of_no_time_for_which_there_is_no_room_was_waiting() -> None:
    found = _one_node(_stay("first", 0, 10, gang(1, 2)), _stay("blink", 5, 5, gang(1, 1)))
    assert (found.placed, found.waiting) == (1, 1)


def test_time_starts_with_the_first_arrival() -> None:
    assert _one_node(_stay("only", 1000, 1060, gang(1, 1))).span == 60 * SECOND


def test_a_gang_waits_until_all_of_it_fits() -> None:
    nodes = (node("n1", cards=2), node("n2", cards=2))
    jobs = (_stay("one", 0, 10, gang(1, 2)), _stay("two", 0, 20, gang(1, 1)), _stay("gang", 1, 50, gang(2, 2)))
    assert replay(Trace(nodes, jobs)).waits == [0, 0, 19 * SECOND]


def test_progress_is_told_up_to_the_end() -> None:
    told: list[int] = []
    trace = Trace((node("n1"),), tuple(_stay(f"j{number}", number, number + 2, gang(1, 1)) for number in range(5)))
    replay(trace, told.append)
    assert told == sorted(told)
    assert told[-1] == 5


@settings(max_examples=150, deadline=None)
@given(traces())
def test_every_job_is_accounted_for_and_nothing_is_given_twice(trace: Trace) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(state, "serve", _checked_serve)
        found = replay(trace)
    assert found.placed + found.waiting + found.never == found.jobs == len(trace.jobs)
    assert found.reasons.total() == found.jobs
    assert found.most_card_milli <= found.cards * 1000
    assert 0 <= found.card_milli_micros <= found.cards * 1000 * found.span
    assert len(found.waits) == len(found.completions) == found.placed


def _checked_serve(moment: Snapshot, *rest: Any) -> Served:
    served = serve(moment, *rest)
    left = moment.free.copy()
    for grant in served.grants:
        left.take(grant.place.allocations)
    assert min(left.card_milli.min(initial=0), left.cpu_milli.min(), left.memory_bytes.min()) >= 0
    return served


@settings(max_examples=80, deadline=None)
@given(traces(), st.randoms(use_true_random=False))
def test_the_order_of_the_rows_does_not_matter(trace: Trace, shuffle: random.Random) -> None:
    nodes, jobs = list(trace.nodes), list(trace.jobs)
    shuffle.shuffle(nodes)
    shuffle.shuffle(jobs)
    assert replay(Trace(tuple(nodes), tuple(jobs))) == replay(trace)


@settings(max_examples=150, deadline=None)
@given(traces())
def test_letting_jobs_sleep_changes_nothing(trace: Trace) -> None:
    found = replay(trace)
    waits, reasons = _sleepless(trace)
    assert sorted(found.waits) == sorted(waits)
    assert found.reasons == reasons


def _sleepless(trace: Trace) -> tuple[list[int], Counter[str]]:
    """The same rules, with every job that waits shown to a round at every moment."""
    fleet = Fleet.of(trace.nodes)
    free, usage = fleet.all_free(), Usage.none(fleet)
    queue: dict[str, QueuedJob] = {}
    places: dict[str, Place] = {}
    verdicts: dict[str, Verdict] = {}
    waits: list[int] = []
    reasons: Counter[str] = Counter()
    steps = sorted({(at, blink) for entry in trace.jobs for at in (entry.job.submitted_at, entry.leaves_at) for blink in (0, 1)})
    for now, blink in steps:
        for entry in trace.jobs:
            stays_no_time = entry.leaves_at == entry.job.submitted_at
            if entry.leaves_at == now and stays_no_time == bool(blink):
                if entry.job.id in places:
                    free.give(places[entry.job.id].allocations)
                    usage.add(entry.job.tenant, places[entry.job.id], sign=-1)
                else:
                    del queue[entry.job.id]
                    reasons[verdicts[entry.job.id].reasons[0].code] += 1
        queue |= {entry.job.id: entry.job for entry in trace.jobs if entry.job.submitted_at == now and not blink}
        decisions = cycle(Snapshot(now, fleet, free, usage, list(queue.values())))
        verdicts |= decisions.verdicts
        for grant in decisions.grants:
            granted = queue.pop(grant.job)
            places[grant.job] = grant.place
            free.take(grant.place.allocations)
            usage.add(granted.tenant, grant.place)
            waits.append(now - granted.submitted_at)
            reasons[grant.reason.code] += 1
    return waits, reasons
