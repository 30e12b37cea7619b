"""Where a gang fits: proven on nodes, one candidate per cluster and kind of card.

Within a cluster the nodes that are left fullest are taken first (best fit), so that whole nodes stay whole for large gangs,
and jobs without cards go to nodes without free cards.
"""

from dataclasses import dataclass

import numpy as np

from scheduler.engine.fleet import NO_KIND, NO_RACK, Allocation, Bools, Fleet, Free, Ints
from scheduler.engine.shape import WHOLE_CARD_MILLI, Shape


@dataclass(frozen=True, slots=True)
class Place:
    """A proven placement of a whole gang. `leftover` is the share of capacity it would leave unused on its nodes."""

    cluster: int
    kind: int
    allocations: tuple[Allocation, ...]
    leftover: float

    @property
    def nodes(self) -> int:
        return len(self.allocations)

    def cards(self) -> int:
        return sum(len(part.slots) for part in self.allocations)

    def card_milli(self) -> int:
        return sum(len(part.slots) * part.card_milli for part in self.allocations)


def node_fits(fleet: Fleet, free: Free, shape: Shape, kind: int, nodes: Ints) -> Bools:
    """For each of `nodes`: whether one member of the gang fits on it now. Silent nodes are not asked here."""
    fits: Bools = (free.cpu_milli[nodes] >= shape.cpu_milli) & (free.memory_bytes[nodes] >= shape.memory_bytes)
    if kind != NO_KIND:
        usable = (fleet.card_kind[nodes] == kind) & (free.card_milli[nodes] >= shape.card_milli)
        fits &= usable.sum(axis=1) >= shape.per_node
    return fits


def fitting(fleet: Fleet, free: Free, shape: Shape, kind: int) -> Ints:
    """The live nodes on which one member of the gang fits now."""
    nodes = fleet.nodes_with(kind)
    found: Ints = nodes[node_fits(fleet, free, shape, kind, nodes) & fleet.live[nodes]]
    return found


def gang_nodes(fleet: Fleet, nodes: Ints, shape: Shape) -> Ints:
    """For each cluster: how many members of the gang its `nodes`, which hold one each, could hold together (in one rack, if so
    asked)."""
    if not shape.one_rack:
        return np.bincount(fleet.cluster_of[nodes], minlength=len(fleet.clusters))
    racked = nodes[fleet.rack_of[nodes] != NO_RACK]
    per_rack = np.bincount(fleet.rack_of[racked])
    best = np.zeros(len(fleet.clusters), dtype=np.int64)
    np.maximum.at(best, fleet.cluster_of[racked], per_rack[fleet.rack_of[racked]])
    return best


def capacity(fleet: Fleet, shape: Shape, kind: int) -> Ints:
    """For each cluster: how many members of the gang it could hold together if nothing ran there, silent nodes included."""
    if (shape, kind) not in fleet.capacities:
        fleet.capacities[shape, kind] = _capacity(fleet, shape, kind)
    return fleet.capacities[shape, kind]


def _capacity(fleet: Fleet, shape: Shape, kind: int) -> Ints:
    if shape.one_rack:
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
    if shape.one_rack:
        candidates = _best_rack(fleet, candidates, shape)
    leftover = _leftover(fleet, free, shape, candidates)
    chosen = np.argsort(leftover, kind="stable")[:most]
    allocations = tuple(
        Allocation(
            node=int(node),
            slots=_slots(fleet, free, shape, kind, int(node)),
            card_milli=shape.card_milli,
            cpu_milli=shape.cpu_milli,
            memory_bytes=shape.memory_bytes,
        )
        for node in candidates[chosen]
    )
    return Place(cluster, kind, allocations, float(leftover[chosen].sum()))


def _best_rack(fleet: Fleet, candidates: Ints, shape: Shape) -> Ints:
    """The nodes of the rack that is left fullest: the smallest that holds the whole gang, else the largest that holds enough."""
    racks, counts = np.unique(fleet.rack_of[candidates], return_counts=True)
    racks, counts = racks[racks != NO_RACK], counts[racks != NO_RACK]
    whole = counts >= shape.nodes
    best = racks[np.where(whole, counts, counts.max() + 1).argmin()] if whole.any() else racks[counts.argmax()]
    in_best: Ints = candidates[fleet.rack_of[candidates] == best]
    return in_best


def _leftover(fleet: Fleet, free: Free, shape: Shape, nodes: Ints) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """How empty each node would stay: free cards dominate, then the shares of CPU and memory still free."""
    cards = free.card_milli[nodes].sum(axis=1) - shape.per_node * shape.card_milli
    cpu = (free.cpu_milli[nodes] - shape.cpu_milli) / np.maximum(fleet.cpu_milli[nodes], 1)
    memory = (free.memory_bytes[nodes] - shape.memory_bytes) / np.maximum(fleet.memory_bytes[nodes], 1)
    emptiness: np.ndarray[tuple[int], np.dtype[np.float64]] = cards / WHOLE_CARD_MILLI * 2 + cpu + memory
    return emptiness


def _slots(fleet: Fleet, free: Free, shape: Shape, kind: int, node: int) -> tuple[int, ...]:
    """The cards to take on a node: the fullest that still have room, so that a fraction never breaks a whole card in vain."""
    if kind == NO_KIND:
        return ()
    milli = free.card_milli[node]
    usable = np.flatnonzero((fleet.card_kind[node] == kind) & (milli >= shape.card_milli))
    fullest_first = usable[np.argsort(milli[usable], kind="stable")]
    return tuple(sorted(int(slot) for slot in fullest_first[: shape.per_node]))
