"""Moving runs so that a blocked gang fits: cards that are free in sum but scattered are brought together.

A move stops a run at its last checkpoint and starts it again on other cards of the same cluster and the same kind: what it pays,
where its data and its checkpoints are, and what it counts against quotas all stay as they were. It is proven before anything is
stopped that the gang has a place and that every moved run has one beside it; all of these are kept. Lost are the card-seconds since
each checkpoint and those that starting anew takes, and of all that could be done in one place the least is lost.

Moved are runs that may be stopped, have saved something since they started (so that one that is moved again and again still gets
on), are of no higher priority than the gang, and are in its way to the last one: no run is moved for another that moves. The gang's
nodes are searched depth first, the cheapest first, and what can no longer be the best is cut off.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain, combinations

import numpy as np

from scheduler.domain.topology import CLUSTER
from scheduler.engine.fleet import NO_DOMAIN, NO_KIND, Bools, Fleet, Free
from scheduler.engine.order import QueuedJob, needs
from scheduler.engine.place import Place, node_fits, place_on
from scheduler.engine.quota import Quotas
from scheduler.engine.reserve import candidates
from scheduler.engine.runs import Runs
from scheduler.engine.shape import Shape
from scheduler.engine.snapshot import ActiveRun, Move, Snapshot
from scheduler.engine.topology import gang_nodes

MAX_STEPS = 2_000
"""Choices of a node for the gang, and of nodes for a moved run, that a search for one job tries in all."""

MAX_NODES = 64
"""Nodes, beyond those the gang needs, that are looked at in one place: those on which all that may be moved loses least."""

MAX_TOGETHER = 6
"""Movable runs on one node of which every set is tried; of more, the cheapest that do."""

Reach = Callable[[QueuedJob], Bools]
"""The nodes a job may use as far as time goes: not those promised to others, or set aside, while it could be there."""


@dataclass(frozen=True, slots=True)
class Rearrangement:
    """The gang's place, and where each moved run goes, once all of these have stopped."""

    place: Place
    moved: tuple[tuple[ActiveRun, Place], ...]
    lost_card_seconds: int

    def standing(self) -> tuple[int, int, int]:
        """The less the better."""
        return self.lost_card_seconds, len(self.moved), self.place.cluster

    def moves(self, snapshot: Snapshot, by: QueuedJob) -> Iterator[tuple[Move, ActiveRun]]:
        """Each run with its move."""
        for run, place in self.moved:
            if run.again is not None:
                yield Move(run.again, place, by.id, loss_of_move(run, snapshot.now, snapshot.restart_seconds or 0)), run


def loss_of_stops(snapshot: Snapshot, runs: Sequence[ActiveRun]) -> int:
    """What it loses to stop runs for good, to be compared with moving some: they have to start anew as well, whenever that is."""
    return sum(loss_of_move(run, snapshot.now, snapshot.restart_seconds or 0) for run in runs)


def loss_of_move(run: ActiveRun, now: int, restart_seconds: int) -> int:
    """Card-seconds: what was done since the last checkpoint, and what starting anew takes."""
    return run.lost_card_seconds(now) + restart_seconds * max(1, run.place.cards())


@dataclass(frozen=True, slots=True)
class Search:
    """The best rearrangement, if one was found. `given_up`: none was, and a limit kept the search from trying everything."""

    best: Rearrangement | None
    given_up: bool


def rearrange(snapshot: Snapshot, soon: Free, reach: Reach, job: QueuedJob, runs: Runs, quotas: Quotas) -> Search:
    """The moves that lose least, over every alternative, cluster and kind of card.

    `soon` is what is free once everybody asked to stop has stopped. Jobs without cards are not made room for.
    """
    steps = _Steps(MAX_STEPS)
    found = [
        best
        for shape in job.shapes
        for kind in snapshot.fleet.kinds_for(shape)
        if quotas.shortfall(job.queue, needs(snapshot.fleet, shape, kind, shape.min_nodes)) is None
        for cluster in _scattered(snapshot, soon, job, shape, kind)
        if (best := _Search.of(snapshot, soon, reach, job, shape, kind, cluster, runs, steps).best()) is not None
    ]
    best = min(found, key=Rearrangement.standing, default=None)
    return Search(best, best is None and steps.cut_short)


def shape_again(fleet: Fleet, job: QueuedJob, place: Place) -> Shape | None:
    """What a run asks for if it is to have just what it has in `place` again; None where none of the job's shapes is that."""
    for shape in job.shapes:
        part = place.allocations[0]
        if (
            place.kind in fleet.kinds_for(shape)
            and shape.min_nodes <= place.nodes <= shape.nodes
            and (len(part.slots), part.cpu_milli, part.memory_bytes) == (shape.per_node, shape.cpu_milli, shape.memory_bytes)
            and (not part.slots or part.card_milli == shape.card_milli)
        ):
            return replace(shape, nodes=place.nodes, min_nodes=place.nodes)
    return None


@dataclass(slots=True)
class _Steps:
    """What is left to try. `cut_short`: a limit has kept something from being tried."""

    left: int
    cut_short: bool = False

    def take(self) -> bool:
        self.left -= 1
        self.cut_short |= self.left < 0
        return self.left >= 0


def could_ever(snapshot: Snapshot, job: QueuedJob) -> bool:
    """Whether some cluster that answers and has a price could hold the job if it were empty."""
    return any(candidates(snapshot, job, shape, kind) for shape in job.shapes for kind in snapshot.fleet.kinds_for(shape))


def _scattered(snapshot: Snapshot, soon: Free, job: QueuedJob, shape: Shape, kind: int) -> Iterator[int]:
    """Those of these clusters whose free cards would do in sum."""
    fleet = snapshot.fleet
    for number in candidates(snapshot, job, shape, kind) if kind != NO_KIND else ():
        start, end = fleet.span(kind, number)
        nodes = fleet.nodes_with(kind)[start:end]
        nodes = nodes[fleet.live[nodes]]
        free = (soon.card_milli[nodes] * (fleet.card_kind[nodes] == kind)).sum()
        if free >= shape.min_nodes * shape.per_node * shape.card_milli:
            yield number


@dataclass(slots=True)
class _Option:
    """Runs whose stopping makes a member fit on a node, none of them in vain."""

    runs: tuple[ActiveRun, ...]
    lost: int


@dataclass(slots=True)
class _Search:
    """One place. `trial` is what is free as far as the search has come; every step leaves it as it found it."""

    snapshot: Snapshot
    trial: Free
    reach: Reach
    shape: Shape
    kind: int
    cluster: int
    steps: _Steps
    lost: dict[str, int]
    on_node: dict[int, list[ActiveRun]]
    nodes: list[int]
    options: dict[int, list[_Option]]
    floors: list[int]
    """By position in `nodes`: the least that runs on that node alone lose; ascending."""
    found: Rearrangement | None = None
    chosen: list[int] = field(default_factory=list)
    stopped: dict[str, ActiveRun] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        snapshot: Snapshot,
        soon: Free,
        reach: Reach,
        job: QueuedJob,
        shape: Shape,
        kind: int,
        cluster: int,
        runs: Runs,
        steps: _Steps,
    ) -> "_Search":
        fleet, now, restart = snapshot.fleet, snapshot.now, snapshot.restart_seconds or 0
        movable = [run for run in runs.in_cluster(cluster) if run.again is not None and run.may_be_stopped(now)]
        movable = [run for run in movable if run.priority <= job.priority]
        lost = {run.attempt: loss_of_move(run, now, restart) for run in movable}
        on_node: dict[int, list[ActiveRun]] = defaultdict(list)
        for run in sorted(movable, key=lambda run: (lost[run.attempt], run.attempt)):
            for part in run.place.allocations:
                on_node[part.node].append(run)
        # a gang that may be smaller is made room for at its smallest
        shape = replace(shape, nodes=shape.min_nodes)
        search = cls(snapshot, soon.copy(), reach, shape, kind, cluster, steps, lost, on_node, [], {}, [])
        search._survey(fleet, reach(job))
        return search

    def best(self) -> Rearrangement | None:
        """The moves that lose least, as far as the steps go."""
        for nodes in self._groups():
            self._descend(nodes, 0, 0)
        return self.found

    def _survey(self, fleet: Fleet, reach: Bools) -> None:
        """The nodes that a member could be on, with the ways to make it fit there, the cheapest nodes first."""
        everybody = {run.attempt: run for runs in self.on_node.values() for run in runs}
        for run in everybody.values():
            self.trial.give(run.place.allocations)
        start, end = fleet.span(self.kind, self.cluster)
        nodes = fleet.nodes_with(self.kind)[start:end]
        useful = nodes[node_fits(fleet, self.trial, self.shape, self.kind, nodes) & fleet.live[nodes] & reach[nodes]].tolist()
        for run in everybody.values():
            self.trial.take(run.place.allocations)
        useful.sort(key=lambda node: (sum(self.lost[run.attempt] for run in self.on_node.get(node, ())), node))
        surveyed = []
        self.steps.cut_short |= len(useful) > self.shape.nodes + MAX_NODES
        for node in useful[: self.shape.nodes + MAX_NODES]:
            options = self.options[node] = self._options(node, self.on_node.get(node, []))
            if options:
                alone = [sum(self.lost[run.attempt] for run in each.runs if run.place.nodes == 1) for each in options]
                surveyed.append((min(alone), options[0].lost, node))
        surveyed.sort()
        self.nodes, self.floors = [node for _, _, node in surveyed], [floor for floor, _, _ in surveyed]

    def _groups(self) -> Iterator[list[int]]:
        """Positions in `nodes` that a gang may be spread over: all of them, or those of one domain at a time."""
        everywhere = list(range(len(self.nodes)))
        if self.shape.within == CLUSTER:
            yield everywhere
            return
        domain_of = self.snapshot.fleet.domain_of[self.shape.within]
        domains: dict[int, list[int]] = defaultdict(list)
        for position in everywhere:
            domains[int(domain_of[self.nodes[position]])].append(position)
        domains.pop(NO_DOMAIN, None)
        yield from (positions for _, positions in sorted(domains.items()) if len(positions) >= self.shape.nodes)

    def _options(self, node: int, runs: Sequence[ActiveRun]) -> list[_Option]:
        """The sets of `runs` that make a member fit on a node and of which none can be spared, cheapest first."""
        if self._fits(node):
            return [_Option((), 0)]
        found: list[_Option] = []
        if len(runs) > MAX_TOGETHER:
            self.steps.cut_short = True
            return self._cheapest(node, runs)
        for size in range(1, len(runs) + 1):
            for each in combinations(runs, size):
                attempts = {run.attempt for run in each}
                if any({run.attempt for run in smaller.runs} <= attempts for smaller in found):
                    continue
                if self._fits_without(node, each):
                    found.append(_Option(each, sum(self.lost[run.attempt] for run in each)))
        return sorted(found, key=lambda option: (option.lost, len(option.runs)))

    def _cheapest(self, node: int, runs: Sequence[ActiveRun]) -> list[_Option]:
        """One such set: the cheapest runs until it fits, without those that turn out not to be needed."""
        for count in range(1, len(runs) + 1):
            if self._fits_without(node, runs[:count]):
                needed = list(runs[:count])
                for run in runs[count - 1 :: -1]:
                    fewer = [each for each in needed if each is not run]
                    if self._fits_without(node, fewer):
                        needed = fewer
                return [_Option(tuple(needed), sum(self.lost[run.attempt] for run in needed))]
        return []

    def _fits_without(self, node: int, runs: Sequence[ActiveRun]) -> bool:
        for run in runs:
            self.trial.give(run.place.allocations)
        fits = self._fits(node)
        for run in runs:
            self.trial.take(run.place.allocations)
        return fits

    def _fits(self, node: int) -> bool:
        return bool(node_fits(self.snapshot.fleet, self.trial, self.shape, self.kind, np.array([node]))[0])

    def _descend(self, positions: Sequence[int], first: int, lost: int) -> None:
        """Choose the remaining nodes of the gang among `positions` from `first` on."""
        missing = self.shape.nodes - len(self.chosen)
        if missing == 0:
            self._settle(lost)
            return
        for number in range(first, len(positions) - missing + 1):
            least = lost + sum(self.floors[position] for position in positions[number : number + missing])
            if (self.found is not None and least > self.found.lost_card_seconds) or not self.steps.take():
                return
            node = self.nodes[positions[number]]
            for option in self._options_now(node):
                if self.found is not None and lost + option.lost > self.found.lost_card_seconds:
                    break
                self._stop(option.runs)
                self.chosen.append(node)
                self._descend(positions, number + 1, lost + option.lost)
                self.chosen.pop()
                self._resume(option.runs)

    def _options_now(self, node: int) -> list[_Option]:
        """The ways to make a member fit on a node with those stopped that already are."""
        runs = self.on_node.get(node, [])
        left = [run for run in runs if run.attempt not in self.stopped]
        return self.options[node] if len(left) == len(runs) else self._options(node, left)

    def _stop(self, runs: Sequence[ActiveRun]) -> None:
        for run in runs:
            self.stopped[run.attempt] = run
            self.trial.give(run.place.allocations)

    def _resume(self, runs: Sequence[ActiveRun]) -> None:
        for run in runs:
            del self.stopped[run.attempt]
            self.trial.take(run.place.allocations)

    def _settle(self, lost: int) -> None:
        """Place the gang on the chosen nodes and whoever was stopped elsewhere; remember it if that is the best so far."""
        standing = (lost, len(self.stopped), self.cluster)
        if not self.stopped or (self.found is not None and standing >= self.found.standing()) or not self._all_needed():
            return
        fleet, chosen = self.snapshot.fleet, np.array(sorted(self.chosen))
        if gang_nodes(fleet, chosen, self.shape)[self.cluster] < self.shape.nodes:
            return
        place = place_on(fleet, self.trial, self.shape, self.kind, self.cluster, chosen, self.shape.nodes)
        self.trial.take(place.allocations)
        moved = self._elsewhere(sorted(self.stopped.values(), key=lambda run: (-run.place.card_milli(), run.attempt)))
        self.trial.give(place.allocations)
        if moved is not None:
            self.found = Rearrangement(place, tuple(moved), lost)

    def _all_needed(self) -> bool:
        """Whether the gang would not fit on the chosen nodes if any one of those stopped went on."""
        for run in self.stopped.values():
            self.trial.take(run.place.allocations)
            fits = all(self._fits(node) for node in self.chosen)
            self.trial.give(run.place.allocations)
            if fits:
                return False
        return True

    def _elsewhere(self, runs: Sequence[ActiveRun]) -> list[tuple[ActiveRun, Place]] | None:
        """A place for every run, beside each other; None where none is found."""
        if not runs:
            return []
        run, *others = runs
        for place in self._places(run):
            self.trial.take(place.allocations)
            rest = self._elsewhere(others)
            self.trial.give(place.allocations)
            if rest is not None:
                return [(run, place), *rest]
        return None

    def _places(self, run: ActiveRun) -> Iterator[Place]:
        """The places in which a run would have just what it has: first the one the engine would choose, then every other."""
        fleet, job = self.snapshot.fleet, run.again
        shape = None if job is None else shape_again(fleet, job, run.place)
        if job is None or shape is None or (job.clusters is not None and fleet.clusters[self.cluster] not in job.clusters):
            return
        kind = run.place.kind
        start, end = fleet.span(kind, self.cluster)
        nodes = fleet.nodes_with(kind)[start:end]
        nodes = nodes[node_fits(fleet, self.trial, shape, kind, nodes) & fleet.live[nodes] & self.reach(job)[nodes]]
        tried: set[tuple[int, ...]] = set()
        for each in chain([nodes.tolist()], combinations(nodes.tolist(), shape.nodes)):
            candidates = np.array(each, dtype=np.int64)
            if not self.steps.take():
                return
            if gang_nodes(fleet, candidates, shape)[self.cluster] >= shape.nodes:
                place = place_on(fleet, self.trial, shape, kind, self.cluster, candidates, shape.nodes)
                taken = tuple(sorted(part.node for part in place.allocations))
                if taken not in tried:
                    tried.add(taken)
                    yield place
