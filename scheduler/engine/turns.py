"""Whose turn it is: lines of a backlog by priority, urgency, dominant share and age, where shares move with every grant.

A few turns are found by looking at all candidates at once (`Backlog.first`). For more in a row there are heaps: of one priority
and urgency one for each tenant, of its lines by service and the age of their heads, and one of the tenants by share. In a round a
share only grows, and so does the age at which a line stands; so an entry is brought up to date when it has come to the top.
"""

from collections import defaultdict
from heapq import heapify, heappop, heapreplace

import numpy as np

from scheduler.engine.backlog import NOBODY, Backlog, Shares
from scheduler.engine.fleet import Bools, Ints
from scheduler.engine.order import NOT_NEAR

FEW = 8
"""So many turns among the same candidates are found without heaps."""

_Head = tuple[int, int, str, int]
"""The service of a line where the order goes by it, when its head was submitted, its id, and the number of the line."""


class Turns:
    """The lines of one round that are still to be served."""

    def __init__(self, backlog: Backlog, shares: Shares, urgencies: Ints | None) -> None:
        self._backlog = backlog
        self._shares = shares
        self._urgencies = urgencies
        self._open: Bools = np.ones(len(backlog.lines), dtype=np.bool_)
        self._candidates: Bools | None = None
        self._asked = 0
        self._heaps: _Heaps | None = None

    def next(self, candidates: Bools) -> int | None:
        """The line of some to serve next, until it is `served`; None when all of them have been. The same array means: the same."""
        if candidates is not self._candidates:
            self._candidates, self._asked, self._heaps = candidates, 0, None
        self._asked += 1
        if self._asked <= FEW:
            return self._backlog.first(candidates & self._open, self._shares, self._urgencies)
        if self._heaps is None:
            self._heaps = _Heaps(self._backlog, self._shares, candidates & self._open, self._urgencies)
        return self._heaps.first()

    def served(self, number: int, again: bool) -> None:
        """The head of the line that was next has been served; `again`: the line goes on with who stands behind."""
        self._open[number] = again
        if self._heaps is not None:
            self._heaps.served(number, again)


class _Heaps:
    """Lines in order. `_bands`: the priorities and urgencies of which there are some, the first of them last."""

    def __init__(self, backlog: Backlog, shares: Shares, lines: Bools, urgencies: Ints | None) -> None:
        self._backlog = backlog
        self._shares = shares
        numbers = np.flatnonzero(lines & (backlog.head_at != NOBODY))
        priorities = backlog.priority[numbers].tolist()
        near = [NOT_NEAR] * len(numbers) if urgencies is None else urgencies[numbers].tolist()
        bands: dict[tuple[int, int], dict[int, list[_Head]]] = defaultdict(lambda: defaultdict(list))
        for number, priority, urgency in zip(numbers.tolist(), priorities, near, strict=True):
            bands[priority, -urgency][backlog.tenant_of(number)].append(
                (backlog.service_of(number), *backlog.next_of(number), number)
            )
        self._bands = [bands[key] for key in sorted(bands)]
        self._tenants: list[tuple[float, int, int, str, int]] = []
        """The tenants of the first band by share and head, neither of which is too high."""
        self._begin_band()

    def first(self) -> int | None:
        """The line whose turn it is; it is then at the top of its tenant's heap."""
        while self._bands:
            while self._tenants:
                tenant = self._tenants[0][-1]
                heads = self._bands[-1][tenant]
                if not heads:
                    heappop(self._tenants)
                    continue
                standing = self._standing(tenant)
                if standing == self._tenants[0]:
                    return heads[0][-1]
                heapreplace(self._tenants, standing)
            self._bands.pop()
            self._begin_band()
        return None

    def served(self, number: int, again: bool) -> None:
        """The line that was first goes on with who stands behind, or is out."""
        heads = self._bands[-1][self._backlog.tenant_of(number)]
        head = self._backlog.head(number) if again else None
        if head is None:
            heappop(heads)
        else:
            heapreplace(heads, (self._backlog.service_of(number), *head, number))

    def _begin_band(self) -> None:
        if not self._bands:
            return
        for heads in self._bands[-1].values():
            heapify(heads)
        self._tenants = [self._standing(tenant) for tenant in self._bands[-1]]
        heapify(self._tenants)

    def _standing(self, tenant: int) -> tuple[float, int, int, str, int]:
        service, at, id_, _ = self._bands[-1][tenant][0]
        return self._shares.of(tenant), service, at, id_, tenant
