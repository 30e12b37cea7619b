"""Deadlines in the ordinary round: who goes ahead because of one, what is said of it, and what would help to keep it."""

from dataclasses import replace
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scheduler.domain.reasons import Reason
from scheduler.engine.answers import answer
from scheduler.engine.backlog import Backlog
from scheduler.engine.cycle import cycle
from scheduler.engine.deadline import noted, prospect, prospect_of_run
from scheduler.engine.fleet import Fleet
from scheduler.engine.order import NEAR_SECONDS, NOT_NEAR, QueuedJob, Usage, in_order, latest_start, urgency
from scheduler.engine.snapshot import FOREVER, Snapshot, Verdict
from scheduler.engine.turns import Turns
from tests.engine.builders import HOPPER, SECOND, gang, job, node, place, run, snapshot
from tests.engine.strategies import NOW, snapshots

ONE = Fleet.of([node("n1")])
HOUR = 3600 * SECOND
NEAR = NEAR_SECONDS * SECOND


def due(id_: str, start_by: int, hours: int = 2, **rest: object) -> QueuedJob:
    """A job of some hours that must start by a moment."""
    return replace(job(id_), max_runtime_seconds=hours * 3600, deadline=start_by + hours * HOUR, **rest)  # type: ignore[arg-type]


def codes(verdict: Verdict) -> list[str]:
    return [reason.code for reason in verdict.reasons]


@pytest.mark.parametrize(
    ("now", "expected"),
    [
        (10 * HOUR - NEAR - 1, NOT_NEAR),
        (10 * HOUR - NEAR, 10 * HOUR),
        (10 * HOUR, 10 * HOUR),
        (10 * HOUR + 1, NOT_NEAR),
    ],
)
def test_a_job_is_urgent_from_an_hour_before_its_latest_start_until_then(now: int, expected: int) -> None:
    assert urgency(due("j", 10 * HOUR), now) == expected


def test_without_a_deadline_or_a_runtime_nothing_is_urgent() -> None:
    assert urgency(job("j"), 0) == urgency(replace(job("j"), deadline=1), 0) == NOT_NEAR
    assert latest_start(replace(job("j"), max_runtime_seconds=5)) is None


@pytest.mark.parametrize(("now", "first"), [(0, "old"), (10 * HOUR, "due"), (10 * HOUR + 1, "old")])
def test_the_one_card_goes_to_the_job_that_must_start_soon(now: int, first: str) -> None:
    queue = [job("old", submitted_at=0), due("due", 10 * HOUR, submitted_at=1)]
    (grant,) = cycle(snapshot(ONE, queue, now=now)).grants
    assert grant.job == first


def test_the_soonest_latest_start_goes_first_whoever_holds_less() -> None:
    usage = Usage.none(ONE)
    usage.add("greedy", place(ONE, "n1"))
    queue = [due("later", 8, tenant="modest"), due("sooner", 7, tenant="greedy"), job("rest", tenant="modest")]
    assert [each.id for each in in_order(queue, usage, {}, now=5)] == ["sooner", "later", "rest"]


def test_no_deadline_goes_before_a_higher_priority() -> None:
    queue = [due("due", 10 * HOUR), job("above", priority=51, submitted_at=9)]
    (grant,) = cycle(snapshot(ONE, queue, now=10 * HOUR)).grants
    assert grant.job == "above"


@pytest.mark.parametrize(
    ("now", "starts", "code"),
    [
        (0, 9 * HOUR, "deadline_met_if_started_by"),
        (0, 10 * HOUR, "deadline_met_if_started_by"),
        (0, 10 * HOUR + 1, "deadline_at_risk"),
        (0, None, "deadline_at_risk"),
        (10 * HOUR + 1, 10 * HOUR + 1, "deadline_missed"),
    ],
)
def test_what_is_said_of_a_deadline(now: int, starts: int | None, code: str) -> None:
    reason = prospect(due("j", 10 * HOUR), now, starts)
    assert reason is not None
    assert reason.code == code
    assert reason.numbers["deadline"] == "1970-01-01T12:00:00Z"
    assert reason.numbers["start_by"] == "1970-01-01T10:00:00Z"


def test_moments_are_rounded_to_the_safe_side() -> None:
    reason = prospect(due("j", 10 * HOUR + 1), 0, 9 * HOUR + 1)
    assert reason is not None
    assert (reason.numbers["start_by"], reason.numbers["starts"]) == ("1970-01-01T10:00:00Z", "1970-01-01T09:00:01Z")
    assert "最迟 1970-01-01T09:00:01Z 启动" in reason.text("zh")
    unknown = prospect(due("j", HOUR), 0, None)
    assert unknown is not None
    assert unknown.text("zh").endswith("未知")


def test_of_a_run_the_end_decides() -> None:
    assert prospect_of_run(HOUR, HOUR).code == "deadline_kept"
    assert prospect_of_run(HOUR, HOUR + 1) == Reason(
        "deadline_overrun", {"deadline": "1970-01-01T01:00:00Z", "ends": "1970-01-01T01:00:01Z"}
    )


def test_a_round_notes_it_where_it_can_tell() -> None:
    wait = Verdict("wait", (Reason("waiting_for_round"),))
    far, near = due("j", 10 * HOUR), due("j", NEAR)
    assert noted(wait, job("j"), 0, None) == noted(wait, far, 0, None) == wait
    assert codes(noted(wait, far, 0, 9 * HOUR)) == ["waiting_for_round", "deadline_met_if_started_by"]
    assert codes(noted(wait, near, 0, None)) == ["waiting_for_round", "deadline_at_risk"]
    assert codes(noted(wait, near, NEAR + 1, None)) == ["waiting_for_round", "deadline_missed"]
    assert noted(Verdict("never", wait.reasons), near, 0, None).reasons == wait.reasons


def test_a_waiting_job_is_told_by_the_round_with_its_promise() -> None:
    busy = run("r", place(ONE, "n1"), preemptible=False, ends_at=3 * HOUR)
    waiting = [due("in-time", 3 * HOUR), due("too-late", 2 * HOUR, submitted_at=1)]
    verdicts = cycle(snapshot(ONE, waiting, [busy])).verdicts
    assert codes(verdicts["in-time"]) == ["waiting_for_cards", "deadline_met_if_started_by"]
    assert codes(verdicts["too-late"]) == ["waiting_for_cards"], "not promised anything, and two hours are left"


def test_an_answer_says_what_would_keep_it() -> None:
    fleet = Fleet.of([node("n1"), node("n2", kind=HOPPER)])
    busy = run("r", place(fleet, "n1"), preemptible=False, ends_at=3 * HOUR)
    mine = replace(due("mine", 2 * HOUR, hours=4), shapes=(gang(models=frozenset({"910B3"})),))
    found = answer(snapshot(fleet, [], [busy]), mine)
    assert found.deadline is not None
    assert (found.deadline.code, found.deadline.numbers["starts"]) == ("deadline_at_risk", "1970-01-01T03:00:00Z")
    assert found.remedies == (
        Reason("change_other_model", {"model": "H800", "class": "foreign"}),
        Reason("change_runtime_for_deadline", {"max_runtime": "3h"}),
        Reason("change_later_deadline", {"deadline": "1970-01-01T07:00:00Z"}),
    )


def test_where_the_deadline_is_kept_nothing_needs_to_change() -> None:
    found = answer(snapshot(ONE, []), due("mine", 0))
    assert found.deadline is not None
    assert (found.verdict, found.deadline.code, found.remedies) == ("fit", "deadline_met_if_started_by", ())


def test_too_late_is_said_even_where_it_could_start_now() -> None:
    found = answer(snapshot(ONE, [], now=3 * HOUR), due("mine", 2 * HOUR))
    assert found.deadline is not None
    assert (found.verdict, found.deadline.code) == ("fit", "deadline_missed")
    assert [each.code for each in found.remedies] == ["change_runtime_for_deadline", "change_later_deadline"]


@st.composite
def moments(draw: st.DrawFn) -> Snapshot:
    """A network with runs that end, and jobs of which most have a deadline that is past, near or far."""
    moment = draw(snapshots())
    ends = {run.attempt: NOW + draw(st.integers(0, 2)) * HOUR for run in moment.runs}

    def timed(each: QueuedJob) -> QueuedJob:
        seconds = draw(st.sampled_from((600, 7200)))
        start_by = draw(st.sampled_from((None, NOW - 1, NOW, NOW + NEAR, NOW + NEAR + 1, NOW + 3 * HOUR)))
        return replace(each, max_runtime_seconds=seconds, deadline=None if start_by is None else start_by + seconds * SECOND)

    runs = [replace(run, ends_at=ends.get(run.attempt, FOREVER)) for run in moment.runs]
    return replace(moment, queue=[timed(each) for each in moment.queue], runs=runs)


many = settings(max_examples=60, deadline=None)


@many
@given(moments(), st.sampled_from([0, 2, 8]))
def test_lines_are_served_in_the_order_of_single_jobs(moment: Snapshot, few: int) -> None:
    """Who holds what does not change here, so the order is known beforehand. `few` turns are found without heaps."""
    with patch("scheduler.engine.turns.FEW", few):
        _served_in_order(moment)


def _served_in_order(moment: Snapshot) -> None:
    backlog = Backlog(moment.queue)
    shares, urgencies = backlog.shares(moment.usage, moment.weights), backlog.urgencies(moment.now)
    served = []
    turns, everybody = Turns(backlog, shares, urgencies), np.ones(len(backlog.lines), dtype=np.bool_)
    while (number := turns.next(everybody)) is not None:
        served.append(backlog.next_of(number)[1])
        backlog.take(number)
        turns.served(number, again=True)
    assert served == [each.id for each in in_order(moment.queue, moment.usage, moment.weights, moment.now)]


@many
@given(moments(), st.randoms(use_true_random=False))
def test_a_round_with_deadlines_does_not_hang_on_the_order_of_the_queue(moment: Snapshot, random: object) -> None:
    shuffled = list(moment.queue)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert cycle(moment) == cycle(replace(moment, queue=shuffled))


@many
@given(moments())
def test_a_deadline_far_away_or_gone_changes_no_grant(moment: Snapshot) -> None:
    idle = [replace(each, deadline=None) if urgency(each, NOW) != NOT_NEAR else each for each in moment.queue]
    without = [replace(each, deadline=None) for each in idle]
    assert cycle(replace(moment, queue=idle)).grants == cycle(replace(moment, queue=without)).grants


@many
@given(moments())
def test_what_an_answer_proposes_for_the_deadline_keeps_it(moment: Snapshot) -> None:
    """With the later deadline in place of its own, and nothing nearer than it was, the engine says it is kept."""
    for mine in moment.queue:
        found = answer(moment, mine)
        assert (found.deadline is None) == (mine.deadline is None)
        later = next((each for each in found.remedies if each.code == "change_later_deadline"), None)
        if later is not None and found.start.latest is not None and mine.max_runtime_seconds is not None:
            changed = replace(mine, deadline=found.start.latest + mine.max_runtime_seconds * SECOND)
            if urgency(changed, NOW) == urgency(mine, NOW):
                again = answer(moment, changed)
                assert again.deadline is not None
                assert again.deadline.code == "deadline_met_if_started_by"
                assert again.remedies == ()
