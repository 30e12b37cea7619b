"""Where a gang costs the least of what others could still use: the choice among nodes when it is known what is asked for.

The aim and the measure are those of fragmentation gradient descent (Weng et al., "Beware of Fragmentation: Scheduling GPU-Sharing
Workloads with Fragmentation Gradient Descent", USENIX ATC 2023): every placement goes where the waste it adds is the least, and
what is waste depends on the demand. Waste is counted in cards and has three parts, none of which has a weight to tune:

- what no cut of a card can use any more: the part of a card that is left, less its worth by the cutting-stock prices (`cutting`);
- cards that lack cores or memory: the free cards of a node beyond those its free cores, and memory, serve at the average demand;
- cards that others insist on: each card taken counts as often as its kind is contended for, 1 where demand is spread evenly.

The demand is what has been asked for so far, never what comes. Between equals an untouched node is left whole.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from scheduler.engine.cutting import Floats, card_values
from scheduler.engine.fleet import NO_KIND, Bools, Fleet, Free, Ints
from scheduler.engine.shape import WHOLE_CARD_MILLI, Shape

UNTOUCHED = 1e-3
"""What breaking into a node with all its cards free costs, in cards: less than any waste that matters, it decides between equals."""

MAX_COLUMNS = 1024
"""Shapes and kinds of which costs are remembered."""


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

    def costs(self, free: Free, shape: Shape, kind: int) -> Floats:
        """For each of `fleet.nodes_with(kind)`: the cards wasted by one member of the gang there; infinite where it does not fit.

        Remembered from call to call: only nodes that have changed since are looked at again.
        """
        nodes = self.fleet.nodes_with(kind)
        column = self._memory.column(shape, kind, nodes)
        stale = np.flatnonzero(self._memory.changed_at(free)[nodes] > column.known_at)
        if stale.size:
            column.costs[stale] = self.costs_on(free, shape, kind, nodes[stale])
        column.known_at = self._memory.clock
        return column.costs

    def costs_on(self, free: Free, shape: Shape, kind: int, nodes: Ints) -> Floats:
        """The same for any nodes that have cards of the kind, computed from nothing but what is free."""
        cards, cpu, memory = free.card_milli[nodes], free.cpu_milli[nodes], free.memory_bytes[nodes]
        before = cards.sum(axis=1)
        fits = (cpu >= shape.cpu_milli) & (memory >= shape.memory_bytes) & self.fleet.live[nodes]
        taken = 0
        cost: Floats = np.zeros(len(nodes))
        if kind != NO_KIND:
            usable = (self.fleet.card_kind[nodes] == kind) & (cards >= shape.card_milli)
            fits &= usable.sum(axis=1) >= shape.per_node
            each = np.where(usable, self.cut_costs(cards, shape.card_milli), np.inf)
            cost += np.sort(each, axis=1)[:, : shape.per_node].sum(axis=1)
            taken = shape.per_node * shape.card_milli
            cost += float(self.contention[kind]) * taken / WHOLE_CARD_MILLI
        cost += self._short(nodes, before - taken, cpu - shape.cpu_milli, memory - shape.memory_bytes)
        cost -= self._short(nodes, before, cpu, memory)
        whole = (before > 0) & (before == self.fleet.empty.card_milli[nodes].sum(axis=1))
        rounded: Floats = np.round(np.where(fits, cost + UNTOUCHED * whole, np.inf), 6)
        return rounded

    def cut_costs(self, card_milli: Ints, size: int) -> Floats:
        """For each card: what it loses in worth by giving `size` milli, beyond those; 0 or more for a card that has them."""
        loss: Floats = self.card_value[card_milli] - self.card_value[np.maximum(card_milli - size, 0)] - size / WHOLE_CARD_MILLI
        return loss

    def _short(self, nodes: Ints, card_milli: Ints, cpu_milli: Ints, memory_bytes: Ints) -> Floats:
        """Free cards, in cards, that the free cores of a node do not serve, and those that its free memory does not."""
        cards = card_milli / WHOLE_CARD_MILLI
        short = np.zeros(len(nodes))
        for needed, left in ((self.cores_per_card[nodes], cpu_milli), (self.memory_per_card[nodes], memory_bytes)):
            short += np.maximum(cards * needed - left, 0) / np.maximum(needed, 1)
        return short


@dataclass
class _Column:
    """The costs of one shape and kind on all its nodes, and until when they have been kept up."""

    costs: Floats
    known_at: int = -1


@dataclass
class _Memory:
    """What was free when it was last looked at, when each node last changed, and the costs computed since."""

    seen: Free
    changed: Ints
    clock: int = 0
    columns: dict[tuple[Shape, int], _Column] = field(default_factory=dict)

    def changed_at(self, free: Free) -> Ints:
        """The clock's reading at which each node was last found changed."""
        differ: Bools = (free.cpu_milli != self.seen.cpu_milli) | (free.memory_bytes != self.seen.memory_bytes)
        differ |= (free.card_milli != self.seen.card_milli).any(axis=1)
        nodes = np.flatnonzero(differ)
        if nodes.size:
            self.clock += 1
            self.changed[nodes] = self.clock
            self.seen.card_milli[nodes] = free.card_milli[nodes]
            self.seen.cpu_milli[nodes] = free.cpu_milli[nodes]
            self.seen.memory_bytes[nodes] = free.memory_bytes[nodes]
        return self.changed

    def column(self, shape: Shape, kind: int, nodes: Ints) -> _Column:
        if (shape, kind) not in self.columns:
            if len(self.columns) >= MAX_COLUMNS:
                del self.columns[next(iter(self.columns))]
            self.columns[shape, kind] = _Column(np.empty(len(nodes)))
        return self.columns[shape, kind]
