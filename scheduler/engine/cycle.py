"""One scheduling round: `cycle(snapshot) -> Decisions`, pure and deterministic.

Two pictures of what is free are kept: `now`, and `soon`, which adds the cards of attempts already asked to stop. A job that
fits only soon is not granted, but its place is kept for it: nobody behind it may take what it waits for.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

from scheduler.domain.money import format_cny
from scheduler.domain.reasons import Reason
from scheduler.engine.explain import explain
from scheduler.engine.fleet import NO_KIND, Free
from scheduler.engine.order import QueuedJob, Usage, in_order
from scheduler.engine.place import Place, places
from scheduler.engine.preempt import MAX_SEARCHES, cheapest_victims
from scheduler.engine.shape import Shape
from scheduler.engine.snapshot import ActiveRun, Decisions, Grant, Preemption, Quote, Snapshot, Verdict


@dataclass(frozen=True, slots=True)
class Offer:
    """A place a job could have, with its price per hour for the whole gang, in micro-CNY."""

    place: Place
    quote: Quote | None
    units: int

    @property
    def net_per_hour(self) -> int:
        return self.quote.net_price * self.units if self.quote else 0

    @property
    def list_per_hour(self) -> int:
        return self.quote.list_price * self.units if self.quote else 0

    def rank(self) -> tuple[int, int, float, int, int]:
        """Cheapest after voucher first, then the largest (of a gang that may be smaller), then what leaves least unused.

        Between equals the first node. Compared per unit: a gang that was cut down to its `min_nodes` is not cheaper, only slower.
        """
        net_price = self.quote.net_price if self.quote else 0
        return net_price, -self.units, self.place.leftover, self.place.allocations[0].node, self.place.kind


@dataclass
class _Round:
    """What a round has decided so far, and what its decisions left free."""

    snapshot: Snapshot
    now: Free
    soon: Free
    usage: Usage
    preemptible: list[ActiveRun]
    releasing: list[ActiveRun]
    searches_left: int = MAX_SEARCHES
    grants: list[Grant] = field(default_factory=list)
    preemptions: list[Preemption] = field(default_factory=list)
    verdicts: dict[str, Verdict] = field(default_factory=dict)


def cycle(snapshot: Snapshot) -> Decisions:
    """Decide one round. Every queued job gets a grant or a verdict; the snapshot is left as it was."""
    round_ = _begin(snapshot)
    hopeless: dict[object, Verdict] = {}
    for job in in_order(snapshot.queue, round_.usage, snapshot.weights):
        if job.hold is not None:
            round_.verdicts[job.id] = Verdict("wait", (job.hold,))
            continue
        likeness = (job.shapes, job.terms, job.clusters)
        verdict = hopeless.get(likeness) or _decide(round_, job)
        if verdict is not None:
            round_.verdicts[job.id] = verdict
            if verdict.reasons[0].code != "waiting_for_release":
                hopeless[likeness] = verdict
    return Decisions(tuple(round_.grants), tuple(round_.preemptions), round_.verdicts)


def offers(snapshot: Snapshot, free: Free, job: QueuedJob, shape: Shape) -> Iterator[Offer]:
    """Every place with a price where one shape of a job fits into `free`."""
    for place in places(snapshot.fleet, free, shape, snapshot.packing):
        cluster = snapshot.fleet.clusters[place.cluster]
        if job.clusters is not None and cluster not in job.clusters:
            continue
        model = None if place.kind == NO_KIND else snapshot.fleet.kinds[place.kind].model
        quote = None if snapshot.prices is None else snapshot.prices.get((job.terms, cluster, model))
        if quote is not None or snapshot.prices is None:
            yield Offer(place, quote, place.cards() or place.nodes * shape.cpu_milli // 1000)


def _begin(snapshot: Snapshot) -> _Round:
    soon = snapshot.free.copy()
    releasing = [run for run in snapshot.runs if run.releasing]
    for run in releasing:
        soon.give(run.place.allocations)
    return _Round(
        snapshot=snapshot,
        now=snapshot.free.copy(),
        soon=soon,
        usage=snapshot.usage.copy(),
        preemptible=[run for run in snapshot.runs if run.preemptible and not run.releasing],
        releasing=releasing,
    )


def _decide(round_: _Round, job: QueuedJob) -> Verdict | None:
    """Grant the job and return None, or return why not."""
    for alternative, shape in enumerate(job.shapes):
        found = sorted(offers(round_.snapshot, round_.now, job, shape), key=Offer.rank)
        if found:
            _grant(round_, job, alternative, found)
            return None
    kept = _keep_place(round_, job) or _make_room(round_, job)
    return kept or explain(round_.snapshot, round_.now, job)


def _grant(round_: _Round, job: QueuedJob, alternative: int, found: list[Offer]) -> None:
    best = found[0]
    numbers: dict[str, str | int] = {
        "places": len(found),
        "net": format_cny(best.net_per_hour),
        "list": format_cny(best.list_per_hour),
    }
    reason = Reason("placed_cheapest_net" if len(found) > 1 else "placed_only_fit", numbers)
    round_.grants.append(Grant(job.id, best.place, alternative, reason))
    round_.now.take(best.place.allocations)
    round_.soon.take(best.place.allocations)
    round_.usage.add(job.tenant, best.place)


def _keep_place(round_: _Round, job: QueuedJob) -> Verdict | None:
    """Where cards are being released already and the job will fit: keep the place for it."""
    if not round_.releasing:
        return None
    for shape in job.shapes:
        found = min(offers(round_.snapshot, round_.soon, job, shape), key=Offer.rank, default=None)
        if found is not None:
            return _wait_for(round_, found.place, sum(run.place.cluster == found.place.cluster for run in round_.releasing))
    return None


def _make_room(round_: _Round, job: QueuedJob) -> Verdict | None:
    """Ask lower-priority gangs to stop where that makes the job fit at the least loss."""
    if round_.searches_left == 0 or not any(run.priority < job.priority for run in round_.preemptible):
        return None
    round_.searches_left -= 1
    found = cheapest_victims(round_.snapshot, round_.soon, job, round_.preemptible)
    if found is None:
        return None
    for run in found.victims:
        round_.preemptions.append(Preemption(run.attempt, job.id, job.priority))
        round_.preemptible.remove(run)
        round_.releasing.append(run)
        round_.soon.give(run.place.allocations)
    return _wait_for(round_, found.place, len(found.victims))


def _wait_for(round_: _Round, place: Place, runs: int) -> Verdict:
    round_.soon.take(place.allocations)
    round_.now.limit_to(round_.soon)
    cluster = round_.snapshot.fleet.clusters[place.cluster]
    return Verdict("wait", (Reason("waiting_for_release", {"cluster": cluster, "runs": runs}),))
