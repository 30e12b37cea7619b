"""Which places a job could have, at what price, and which of them it takes."""

from collections import Counter
from dataclasses import dataclass

import numpy as np

from scheduler.domain.money import format_cny
from scheduler.domain.reasons import Reason
from scheduler.domain.topology import CLUSTER, LEVEL_NAMES
from scheduler.engine.choice import Candidates, best_of, rank
from scheduler.engine.fleet import NO_KIND, Fleet, Free
from scheduler.engine.order import QueuedJob, needs
from scheduler.engine.packing import Packing
from scheduler.engine.place import Place, cheapest_nodes, place_at, place_on
from scheduler.engine.quota import Quotas
from scheduler.engine.room import Room
from scheduler.engine.round import NO_PRICE, Round, begin
from scheduler.engine.shape import WHOLE_CARD_MILLI, Shape
from scheduler.engine.snapshot import Grant, Quote, Snapshot


@dataclass(frozen=True, slots=True)
class Offer:
    """A place a job could have, with its price per hour for the whole gang, in micro-CNY. What is priced is `unit_milli`
    thousandths of a card, or of a core for a job without cards."""

    place: Place
    quote: Quote | None
    unit_milli: int

    @property
    def net_per_hour(self) -> int:
        return self.quote.net_price * self.unit_milli // WHOLE_CARD_MILLI if self.quote else 0

    @property
    def contracted_per_hour(self) -> int:
        return self.quote.contracted_price * self.unit_milli // WHOLE_CARD_MILLI if self.quote else 0

    @property
    def list_per_hour(self) -> int:
        return self.quote.list_price * self.unit_milli // WHOLE_CARD_MILLI if self.quote else 0


def grant_of(job: QueuedJob, alternative: int, offer: Offer, places: int) -> Grant:
    """A job takes an offer, out of so many places that it could have had."""
    numbers: dict[str, str | int] = {
        "places": places,
        "net": format_cny(offer.net_per_hour),
        "list": format_cny(offer.list_per_hour),
    }
    reason = Reason("placed_cheapest_net" if places > 1 else "placed_only_fit", numbers)
    near = job.shapes[alternative].near
    apart = None if near == CLUSTER else Reason("placed_spread", {"domains": offer.place.spread, "level": LEVEL_NAMES[near]})
    return Grant(job.id, offer.place, alternative, reason, apart)


def best_offer(round_: Round, room: Room, quotas: Quotas, job: QueuedJob, shape: Shape) -> tuple[Offer | None, int]:
    """The offer a job takes, and among how many (clusters × kinds of card where the whole gang fits at a price).

    The job's profile says which (`choice`); by default the cheapest per unit after voucher (a gang cut down to its `min_nodes` is
    not cheaper, only slower), then the largest. Of equals one over the fewest domains of the level it would be near, then the
    cluster with the least room left for such gangs, then the kind that leaves least unused on its nodes.
    """
    if round_.snapshot.packing is not None:
        return _least_waste(round_, room, quotas, job, shape, round_.snapshot.packing)
    fleet = room.fleet
    kinds = fleet.kinds_for(shape)
    if not kinds:
        return None, 0
    # arrays of kinds × clusters; what does not bind (no prices, no quota, any cluster) costs nothing
    gangs = np.array([room.gangs(shape, kind) for kind in kinds])
    open_ = gangs >= shape.min_nodes
    if job.clusters is not None:
        open_ &= round_.allowed(job.clusters)
    granted = [shape.nodes] * len(kinds)
    if quotas.knows(job.queue):
        granted = [_nodes_in_quota(fleet, quotas, job, shape, kind) for kind in kinds]
        if 0 in granted:
            open_[np.array(granted) == 0] = False
    prices = None
    if round_.snapshot.prices is not None:
        prices = np.array([round_.net_prices(job.terms, kind) for kind in kinds])
        open_ &= prices != NO_PRICE
    places = int(np.count_nonzero(open_))
    if places == 0:
        return None, 0
    seats = [divmod(int(open_.argmax()), open_.shape[1])]
    tightness = np.zeros(open_.shape[1], dtype=np.int64)
    if places > 1:
        nodes = np.minimum(gangs, np.array(granted)[:, np.newaxis])
        open_ = best_of(round_, job, Candidates(shape, kinds, slice(None), prices, nodes), open_)
        tightness = np.where(open_, gangs, 0).sum(axis=0)
        if shape.near == CLUSTER:  # the cluster is known without placing the gang in all of them
            cluster = int(np.where(open_.any(axis=0), tightness, NO_PRICE).argmin())
            seats = [(row, cluster) for row in open_[:, cluster].nonzero()[0].tolist()]
        else:
            seats = [(row, cluster) for row, cluster in np.argwhere(open_).tolist()]
    placed = [
        place_on(fleet, room.free, shape, kinds[row], cluster, room.nodes(shape, kinds[row], cluster), granted[row])
        for row, cluster in seats
    ]
    place = min(placed, key=lambda each: (each.spread, tightness[each.cluster], each.cluster, each.leftover, each.kind))
    return _offer(round_.snapshot, job, shape, place), places


def _least_waste(
    round_: Round, room: Room, quotas: Quotas, job: QueuedJob, shape: Shape, packing: Packing
) -> tuple[Offer | None, int]:
    """The same where it is known what is asked for: of equals, the place that wastes the fewest cards of that."""
    fleet, snapshot, found = room.fleet, round_.snapshot, []
    allowed, limited = round_.allowed(job.clusters), quotas.knows(job.queue)
    for kind, cluster, nodes, waste in cheapest_nodes(fleet, room.free, shape, packing):
        price = 0 if snapshot.prices is None else int(round_.net_prices(job.terms, kind)[cluster])
        if price == NO_PRICE or not allowed[cluster]:
            continue
        if limited and quotas.shortfall(job.queue, needs(fleet, shape, kind, len(nodes))) is not None:
            continue
        standing = rank(round_, job, shape, kind, cluster, price, len(nodes))
        found.append((standing, waste, int(nodes[0]), kind, cluster, nodes))
    if not found:
        return None, 0
    # places are built only to tell how far apart they lie
    seats = [min(found, key=lambda each: each[:4])] if shape.near == CLUSTER else found
    placed = []
    for standing, waste, first, kind, cluster, nodes in seats:
        place = place_at(fleet, room.free, shape, kind, cluster, nodes, waste, packing)
        placed.append((standing, place.spread, waste, first, kind, place))
    place = min(placed, key=lambda each: each[:5])[5]
    return _offer(snapshot, job, shape, place), len(found)


def offers(snapshot: Snapshot, free: Free, job: QueuedJob, shape: Shape) -> list[Offer]:
    """Every place with a price where one shape of a job fits into `free`, in the order the engine prefers them."""
    round_, room, fleet = begin(snapshot), Room(snapshot.fleet, free), snapshot.fleet
    found = []
    tightness: Counter[tuple[tuple[int, ...], int]] = Counter()
    for kind in fleet.kinds_for(shape):
        gangs, prices = room.gangs(shape, kind), round_.net_prices(job.terms, kind)
        open_ = (gangs >= shape.min_nodes) & (prices != NO_PRICE) & round_.allowed(job.clusters)
        granted = _nodes_in_quota(fleet, snapshot.quotas, job, shape, kind)
        for cluster in map(int, np.flatnonzero(open_ & (granted > 0))):
            place = place_on(fleet, free, shape, kind, cluster, room.nodes(shape, kind, cluster), granted)
            standing = rank(round_, job, shape, kind, cluster, int(prices[cluster]), place.nodes), cluster
            tightness[standing] += int(gangs[cluster])
            found.append((standing, place))
    found.sort(key=lambda each: (each[0][0], each[1].spread, tightness[each[0]], each[0][1], each[1].leftover, each[1].kind))
    return [_offer(snapshot, job, shape, place) for _, place in found]


def _nodes_in_quota(fleet: Fleet, quotas: Quotas, job: QueuedJob, shape: Shape, kind: int) -> int:
    """How many nodes of a kind the job's queue may use: all it asks for, the least it can do with, or 0."""
    for nodes in dict.fromkeys((shape.nodes, shape.min_nodes)):
        if quotas.shortfall(job.queue, needs(fleet, shape, kind, nodes)) is None:
            return nodes
    return 0


def _offer(snapshot: Snapshot, job: QueuedJob, shape: Shape, place: Place) -> Offer:
    model = None if place.kind == NO_KIND else snapshot.fleet.kinds[place.kind].model
    quote = None if snapshot.prices is None else snapshot.prices[job.terms, snapshot.fleet.clusters[place.cluster], model]
    return Offer(place, quote, place.card_milli() or place.nodes * shape.cpu_milli)
