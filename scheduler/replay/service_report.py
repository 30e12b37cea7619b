"""How a trace of interruptible jobs went, as the JSON object of `suanwang replay`: the keys of every replay, the policy, and the
same for every virtual cluster where there are several."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from scheduler.replay.driver import Outcome
from scheduler.replay.policy import Policy
from scheduler.replay.report import Report, report

_OF_A_CLUSTER = (
    "jobs_total",
    "jobs_never",
    "cards_total",
    "utilisation",
    "wait_seconds",
    "completion_seconds",
    "makespan_seconds",
    "preemptions",
    "lost_card_seconds",
)


@dataclass(frozen=True)
class ServiceReport:
    """`whole` is of all clusters together: its times are those of the cluster that took longest. `jobs_left_out`: by virtual
    cluster, jobs of a trace that were not replayed because nobody says how large theirs is."""

    whole: Report
    policy: Policy
    clusters: Mapping[str, Report]
    jobs_left_out: Mapping[str, int]

    def as_json(self) -> dict[str, Any]:
        found = {**self.whole.as_json(), "policy": asdict(self.policy)}
        if len(self.clusters) > 1:
            found["clusters"] = {
                name: {key: value for key, value in each.as_json().items() if key in _OF_A_CLUSTER}
                for name, each in self.clusters.items()
            }
            found["jobs_left_out"] = dict(self.jobs_left_out)
        return found


def service_report(
    policy: Policy, outcomes: Mapping[str, Outcome], left_out: Mapping[str, int], wall_seconds: float, peak_rss_bytes: int
) -> ServiceReport:
    """The report of one outcome for every cluster, at least one."""
    whole = report(together(list(outcomes.values())), wall_seconds, peak_rss_bytes)
    each = {name: report(outcome, wall_seconds, peak_rss_bytes) for name, outcome in outcomes.items()}
    return ServiceReport(whole, policy, each, left_out)


def together(outcomes: Sequence[Outcome]) -> Outcome:
    """Clusters that know nothing of each other as one outcome."""
    return Outcome(
        jobs=sum(each.jobs for each in outcomes),
        placed=sum(each.placed for each in outcomes),
        waiting=sum(each.waiting for each in outcomes),
        never=sum(each.never for each in outcomes),
        reasons=sum((each.reasons for each in outcomes), Counter()),
        decisions=sum(each.decisions for each in outcomes),
        cards=sum(each.cards for each in outcomes),
        most_card_milli=sum(each.most_card_milli for each in outcomes),
        card_milli_micros=sum(each.card_milli_micros for each in outcomes),
        span=max(each.span for each in outcomes),
        makespan=max(each.makespan for each in outcomes),
        waits=[wait for each in outcomes for wait in each.waits],
        completions=[completion for each in outcomes for completion in each.completions],
        levels=[],
        preemptions=sum(each.preemptions for each in outcomes),
        lost_card_seconds=sum(each.lost_card_seconds for each in outcomes),
    )
