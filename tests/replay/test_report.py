"""The figures of a replay."""

from collections import Counter

import pytest

from scheduler.replay.driver import Outcome, replay
from scheduler.replay.report import Distribution, report
from scheduler.replay.trace import SECOND, Trace, TraceJob
from tests.engine.builders import gang, job, node


def _outcome(waits: list[int]) -> Outcome:
    seconds = [wait * SECOND for wait in waits]
    return Outcome(
        jobs=len(waits),
        placed=len(waits),
        waiting=0,
        never=0,
        reasons=Counter({"placed_only_fit": len(waits)}),
        decisions=50,
        cards=8,
        most_card_milli=6500,
        card_milli_micros=4000 * 100 * SECOND,
        span=100 * SECOND,
        makespan=90 * SECOND,
        waits=seconds,
        completions=seconds,
        levels=[],
    )


def test_every_figure_has_its_unit() -> None:
    found = report(_outcome([0, 10]), wall_seconds=0.5, peak_rss_bytes=1234)
    assert (found.cards_total, found.cards_allocated, found.utilisation) == (8, 6.5, 0.5)
    assert (found.virtual_seconds, found.makespan_seconds, found.wall_seconds) == (100.0, 90.0, 0.5)
    assert (found.decisions_per_second, found.peak_rss_bytes) == (100.0, 1234)


@pytest.mark.parametrize(
    ("waits", "p50", "p99"),
    [([7], 7, 7), ([1, 2], 1, 2), ([3, 1, 2], 2, 3), (list(range(1, 101)), 50, 99), (list(range(1, 201)), 100, 198)],
)
def test_percentiles_are_values_that_occurred(waits: list[int], p50: int, p99: int) -> None:
    found = report(_outcome(waits), 1.0, 1).wait_seconds
    assert (found.p50, found.p99, found.max) == (p50, p99, max(waits))
    assert found.mean == sum(waits) / len(waits)


def test_what_was_not_counted_is_absent_and_not_zero() -> None:
    trace = Trace((node("n1", cards=0),), (TraceJob(job("j", gang(1, 1)), SECOND),))
    found = report(replay(trace), 1.0, 1)
    assert found.wait_seconds == found.completion_seconds == Distribution(None, None, None, None)
    assert (found.cards_total, found.cards_allocated, found.utilisation) == (0, 0.0, 0.0)
    assert (found.jobs_never, found.reasons) == (1, {"never_no_such_hardware": 1})
