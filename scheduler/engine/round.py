"""What a round has decided so far, and the pictures of what its decisions leave free: now, soon, and beside what was promised."""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from scheduler.engine.fleet import NO_KIND, Bools, Ints
from scheduler.engine.order import Usage, held
from scheduler.engine.place import Place
from scheduler.engine.preempt import MAX_SEARCHES
from scheduler.engine.quota import Quotas
from scheduler.engine.reserve import MAX_PROMISES, Promise
from scheduler.engine.room import Room
from scheduler.engine.runs import Runs
from scheduler.engine.snapshot import ActiveRun, Grant, Preemption, Snapshot

NO_PRICE = 2**62
"""Stands for the price of a place that is not offered."""


@dataclass
class Round:
    """One round under way. `soon` and `soon_quotas` have what attempts that were asked to stop still hold given back."""

    snapshot: Snapshot
    now: Room
    soon: Room
    usage: Usage
    quotas: Quotas
    soon_quotas: Quotas
    runs: Runs
    foresees: bool
    """Whether it was known of any run when it ends, before the round began: else nothing can be promised in it."""
    searches_left: int = MAX_SEARCHES
    promise_searches_left: int = MAX_PROMISES
    grants: list[Grant] = field(default_factory=list)
    preemptions: list[Preemption] = field(default_factory=list)
    started: list[ActiveRun] = field(default_factory=list)
    stopping: list[ActiveRun] = field(default_factory=list)
    kept: dict[str, Place] = field(default_factory=dict)
    """By job: the place it waits for to be released."""
    promises: list[Promise] = field(default_factory=list)
    promised: set[int] = field(default_factory=set)
    borrowers: deque[ActiveRun] | None = None
    views: dict[tuple[str, ...], tuple[Room, list[Promise]]] = field(default_factory=dict)
    tariffs: dict[tuple[str, int], Ints] = field(default_factory=dict)
    permits: dict[frozenset[str] | None, Bools] = field(default_factory=dict)

    def view(self, end: int) -> Room:
        """What a job that ends at `end` may take without delaying anybody who was promised a place."""
        binding = [each for each in self.promises if each.at < end]
        if not binding:
            return self.now
        key = tuple(each.job for each in binding)
        if key not in self.views:
            free = self.now.free.copy()
            for each in binding:
                free.limit_to(each.left)
            self.views[key] = (Room(self.snapshot.fleet, free), binding)
        return self.views[key][0]

    def refresh_views(self, nodes: Sequence[int]) -> None:
        """Bring every view up to date after `now`, or what was promised, has changed on some nodes."""
        for room, binding in self.views.values():
            room.set_to_least([self.now.free, *(each.left for each in binding)], nodes)

    def allowed(self, clusters: frozenset[str] | None) -> Bools:
        """For each cluster: whether it is among those a job may use."""
        if clusters not in self.permits:
            names = self.snapshot.fleet.clusters
            self.permits[clusters] = np.array([clusters is None or name in clusters for name in names], dtype=np.bool_)
        return self.permits[clusters]

    def net_prices(self, terms: str, kind: int) -> Ints:
        """For each cluster the net price of a unit, `NO_PRICE` where there is none; all zero where nothing is priced."""
        if (terms, kind) not in self.tariffs:
            fleet, prices = self.snapshot.fleet, self.snapshot.prices
            model = None if kind == NO_KIND else fleet.kinds[kind].model
            quotes = [None if prices is None else prices.get((terms, cluster, model)) for cluster in fleet.clusters]
            default = 0 if prices is None else NO_PRICE
            self.tariffs[terms, kind] = np.array([q.net_price if q else default for q in quotes], dtype=np.int64)
        return self.tariffs[terms, kind]


def begin(snapshot: Snapshot) -> Round:
    """A round in which nothing has been decided yet; the snapshot is left as it is."""
    runs = Runs.of(snapshot.runs)
    soon, soon_quotas = snapshot.free.copy(), snapshot.quotas.copy()
    for run in runs.releasing.values():
        soon.give(run.place.allocations)
        soon_quotas.use(run.queue, held(snapshot.fleet, run.place), sign=-1)
    return Round(
        snapshot=snapshot,
        now=Room(snapshot.fleet, snapshot.free.copy()),
        soon=Room(snapshot.fleet, soon),
        usage=snapshot.usage.copy(),
        quotas=snapshot.quotas.copy(),
        soon_quotas=soon_quotas,
        runs=runs,
        foresees=runs.some_end(),
    )
