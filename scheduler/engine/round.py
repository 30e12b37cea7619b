"""What a round has decided so far, and the pictures of what its decisions leave free: now, soon, and beside what was promised."""

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from scheduler.domain.clock import MICROS_PER_SECOND
from scheduler.engine.bounds import UNBOUND, Bounds
from scheduler.engine.drain import overstaying
from scheduler.engine.fleet import NO_KIND, Bools, Ints
from scheduler.engine.intake import Intake
from scheduler.engine.order import QueuedJob, Usage, fares_alike, held
from scheduler.engine.place import Place
from scheduler.engine.preempt import MAX_SEARCHES
from scheduler.engine.quota import Quotas, Resource
from scheduler.engine.reserve import MAX_PROMISES, Promise, ends_at
from scheduler.engine.room import Room, View
from scheduler.engine.runs import Runs
from scheduler.engine.shape import Shape
from scheduler.engine.snapshot import NOTHING_CUT, ActiveRun, Backfill, CutShort, Grant, Preemption, Snapshot
from scheduler.engine.staging import Data
from scheduler.engine.window import binding

NO_PRICE = 2**62
"""Stands for the price of a place that is not offered."""

RELEASE_MICROS = 120 * 1_000_000
"""What a stop may take: nobody is asked to stop for a job that could not start so late, nor is a place kept for it."""


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
    """Whether it was known of any run, or window, when it ends, before the round began: else nothing can be promised in it."""
    intake: Intake
    searches_left: int = MAX_SEARCHES
    promise_searches_left: int = MAX_PROMISES
    cut_short: CutShort = NOTHING_CUT
    grants: list[Grant] = field(default_factory=list)
    preemptions: list[Preemption] = field(default_factory=list)
    started: list[ActiveRun] = field(default_factory=list)
    stopping: list[ActiveRun] = field(default_factory=list)
    kept: dict[str, Place] = field(default_factory=dict)
    """By job: the place it waits for to be released."""
    promises: list[Promise] = field(default_factory=list)
    promised: set[int] = field(default_factory=set)
    headed: set[int] = field(default_factory=set)
    """The kinds of card for which a blocked job came first, and others may not be moved for those behind it."""
    borrowers: deque[ActiveRun] | None = None
    claims: dict[str, tuple[str, Mapping[Resource, int]]] = field(default_factory=dict)
    """By job that has waited for a release: its queue, and what of that queue's own quota is counted as used until its turn."""
    views: dict[tuple[bool, tuple[tuple[str, ...], ...]], View] = field(default_factory=dict)
    tariffs: dict[tuple[str, int], Ints] = field(default_factory=dict)
    permits: dict[frozenset[str] | None, Bools] = field(default_factory=dict)
    # what `choice` has found so far
    stagings: dict[tuple[Data, ...], tuple[Ints, Ints]] = field(default_factory=dict)
    run_seconds: dict[tuple[tuple[Shape, ...], int | None], Mapping[Shape, Ints]] = field(default_factory=dict)
    domestic: dict[object, tuple[tuple[Shape, ...], Sequence[int]]] = field(default_factory=dict)

    @property
    def protects(self) -> bool:
        """Whether any run may still be within its minimum run time."""
        return self.runs.protected_until > self.snapshot.now

    def protection_of(self, job: QueuedJob) -> int:
        """Until when a job that starts now is stopped for no other; 0 where it is not protected at all."""
        return self.snapshot.now + job.min_runtime_seconds * MICROS_PER_SECOND if job.min_runtime_seconds else 0

    def likeness(self, job: QueuedJob) -> object:
        """What jobs have in common that fare alike in this round."""
        return fares_alike(job), self.reserved_for(job.tenant)

    def reserved_for(self, tenant: str) -> tuple[str, ...]:
        """The windows that are reserved for a tenant: its jobs fare alike only with those of tenants that have the same."""
        windows = self.snapshot.windows
        return tuple(each.id for each in windows if tenant in each.tenants) if windows else ()

    def promises_each(self, job: str) -> bool:
        """Whether every job of a line is promised a place of its own, and this one just has been."""
        return self.snapshot.backfill is Backfill.CONSERVATIVE and bool(self.promises) and self.promises[-1].job == job

    def bounds(self, job: QueuedJob, *, soon: bool = False) -> Bounds:
        """What binds a job that starts now, or (`soon`) once asked-for stops have happened."""
        if not self.promises and not self.snapshot.windows:
            return UNBOUND
        end = self.end_of(job, soon=soon)
        promises = tuple(each for each in self.promises if each.at < end)
        return Bounds(promises, binding(self.snapshot.windows, job.tenant, self.snapshot.now, end))

    def end_of(self, job: QueuedJob, *, soon: bool = False) -> int:
        """When a job ends at the latest that starts now, or once asked-for stops have happened."""
        return ends_at(self.snapshot.now, job.max_runtime_seconds) + (RELEASE_MICROS if soon else 0)

    def rooms(self, job: QueuedJob, bounds: Bounds) -> Iterator[tuple[Room, bool]]:
        """Where a job may go that starts now: what is reserved for it and open (True), then all that its bounds leave (False)."""
        now, end, windows = self.snapshot.now, self.end_of(job), self.snapshot.windows
        within = tuple(each for each in windows if each.is_kept_for(job.tenant, now, end))
        if within:
            yield self.view(replace(bounds, within=within)), True
        yield self.view(bounds), False

    def view(self, bounds: Bounds, *, soon: bool = False) -> Room:
        """What a job that is so bound may take, now or once asked-for stops have happened."""
        room = self.soon if soon else self.now
        if not bounds:
            return room
        key = soon, bounds.key()
        if key not in self.views:
            self.views[key] = View(self.snapshot.fleet, room.free, bounds.lefts(self.snapshot.fleet))
        return self.views[key].room

    def changed(self, place: Place, end: int | None = None) -> None:
        """Bring every view up to date after what is free on the nodes of a place has changed. With `end`: it has been taken, up to
        then, and promises that are due before leave it no longer."""
        if end is not None:
            for each in self.promises:
                if each.at < end:
                    each.left.take(place.allocations)
        if self.views:
            nodes = [part.node for part in place.allocations]
            for view in self.views.values():
                view.refresh(nodes)

    def stop(self, run: ActiveRun, preemption: Preemption) -> None:
        """Ask a run to stop: what it holds will be free soon."""
        self.preemptions.append(preemption)
        self.runs.remove(run)
        self.stopping.append(replace(run, releasing=True))
        self.runs.add(self.stopping[-1])
        self.soon.give(run.place.allocations)
        self.soon_quotas.use(run.queue, held(self.snapshot.fleet, run.place), sign=-1)
        self.changed(run.place)

    def count(self, queue: str, need: Mapping[Resource, int], sign: int = 1) -> None:
        """Count something as used, now and soon."""
        self.quotas.use(queue, need, sign)
        self.soon_quotas.use(queue, need, sign)

    def claim(self, job: str) -> None:
        """It is the turn of a job: what was kept for it of its queue's quota is for it to take."""
        if job in self.claims:
            self.count(*self.claims.pop(job), sign=-1)

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
    round_ = Round(
        snapshot=snapshot,
        now=Room(snapshot.fleet, snapshot.free.copy()),
        soon=Room(snapshot.fleet, soon),
        usage=snapshot.usage.copy(),
        quotas=snapshot.quotas.copy(),
        soon_quotas=soon_quotas,
        runs=runs,
        foresees=runs.some_end() or bool(snapshot.windows),
        intake=Intake(snapshot.in_flight),
    )
    for run, window in overstaying(snapshot.windows, runs, snapshot.now):
        round_.stop(run, Preemption(run.attempt, None, run.priority, window))
    moved = {move.job.id for move in snapshot.moves}  # they come before everybody
    for job, (queue, place) in snapshot.kept.items():
        if job in moved:
            continue
        need = held(snapshot.fleet, place)
        if not soon_quotas.would_borrow(queue, need):
            round_.claims[job] = queue, need
            round_.count(queue, need)
    return round_
