"""Whose gang to stop: the set whose stopping loses the fewest card-seconds since their last checkpoint.

In each place that could hold the job, the cheapest gangs of lower priority are released one by one until it fits, and then each
that turns out not to be needed is put back. In the places where that loses least, and where it would have taken too many gangs, it
is tried node by node as well: always the node next on which a member of the job costs the least, counting nothing twice, which sees
what a gang over several nodes is worth. What is found is irreducible; and where no more than `MAX_EXACT` gangs lose less than it
does, every set of those is tried, so that nothing in that place loses less.

Bounded: at most `MAX_SEARCHES` jobs a round are searched for, each over `MAX_VICTIMS` gangs in one place. What that cuts short is
counted (`Decisions.cut_short`) and said in the job's verdict.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import combinations

import numpy as np

from scheduler.engine.fleet import NO_KIND, Free
from scheduler.engine.order import QueuedJob
from scheduler.engine.place import Place, node_fits, place_on
from scheduler.engine.room import View
from scheduler.engine.runs import Runs
from scheduler.engine.shape import Shape
from scheduler.engine.snapshot import FOREVER, ActiveRun, Snapshot
from scheduler.engine.topology import gang_nodes, together

MAX_SEARCHES = 64
"""Jobs a round searches victims for."""

MAX_VICTIMS = 256
"""Gangs that are tried in one place, the cheapest first."""

MAX_REFINED = 4
"""Places in which the search goes node by node as well, of those that are cheapest without and of those that were cut short."""

MAX_NODES = 64
"""Nodes, beyond those the job needs, that such a search looks at: those on which all there is to stop loses least."""

NEVER = 2**62
"""More than anything loses."""

MAX_EXACT = 8
"""Gangs of which every set is tried."""


@dataclass(frozen=True, slots=True)
class Room:
    """Where the job will fit once `victims` have stopped, and what that loses."""

    place: Place
    victims: tuple[ActiveRun, ...]
    lost_card_seconds: int

    def standing(self) -> tuple[int, int, int]:
        """The less the better."""
        return self.lost_card_seconds, len(self.victims), self.place.cluster


@dataclass(frozen=True, slots=True)
class Search:
    """What a search came to. `given_up`: nothing was found, and not everything was tried."""

    room: Room | None
    given_up: bool


def cheapest_victims(
    snapshot: Snapshot, soon: Free, lefts: Sequence[Free], job: QueuedJob, runs: Runs, *, protected_too: bool = False
) -> Search:
    """The room that costs least, over every alternative, cluster and kind of card; none where no lower-priority set helps.

    Of `soon` the job may take no more than any of `lefts` leaves it (`bounds`). With `protected_too`, runs that are protected now
    are taken as if they were not.
    """
    until = FOREVER if protected_too else snapshot.now
    trial = View(snapshot.fleet, soon.copy(), lefts)
    sites = [
        site
        for shape in job.shapes
        for kind in snapshot.fleet.kinds_for(shape)
        for cluster, useful in _could_hold(snapshot, lefts, job, shape, kind)
        if (site := _Site.of(snapshot, trial, job, shape, kind, cluster, useful, runs, until)).candidates
    ]
    first = [site.cheapest_first() for site in sites]
    found = sorted((room.standing(), number) for number, room in enumerate(first) if room is not None)
    rooms = [room for room in first if room is not None]
    rooms += [sites[number].refined(room) for _, number in found[:MAX_REFINED] if (room := first[number]) is not None]
    cut_short = [site for site, room in zip(sites, first, strict=True) if room is None and len(site.candidates) > MAX_VICTIMS]
    rooms += [room for site in cut_short[:MAX_REFINED] if (room := site.node_by_node()) is not None]
    best = min(rooms, key=Room.standing, default=None)
    return Search(best, best is None and bool(cut_short))


def _could_hold(
    snapshot: Snapshot, lefts: Sequence[Free], job: QueuedJob, shape: Shape, kind: int
) -> Iterator[tuple[int, list[int]]]:
    """Clusters that could hold the gang if they were empty, and where it has a price; with their nodes that could hold a member."""
    fleet, empty = snapshot.fleet, View(snapshot.fleet, snapshot.fleet.empty, lefts).room.free if lefts else snapshot.fleet.empty
    model = None if kind == NO_KIND else fleet.kinds[kind].model
    nodes = fleet.nodes_with(kind)
    nodes = nodes[node_fits(fleet, empty, shape, kind, nodes) & fleet.live[nodes]]
    members = gang_nodes(fleet, nodes, shape)
    for number, cluster in enumerate(fleet.clusters):
        if (
            members[number] >= shape.min_nodes
            and (job.clusters is None or cluster in job.clusters)
            and (snapshot.prices is None or (job.terms, cluster, model) in snapshot.prices)
        ):
            yield number, nodes[fleet.cluster_of[nodes] == number].tolist()


@dataclass(slots=True)
class _Site:
    """One cluster and kind of card that could hold a shape, and the gangs that could make room there, the cheapest first.

    `useful` are the nodes that could hold a member; a gang on one of them helps, whether it holds cards of this kind or only cores.
    Every search leaves `trial` as it found it.
    """

    snapshot: Snapshot
    trial: View
    shape: Shape
    kind: int
    cluster: int
    useful: list[int]
    candidates: list[ActiveRun]
    lost: dict[str, int] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        snapshot: Snapshot,
        trial: View,
        job: QueuedJob,
        shape: Shape,
        kind: int,
        cluster: int,
        useful: list[int],
        runs: Runs,
        unprotected_by: int,
    ) -> "_Site":
        helping = set(useful)
        candidates = [
            run
            for run in runs.in_cluster(cluster)
            if run.may_be_stopped(unprotected_by)
            and run.attempt not in runs.fresh
            and run.priority < job.priority
            and any(part.node in helping for part in run.place.allocations)
        ]
        lost = {run.attempt: run.lost_card_seconds(snapshot.now) for run in candidates}
        candidates.sort(key=lambda run: (lost[run.attempt], run.priority, run.attempt))
        return cls(snapshot, trial, shape, kind, cluster, useful, candidates, lost)

    def cheapest_first(self) -> Room | None:
        """Release the cheapest gangs until the job fits."""
        victims: list[ActiveRun] = []
        place = None
        for run in self.candidates[:MAX_VICTIMS]:
            self.trial.give(run.place.allocations)
            victims.append(run)
            place = self._place()
            if place is not None:
                break
        return self._settled(place, victims)

    def refined(self, room: Room) -> Room:
        """The best that closer looks find, where there is anything to gain on `room`."""
        if room.lost_card_seconds <= self.lost[self.candidates[0].attempt]:
            return room
        room = min((each for each in (room, self.node_by_node()) if each is not None), key=Room.standing)
        return self.exact(room.lost_card_seconds) or room

    def exact(self, below: int) -> Room | None:
        """The least there is, if that loses less than `below` and there are few enough gangs that do."""
        cheaper = [run for run in self.candidates if self.lost[run.attempt] < below]
        if len(cheaper) > MAX_EXACT:
            return None
        sets = [each for size in range(1, len(cheaper) + 1) for each in combinations(cheaper, size)]
        for victims in sorted(sets, key=lambda each: (self._loss(each), len(each))):
            if self._loss(victims) >= below:
                return None
            for run in victims:
                self.trial.give(run.place.allocations)
            room = self._settled(self._place(), list(victims))
            if room is not None:
                return room
        return None

    def node_by_node(self) -> Room | None:
        """Release what makes the next member fit at the least loss, in each domain on its own where the gang must be in one."""
        on_node: defaultdict[int, list[ActiveRun]] = defaultdict(list)
        for run in self.candidates:
            for part in run.place.allocations:
                on_node[part.node].append(run)
        rooms = [self._in_group(group, on_node) for group in self._groups()]
        return min((room for room in rooms if room is not None), key=Room.standing, default=None)

    def _groups(self) -> list[list[int]]:
        groups = together(self.snapshot.fleet, self.useful, self.shape)
        return [nodes for nodes in groups if len(nodes) >= self.shape.min_nodes]

    def _in_group(self, nodes: list[int], on_node: defaultdict[int, list[ActiveRun]]) -> Room | None:
        def total(node: int) -> int:
            return sum(self.lost[run.attempt] for run in on_node[node])

        nodes = sorted(nodes, key=lambda node: (total(node), node))[: self.shape.min_nodes + MAX_NODES]
        stops = {node: self._stops(on_node[node], node) for node in nodes}
        victims: dict[str, ActiveRun] = {}
        place = None
        while stops and place is None and len(victims) < MAX_VICTIMS:
            node = min(stops, key=lambda node: (self._loss(stops[node]), len(stops[node] or ()), node))
            released = stops.pop(node)
            if released is None:
                break
            for run in released:
                self.trial.give(run.place.allocations)
                victims[run.attempt] = run
            touched = {part.node for run in released for part in run.place.allocations} & stops.keys()
            for other in touched:
                stops[other] = self._stops([run for run in on_node[other] if run.attempt not in victims], other)
            place = self._place()
        return self._settled(place, list(victims.values()))

    def _stops(self, runs: Sequence[ActiveRun], node: int) -> list[ActiveRun] | None:
        """Which of the gangs on a node to stop so that a member fits on it, the cheapest first; None where all do not suffice."""
        stopped: list[ActiveRun] = []
        fits = self._fits(node)
        for run in runs:
            if fits:
                break
            self.trial.give(run.place.allocations)
            stopped.append(run)
            fits = self._fits(node)
        for run in stopped[::-1] if fits else ():
            self.trial.take(run.place.allocations)
            if self._fits(node):
                stopped.remove(run)
            else:
                self.trial.give(run.place.allocations)
        for run in stopped:
            self.trial.take(run.place.allocations)
        return stopped if fits else None

    def _loss(self, runs: Sequence[ActiveRun] | None) -> int:
        return NEVER if runs is None else sum(self.lost[run.attempt] for run in runs)

    def _fits(self, node: int) -> bool:
        return bool(node_fits(self.snapshot.fleet, self.trial.room.free, self.shape, self.kind, np.array([node]))[0])

    def _place(self) -> Place | None:
        """The place in the trial as it is, if the gang fits."""
        room, shape = self.trial.room, self.shape
        if room.gangs(shape, self.kind)[self.cluster] < shape.min_nodes:
            return None
        nodes = room.nodes(shape, self.kind, self.cluster)
        return place_on(self.snapshot.fleet, room.free, shape, self.kind, self.cluster, nodes, shape.nodes)

    def _settled(self, place: Place | None, victims: list[ActiveRun]) -> Room | None:
        """Put back who is not needed, the costliest first, and leave the trial as it was."""
        if place is not None:
            for run in sorted(victims, key=lambda run: self.lost[run.attempt], reverse=True):
                self.trial.take(run.place.allocations)
                without = self._place()
                if without is None:
                    self.trial.give(run.place.allocations)
                else:
                    victims.remove(run)
                    place = without
        for run in victims:
            self.trial.take(run.place.allocations)
        return None if place is None else Room(place, tuple(victims), self._loss(victims))
