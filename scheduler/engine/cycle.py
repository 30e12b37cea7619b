"""One scheduling round: `cycle(snapshot) -> Decisions`, pure and deterministic.

Two pictures of what is free are kept: `now`, and `soon`, which adds the cards of attempts already asked to stop. A job that
fits only soon is not granted, but its place is kept for it: nobody behind it may take what it waits for. A job that fits only
once others have ended may be promised a place at that time (`reserve`), which those behind it must not delay.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from scheduler.domain.money import format_cny
from scheduler.domain.reasons import Reason
from scheduler.engine.backlog import Backlog
from scheduler.engine.explain import explain
from scheduler.engine.fleet import NO_KIND, Bools, Free, Ints
from scheduler.engine.order import QueuedJob, Usage
from scheduler.engine.place import Place, place_on
from scheduler.engine.preempt import MAX_SEARCHES, cheapest_victims
from scheduler.engine.reserve import MAX_PROMISES, Outlook, Promise, ends_at, promise
from scheduler.engine.room import Room
from scheduler.engine.shape import Shape
from scheduler.engine.snapshot import ActiveRun, Backfill, Decisions, Grant, Preemption, Quote, Snapshot, Verdict

NO_PRICE = 2**62
"""Stands for the price of a place that is not offered."""

RELEASE = "waiting_for_release"


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


@dataclass
class _Round:
    """What a round has decided so far, and what its decisions left free."""

    snapshot: Snapshot
    now: Room
    soon: Room
    usage: Usage
    preemptible: list[ActiveRun]
    releasing: list[ActiveRun]
    occupants: list[ActiveRun]
    searches_left: int = MAX_SEARCHES
    promise_searches_left: int = MAX_PROMISES
    grants: list[Grant] = field(default_factory=list)
    preemptions: list[Preemption] = field(default_factory=list)
    promises: list[Promise] = field(default_factory=list)
    promised: set[int] = field(default_factory=set)
    views: dict[tuple[str, ...], tuple[Room, list[Promise]]] = field(default_factory=dict)
    tariffs: dict[tuple[str, int], Ints] = field(default_factory=dict)
    permits: dict[frozenset[str] | None, Bools] = field(default_factory=dict)

    def view(self, end: int) -> Room:
        """What a job that ends at `end` may take without delaying anybody who was promised a place."""
        binding = [each for each in self.promises if each.at < end]
        if not binding:
            return self.now
        key = tuple(each.job for each in binding)
        if key not in self.views:
            free = self.now.free.copy()
            for each in binding:
                free.limit_to(each.left)
            self.views[key] = (Room(self.snapshot.fleet, free), binding)
        return self.views[key][0]

    def refresh_views(self, nodes: Sequence[int]) -> None:
        """Bring every view up to date after `now`, or what was promised, has changed on some nodes."""
        for room, binding in self.views.values():
            room.set_to_least([self.now.free, *(each.left for each in binding)], nodes)

    def allowed(self, clusters: frozenset[str] | None) -> Bools:
        """For each cluster: whether it is among those a job may use."""
        if clusters not in self.permits:
            names = self.snapshot.fleet.clusters
            self.permits[clusters] = np.array([clusters is None or name in clusters for name in names], dtype=np.bool_)
        return self.permits[clusters]

    def net_prices(self, terms: str, kind: int) -> Ints:
        """For each cluster the net price of a unit, `NO_PRICE` where there is none; all zero where nothing is priced."""
        if (terms, kind) not in self.tariffs:
            fleet, prices = self.snapshot.fleet, self.snapshot.prices
            model = None if kind == NO_KIND else fleet.kinds[kind].model
            quotes = [None if prices is None else prices.get((terms, cluster, model)) for cluster in fleet.clusters]
            default = 0 if prices is None else NO_PRICE
            self.tariffs[terms, kind] = np.array([q.net_price if q else default for q in quotes], dtype=np.int64)
        return self.tariffs[terms, kind]


@dataclass(frozen=True)
class Served:
    """What became of a backlog in a round: grants, stops, and why the rest got nothing, by line and for single jobs."""

    grants: tuple[Grant, ...]
    preemptions: tuple[Preemption, ...]
    of_line: dict[int, Verdict]
    of_job: dict[str, Verdict]
    promised_at: dict[str, int]
    usage: Usage
    """What every tenant holds once the grants are taken."""


def cycle(snapshot: Snapshot) -> Decisions:
    """Decide one round. Every queued job gets a grant or a verdict; the snapshot is left as it was."""
    verdicts = {job.id: Verdict("wait", (job.hold,)) for job in snapshot.queue if job.hold is not None}
    backlog = Backlog(job for job in snapshot.queue if job.hold is None)
    served = serve(snapshot, backlog, np.ones(len(backlog.lines), dtype=np.bool_))
    for number, verdict in served.of_line.items():
        verdicts.update(dict.fromkeys(backlog.rest(number), verdict))
    return Decisions(served.grants, served.preemptions, {**verdicts, **served.of_job}, served.promised_at)


def serve(snapshot: Snapshot, backlog: Backlog, candidates: Bools, still: Callable[[Room], Bools] | None = None) -> Served:
    """Serve the `candidates` among the lines of a backlog, in order, taking out the jobs that are granted.

    `still`, where given, says after each grant which lines could still fit; it may err on the side of too many. Jobs that wait
    for a release are taken out as well: the caller puts them back.
    """
    round_ = _begin(snapshot)
    shares = backlog.shares(round_.usage, snapshot.weights)
    hopeless: dict[object, Verdict] = {}
    of_line: dict[int, Verdict] = {}
    of_job: dict[str, Verdict] = {}
    candidates = candidates.copy()
    while (number := backlog.first(candidates, shares)) is not None:
        example, (_, id_) = backlog.lines[number].example, backlog.next_of(number)
        likeness = (example.shapes, example.terms, example.clusters, example.max_runtime_seconds)
        verdict = hopeless.get(likeness) or _decide(round_, replace(example, id=id_))
        if verdict is None:
            backlog.take(number)
            shares.refresh(example.tenant)
            if still is not None:
                candidates &= still(round_.now)
        elif verdict.reasons[0].code == RELEASE:
            backlog.take(number)
            of_job[id_] = verdict
        else:
            hopeless[likeness] = of_line[number] = verdict
            candidates[number] = False
    promised_at = {each.job: each.at for each in round_.promises}
    return Served(tuple(round_.grants), tuple(round_.preemptions), of_line, of_job, promised_at, round_.usage)


def _begin(snapshot: Snapshot) -> _Round:
    soon = snapshot.free.copy()
    releasing = [run for run in snapshot.runs if run.releasing]
    for run in releasing:
        soon.give(run.place.allocations)
    return _Round(
        snapshot=snapshot,
        now=Room(snapshot.fleet, snapshot.free.copy()),
        soon=Room(snapshot.fleet, soon),
        usage=snapshot.usage.copy(),
        preemptible=[run for run in snapshot.runs if run.preemptible and not run.releasing],
        releasing=releasing,
        occupants=[run for run in snapshot.runs if not run.releasing],
    )


def _decide(round_: _Round, job: QueuedJob) -> Verdict | None:
    """Grant the job and return None, or return why not."""
    end = ends_at(round_.snapshot.now, job.max_runtime_seconds)
    room = round_.view(end)
    for alternative, shape in enumerate(job.shapes):
        best, places = best_offer(round_, room, job, shape)
        if best is not None:
            _grant(round_, job, alternative, best, places, end)
            return None
    kept = _keep_place(round_, job) or _make_room(round_, job)
    if kept is not None:
        return kept
    behind = _behind_promise(round_, job) if room is not round_.now else None
    _promise(round_, job)
    return behind or explain(round_.snapshot, round_.now, job)


def best_offer(round_: _Round, room: Room, job: QueuedJob, shape: Shape) -> tuple[Offer | None, int]:
    """The offer a job takes, and among how many (clusters × kinds of card where the whole gang fits at a price).

    Cheapest per unit after voucher first (a gang cut down to its `min_nodes` is not cheaper, only slower), then the largest, then
    the cluster with the least room left for such gangs, then the kind that leaves least unused on its nodes.
    """
    fleet = room.fleet
    kinds = fleet.kinds_for(shape)
    if not kinds:
        return None, 0
    gangs = np.array([room.gangs(shape, kind) for kind in kinds])
    prices = np.array([round_.net_prices(job.terms, kind) for kind in kinds])
    open_ = (gangs >= shape.min_nodes) & (prices != NO_PRICE) & round_.allowed(job.clusters)
    places = int(np.count_nonzero(open_))
    if places == 0:
        return None, 0
    open_ &= prices == prices[open_].min()
    nodes = np.minimum(gangs, shape.nodes)
    open_ &= nodes == nodes[open_].max()
    tightness = np.where(open_, gangs, 0).sum(axis=0)
    cluster = int(np.where(open_.any(axis=0), tightness, NO_PRICE).argmin())
    placed = [
        place_on(fleet, room.free, shape, kind, cluster, room.nodes(shape, kind, cluster))
        for row, kind in enumerate(kinds)
        if open_[row, cluster]
    ]
    place = min(placed, key=lambda each: (each.leftover, each.kind))
    return _offer(round_.snapshot, job, shape, place), places


def offers(snapshot: Snapshot, free: Free, job: QueuedJob, shape: Shape) -> list[Offer]:
    """Every place with a price where one shape of a job fits into `free`, in the order the engine prefers them."""
    round_, room, fleet = _begin(snapshot), Room(snapshot.fleet, free), snapshot.fleet
    found = []
    tightness: Counter[tuple[int, int, int]] = Counter()
    for kind in fleet.kinds_for(shape):
        gangs, prices = room.gangs(shape, kind), round_.net_prices(job.terms, kind)
        open_ = (gangs >= shape.min_nodes) & (prices != NO_PRICE) & round_.allowed(job.clusters)
        for cluster in map(int, np.flatnonzero(open_)):
            place = place_on(fleet, free, shape, kind, cluster, room.nodes(shape, kind, cluster))
            standing = int(prices[cluster]), -place.nodes, cluster
            tightness[standing] += int(gangs[cluster])
            found.append((standing, place))
    found.sort(key=lambda each: (each[0][:2], tightness[each[0]], each[0][2], each[1].leftover, each[1].kind))
    return [_offer(snapshot, job, shape, place) for _, place in found]


def _offer(snapshot: Snapshot, job: QueuedJob, shape: Shape, place: Place) -> Offer:
    model = None if place.kind == NO_KIND else snapshot.fleet.kinds[place.kind].model
    quote = None if snapshot.prices is None else snapshot.prices[job.terms, snapshot.fleet.clusters[place.cluster], model]
    return Offer(place, quote, place.cards() or place.nodes * shape.cpu_milli // 1000)


def _behind_promise(round_: _Round, job: QueuedJob) -> Verdict | None:
    """Where the job would fit now but could delay one that was promised its place."""
    for shape in job.shapes:
        found, _ = best_offer(round_, round_.now, job, shape)
        if found is not None:
            cluster = round_.snapshot.fleet.clusters[found.place.cluster]
            starts = [each.at for each in round_.promises if each.place.cluster == found.place.cluster]
            seconds = (min(starts, default=round_.snapshot.now) - round_.snapshot.now) // 1_000_000
            return Verdict("wait", (Reason("waiting_behind_reservation", {"cluster": cluster, "seconds": seconds}),))
    return None


def _promise(round_: _Round, job: QueuedJob) -> None:
    """Promise a blocked job its place, if the policy gives it one and the ends of running jobs tell when."""
    pool = frozenset(kind for shape in job.shapes for kind in round_.snapshot.fleet.kinds_for(shape))
    promised = round_.snapshot.backfill is Backfill.EASY and bool(pool & round_.promised)
    if promised or round_.promise_searches_left == 0:
        return
    round_.promise_searches_left -= 1
    found = promise(round_.snapshot, Outlook(round_.soon.free, round_.occupants, round_.promises), job)
    if found is not None:
        round_.promises.append(found)
        round_.promised |= pool


def _grant(round_: _Round, job: QueuedJob, alternative: int, best: Offer, places: int, end: int) -> None:
    numbers: dict[str, str | int] = {
        "places": places,
        "net": format_cny(best.net_per_hour),
        "list": format_cny(best.list_per_hour),
    }
    reason = Reason("placed_cheapest_net" if places > 1 else "placed_only_fit", numbers)
    allocations = best.place.allocations
    round_.grants.append(Grant(job.id, best.place, alternative, reason))
    round_.now.take(allocations)
    round_.soon.take(allocations)
    round_.usage.add(job.tenant, best.place)
    round_.occupants.append(ActiveRun(job.id, job.id, job.tenant, job.priority, False, best.place, ends_at=end))
    for each in round_.promises:
        if each.at < end:
            each.left.take(allocations)
    round_.refresh_views([part.node for part in allocations])


def _keep_place(round_: _Round, job: QueuedJob) -> Verdict | None:
    """Where cards are being released already and the job will fit: keep the place for it."""
    if not round_.releasing:
        return None
    for shape in job.shapes:
        found, _ = best_offer(round_, round_.soon, job, shape)
        if found is not None:
            return _wait_for(round_, found.place, sum(run.place.cluster == found.place.cluster for run in round_.releasing))
    return None


def _make_room(round_: _Round, job: QueuedJob) -> Verdict | None:
    """Ask lower-priority gangs to stop where that makes the job fit at the least loss."""
    if round_.searches_left == 0 or not any(run.priority < job.priority for run in round_.preemptible):
        return None
    round_.searches_left -= 1
    found = cheapest_victims(round_.snapshot, round_.soon.free, job, round_.preemptible)
    if found is None:
        return None
    for run in found.victims:
        round_.preemptions.append(Preemption(run.attempt, job.id, job.priority))
        round_.preemptible.remove(run)
        round_.releasing.append(run)
        round_.occupants.remove(run)
        round_.soon.give(run.place.allocations)
    return _wait_for(round_, found.place, len(found.victims))


def _wait_for(round_: _Round, place: Place, runs: int) -> Verdict:
    nodes = [part.node for part in place.allocations]
    round_.soon.take(place.allocations)
    round_.now.set_to_least([round_.now.free, round_.soon.free], nodes)
    round_.refresh_views(nodes)
    cluster = round_.snapshot.fleet.clusters[place.cluster]
    return Verdict("wait", (Reason(RELEASE, {"cluster": cluster, "runs": runs}),))
