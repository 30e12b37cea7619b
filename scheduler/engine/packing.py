"""Where a gang costs the least of what others could still use: the choice among nodes when it is known what is asked for.

The aim and the measure are those of fragmentation gradient descent (Weng et al., "Beware of Fragmentation: Scheduling GPU-Sharing
Workloads with Fragmentation Gradient Descent", USENIX ATC 2023): every placement goes where the waste it adds is the least, and
what is waste depends on the demand. Waste is counted in cards and has three parts, none of which has a weight to tune:

- what no cut of a card can use any more: the part of a card that is left, less its worth by the cutting-stock prices (`cutting`);
- cards that lack cores or memory: the free cards of a node beyond those its free cores, and memory, serve at the average demand;
- cards that others insist on: each card taken counts as often as its kind is contended for, 1 where demand is spread evenly.

The demand is what has been asked for so far, never what comes. Between equals an untouched node is left whole.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from scheduler.domain.topology import LINK_DOMAIN
from scheduler.engine.cutting import Floats, card_values
from scheduler.engine.fleet import NO_KIND, Bools, Fleet, Free, Ints
from scheduler.engine.shape import WHOLE_CARD_MILLI, Shape
from scheduler.engine.topology import linked

UNTOUCHED = 1e-3
"""What breaking into a node with all its cards free costs, in cards: too little to matter but between equals."""

MAX_COLUMNS = 1024
"""Shapes of which costs are remembered."""


@dataclass(frozen=True)
class Packing:
    """The demand, as far as it bears on the nodes of one fleet. Build with `Packing.of`; it remembers what it has computed.

    - `card_value`: for 0 to 1000 free milli of a card, the share of a card they are worth.
    - `per_card`: a row of milli-cores and a row of bytes by node, what the demand for its kinds of card asks for beside a card;
      0 where there is none.
    - `contention`: by kind, how much of the demand falls on one of its cards, over the average of all cards.
    """

    fleet: Fleet
    card_value: Floats
    per_card: Floats
    contention: Floats
    _seen: "_Seen" = field(repr=False, compare=False)
    _seats: dict[tuple[int, ...], "_Seats"] = field(default_factory=dict, repr=False, compare=False)
    _columns: dict[Shape, "_Column"] = field(default_factory=dict, repr=False, compare=False)
    _cuts: dict[int, Floats] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def of(cls, fleet: Fleet, asked: Mapping[Shape, int]) -> "Packing":
        """`asked` says how often each shape was asked for."""
        sizes: dict[int, int] = {}
        of_kind = np.zeros((3, len(fleet.kinds)))
        contention = np.zeros(len(fleet.kinds))
        for shape, times in asked.items():
            kinds = [kind for kind in fleet.kinds_for(shape) if kind != NO_KIND]
            if not kinds:
                continue
            members = times * shape.nodes
            sizes[shape.card_milli] = sizes.get(shape.card_milli, 0) + members * shape.per_node
            cards = members * shape.per_node * shape.card_milli / WHOLE_CARD_MILLI
            of_kind[:, kinds] += np.array([[cards], [members * shape.cpu_milli], [members * shape.memory_bytes]])
            contention[kinds] += cards / fleet.cards_of[kinds].sum()
        average = float(contention @ fleet.cards_of) / max(int(fleet.cards_of.sum()), 1)
        has_card = fleet.card_kind != NO_KIND
        of_card = np.append(of_kind[1:] / np.maximum(of_kind[0], 1 / WHOLE_CARD_MILLI), np.zeros((2, 1)), axis=1)[
            :, fleet.card_kind
        ]
        per_card = of_card.sum(axis=2) / np.maximum(has_card.sum(axis=1), 1)
        return cls(
            fleet=fleet,
            card_value=card_values(sizes),
            per_card=per_card,
            contention=contention / average if average else np.ones(len(fleet.kinds)),
            _seen=_Seen(fleet.all_free(), np.zeros(len(fleet.nodes), dtype=np.int64)),
        )

    def costs(self, free: Free, shape: Shape) -> Iterator[tuple[int, int, Ints, Floats]]:
        """Kind, cluster, the cluster's nodes with that kind of card, and the cards that one member of the gang wastes on each.

        Infinite where it does not fit; kinds and clusters where it fits on no node are left out.

        Remembered from call to call: only nodes that have changed since are looked at again.
        """
        seats = self._seats_of(self.fleet.kinds_for(shape))
        column = self._column(shape, len(seats.nodes))
        stale = (self._seen.changed_at(free)[seats.nodes] > column.known_at).nonzero()[0]
        if stale.size:
            column.costs[stale] = self._costs_at(free, shape, seats, stale)
        column.known_at = self._seen.clock
        if seats.groups:
            best = np.minimum.reduceat(column.costs, seats.starts)
            for number in (best < np.inf).nonzero()[0].tolist():
                kind, cluster, part = seats.groups[number]
                yield kind, cluster, seats.nodes[part], column.costs[part]

    def cut_costs(self, size: int) -> Floats:
        """For 0 to 1000 free milli of a card: what it loses in worth by giving `size` milli, beyond those; infinite where it has
        less."""
        if size not in self._cuts:
            losses = np.full(WHOLE_CARD_MILLI + 1, np.inf)
            losses[size:] = self.card_value[size:] - self.card_value[: WHOLE_CARD_MILLI + 1 - size] - size / WHOLE_CARD_MILLI
            self._cuts[size] = losses
        return self._cuts[size]

    def _costs_at(self, free: Free, shape: Shape, seats: "_Seats", at: Ints) -> Floats:
        """The costs on some of the seats, computed from nothing but what is free."""
        nodes, taken = seats.nodes[at], shape.per_node * shape.card_milli / WHOLE_CARD_MILLI
        card_milli, per_card = free.card_milli[nodes], self.per_card[:, nodes]
        cards = card_milli.sum(axis=1) / WHOLE_CARD_MILLI
        left = np.array((free.cpu_milli[nodes], free.memory_bytes[nodes]))
        left_after = left - [[shape.cpu_milli], [shape.memory_bytes]]
        short, short_after = np.maximum(cards * per_card - left, 0), np.maximum((cards - taken) * per_card - left_after, 0)
        cost: Floats = ((short_after - short) / np.maximum(per_card, 1)).sum(axis=0)
        cost += np.where((cards > 0) & (cards == seats.all_cards[at]), UNTOUCHED, 0)
        fits = self._fits(shape, nodes) & (left_after >= 0).all(axis=0)
        if shape.per_node:
            losses = np.where(seats.has_kind[at], self.cut_costs(shape.card_milli)[card_milli], np.inf)
            if shape.within == LINK_DOMAIN:
                fits &= linked(self.fleet, losses < np.inf, nodes) >= shape.per_node
            if shape.per_node > 1:
                losses = np.sort(losses, axis=1).cumsum(axis=1)[:, shape.per_node - 1 : shape.per_node]
            cost += seats.contention[at] * taken + losses.min(axis=1, initial=np.inf)
        cost[~fits] = np.inf
        return cost.round(6)

    def _fits(self, shape: Shape, nodes: Ints) -> Bools:
        """Which nodes are live and meet what the shape asks of a node besides its size."""
        live: Bools = self.fleet.live[nodes]
        return live & self.fleet.meets(shape.constraints)[nodes] if shape.constraints else live

    def _seats_of(self, kinds: tuple[int, ...]) -> "_Seats":
        if kinds not in self._seats:
            self._seats[kinds] = _Seats.of(self.fleet, kinds, self.contention)
        return self._seats[kinds]

    def _column(self, shape: Shape, length: int) -> "_Column":
        if shape not in self._columns:
            if len(self._columns) >= MAX_COLUMNS:
                del self._columns[next(iter(self._columns))]
            self._columns[shape] = _Column(np.empty(length))
        return self._columns[shape]


@dataclass(frozen=True)
class _Seats:
    """The nodes that have some kinds of card, by kind and then by cluster: each kind and cluster is one part of the arrays."""

    nodes: Ints
    has_kind: Bools
    all_cards: Floats
    contention: Floats
    starts: Ints
    groups: Sequence[tuple[int, int, slice]]

    @classmethod
    def of(cls, fleet: Fleet, kinds: Sequence[int], contention: Floats) -> "_Seats":
        nodes = [fleet.nodes_with(kind) for kind in kinds]
        kind_of = np.repeat(np.array(kinds, dtype=np.int64), [len(part) for part in nodes])
        all_nodes = np.concatenate([np.zeros(0, dtype=np.int64), *nodes])
        clusters = fleet.cluster_of[all_nodes]
        starts = np.flatnonzero(np.diff(kind_of, prepend=NO_KIND - 1) | np.diff(clusters, prepend=-1))
        ends = [*starts[1:].tolist(), len(all_nodes)]
        parts = [slice(start, end) for start, end in zip(starts.tolist(), ends, strict=True)] if len(starts) else []
        groups = [(int(kind_of[part.start]), int(clusters[part.start]), part) for part in parts]
        has_kind = fleet.card_kind[all_nodes] == kind_of[:, None]
        all_cards = fleet.empty.card_milli[all_nodes].sum(axis=1) / WHOLE_CARD_MILLI
        return cls(all_nodes, has_kind, all_cards, np.append(contention, 0.0)[kind_of], starts, groups)


@dataclass
class _Column:
    """The costs of one shape on all its seats, and until when they have been kept up."""

    costs: Floats
    known_at: int = -1


@dataclass
class _Seen:
    """What was free when it was last looked at, and when each node was last found changed."""

    free: Free
    changed: Ints
    clock: int = 0

    def changed_at(self, free: Free) -> Ints:
        """The clock's reading at which each node was last found changed."""
        seen, slots = self.free, max(free.card_milli.shape[1], 1)
        nodes = np.concatenate(
            (
                (free.cpu_milli != seen.cpu_milli).nonzero()[0],
                (free.memory_bytes != seen.memory_bytes).nonzero()[0],
                (free.card_milli != seen.card_milli).ravel().nonzero()[0] // slots,
            )
        )
        if nodes.size:
            self.clock += 1
            self.changed[nodes] = self.clock
            seen.card_milli[nodes] = free.card_milli[nodes]
            seen.cpu_milli[nodes] = free.cpu_milli[nodes]
            seen.memory_bytes[nodes] = free.memory_bytes[nodes]
        return self.changed
