"""Whose gang to stop: the set whose stopping loses the fewest card-seconds since their last checkpoint.

Bounded: at most `MAX_SEARCHES` jobs a round are searched for. In each place that could hold the job, the cheapest gangs of lower
priority are released one by one until it fits, and then each that turns out not to be needed is put back.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from scheduler.engine.fleet import NO_KIND, Free
from scheduler.engine.order import QueuedJob
from scheduler.engine.place import Place, fitting, place_in
from scheduler.engine.runs import Runs
from scheduler.engine.shape import Shape
from scheduler.engine.snapshot import ActiveRun, Snapshot
from scheduler.engine.topology import gang_nodes

MAX_SEARCHES = 64
MAX_VICTIMS = 256


@dataclass(frozen=True, slots=True)
class Room:
    """Where the job will fit once `victims` have stopped, and what that loses."""

    place: Place
    victims: tuple[ActiveRun, ...]
    lost_card_seconds: int


def cheapest_victims(snapshot: Snapshot, soon: Free, job: QueuedJob, runs: Runs) -> Room | None:
    """The room that costs least, over every alternative, cluster and kind of card; None where no lower-priority set helps."""
    rooms = [
        room
        for shape in job.shapes
        for kind in snapshot.fleet.kinds_for(shape)
        for cluster, useful in _could_hold(snapshot, job, shape, kind)
        if (room := _room(snapshot, soon, job, shape, kind, cluster, useful, runs)) is not None
    ]
    return min(rooms, key=lambda room: (room.lost_card_seconds, len(room.victims), room.place.cluster), default=None)


def _could_hold(snapshot: Snapshot, job: QueuedJob, shape: Shape, kind: int) -> Iterator[tuple[int, frozenset[int]]]:
    """Clusters that could hold the gang if they were empty, and where it has a price; with their nodes that could hold a member."""
    fleet = snapshot.fleet
    model = None if kind == NO_KIND else fleet.kinds[kind].model
    nodes = fitting(fleet, fleet.empty, shape, kind)
    empty = gang_nodes(fleet, nodes, shape)
    for number, cluster in enumerate(fleet.clusters):
        if (
            empty[number] >= shape.min_nodes
            and (job.clusters is None or cluster in job.clusters)
            and (snapshot.prices is None or (job.terms, cluster, model) in snapshot.prices)
        ):
            yield number, frozenset(nodes[fleet.cluster_of[nodes] == number].tolist())


def _room(
    snapshot: Snapshot,
    soon: Free,
    job: QueuedJob,
    shape: Shape,
    kind: int,
    cluster: int,
    useful: frozenset[int],
    runs: Runs,
) -> Room | None:
    """Room in one cluster, made by gangs on its `useful` nodes: whatever they hold there, cards of this kind or only cores."""
    candidates = sorted(
        (
            run
            for run in runs.in_cluster(cluster)
            if run.preemptible and run.priority < job.priority and any(part.node in useful for part in run.place.allocations)
        ),
        key=lambda run: (run.lost_card_seconds(snapshot.now), run.priority, run.attempt),
    )
    if not candidates:
        return None
    trial = soon.copy()
    victims: list[ActiveRun] = []
    place = None
    for run in candidates[:MAX_VICTIMS]:
        trial.give(run.place.allocations)
        victims.append(run)
        place = place_in(snapshot.fleet, trial, shape, kind, cluster)
        if place is not None:
            break
    if place is None:
        return None
    for run in sorted(victims, key=lambda run: run.lost_card_seconds(snapshot.now), reverse=True):
        trial.take(run.place.allocations)
        without = place_in(snapshot.fleet, trial, shape, kind, cluster)
        if without is None:
            trial.give(run.place.allocations)
        else:
            victims.remove(run)
            place = without
    return Room(place, tuple(victims), sum(run.lost_card_seconds(snapshot.now) for run in victims))
