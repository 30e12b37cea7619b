"""Gangs on whole nodes and parts of nodes, packed so that widths that add up also fit: proven card by card.

A gang narrower than a node has its cards on one node, a wider one has whole nodes of one cluster. All widths are powers of two, as
are the cards of a node, and every cluster has a multiple of the nodes of the widest gang; then whatever adds up to no more than
there are cards can be placed, at worst by moving narrower gangs out of the way (buddy allocation: Knowlton, "A Fast Storage
Allocator", CACM 1965). Who need not move stays.
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from heapq import heapify, heappop, heappush

Cards = tuple[int, ...]
"""Numbers of cards; a node has `per_node` in a row, a cluster has nodes in a row."""


@dataclass(frozen=True, slots=True)
class Pool:
    """Clusters, by how many nodes they have, of equal nodes. Raises ValueError where gangs up to `widest` may not fit."""

    per_node: int
    nodes: tuple[int, ...]
    widest: int

    def __post_init__(self) -> None:
        if self.per_node < 1 or self.per_node.bit_count() != 1 or self.widest.bit_count() != 1:
            raise ValueError(f"a power of two is needed: {self.per_node} cards a node, gangs of up to {self.widest} cards")
        together = max(1, self.widest // self.per_node)
        if not self.nodes or any(number < 1 or number % together for number in self.nodes):
            raise ValueError(f"every cluster needs a multiple of {together} nodes for gangs of {self.widest} cards: {self.nodes}")

    @property
    def cards(self) -> int:
        return sum(self.nodes) * self.per_node


def place(pool: Pool, held: Mapping[str, Cards], widths: Mapping[str, int], pinned: Collection[str] = ()) -> dict[str, Cards]:
    """The cards of every gang that is to have any. Who keeps its width keeps its cards unless it is in the way of a wider one;
    `pinned` ones are moved last. Raises ValueError for widths that are no powers of two or add up to too much."""
    if sum(widths.values()) > pool.cards or any(
        width and (width.bit_count() != 1 or width > pool.widest) for width in widths.values()
    ):
        raise ValueError(f"widths of powers of two up to {pool.widest} that add up to at most {pool.cards} are needed")
    board = _Board(pool, frozenset(pinned))
    for gang, cards in sorted(held.items()):
        if len(cards) == widths.get(gang, 0):
            board.put(gang, cards)
    waiting = [(-width, gang) for gang, width in widths.items() if width and gang not in board.placed]
    heapify(waiting)
    while waiting:
        width, gang = heappop(waiting)
        for other in board.seat(gang, -width):
            heappush(waiting, (-widths[other], other))
    return board.placed


@dataclass(slots=True)
class _Board:
    """Who sits where while gangs are placed, the widest first."""

    pool: Pool
    pinned: frozenset[str]
    placed: dict[str, Cards] = field(default_factory=dict)
    free: list[list[int]] = field(init=False)
    here: list[set[str]] = field(init=False)

    def __post_init__(self) -> None:
        size, nodes = self.pool.per_node, sum(self.pool.nodes)
        self.free = [list(range(node * size, (node + 1) * size)) for node in range(nodes)]
        self.here = [set() for _ in range(nodes)]

    def put(self, gang: str, cards: Cards) -> None:
        self.placed[gang] = cards
        size = self.pool.per_node
        for first in cards[::size]:
            self.here[first // size].add(gang)
            self.free[first // size] = [card for card in self.free[first // size] if card not in cards] if len(cards) < size else []

    def drop(self, gang: str) -> None:
        cards, size = self.placed.pop(gang), self.pool.per_node
        for start in range(0, len(cards), size):
            node = cards[start] // size
            self.here[node].remove(gang)
            self.free[node] = sorted([*self.free[node], *cards[start : start + size]])

    def seat(self, gang: str, width: int) -> list[str]:
        """Give a gang its cards. Returns those that had to get up, all narrower."""
        whole = width // self.pool.per_node
        nodes, in_the_way = self._clear_nodes(whole) if whole else self._clear_part(width)
        for other in in_the_way:
            self.drop(other)
        self.put(gang, tuple(card for node in nodes for card in self.free[node][:width]))
        return in_the_way

    def _clear_part(self, width: int) -> tuple[list[int], list[str]]:
        """The fullest node that has so many cards free, or else the one where the fewest have to get up for it."""
        fits = [(len(free), node) for node, free in enumerate(self.free) if len(free) >= width]
        if fits:
            return [min(fits)[1]], []
        found = [(cost, [node], gangs) for node, (cost, gangs) in self._parts(width)]
        _, nodes, gangs = min(found)
        return nodes, gangs

    def _parts(self, width: int) -> Iterator[tuple[int, tuple[tuple[int, int], list[str]]]]:
        """For every node where so many cards can be had from narrower gangs: what that costs, and who they are."""
        for node, here in enumerate(self.here):
            free, gangs = len(self.free[node]), []
            narrower = [gang for gang in here if len(self.placed[gang]) < width]
            for gang in sorted(narrower, key=lambda gang: (gang in self.pinned, len(self.placed[gang]), gang)):
                if free >= width:
                    break
                free += len(self.placed[gang])
                gangs.append(gang)
            if free >= width:
                yield node, (self._cost(gangs), gangs)

    def _clear_nodes(self, count: int) -> tuple[list[int], list[str]]:
        """Whole nodes of the cluster that has just enough free ones, or else of the one where the fewest have to get up."""
        found = []
        first = 0
        for nodes in self.pool.nodes:
            span = range(first, first + nodes)
            first += nodes
            empty = [node for node in span if not self.here[node]]
            gangs = [] if len(empty) >= count else self._in_the_way(span, count - len(empty), count)
            if gangs is not None:
                found.append((self._cost(gangs), len(empty), span.start, empty, gangs))
        *_, empty, gangs = min(found)
        size = self.pool.per_node
        cleared = {card // size for gang in gangs for card in self.placed[gang]}
        return sorted({*empty, *(node for node in cleared if self.here[node] <= set(gangs))})[:count], gangs

    def _in_the_way(self, span: range, missing: int, count: int) -> list[str] | None:
        """Narrower gangs of a cluster whose leaving frees so many more nodes, those with the fewest cards a node first."""
        size = self.pool.per_node
        sets: dict[frozenset[str], set[int]] = {}
        for node in span:
            here = frozenset(self.here[node])
            if here and all(len(self.placed[gang]) < count * size for gang in here):
                sets.setdefault(here, set()).add(node)
        gangs: list[str] = []
        for here, nodes in sorted(sets.items(), key=lambda each: (*self._cost(each[0], len(each[1])), min(each[1]))):
            if missing <= 0:
                break
            missing -= len(nodes)
            gangs += sorted(here)
        return gangs if missing <= 0 else None

    def _cost(self, gangs: Collection[str], nodes: int = 1) -> tuple[int, int]:
        """Pinned gangs that would move, and cards that would, for each of some nodes."""
        return sum(gang in self.pinned for gang in gangs), sum(len(self.placed[gang]) for gang in gangs) // nodes
