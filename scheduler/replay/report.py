"""A replay's outcome as one JSON object: the keys of `suanwang replay --json`."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from scheduler.engine.shape import WHOLE_CARD_MILLI
from scheduler.replay.driver import Outcome
from scheduler.replay.trace import SECOND


@dataclass(frozen=True, slots=True)
class Distribution:
    """Seconds. Percentiles are nearest-rank: durations that did occur. All are None where nothing was counted."""

    mean: float | None
    p50: float | None
    p99: float | None
    max: float | None


@dataclass(frozen=True, slots=True)
class Report:
    """What a replay found and what it took. Every job is one of placed, waiting and never: the three add up to the total.

    - `jobs_total`: jobs of the trace.
    - `jobs_placed`: those that were given a place before they left.
    - `jobs_waiting`: those that left without one, though the empty network could hold them.
    - `jobs_never`: those that not even the empty network could hold.
    - `cards_total`: cards of the network.
    - `cards_allocated`: the most cards that were allocated at once; a part of a card counts as its part.
    - `wall_seconds`: real time of the simulation, as measured by the caller; reading the trace is not part of it.
    - `virtual_seconds`: from the first arrival to the last departure.
    - `decisions_per_second`: grants and verdicts of all rounds together, per second of real time.
    - `peak_rss_bytes`: the most memory the process has had resident, as measured by the caller.
    - `utilisation`: allocated card-seconds over `cards_total × virtual_seconds`, from 0 to 1.
    - `wait_seconds`: of placed jobs, from arrival to the round that placed them.
    - `completion_seconds`: of placed jobs, from arrival to departure.
    - `makespan_seconds`: from the first arrival to the last departure of a placed job.
    - `preemptions`, `lost_card_seconds`: how often a run was stopped, and what was done again because of it; 0 where jobs leave at
      a time of the trace, as those are never stopped before.
    - `allocated_percent`: of a trace in a given order of arrival, and only there: `arrivals.allocated_percent`.
    - `reasons`: how many jobs ended with each reason code: why it was placed where it was, or why it was not. They add up to the
      total.
    """

    jobs_total: int
    jobs_placed: int
    jobs_waiting: int
    jobs_never: int
    cards_total: int
    cards_allocated: float
    wall_seconds: float
    virtual_seconds: float
    decisions_per_second: float
    peak_rss_bytes: int
    utilisation: float
    wait_seconds: Distribution
    completion_seconds: Distribution
    makespan_seconds: float
    preemptions: int
    lost_card_seconds: int
    reasons: dict[str, int]
    allocated_percent: dict[str, float | None] | None = None

    def as_json(self) -> dict[str, Any]:
        found = asdict(self)
        if self.allocated_percent is None:
            del found["allocated_percent"]
        return found


def report(outcome: Outcome, wall_seconds: float, peak_rss_bytes: int) -> Report:
    """The report of an outcome, with what the caller measured beside it."""
    most_card_micros = outcome.cards * WHOLE_CARD_MILLI * outcome.span
    return Report(
        jobs_total=outcome.jobs,
        jobs_placed=outcome.placed,
        jobs_waiting=outcome.waiting,
        jobs_never=outcome.never,
        cards_total=outcome.cards,
        cards_allocated=outcome.most_card_milli / WHOLE_CARD_MILLI,
        wall_seconds=wall_seconds,
        virtual_seconds=outcome.span / SECOND,
        decisions_per_second=outcome.decisions / wall_seconds,
        peak_rss_bytes=peak_rss_bytes,
        utilisation=outcome.card_milli_micros / most_card_micros if most_card_micros else 0.0,
        wait_seconds=distribution(outcome.waits),
        completion_seconds=distribution(outcome.completions),
        makespan_seconds=outcome.makespan / SECOND,
        preemptions=outcome.preemptions,
        lost_card_seconds=outcome.lost_card_seconds,
        reasons=dict(sorted(outcome.reasons.items())),
    )


def distribution(micros: Sequence[int]) -> Distribution:
    """How durations in microseconds are spread, in seconds."""
    if not micros:
        return Distribution(mean=None, p50=None, p99=None, max=None)
    ordered = sorted(micros)
    return Distribution(
        mean=sum(ordered) / len(ordered) / SECOND,
        p50=_percentile(ordered, 50),
        p99=_percentile(ordered, 99),
        max=ordered[-1] / SECOND,
    )


def _percentile(ordered: Sequence[int], percent: int) -> float:
    """Nearest rank: the smallest value that at least `percent` of all are not above."""
    rank = -(-len(ordered) * percent // 100)
    return ordered[rank - 1] / SECOND
