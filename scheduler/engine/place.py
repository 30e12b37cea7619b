"""Where a gang fits: proven on nodes, one candidate per cluster and kind of card.

Within a cluster the nodes are taken first on which the gang costs the least of what is asked for (`packing`); where nobody said
what is asked for, those that are left fullest (best fit), so that whole nodes stay whole for large gangs, and jobs without cards
go to nodes without free cards.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from scheduler.domain.topology import CLUSTER, LINK_DOMAIN
from scheduler.engine.cutting import Floats
from scheduler.engine.fleet import NO_ISLAND, NO_KIND, Allocation, Bools, Fleet, Free, Ints
from scheduler.engine.packing import Packing
from scheduler.engine.shape import WHOLE_CARD_MILLI, Shape
from scheduler.engine.topology import best_domain, gang_nodes, linked, nearest, spread


@dataclass(frozen=True, slots=True)
class Place:
    """A proven placement of a whole gang. Of two, the one with less `leftover` is better: the cards it wastes, or else the
    share of capacity it would leave unused on its nodes. `spread`: over how many domains it lies, of the level it would be near.
    `slot_milli`: what each of its slots counts as, of a card; less than 1000 for instances of MIG."""

    cluster: int
    kind: int
    allocations: tuple[Allocation, ...]
    leftover: float
    spread: int = 1
    slot_milli: int = WHOLE_CARD_MILLI

    @property
    def nodes(self) -> int:
        return len(self.allocations)

    def cards(self) -> int:
        """Cards and instances, each as one."""
        return sum(len(part.slots) for part in self.allocations)

    def card_milli(self) -> int:
        """What it counts as in milli-cards: in quotas, shares and prices."""
        return sum(len(part.slots) * part.card_milli for part in self.allocations) * self.slot_milli // WHOLE_CARD_MILLI


def node_fits(fleet: Fleet, free: Free, shape: Shape, kind: int, nodes: Ints) -> Bools:
    """For each of `nodes`: whether one member of the gang fits on it now. Silent nodes are not asked here."""
    fits: Bools = (free.cpu_milli[nodes] >= shape.cpu_milli) & (free.memory_bytes[nodes] >= shape.memory_bytes)
    if kind != NO_KIND:
        usable = (fleet.card_kind[nodes] == kind) & (free.card_milli[nodes] >= shape.card_milli)
        cards = linked(fleet, usable, nodes) if shape.within == LINK_DOMAIN else usable.sum(axis=1)
        fits &= cards >= shape.per_node
    if shape.constraints:
        fits &= fleet.meets(shape.constraints)[nodes]
    return fits


def fitting(fleet: Fleet, free: Free, shape: Shape, kind: int) -> Ints:
    """The live nodes on which one member of the gang fits now."""
    nodes = fleet.nodes_with(kind)
    found: Ints = nodes[node_fits(fleet, free, shape, kind, nodes) & fleet.live[nodes]]
    return found


def capacity(fleet: Fleet, shape: Shape, kind: int) -> Ints:
    """For each cluster: how many members of the gang it could hold together if nothing ran there, silent nodes included."""
    if (shape, kind) not in fleet.capacities:
        fleet.capacities[shape, kind] = _capacity(fleet, shape, kind)
    return fleet.capacities[shape, kind]


def kinds_that_hold(fleet: Fleet, shape: Shape) -> frozenset[int]:
    """The kinds of card of which some cluster could hold the whole gang if nothing ran there."""
    if shape not in fleet.holding:
        could = (kind for kind in fleet.kinds_for(shape) if (capacity(fleet, shape, kind) >= shape.min_nodes).any())
        fleet.holding[shape] = frozenset(could)
    return fleet.holding[shape]


def _capacity(fleet: Fleet, shape: Shape, kind: int) -> Ints:
    if shape.within != CLUSTER or shape.constraints:
        nodes = fleet.nodes_with(kind)
        return gang_nodes(fleet, nodes[node_fits(fleet, fleet.empty, shape, kind, nodes)], shape)
    models = fleet.node_models(kind)
    holds = (models.cpu_milli >= shape.cpu_milli) & (models.memory_bytes >= shape.memory_bytes) & (models.cards >= shape.per_node)
    found: Ints = np.bincount(models.cluster[holds], models.count[holds], minlength=len(fleet.clusters)).astype(np.int64)
    return found


def place_in(fleet: Fleet, free: Free, shape: Shape, kind: int, cluster: int) -> Place | None:
    """The place in one cluster with one kind of card, or None where the gang does not fit."""
    nodes = fitting(fleet, free, shape, kind)
    if gang_nodes(fleet, nodes, shape)[cluster] < shape.min_nodes:
        return None
    return place_on(fleet, free, shape, kind, cluster, nodes[fleet.cluster_of[nodes] == cluster], shape.nodes)


def place_on(fleet: Fleet, free: Free, shape: Shape, kind: int, cluster: int, candidates: Ints, most: int) -> Place:
    """The place on some nodes of one cluster, which hold one member each and together at least `min_nodes`; on `most` at most."""
    nodes, emptiness = _cheapest(fleet, free, shape, kind, candidates, _leftover(fleet, free, shape, candidates), most)
    return place_at(fleet, free, shape, kind, cluster, nodes, float(emptiness.sum()))


def cheapest_nodes(fleet: Fleet, free: Free, shape: Shape, packing: Packing) -> Iterator[tuple[int, int, Ints, float]]:
    """For every kind of card and cluster where the whole gang fits on live nodes: those nodes where it wastes the fewest cards,
    and how many it wastes there."""
    for kind, cluster, nodes, costs in packing.costs(free, shape):
        if shape.nodes == 1 and shape.within == shape.near == CLUSTER:
            best = costs.argmin()
            yield kind, cluster, nodes[best : best + 1], float(costs[best])
            continue
        fits = np.flatnonzero(np.isfinite(costs))
        if gang_nodes(fleet, nodes[fits], shape)[cluster] >= shape.min_nodes:
            nodes, costs = _cheapest(fleet, free, shape, kind, nodes[fits], costs[fits], shape.nodes)
            yield kind, cluster, nodes, float(costs.sum())


def place_at(
    fleet: Fleet, free: Free, shape: Shape, kind: int, cluster: int, nodes: Ints, leftover: float, packing: Packing | None = None
) -> Place:
    """The place on just these nodes of a cluster, on the cards that `packing` would take, or else on the fullest."""
    allocations = tuple(
        Allocation(
            node=node,
            slots=_slots(fleet, free, shape, kind, node, packing),
            card_milli=shape.card_milli,
            cpu_milli=shape.cpu_milli,
            memory_bytes=shape.memory_bytes,
        )
        for node in nodes.tolist()
    )
    apart = 1 if shape.near == CLUSTER else spread(fleet, allocations, shape.near)
    slot_milli = WHOLE_CARD_MILLI if kind == NO_KIND else fleet.kinds[kind].card_milli
    return Place(cluster, kind, allocations, leftover, apart, slot_milli)


def _cheapest(fleet: Fleet, free: Free, shape: Shape, kind: int, nodes: Ints, costs: Floats, most: int) -> tuple[Ints, Floats]:
    """Those of a cluster's `nodes`, which hold a member each, on which the gang costs the least together, and what it costs."""
    if shape.within != CLUSTER:
        together = best_domain(fleet, nodes, shape.within, shape.nodes)
        nodes, costs = nodes[together], costs[together]
    if shape.near != CLUSTER:
        together = _together(fleet, free, shape, kind, nodes, min(most, len(nodes)))
        nodes, costs = nodes[together], costs[together]
    if len(nodes) > 1:
        chosen = np.argsort(costs, kind="stable")[:most]
        nodes, costs = nodes[chosen], costs[chosen]
    return nodes, costs


def _together(fleet: Fleet, free: Free, shape: Shape, kind: int, nodes: Ints, wanted: int) -> Bools:
    """Which of `nodes` to choose from for a gang that would be near: first those on which links join the cards, if they do."""
    if shape.near != LINK_DOMAIN or kind == NO_KIND:
        return nearest(fleet, nodes, shape.near, wanted)
    usable = (fleet.card_kind[nodes] == kind) & (free.card_milli[nodes] >= shape.card_milli)
    joined = linked(fleet, usable, nodes) >= shape.per_node
    if np.count_nonzero(joined) < wanted:
        return nearest(fleet, nodes, shape.near, wanted)
    joined[joined] = nearest(fleet, nodes[joined], shape.near, wanted)
    return joined


def _leftover(fleet: Fleet, free: Free, shape: Shape, nodes: Ints) -> Floats:
    """How empty each node would stay: free cards dominate, then the shares of CPU and memory still free."""
    cards = free.card_milli[nodes].sum(axis=1) - shape.per_node * shape.card_milli
    cpu = (free.cpu_milli[nodes] - shape.cpu_milli) / np.maximum(fleet.cpu_milli[nodes], 1)
    memory = (free.memory_bytes[nodes] - shape.memory_bytes) / np.maximum(fleet.memory_bytes[nodes], 1)
    emptiness: Floats = cards / WHOLE_CARD_MILLI * 2 + cpu + memory
    return emptiness


def _slots(fleet: Fleet, free: Free, shape: Shape, kind: int, node: int, packing: Packing | None) -> tuple[int, ...]:
    """The cards to take on a node: those whose rest is worth the most, and of equals the fullest that still have room, so that a
    fraction never breaks a whole card in vain."""
    if kind == NO_KIND:
        return ()
    kinds, milli = fleet.card_kind[node].tolist(), free.card_milli[node].tolist()
    usable = [slot for slot, room in enumerate(milli) if kinds[slot] == kind and room >= shape.card_milli]
    if LINK_DOMAIN in (shape.within, shape.near):
        usable = _joined(fleet, shape, node, usable)
    if packing is None or shape.card_milli == WHOLE_CARD_MILLI:
        usable.sort(key=lambda slot: milli[slot])
    else:
        losses = packing.cut_costs(shape.card_milli)
        usable.sort(key=lambda slot: (losses[milli[slot]], milli[slot]))
    return tuple(sorted(usable[: shape.per_node]))


def _joined(fleet: Fleet, shape: Shape, node: int, usable: list[int]) -> list[int]:
    """Those of the usable cards that one island of links joins: the smallest that has enough; all of them where none has."""
    islands: dict[int, list[int]] = {}
    for slot in usable:
        islands.setdefault(int(fleet.island_of[node, slot]), []).append(slot)
    islands.pop(NO_ISLAND, None)
    enough = [slots for slots in islands.values() if len(slots) >= shape.per_node]
    return min(enough, key=len, default=usable)
