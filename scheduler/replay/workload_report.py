"""The outcome of a workload as one JSON object: the keys of every replay, and what only a workload has."""

from collections import defaultdict
from dataclasses import dataclass
from fractions import Fraction

from scheduler.engine.fleet import Fleet
from scheduler.engine.order import Usage
from scheduler.engine.quota import Resource
from scheduler.engine.shape import WHOLE_CARD_MILLI
from scheduler.replay.report import Distribution, Report, distribution
from scheduler.replay.trace import SECOND
from scheduler.replay.workload import CPU, Workload
from scheduler.replay.workload_driver import WorkloadOutcome


@dataclass(frozen=True, slots=True)
class ClassReport:
    """The jobs of one class, and how long those that were placed waited for their first admission, in seconds."""

    count: int
    wait_seconds: Distribution


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkloadReport(Report):
    """As `Report`, with these differences and additions. A job is placed if it holds its place at the end or held it until its own.

    - `virtual_seconds`, `makespan_seconds`: from the first arrival to the last event, by the clock of the run.
    - `utilisation`: of cards; where the network has none, of the cores all queues own together.
    - `wait_seconds`: to the first admission, which counts once it is committed.
    - `reasons`: of every admission, and of every job that never had one.
    - `classes`: the same by class. `queues_usage_percent`: what the queues of a class used of what they own, over the makespan.
    - `fairness`: Jain's index (1: all the same) over queues of usage by nominal; where no queue owns anything, over tenants of
      their dominant share of what there was, by weight. None where nothing was used.
    - `moves`: of the preemptions, those that went on elsewhere.
    - `ideal_seconds`: no schedule has a shorter makespan.
    - `admissions_committed`: as the store counts them afterwards; None where it keeps none.
    """

    classes: dict[str, ClassReport]
    queues_usage_percent: dict[str, float]
    fairness: float | None
    moves: int
    ideal_seconds: float
    clock: str
    store: str
    admissions_committed: int | None


@dataclass(frozen=True, slots=True)
class Circumstances:
    """What only the caller knows of a run."""

    wall_seconds: float
    peak_rss_bytes: int
    clock: str
    store: str
    admissions_committed: int | None


def workload_report(workload: Workload, outcome: WorkloadOutcome, circumstances: Circumstances) -> WorkloadReport:
    """The report of an outcome."""
    span = outcome.end - outcome.start
    waits = [wait for each in outcome.classes.values() for wait in each.waits]
    return WorkloadReport(
        jobs_total=outcome.jobs,
        jobs_placed=outcome.placed,
        jobs_waiting=outcome.waiting,
        jobs_never=outcome.never,
        cards_total=outcome.cards,
        cards_allocated=outcome.most_card_milli / WHOLE_CARD_MILLI,
        wall_seconds=circumstances.wall_seconds,
        virtual_seconds=span / SECOND,
        decisions_per_second=outcome.decisions / circumstances.wall_seconds,
        peak_rss_bytes=circumstances.peak_rss_bytes,
        utilisation=_utilisation(workload, outcome, span),
        wait_seconds=distribution(waits),
        completion_seconds=distribution(outcome.completions),
        makespan_seconds=span / SECOND,
        preemptions=outcome.preemptions,
        lost_card_seconds=outcome.lost_card_milli_micros // (WHOLE_CARD_MILLI * SECOND),
        reasons=dict(sorted(outcome.reasons.items())),
        classes={name: ClassReport(each.count, distribution(each.waits)) for name, each in sorted(outcome.classes.items())},
        queues_usage_percent=_usage_percent(workload, outcome, span),
        fairness=_fairness(workload, outcome),
        moves=outcome.moves,
        ideal_seconds=workload.ideal() / SECOND,
        clock=circumstances.clock,
        store=circumstances.store,
        admissions_committed=circumstances.admissions_committed,
    )


def _utilisation(workload: Workload, outcome: WorkloadOutcome, span: int) -> float:
    if outcome.cards:
        used, most = outcome.card_milli_micros, outcome.cards * WHOLE_CARD_MILLI * span
    else:
        used = sum(used[CPU] for used in outcome.used.values())
        most = sum(queue.nominal.get(CPU, 0) for queue in workload.queues) * span
    return used / most if most else 0.0


def _usage_percent(workload: Workload, outcome: WorkloadOutcome, span: int) -> dict[str, float]:
    """As Kueue sums it: all that the queues of a class used, of the resource they own that they used most of."""
    used: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    nominal: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for queue in workload.queues:
        name = workload.queue_classes.get(queue.name)
        for resource, amount in queue.nominal.items():
            if name is not None and amount:
                nominal[name][resource] += amount
                used[name][resource] += _used(outcome, queue.name, resource)
    return {
        name: max(100 * used[name][resource] / (amount * span) for resource, amount in owned.items())
        for name, owned in sorted(nominal.items())
        if span
    }


def _used(outcome: WorkloadOutcome, queue: str, resource: Resource) -> int:
    used = outcome.used.get(queue)
    return 0 if used is None else used[resource]


def _fairness(workload: Workload, outcome: WorkloadOutcome) -> float | None:
    shares = [
        max(Fraction(_used(outcome, queue.name, resource), amount) for resource, amount in owned.items())
        for queue in workload.queues
        if (owned := {resource: amount for resource, amount in queue.nominal.items() if amount})
    ]
    shares = shares or _tenant_shares(workload, outcome)
    squares = sum(share * share for share in shares)
    return float(sum(shares) ** 2 / (len(shares) * squares)) if squares else None


def _tenant_shares(workload: Workload, outcome: WorkloadOutcome) -> list[Fraction]:
    totals = Usage.none(Fleet.of(workload.nodes)).totals.tolist()
    return [
        max(Fraction(used, total) for used, total in zip(amounts, totals, strict=True)) / workload.weights.get(tenant, 1)
        for tenant, amounts in sorted(outcome.used_by_tenant.items())
    ]
