"""The engine's questions answered the slow and obvious way: node by node, card by card, in plain Python."""

from collections.abc import Iterable, Iterator
from fractions import Fraction
from math import ceil

from scheduler.contract.job import Profile
from scheduler.domain.hardware import HardwareClass
from scheduler.domain.topology import LINK_DOMAIN, Level
from scheduler.engine.fleet import NO_KIND, Fleet, Free, Node
from scheduler.engine.order import QueuedJob
from scheduler.engine.place import Place
from scheduler.engine.shape import Shape
from scheduler.engine.snapshot import Prices, Snapshot


def options(fleet: Fleet, free: Free, job: QueuedJob, shape: Shape, silent_too: bool = False) -> Iterator[tuple[str, int]]:
    """Every allowed cluster and kind of card in which the whole gang fits."""
    yield from sizes(fleet, free, job, shape, silent_too)


def sizes(fleet: Fleet, free: Free, job: QueuedJob, shape: Shape, silent_too: bool = False) -> dict[tuple[str, int], int]:
    """For every such place, on how many nodes of those it asks for."""
    found = {}
    kinds = [NO_KIND] if shape.per_node == 0 else [number for number, kind in enumerate(fleet.kinds) if kind.suits(shape)]
    for cluster in fleet.clusters:
        if job.clusters is not None and cluster not in job.clusters:
            continue
        for kind in kinds:
            holders = [
                domain(node, shape.within)
                for row, node in enumerate(fleet.nodes)
                if node.cluster == cluster and (node.live or silent_too) and _holds_member(fleet, free, shape, kind, row)
            ]
            most = max((holders.count(each) for each in set(holders) - {None}), default=0)
            if most >= shape.min_nodes:
                found[cluster, kind] = min(shape.nodes, most)
    return found


def domain(node: Node, level: Level) -> object:
    """The domain of a level a node is in; None where it does not say. A node whose own cards are linked is one by itself."""
    if level == LINK_DOMAIN and node.link_domain is None and any(card.island is not None for card in node.cards):
        return ("alone", node.name)
    return (node.link_domain, node.rack, node.spine, node.cluster)[level]


def islands(node: Node, slots: Iterable[int]) -> set[object]:
    """The islands of links some of its cards are in; all cards of a node in a larger domain are joined by that."""
    return {0 if node.link_domain is not None else node.cards[slot].island for slot in slots}


def card_milli(fleet: Fleet, place: Place) -> int:
    """What a placed gang counts as: card by card, an instance as its part."""
    found = 0
    for part in place.allocations:
        for slot in part.slots:
            kind = fleet.nodes[part.node].cards[slot].kind
            found += 0 if kind is None else part.card_milli * kind.card_milli // 1000
    return found


def priced_options(fleet: Fleet, free: Free, job: QueuedJob, shape: Shape, prices: Prices) -> dict[tuple[str, int], int]:
    """The net price per unit of every option that has one."""
    found = {}
    for cluster, kind in options(fleet, free, job, shape):
        quote = prices.get((job.terms, cluster, None if kind == NO_KIND else fleet.kinds[kind].model))
        if quote is not None:
            found[cluster, kind] = quote.net_price
    return found


def net_price(moment: Snapshot, job: QueuedJob, cluster: str, kind: int) -> int | None:
    """What a unit costs in a place; None where it has no price, 0 where nothing is priced."""
    if moment.prices is None:
        return 0
    quote = moment.prices.get((job.terms, cluster, _model(moment, kind)))
    return quote.net_price if quote else None


def preferred(moment: Snapshot, job: QueuedJob) -> tuple[int, set[tuple[str, int]]] | None:
    """For a job alone: the alternative that is placed, and the places of which the profile prefers none to another."""
    kept = {each.cluster for each in job.back_off if each.until > moment.now}
    kept |= {cluster for cluster, each in moment.in_flight.items() if each.grants >= each.limit}
    insists = job.profile is Profile.DOMESTIC_FIRST and _domestic_could_hold(moment, job)
    for alternative, shape in enumerate(job.shapes):
        keys = {}
        for (cluster, kind), nodes in sizes(moment.fleet, moment.free, job, shape).items():
            price = net_price(moment, job, cluster, kind)
            if price is None or cluster in kept or (insists and not _is_domestic(moment, kind) and kind != NO_KIND):
                continue
            keys[cluster, kind] = _key(moment, job, shape, cluster, kind, price, nodes)
        if keys:
            return alternative, {place for place, key in keys.items() if key == min(keys.values())}
    return None


def _key(
    moment: Snapshot, job: QueuedJob, shape: Shape, cluster: str, kind: int, price: int, nodes: int
) -> tuple[int | Fraction | bool, ...]:
    unknown, seconds = brought(moment, job, cluster)
    match job.profile:
        case Profile.CHEAPEST_NET:
            return price, -nodes, unknown, seconds
        case Profile.DOMESTIC_FIRST:
            return not _is_domestic(moment, kind) and kind != NO_KIND, price, -nodes, unknown, seconds
        case Profile.FASTEST:
            return unknown, seconds + run_seconds(moment, job, shape, kind), -nodes, price


def brought(moment: Snapshot, job: QueuedJob, cluster: str) -> tuple[int, int]:
    """GiB that take nobody knows how long to bring, and the seconds that the others take, source by source."""
    away = [each for each in job.data if each.cluster != cluster]
    known = [each for each in away if (each.cluster, cluster) in moment.links]
    seconds = [ceil(Fraction(each.size_gib * 8 * 2**30, moment.links[each.cluster, cluster] * 10**6)) for each in known]
    return sum(each.size_gib for each in away if each not in known), max(seconds, default=0)


def run_seconds(moment: Snapshot, job: QueuedJob, shape: Shape, kind: int) -> int:
    """At most, if `max_runtime` is for the slowest gang the job accepts and all of them are known."""
    speeds = {
        (each, number): each.nodes * each.per_node * each.card_milli * _throughput(moment, number)
        for each in job.shapes
        for number in ([NO_KIND] if each.per_node == 0 else [n for n, k in enumerate(moment.fleet.kinds) if k.suits(each)])
    }
    longest, slowest = job.max_runtime_seconds or 0, min(speeds.values())
    return ceil(Fraction(longest * slowest, speeds[shape, kind])) if slowest else longest


def _domestic_could_hold(moment: Snapshot, job: QueuedJob) -> bool:
    return any(
        _is_domestic(moment, kind) and net_price(moment, job, cluster, kind) is not None
        for shape in job.shapes
        for cluster, kind in options(moment.fleet, moment.fleet.empty, job, shape, silent_too=True)
    )


def _throughput(moment: Snapshot, kind: int) -> int:
    return 0 if kind == NO_KIND else moment.throughput.get(_model(moment, kind) or "", 0) * moment.fleet.kinds[kind].card_milli


def _is_domestic(moment: Snapshot, kind: int) -> bool:
    return kind != NO_KIND and moment.fleet.kinds[kind].hardware_class is HardwareClass.DOMESTIC


def _model(moment: Snapshot, kind: int) -> str | None:
    return None if kind == NO_KIND else moment.fleet.kinds[kind].model


def _holds_member(fleet: Fleet, free: Free, shape: Shape, kind: int, row: int) -> bool:
    usable = [
        slot
        for slot in range(len(fleet.nodes[row].cards))
        if kind != NO_KIND
        and fleet.nodes[row].cards[slot].kind == fleet.kinds[kind]
        and free.card_milli[row, slot] >= shape.card_milli
    ]
    enough_cores = bool(free.cpu_milli[row] >= shape.cpu_milli) and bool(free.memory_bytes[row] >= shape.memory_bytes)
    suits = all(constraint.holds(fleet.nodes[row].traits) for constraint in shape.constraints)
    if shape.within == LINK_DOMAIN and kind != NO_KIND:
        node = fleet.nodes[row]
        found = islands(node, usable) - {None}
        usable = max(([slot for slot in usable if islands(node, [slot]) == {each}] for each in found), key=len, default=[])
    return enough_cores and suits and len(usable) >= shape.per_node
