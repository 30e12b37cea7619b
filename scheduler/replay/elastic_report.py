"""How a replay of elastic gangs with deadlines went: the keys of `suanwang replay --json`, and what became of the deadlines."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from scheduler.replay.driver import Outcome
from scheduler.replay.elastic import Kept
from scheduler.replay.report import Report, report
from scheduler.replay.trace import SECOND


@dataclass(frozen=True, slots=True)
class ElasticReport:
    """The report of a replay, with the deadlines.

    - `deadlines_total`, `deadlines_met`, `deadlines_met_share`: jobs with one, those that ended by it, and their share.
    - `promises_made`, `promises_broken`: jobs that were admitted, and those of them that ended late all the same.
    - `width_changes`: starts, stops and changes of width. `moves`: gangs of unchanged width that had to go to other cards;
      `forced_moves`: those of them that had no time for it, and may break their promise.
    - `preemptions` are stops, and `lost_card_seconds` are spent on being started.
    """

    report: Report
    deadlines_total: int
    deadlines_met: int
    deadlines_met_share: float | None
    promises_made: int
    promises_broken: int
    width_changes: int
    moves: int
    forced_moves: int

    def as_json(self) -> dict[str, Any]:
        own = asdict(self)
        del own["report"]
        return {**self.report.as_json(), **own}


def elastic_report(outcome: Outcome, kept: Kept, wall_seconds: float, peak_rss_bytes: int) -> ElasticReport:
    found = report(outcome, wall_seconds, peak_rss_bytes)
    return ElasticReport(
        report=replace(found, preemptions=kept.stops, lost_card_seconds=kept.lost_card_micros // SECOND),
        deadlines_total=kept.wanted,
        deadlines_met=kept.met,
        deadlines_met_share=kept.met / kept.wanted if kept.wanted else None,
        promises_made=kept.promised,
        promises_broken=kept.broken,
        width_changes=kept.width_changes,
        moves=kept.moves,
        forced_moves=kept.forced_moves,
    )


def together(parts: Sequence[tuple[Outcome, Kept]]) -> tuple[Outcome, Kept]:
    """Separate networks as one outcome: what is counted is added up, spans are those of the longest."""
    outcomes, kept = [outcome for outcome, _ in parts], [each for _, each in parts]

    def total(name: str) -> Any:
        return sum(getattr(outcome, name) for outcome in outcomes)

    added = ("jobs", "placed", "waiting", "never", "decisions", "cards", "most_card_milli", "card_milli_micros")
    return (
        replace(
            outcomes[0],
            **{name: total(name) for name in added},
            reasons=sum((outcome.reasons for outcome in outcomes), Counter()),
            span=max(outcome.span for outcome in outcomes),
            makespan=max(outcome.makespan for outcome in outcomes),
            waits=[wait for outcome in outcomes for wait in outcome.waits],
            completions=[completion for outcome in outcomes for completion in outcome.completions],
        ),
        Kept(**{field.name: sum(getattr(each, field.name) for each in kept) for field in fields(Kept)}),
    )
