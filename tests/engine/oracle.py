"""The engine's questions answered the slow and obvious way: node by node, card by card, in plain Python."""

from collections.abc import Iterable, Iterator

from scheduler.domain.topology import LINK_DOMAIN, Level
from scheduler.engine.fleet import NO_KIND, Fleet, Free, Node
from scheduler.engine.order import QueuedJob
from scheduler.engine.place import Place
from scheduler.engine.shape import Shape
from scheduler.engine.snapshot import Prices


def options(fleet: Fleet, free: Free, job: QueuedJob, shape: Shape, silent_too: bool = False) -> Iterator[tuple[str, int]]:
    """Every allowed cluster and kind of card in which the whole gang fits."""
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
            if max((holders.count(each) for each in set(holders) - {None}), default=0) >= shape.min_nodes:
                yield cluster, kind


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
