"""Elastic gangs over time: what is counted, and that a network of several clusters keeps at least what is promised."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scheduler.engine.blocks import Cards, Pool, place
from scheduler.engine.plan import Curve, Gang, Restart
from scheduler.replay import elastic
from scheduler.replay.elastic import Charges, Kept, replay
from scheduler.replay.elastic_report import elastic_report, together
from scheduler.replay.trace import SECOND, TraceError
from tests.engine.test_blocks import assert_whole_and_apart

Held = dict[str, Cards]
Story = tuple[list[Gang], list[int], Charges]

LINEAR = Curve((1, 2, 4, 8, 16), (10, 20, 40, 80, 160))
FREE = Charges(Restart(0))


def gang(id_: str, seconds: int, deadline: int | None, at: int = 0, curve: Curve = LINEAR) -> Gang:
    """So many seconds of work on one card."""
    return Gang(id_, seconds * SECOND * 10, curve, None if deadline is None else deadline * SECOND, at * SECOND)


def test_a_job_alone_takes_all_cards_and_ends_in_time() -> None:
    outcome, kept = replay([gang("a", 160, 20)], [2], FREE)
    assert (outcome.jobs, outcome.placed, outcome.cards, outcome.most_card_milli) == (1, 1, 16, 16_000)
    assert (outcome.completions, outcome.waits, outcome.span) == ([10 * SECOND], [0], 10 * SECOND)
    assert outcome.card_milli_micros == 16_000 * 10 * SECOND
    assert kept == Kept(
        wanted=1, met=1, promised=1, broken=0, width_changes=1, moves=0, forced_moves=0, stops=0, lost_card_micros=0
    )


def test_a_start_is_charged_to_the_job_and_counted() -> None:
    outcome, kept = replay([gang("a", 160, None)], [2], Charges(Restart(3 * SECOND)))
    assert outcome.completions == [13 * SECOND]
    assert kept.lost_card_micros == 16 * 3 * SECOND
    assert (kept.wanted, outcome.reasons.total()) == (0, 0)


def test_every_round_is_charged_where_that_is_asked_for() -> None:
    jobs = [gang("a", 80, None, curve=Curve((8,), (80,))), gang("b", 80, None, at=5, curve=Curve((8,), (80,)))]
    outcome, kept = replay(jobs, [2], Charges(Restart(0), every_round=SECOND, spacing=2 * SECOND))
    assert outcome.completions == [11 * SECOND, 11 * SECOND], "a loses a second when b comes, and b when a ends"
    assert kept.lost_card_micros == 8 * 2 * SECOND


def test_what_comes_too_late_is_still_run_to_its_end() -> None:
    outcome, kept = replay([gang("a", 160, 20), gang("b", 1600, 20)], [2], FREE)
    assert outcome.reasons == {"deadline_kept": 1, "deadline_missed": 1}
    assert (kept.promised, kept.broken, len(outcome.completions)) == (1, 0, 2)


def test_clusters_that_cannot_hold_the_widest_gang_are_refused() -> None:
    with pytest.raises(TraceError, match="multiple of 2 nodes for gangs of 16 cards"):
        replay([gang("a", 160, 20)], [3], FREE)


def test_separate_networks_are_added_up() -> None:
    one, other = replay([gang("a", 160, 20)], [2], FREE), replay([gang("b", 320, 5, at=7)], [2], FREE)
    outcome, kept = together([one, other])
    assert (outcome.jobs, outcome.cards, outcome.span) == (2, 32, 20 * SECOND)
    assert (kept.wanted, kept.met) == (2, 1)
    found = elastic_report(outcome, kept, 1.0, 1).as_json()
    assert (found["deadlines_total"], found["deadlines_met"], found["deadlines_met_share"]) == (2, 1, 0.5)
    assert found["utilisation"] == pytest.approx((16 * 10 + 16 * 20) / (32 * 20))
    assert "report" not in found


@st.composite
def traces(draw: st.DrawFn) -> Story:
    curves = st.sampled_from((LINEAR, Curve((1, 2, 8), (10, 15, 30)), Curve((4,), (35,)), Curve((16,), (90,))))
    jobs = []
    for number in range(draw(st.integers(1, 14))):
        at, span = draw(st.integers(0, 40)), draw(st.integers(1, 60))
        jobs.append(gang(f"j{number}", draw(st.integers(1, 500)), draw(st.sampled_from((None, at + span))), at, draw(curves)))
    nodes = draw(st.lists(st.sampled_from((2, 4)), min_size=1, max_size=2))
    return jobs, nodes, Charges(Restart(draw(st.integers(0, 4)) * SECOND, draw(st.integers(0, 1)) * SECOND))


@settings(max_examples=80, deadline=None)
@given(traces(), st.randoms(use_true_random=False))
def test_promises_hold_and_cards_are_given_once_in_any_order(trace: Story, random: object) -> None:
    jobs, nodes, charges = trace

    def proven(pool: Pool, held: Held, widths: dict[str, int], pinned: set[str]) -> Held:
        placed = place(pool, held, widths, pinned)
        assert_whole_and_apart(pool, placed, widths)
        return placed

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(elastic, "place", proven)
        outcome, kept = replay(jobs, nodes, charges)
    assert kept.broken <= kept.forced_moves
    assert kept.met >= kept.promised - kept.broken
    assert outcome.most_card_milli <= outcome.cards * 1000
    shuffled = list(jobs)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert replay(shuffled, nodes, charges) == (outcome, kept)


@settings(max_examples=60, deadline=None)
@given(traces())
def test_a_job_that_comes_later_changes_nothing_before_it(trace: Story) -> None:
    """No knowledge of the future: whoever ended before it came ended then."""
    jobs, nodes, charges = trace
    jobs = [replace(job, curve=LINEAR) for job in jobs]
    outcome, _ = replay(jobs, nodes, charges)
    late = max(job.submitted_at for job in jobs) + 1000 * SECOND
    with_late, _ = replay([*jobs, gang("late", 10, None, late // SECOND)], nodes, charges)
    if outcome.span + min(job.submitted_at for job in jobs) < late:
        assert with_late.completions[: len(jobs)] == outcome.completions
