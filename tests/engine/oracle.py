"""The engine's questions answered the slow and obvious way: node by node, card by card, in plain Python."""

from collections.abc import Iterator

from scheduler.engine.fleet import NO_KIND, Fleet, Free
from scheduler.engine.order import QueuedJob
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
                node.rack
                for row, node in enumerate(fleet.nodes)
                if node.cluster == cluster and (node.live or silent_too) and _holds_member(fleet, free, shape, kind, row)
            ]
            groups = [holders.count(rack) for rack in set(holders) - {None}] if shape.one_rack else [len(holders)]
            if max(groups, default=0) >= shape.min_nodes:
                yield cluster, kind


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
    return enough_cores and suits and len(usable) >= shape.per_node
