"""Reservations: a blocked job is promised a time and a place, and nobody who is served after it may delay that.

EASY backfill (Lifka, "The ANL/IBM SP Scheduling System", JSSPP 1995) promises it to the first blocked job of each pool of cards;
conservative backfill to every blocked job, up to `MAX_PROMISES`. A promise rests on what running jobs asked for at most
(`max_runtime`), so it can only come true earlier. A job may start in front of it if it ends before, or if it fits into what is
left beside the promised place when that is due. Promised jobs are taken to end as they say, too, so the promises of a round are one
timetable: each moment at which something is due has its picture of what is left then, and nothing may exceed one while it runs.
Windows that bind the job (`window`) are kept clear of.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from scheduler.domain.clock import MICROS_PER_SECOND
from scheduler.engine.fleet import NO_KIND, Fleet, Free, Ints
from scheduler.engine.order import QueuedJob
from scheduler.engine.place import Place, capacity, place_in
from scheduler.engine.runs import Ends, Runs
from scheduler.engine.shape import Shape
from scheduler.engine.snapshot import FOREVER, Snapshot
from scheduler.engine.window import Window, binding, left_outside

MAX_PROMISES = 64
"""Blocked jobs a round looks for a promise for."""

MAX_STARTS = 256
"""Moments that are tried in one cluster where earlier promises are in the way."""


Lag = tuple[int, int]
"""What a start in a place leaves to be done: GiB of data of which nobody knows how long they take, and seconds for the rest."""


@dataclass(frozen=True, slots=True)
class Promise:
    """`job` can start at `at` (microseconds) in `place` at the latest and ends by `until`; `left` is what is free at `at` beside it
    and all else that has been granted or promised."""

    job: str
    at: int
    until: int
    place: Place
    left: Free
    lag: Lag = (0, 0)

    def done(self) -> tuple[int, int]:
        """The promises of one job are preferred by this: the GiB whose way is unknown, then when it is done, in microseconds."""
        unknown_gib, seconds = self.lag
        return unknown_gib, self.at + seconds * MICROS_PER_SECOND

    def same(self, other: "Promise | None") -> bool:
        """Whether another promises the same time and nodes."""
        return other is not None and (self.at, self.place.allocations) == (other.at, other.place.allocations)


LagOf = Callable[[Shape, int, int], Lag]
"""By alternative, kind of card and cluster."""


@dataclass(frozen=True, slots=True)
class Outlook:
    """What is known of the time ahead: `soon` is free once asked-for stops have happened, `runs` hold the rest (this round's grants
    among them), and `promises` were made before."""

    soon: Free
    runs: Runs
    promises: Sequence[Promise]


def promise(snapshot: Snapshot, outlook: Outlook, job: QueuedJob, lag_of: LagOf) -> Promise | None:
    """The earliest start that the ends of others allow for a job that fits nowhere now; None where those do not tell.

    `lag_of` says by alternative, kind and cluster what is left to do after a start: a job may want to be done early, wherever it
    begins.
    """
    scratch = outlook.soon.copy()
    found = [
        replace(earliest, lag=lag_of(shape, kind, cluster))
        for shape in job.shapes
        for kind in snapshot.fleet.kinds_for(shape)
        for cluster in candidates(snapshot, job, shape, kind)
        if (earliest := _earliest(snapshot, outlook, scratch, job, shape, kind, cluster)) is not None
    ]
    return min(found, key=lambda each: (each.done(), each.place.leftover, each.place.cluster, each.place.kind), default=None)


def ends_at(now: int, max_runtime_seconds: int | None) -> int:
    return FOREVER if max_runtime_seconds is None else now + max_runtime_seconds * 1_000_000


def candidates(snapshot: Snapshot, job: QueuedJob, shape: Shape, kind: int) -> list[int]:
    """Live clusters that could hold the gang if they were empty, and where it has a price."""
    fleet = snapshot.fleet
    model = None if kind == NO_KIND else fleet.kinds[kind].model
    could = capacity(fleet, shape, kind) >= shape.min_nodes
    return [
        number
        for number, cluster in enumerate(fleet.clusters)
        if could[number]
        and number in fleet.live_clusters
        and (job.clusters is None or cluster in job.clusters)
        and (snapshot.prices is None or (job.terms, cluster, model) in snapshot.prices)
    ]


def _earliest(
    snapshot: Snapshot, outlook: Outlook, scratch: Free, job: QueuedJob, shape: Shape, kind: int, cluster: int
) -> Promise | None:
    """The first end of a run, a promised job or a window in one cluster after which the gang fits there beside what was promised.

    `scratch` is a copy of what is free soon, and is so again afterwards.
    """
    fleet = snapshot.fleet
    ends = outlook.runs.ends(cluster, fleet.card_kind.shape[1])
    enough = _enough(fleet, scratch, ends, shape, kind, cluster)
    if enough > len(ends.at):
        return None
    others = [each.until for each in outlook.promises if each.place.cluster == cluster and each.until < FOREVER]
    others += [each.end for each in snapshot.windows if each.cluster == cluster]
    for at in _moments(snapshot.now, ends.at, enough, others):
        left = outlook.soon.copy()
        ends.give(left, 0, int(np.searchsorted(ends.at, at, side="right")))
        until = ends_at(at, job.max_runtime_seconds)
        left = _beside(left, outlook.promises, at, until)
        windows = binding(snapshot.windows, job.tenant, at, until) if snapshot.windows else ()
        place = place_in(fleet, _clear_of(fleet, left, windows), shape, kind, cluster)
        if place is not None:
            left.take(place.allocations)
            _unbind_elsewhere(fleet, left, cluster)
            return Promise(job.id, at, until, place, left)
    return None


def _moments(now: int, ends: Ints, enough: int, others: Sequence[int]) -> list[int]:
    """When it is worth a try: from the end of run number `enough` (counted from 1) on, whenever something ends."""
    first = max(now, int(ends[enough - 1])) if enough else now
    later = np.append(ends[enough:], np.array(others, dtype=np.int64))
    tried_already = not enough and not (ends <= now).any()
    found: list[int] = np.unique(later[later > first]).tolist()
    return (found if tried_already else [first, *found])[:MAX_STARTS]


def _clear_of(fleet: Fleet, free: Free, windows: Sequence[Window]) -> Free:
    if not windows:
        return free
    clear = free.copy()
    clear.limit_to(left_outside(fleet, windows))
    return clear


def _enough(fleet: Fleet, scratch: Free, ends: Ends, shape: Shape, kind: int, cluster: int) -> int:
    """After how many ends the gang would fit if nothing had been promised, by bisection: more ends never free less."""
    low, high, given = -1, len(ends.at) + 1, 0
    while high - low > 1:
        middle = (low + high) // 2
        ends.give(scratch, given, middle)
        given = middle
        if place_in(fleet, scratch, shape, kind, cluster) is None:
            low = middle
        else:
            high = middle
    ends.give(scratch, given, 0)
    return high


def _beside(free: Free, promises: Sequence[Promise], at: int, until: int) -> Free:
    """What of `free` is nobody else's from `at` to `until`."""
    for each in promises:
        if each.at <= at < each.until:
            free.take(each.place.allocations)
        elif at < each.at < until:
            free.limit_to(each.left)
    return free


def _unbind_elsewhere(fleet: Fleet, left: Free, cluster: int) -> None:
    """Outside its own cluster a promise limits nobody: there everything counts as left."""
    elsewhere = fleet.cluster_of != cluster
    left.card_milli[elsewhere] = fleet.empty.card_milli[elsewhere]
    left.cpu_milli[elsewhere] = fleet.empty.cpu_milli[elsewhere]
    left.memory_bytes[elsewhere] = fleet.empty.memory_bytes[elsewhere]
