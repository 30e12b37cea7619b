"""The network's nodes as arrays: `Fleet` is what exists (never changes), `Free` is what is left of it (changes with every grant).

Arrays are indexed by node, and by node × card slot for cards. Cards are accounted in milli-cards so that fractions are exact.
A card that is absent or unhealthy has kind -1 and no free milli.
"""

from collections.abc import Sequence
from dataclasses import astuple, dataclass, field
from functools import cached_property
from typing import Self

import numpy as np
from numpy.typing import NDArray

from scheduler.domain.hardware import HardwareClass
from scheduler.engine.constraints import NO_TRAITS, Constraint, Traits
from scheduler.engine.shape import WHOLE_CARD_MILLI, Shape

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

NO_KIND = -1
NO_DOMAIN = -1
NO_ISLAND = -1

CLOSED = -(2**61)
"""The free milli-cores of a node on which nothing fits, whatever is given back there."""


@dataclass(frozen=True, slots=True)
class Kind:
    """What makes cards interchangeable.

    With `mig` they are instances of that profile of cards of the model, each of which counts as `card_milli` of a card and is given
    out whole.
    """

    vendor: str
    model: str
    hardware_class: HardwareClass
    memory_bytes: int
    mig: str = ""
    card_milli: int = WHOLE_CARD_MILLI

    def suits(self, shape: Shape) -> bool:
        return (
            (shape.hardware_class is None or shape.hardware_class == self.hardware_class)
            and (not shape.vendors or self.vendor in shape.vendors)
            and (not shape.models or self.model in shape.models)
            and self.mig == shape.mig
            and self.memory_bytes >= shape.card_memory_bytes
        )


@dataclass(frozen=True, slots=True)
class Card:
    """One device of a node: a card, or an instance of one. `kind` is None for one that must not be scheduled; cards of a node with
    equal `island` are joined by links (NVLink, HCCS), of those with None it is not known."""

    device: str
    kind: Kind | None
    island: int | None = None


@dataclass(frozen=True, slots=True)
class Node:
    """One node as reported. `live` is false when it, or its cluster, has fallen silent, or it is closed to new work.

    `link_domain` is one of many nodes.
    """

    cluster: str
    name: str
    cpu_milli: int
    memory_bytes: int
    cards: tuple[Card, ...] = ()
    link_domain: str | None = None
    rack: str | None = None
    spine: str | None = None
    live: bool = True
    traits: Traits = NO_TRAITS


@dataclass(frozen=True, slots=True)
class Allocation:
    """What a gang takes of one node: slots are positions in the node's cards."""

    node: int
    slots: tuple[int, ...]
    card_milli: int
    cpu_milli: int
    memory_bytes: int


@dataclass(frozen=True, slots=True)
class NodeModels:
    """`count` nodes each of a sort: in which cluster, with what CPU, memory and number of cards of one kind."""

    cluster: Ints
    cpu_milli: Ints
    memory_bytes: Ints
    cards: Ints
    count: Ints


@dataclass(frozen=True)
class Fleet:
    """Every node of the network. Build with `Fleet.of`; clusters, nodes and kinds are numbered in sorted order, so equal
    networks given in any order make equal fleets."""

    nodes: tuple[Node, ...]
    clusters: tuple[str, ...]
    kinds: tuple[Kind, ...]
    cluster_of: Ints
    domain_of: tuple[Ints, ...]
    """By level: for each node the number of its domain, `NO_DOMAIN` where it names none; the last level is the cluster."""
    island_of: Ints
    """By node and card slot: the island of links the card is in, numbered from 0 on each node; `NO_ISLAND` where not known."""
    live: Bools
    cpu_milli: Ints
    memory_bytes: Ints
    card_kind: Ints
    index: dict[tuple[str, str], int]
    _kinds_of_shape: dict[Shape, tuple[int, ...]] = field(default_factory=dict)
    _nodes_with: dict[int, Ints] = field(default_factory=dict)
    _node_models: dict[int, "NodeModels"] = field(default_factory=dict)
    _starts: dict[int, Ints] = field(default_factory=dict)
    _positions: dict[int, Ints] = field(default_factory=dict)
    _meets: dict[tuple[Constraint, ...], Bools] = field(default_factory=dict)
    capacities: dict[tuple[Shape, int], Ints] = field(default_factory=dict)
    """What `place.capacity` has found so far; it never changes, as the fleet does not."""
    holding: dict[Shape, frozenset[int]] = field(default_factory=dict)
    """What `place.kinds_that_hold` has."""

    @classmethod
    def of(cls, nodes: Sequence[Node]) -> Self:
        ordered = tuple(sorted(nodes, key=lambda node: (node.cluster, node.name)))
        clusters = tuple(sorted({node.cluster for node in ordered}))
        found = {card.kind for node in ordered for card in node.cards if card.kind is not None}
        kinds = tuple(sorted(found, key=astuple))
        slots = max((len(node.cards) for node in ordered), default=0)
        card_kind = np.full((len(ordered), slots), NO_KIND, dtype=np.int64)
        kind_number = {kind: number for number, kind in enumerate(kinds)}
        for row, node in enumerate(ordered):
            for slot, card in enumerate(node.cards):
                if card.kind is not None:
                    card_kind[row, slot] = kind_number[card.kind]
        cluster_number = {cluster: number for number, cluster in enumerate(clusters)}
        cluster_of = _ints([cluster_number[node.cluster] for node in ordered])
        return cls(
            nodes=ordered,
            clusters=clusters,
            kinds=kinds,
            cluster_of=cluster_of,
            domain_of=(
                _domains([(node.cluster, *_link_domain(node)) for node in ordered]),
                _domains([(node.cluster, node.rack) for node in ordered]),
                _domains([(node.cluster, node.spine) for node in ordered]),
                cluster_of,
            ),
            island_of=_islands(ordered, slots),
            live=np.array([node.live for node in ordered], dtype=np.bool_),
            cpu_milli=_ints([node.cpu_milli for node in ordered]),
            memory_bytes=_ints([node.memory_bytes for node in ordered]),
            card_kind=card_kind,
            index={(node.cluster, node.name): row for row, node in enumerate(ordered)},
        )

    @cached_property
    def empty(self) -> "Free":
        """The fleet with nothing running on it, to compare with: never change it, take a copy with `all_free`."""
        return Free(
            card_milli=np.where(self.card_kind == NO_KIND, 0, WHOLE_CARD_MILLI),
            cpu_milli=self.cpu_milli,
            memory_bytes=self.memory_bytes,
        )

    def all_free(self) -> "Free":
        """The fleet with nothing running on it."""
        return self.empty.copy()

    @cached_property
    def islands(self) -> int:
        """How many islands of links the node with the most has."""
        return int(self.island_of.max(initial=NO_ISLAND)) + 1

    @cached_property
    def cards_of(self) -> Ints:
        """How many cards or instances there are of each kind, silent nodes included."""
        return np.bincount(self.card_kind[self.card_kind != NO_KIND], minlength=len(self.kinds))

    @cached_property
    def live_clusters(self) -> frozenset[int]:
        """The clusters of which at least one node answers."""
        return frozenset(np.unique(self.cluster_of[self.live]).tolist())

    @cached_property
    def answers(self) -> Bools:
        """For each cluster: whether at least one of its nodes answers."""
        return np.isin(np.arange(len(self.clusters)), list(self.live_clusters))

    def kinds_for(self, shape: Shape) -> tuple[int, ...]:
        """The kinds of card a shape accepts; `(NO_KIND,)` for a shape that needs no card."""
        if shape.per_node == 0:
            return (NO_KIND,)
        if shape not in self._kinds_of_shape:
            self._kinds_of_shape[shape] = tuple(n for n, kind in enumerate(self.kinds) if kind.suits(shape))
        return self._kinds_of_shape[shape]

    def meets(self, constraints: tuple[Constraint, ...]) -> Bools:
        """For each node: whether all of some constraints hold for it; looked up once, as what they ask about never changes."""
        if constraints not in self._meets:
            if len(constraints) == 1:
                found = np.array([constraints[0].holds(node.traits) for node in self.nodes], dtype=np.bool_)
            else:
                found = np.logical_and.reduce([self.meets((each,)) for each in constraints])
            self._meets[constraints] = found
        return self._meets[constraints]

    def nodes_with(self, kind: int) -> Ints:
        """The nodes that have a kind of card, so that only those are looked at; every node for `NO_KIND`."""
        if kind not in self._nodes_with:
            has_kind = (self.card_kind == kind).any(axis=1) | (kind == NO_KIND)
            self._nodes_with[kind] = np.flatnonzero(has_kind)
        return self._nodes_with[kind]

    def node_models(self, kind: int) -> "NodeModels":
        """The nodes that have a kind of card, counted by what distinguishes them while nothing runs."""
        if kind not in self._node_models:
            nodes = self.nodes_with(kind)
            cards = (self.card_kind[nodes] == kind).sum(axis=1) if kind != NO_KIND else np.zeros(len(nodes), dtype=np.int64)
            rows = np.stack([self.cluster_of[nodes], self.cpu_milli[nodes], self.memory_bytes[nodes], cards])
            models, count = np.unique(rows, axis=1, return_counts=True)
            self._node_models[kind] = NodeModels(models[0], models[1], models[2], models[3], count)
        return self._node_models[kind]

    def span(self, kind: int, cluster: int) -> tuple[int, int]:
        """Where a cluster's nodes stand in `nodes_with(kind)`: they stand together, since nodes are numbered by cluster."""
        if kind not in self._starts:
            numbers = np.arange(len(self.clusters) + 1)
            self._starts[kind] = np.searchsorted(self.cluster_of[self.nodes_with(kind)], numbers)
        starts = self._starts[kind]
        return int(starts[cluster]), int(starts[cluster + 1])

    def position(self, kind: int) -> Ints:
        """For each node, where it stands in `nodes_with(kind)`; -1 for a node without."""
        if kind not in self._positions:
            nodes = self.nodes_with(kind)
            positions = np.full(len(self.nodes), -1, dtype=np.int64)
            positions[nodes] = np.arange(len(nodes))
            self._positions[kind] = positions
        return self._positions[kind]


@dataclass(slots=True)
class Free:
    """What is left on each node: a thousandth of each slot (card or instance), milli-cores, bytes."""

    card_milli: Ints
    cpu_milli: Ints
    memory_bytes: Ints

    def copy(self) -> "Free":
        return Free(self.card_milli.copy(), self.cpu_milli.copy(), self.memory_bytes.copy())

    def take(self, allocations: Sequence[Allocation]) -> None:
        self._move(allocations, -1)

    def give(self, allocations: Sequence[Allocation]) -> None:
        self._move(allocations, 1)

    def limit_to(self, other: "Free") -> None:
        """Leave no more than `other` has: what is kept for somebody later is not free now either."""
        np.minimum(self.card_milli, other.card_milli, out=self.card_milli)
        np.minimum(self.cpu_milli, other.cpu_milli, out=self.cpu_milli)
        np.minimum(self.memory_bytes, other.memory_bytes, out=self.memory_bytes)

    def close(self, nodes: Sequence[int]) -> None:
        """Let nothing fit on some nodes, whatever is given back there."""
        self.cpu_milli[list(nodes)] = CLOSED

    def _move(self, allocations: Sequence[Allocation], sign: int) -> None:
        for part in allocations:
            for slot in part.slots:
                self.card_milli[part.node, slot] += sign * part.card_milli
            self.cpu_milli[part.node] += sign * part.cpu_milli
            self.memory_bytes[part.node] += sign * part.memory_bytes


def _link_domain(node: Node) -> tuple[str | None, bool]:
    """The domain of many nodes it is in, or itself if its own cards are linked; and which of the two."""
    alone = node.link_domain is None and any(card.island is not None for card in node.cards)
    return (node.name if alone else node.link_domain), alone


def _domains(keys: Sequence[tuple[str, str | None, *tuple[bool, ...]]]) -> Ints:
    """Number the domains of one level; the second part of a key is None for a node that is in none."""
    known = sorted({key for key in keys if key[1] is not None})
    number = {key: position for position, key in enumerate(known)}
    return _ints([number.get(key, NO_DOMAIN) for key in keys])


def _islands(nodes: Sequence[Node], slots: int) -> Ints:
    found = np.full((len(nodes), slots), NO_ISLAND, dtype=np.int64)
    for row, node in enumerate(nodes):
        if node.link_domain is not None:
            found[row, : len(node.cards)] = 0  # whatever the cards' own links are, the larger domain joins them
            continue
        islands = sorted({card.island for card in node.cards if card.island is not None})
        for slot, card in enumerate(node.cards if islands else ()):
            found[row, slot] = NO_ISLAND if card.island is None else islands.index(card.island)
    return found


def _ints(values: Sequence[int]) -> Ints:
    return np.array(values, dtype=np.int64)
