"""Reservations: a blocked job is promised a time and a place, and nobody who is served after it may delay that.

EASY backfill (Lifka, "The ANL/IBM SP Scheduling System", JSSPP 1995) promises it to the first blocked job of each pool of cards;
conservative backfill to every blocked job, up to `MAX_PROMISES`. A promise rests on what running jobs asked for at most
(`max_runtime`), so it can only come true earlier. A job may start in front of it if it ends before, or if it fits into what is
left beside the promised place from then on.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from scheduler.engine.fleet import NO_KIND, Fleet, Free
from scheduler.engine.order import QueuedJob
from scheduler.engine.place import Place, capacity, place_in
from scheduler.engine.runs import Ends, Runs
from scheduler.engine.shape import Shape
from scheduler.engine.snapshot import FOREVER, Snapshot

MAX_PROMISES = 64
"""Blocked jobs a round looks for a promise for."""

MAX_STARTS = 256
"""Moments that are tried in one cluster where earlier promises are in the way."""


@dataclass(frozen=True, slots=True)
class Promise:
    """`job` can start at `at` (microseconds) in `place` at the latest; `left` is what is free from then on beside it."""

    job: str
    at: int
    place: Place
    left: Free

    def same(self, other: "Promise | None") -> bool:
        """Whether another promises the same time and nodes."""
        return other is not None and (self.at, self.place.allocations) == (other.at, other.place.allocations)


@dataclass(frozen=True, slots=True)
class Outlook:
    """What is known of the time ahead: `soon` is free once asked-for stops have happened, `runs` hold the rest (this round's grants
    among them), and `promises` were made before."""

    soon: Free
    runs: Runs
    promises: Sequence[Promise]


def promise(snapshot: Snapshot, outlook: Outlook, job: QueuedJob) -> Promise | None:
    """The earliest start that the ends of others allow for a job that fits nowhere now; None where those do not tell."""
    scratch = outlook.soon.copy()
    found = [
        earliest
        for shape in job.shapes
        for kind in snapshot.fleet.kinds_for(shape)
        for cluster in _candidates(snapshot, job, shape, kind)
        if (earliest := _earliest(snapshot, outlook, scratch, job, shape, kind, cluster)) is not None
    ]
    return min(found, key=lambda each: (each.at, each.place.leftover, each.place.cluster, each.place.kind), default=None)


def ends_at(now: int, max_runtime_seconds: int | None) -> int:
    return FOREVER if max_runtime_seconds is None else now + max_runtime_seconds * 1_000_000


def _candidates(snapshot: Snapshot, job: QueuedJob, shape: Shape, kind: int) -> list[int]:
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
    """The first end of a run in one cluster after which the gang fits there beside what was promised before.

    `scratch` is a copy of what is free soon, and is so again afterwards.
    """
    fleet = snapshot.fleet
    ends = outlook.runs.ends(cluster, fleet.card_kind.shape[1])
    enough = _enough(fleet, scratch, ends, shape, kind, cluster)
    if enough > len(ends.at):
        return None
    for at in np.unique(np.maximum(ends.at[enough - 1 :], snapshot.now))[:MAX_STARTS].tolist():
        left = outlook.soon.copy()
        ends.give(left, 0, int(np.searchsorted(ends.at, at, side="right")))
        left = _beside(left, outlook.promises, at, ends_at(at, job.max_runtime_seconds))
        place = place_in(fleet, left, shape, kind, cluster)
        if place is not None:
            left.take(place.allocations)
            _unbind_elsewhere(fleet, left, cluster)
            return Promise(job.id, at, place, left)
    return None


def _enough(fleet: Fleet, scratch: Free, ends: Ends, shape: Shape, kind: int, cluster: int) -> int:
    """After how many ends the gang would fit if nothing had been promised, by bisection: more ends never free less."""
    low, high, given = 0, len(ends.at) + 1, 0
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
    """What of `free` is nobody else's from `at` to `until`: promised jobs are taken to stay once they have started."""
    for each in promises:
        if each.at <= at:
            free.take(each.place.allocations)
        elif each.at < until:
            free.limit_to(each.left)
    return free


def _unbind_elsewhere(fleet: Fleet, left: Free, cluster: int) -> None:
    """Outside its own cluster a promise limits nobody: there everything counts as left."""
    elsewhere = fleet.cluster_of != cluster
    left.card_milli[elsewhere] = fleet.empty.card_milli[elsewhere]
    left.cpu_milli[elsewhere] = fleet.empty.cpu_milli[elsewhere]
    left.memory_bytes[elsewhere] = fleet.empty.memory_bytes[elsewhere]
