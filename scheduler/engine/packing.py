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
from functools import cached_property

import numpy as np

from scheduler.domain.topology import LINK_DOMAIN
from scheduler.engine.cutting import Floats, card_values
from scheduler.engine.fleet import NO_KIND, Fleet, Free, Ints
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
    - `cores_per_card`, `memory_per_card`: by node, milli-cores and bytes that the demand for its kinds of card asks for beside a
      card; 0 where there is none.
    - `contention`: by kind, how much of the demand falls on one of its cards, over the average of all cards.
    """

    fleet: Fleet
    card_value: Floats
    cores_per_card: Floats
    memory_per_card: Floats
    contention: Floats
    _memory: "_Memory" = field(repr=False, compare=False)

    @classmethod
    def of(cls, fleet: Fleet, asked: Mapping[Shape, int]) -> "Packing":
        """`asked` says how often each shape was asked for."""
        sizes: dict[int, int] = {}
        of_kind = np.zeros((len(fleet.kinds), 3))
        contention = np.zeros(len(fleet.kinds))
        for shape, times in asked.items():
            kinds = [kind for kind in fleet.kinds_for(shape) if kind != NO_KIND]
            if not kinds:
                continue
            members = times * shape.nodes
            sizes[shape.card_milli] = sizes.get(shape.card_milli, 0) + members * shape.per_node
            cards = members * shape.per_node * shape.card_milli / WHOLE_CARD_MILLI
            of_kind[kinds] += (cards, members * shape.cpu_milli, members * shape.memory_bytes)
            contention[kinds] += cards / fleet.cards_of[kinds].sum()
        average = float(contention @ fleet.cards_of) / max(int(fleet.cards_of.sum()), 1)
        per_card = of_kind[:, 1:] / np.maximum(of_kind[:, :1], 1 / WHOLE_CARD_MILLI)
        has_card = fleet.card_kind != NO_KIND
        per_node = np.where(has_card[..., None], np.append(per_card, np.zeros((1, 2)), axis=0)[fleet.card_kind], 0).sum(axis=1)
        per_node /= np.maximum(has_card.sum(axis=1), 1)[:, None]
        return cls(
            fleet=fleet,
            card_value=card_values(sizes),
            cores_per_card=per_node[:, 0],
            memory_per_card=per_node[:, 1],
            contention=contention / average if average else np.ones(len(fleet.kinds)),
            _memory=_Memory(fleet.all_free(), np.zeros(len(fleet.nodes), dtype=np.int64)),
        )

    def costs(self, free: Free, shape: Shape) -> Iterator[tuple[int, int, Ints, Floats]]:
        """Kind, cluster, the cluster's nodes with that kind of card, and the cards that one member of the gang wastes on each.

        Infinite where it does not fit; kinds and clusters where it fits on no node are left out.

        Remembered from call to call: only nodes that have changed since are looked at again.
        """
        seats = self._seats(self.fleet.kinds_for(shape))
        column = self._memory.column(shape, len(seats.nodes))
        stale = (self._memory.changed_at(free)[seats.nodes] > column.known_at).nonzero()[0]
        if stale.size:
            column.costs[stale] = self.costs_on(free, shape, seats.nodes[stale], seats.kinds[stale])
        column.known_at = self._memory.clock
        if seats.groups:
            best = np.minimum.reduceat(column.costs, seats.starts)
            for number in (best < np.inf).nonzero()[0].tolist():
                kind, cluster, part = seats.groups[number]
                yield kind, cluster, seats.nodes[part], column.costs[part]

    def costs_on(self, free: Free, shape: Shape, nodes: Ints, kinds: Ints) -> Floats:
        """The costs on any nodes, each with one of the kinds of card it has, computed from nothing but what is free."""
        cards, cpu, memory = free.card_milli[nodes], free.cpu_milli[nodes], free.memory_bytes[nodes]
        before = cards.sum(axis=1)
        fits = (cpu >= shape.cpu_milli) & (memory >= shape.memory_bytes) & self.fleet.live[nodes]
        taken = shape.per_node * shape.card_milli
        cost: Floats = np.zeros(len(nodes))
        if shape.per_node:
            usable = (self.fleet.card_kind[nodes] == kinds[:, None]) & (cards >= shape.card_milli)
            held = linked(self.fleet, usable, nodes) if shape.within == LINK_DOMAIN else usable.sum(axis=1)
            fits &= held >= shape.per_node
            cost += self.contention[kinds] * taken / WHOLE_CARD_MILLI
            if shape.card_milli < WHOLE_CARD_MILLI:  # a whole card leaves nothing that could be wasted
                each = np.where(usable, self.cut_costs(cards, shape.card_milli), np.inf)
                cost += np.sort(each, axis=1)[:, : shape.per_node].sum(axis=1)
        cost += _short(before, taken, cpu, shape.cpu_milli, self.cores_per_card[nodes])
        cost += _short(before, taken, memory, shape.memory_bytes, self.memory_per_card[nodes])
        if shape.constraints:
            fits &= self.fleet.meets(shape.constraints)[nodes]
        cost += UNTOUCHED * ((before > 0) & (before == self._all_milli[nodes]))
        cost[~fits] = np.inf
        return cost.round(6)

    @cached_property
    def _all_milli(self) -> Ints:
        total: Ints = self.fleet.empty.card_milli.sum(axis=1)
        return total

    def cut_costs(self, card_milli: Ints, size: int) -> Floats:
        """For each card: what it loses in worth by giving `size` milli, beyond those; 0 or more for a card that has them."""
        loss: Floats = self.card_value[card_milli] - self.card_value[np.maximum(card_milli - size, 0)] - size / WHOLE_CARD_MILLI
        return loss

    def _seats(self, kinds: tuple[int, ...]) -> "_Seats":
        if kinds not in self._memory.seats:
            self._memory.seats[kinds] = _Seats.of(self.fleet, kinds)
        return self._memory.seats[kinds]


def _short(card_milli: Ints, cards_taken: int, left: Ints, taken: int, per_card: Floats) -> Floats:
    """How many more cards are free with too little beside them once `cards_taken` and `taken` of what is beside them are gone."""
    needed = card_milli / WHOLE_CARD_MILLI * per_card
    before = np.maximum(needed - left, 0)
    after = np.maximum(needed - cards_taken / WHOLE_CARD_MILLI * per_card - (left - taken), 0)
    growth: Floats = (after - before) / np.maximum(per_card, 1)
    return growth


@dataclass(frozen=True)
class _Seats:
    """The nodes that have some kinds of card, by kind and then by cluster: each kind and cluster is one part of the arrays."""

    nodes: Ints
    kinds: Ints
    starts: Ints
    groups: Sequence[tuple[int, int, slice]]

    @classmethod
    def of(cls, fleet: Fleet, kinds: Sequence[int]) -> "_Seats":
        nodes = [fleet.nodes_with(kind) for kind in kinds]
        kind_of = np.repeat(np.array(kinds, dtype=np.int64), [len(part) for part in nodes])
        all_nodes = np.concatenate([np.zeros(0, dtype=np.int64), *nodes])
        clusters = fleet.cluster_of[all_nodes]
        starts = np.flatnonzero(np.diff(kind_of, prepend=NO_KIND - 1) | np.diff(clusters, prepend=-1))
        ends = [*starts[1:].tolist(), len(all_nodes)]
        parts = [slice(start, end) for start, end in zip(starts.tolist(), ends, strict=True)] if len(starts) else []
        groups = [(int(kind_of[part.start]), int(clusters[part.start]), part) for part in parts]
        return cls(all_nodes, kind_of, starts, groups)


@dataclass
class _Column:
    """The costs of one shape on all its seats, and until when they have been kept up."""

    costs: Floats
    known_at: int = -1


@dataclass
class _Memory:
    """What was free when it was last looked at, when each node last changed, and the costs computed since."""

    seen: Free
    changed: Ints
    clock: int = 0
    seats: dict[tuple[int, ...], _Seats] = field(default_factory=dict)
    columns: dict[Shape, _Column] = field(default_factory=dict)

    def changed_at(self, free: Free) -> Ints:
        """The clock's reading at which each node was last found changed."""
        seen, slots = self.seen, max(free.card_milli.shape[1], 1)
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

    def column(self, shape: Shape, length: int) -> _Column:
        if shape not in self.columns:
            if len(self.columns) >= MAX_COLUMNS:
                del self.columns[next(iter(self.columns))]
            self.columns[shape] = _Column(np.empty(length))
        return self.columns[shape]
