"""What is free during a round, with an answer ready for every size of request: on which nodes it fits, and how many per cluster.

Ten thousand shapes ask about the same hundred thousand cards, and between two questions only the nodes just taken have changed.
So each size of request keeps its answer, and brings it up to date for the nodes that changed since it was last asked.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from scheduler.domain.topology import CLUSTER, LINK_DOMAIN
from scheduler.engine.constraints import Constraint
from scheduler.engine.fleet import Allocation, Bools, Fleet, Free, Ints
from scheduler.engine.place import node_fits
from scheduler.engine.shape import Shape
from scheduler.engine.topology import gang_nodes

MOSTLY_CHANGED = 8
"""From one node in eight on it is cheaper to ask about all of them again."""

Size = tuple[int, int, int, int, int, bool, tuple[Constraint, ...]]
"""Kind of card, cards per node, milli per card, milli-cores, bytes of memory, whether its cards must be linked, constraints: all
that decides whether a member fits on a node."""


@dataclass(slots=True)
class _Answer:
    """For the nodes that have the kind: whether a member fits (`fits`), counted per cluster; up to date with `seen` changes."""

    nodes: Ints
    fits: Bools
    per_cluster: Ints
    seen: int


class Room:
    """A picture of what is free that can only be changed through its methods."""

    def __init__(self, fleet: Fleet, free: Free) -> None:
        self.fleet = fleet
        self.free = free
        self._changed: list[int] = []
        self._answers: dict[Size, _Answer] = {}

    def take(self, allocations: Sequence[Allocation]) -> None:
        self.free.take(allocations)
        self._changed += [part.node for part in allocations]

    def give(self, allocations: Sequence[Allocation]) -> None:
        self.free.give(allocations)
        self._changed += [part.node for part in allocations]

    def set_to_least(self, pictures: Sequence[Free], nodes: Sequence[int]) -> None:
        """On some nodes, what is free is the least that any of `pictures` has."""
        rows = list(nodes)
        for column, *theirs in zip(_columns(self.free), *map(_columns, pictures), strict=True):
            column[rows] = np.minimum.reduce([each[rows] for each in theirs])
        self._changed += rows

    def gangs(self, shape: Shape, kind: int) -> Ints:
        """For each cluster: how many members of the gang its live nodes could hold together now."""
        answer = self._answer(shape, kind)
        if shape.within == CLUSTER:
            return answer.per_cluster
        return gang_nodes(self.fleet, answer.nodes[answer.fits], shape)

    def nodes(self, shape: Shape, kind: int, cluster: int) -> Ints:
        """The live nodes of one cluster on which a member fits now."""
        answer = self._answer(shape, kind)
        start, end = self.fleet.span(kind, cluster)
        found: Ints = answer.nodes[start:end][answer.fits[start:end]]
        return found

    def _answer(self, shape: Shape, kind: int) -> _Answer:
        linked = shape.within == LINK_DOMAIN
        size = (kind, shape.per_node, shape.card_milli, shape.cpu_milli, shape.memory_bytes, linked, shape.constraints)
        answer = self._answers.get(size)
        if answer is None or len(self._changed) - answer.seen > len(answer.nodes) // MOSTLY_CHANGED:
            answer = self._answers[size] = self._ask(shape, kind)
        elif answer.seen < len(self._changed):
            self._update(answer, shape, kind)
        return answer

    def _ask(self, shape: Shape, kind: int) -> _Answer:
        nodes = self.fleet.nodes_with(kind)
        fits = node_fits(self.fleet, self.free, shape, kind, nodes) & self.fleet.live[nodes]
        per_cluster = np.bincount(self.fleet.cluster_of[nodes[fits]], minlength=len(self.fleet.clusters))
        return _Answer(nodes, fits, per_cluster, len(self._changed))

    def _update(self, answer: _Answer, shape: Shape, kind: int) -> None:
        changed = self.fleet.position(kind)[np.unique(self._changed[answer.seen :])]
        changed = changed[changed >= 0]
        answer.seen = len(self._changed)
        nodes = answer.nodes[changed]
        fits = node_fits(self.fleet, self.free, shape, kind, nodes) & self.fleet.live[nodes]
        difference = fits.astype(np.int64) - answer.fits[changed]
        np.add.at(answer.per_cluster, self.fleet.cluster_of[nodes], difference)
        answer.fits[changed] = fits


class View:
    """What may be taken of a picture within bounds: what is free in it, but nowhere more than any of `lefts` leaves.

    Pictures and bounds stay whose they are; who changes one says on which nodes, with `refresh`, or changes the picture itself
    through the view.
    """

    def __init__(self, fleet: Fleet, free: Free, lefts: Sequence[Free]) -> None:
        self._pictures = [free, *lefts]
        self.room = Room(fleet, free.copy())
        for left in lefts:
            self.room.free.limit_to(left)

    def refresh(self, nodes: Sequence[int]) -> None:
        self.room.set_to_least(self._pictures, nodes)

    def give(self, allocations: Sequence[Allocation]) -> None:
        self._pictures[0].give(allocations)
        self.refresh([part.node for part in allocations])

    def take(self, allocations: Sequence[Allocation]) -> None:
        self._pictures[0].take(allocations)
        self.refresh([part.node for part in allocations])


def _columns(free: Free) -> tuple[Ints, Ints, Ints]:
    return free.card_milli, free.cpu_milli, free.memory_bytes
