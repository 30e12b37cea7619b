"""A workload: queues with quotas, nodes, and streams of jobs that leave a while after they have *started*.

(A `trace.Trace` is the other kind of input: there every job leaves at a known moment, started or not.)

Read one with `formats.read_workload`. Times are integer microseconds from the start of the run.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from scheduler.engine.fleet import Fleet, Node
from scheduler.engine.order import QueuedJob
from scheduler.engine.quota import Queue, Resource
from scheduler.engine.shape import WHOLE_CARD_MILLI, Shape
from scheduler.engine.snapshot import Prices

MILLISECOND = 1000
"""Microseconds in a millisecond."""

CPU: Resource = "cpu"


@dataclass(frozen=True, slots=True, eq=False)
class Work:
    """Jobs that are alike in everything but their id and the moment they arrive; known by identity.

    `class_name` is what reports group by. `need` is what each counts for in its queue. `runtime` is how long each takes once
    started, in microseconds; None: it never ends. That is not told to the scheduler: `max_runtime_seconds` is, where given. Every
    `checkpoint` microseconds it saves what it has done; None: never, and if it is stopped it begins anew.
    """

    name: str
    class_name: str
    queue: str
    tenant: str
    priority: int
    shapes: tuple[Shape, ...]
    need: Mapping[Resource, int]
    runtime: int | None
    preemptible: bool = False
    terms: str = ""
    clusters: frozenset[str] | None = None
    max_runtime_seconds: int | None = None
    checkpoint: int | None = None

    def job(self, number: int, submitted_at: int) -> QueuedJob:
        """One of them, as the engine sees it."""
        return QueuedJob(
            id=f"{self.name}-{number}",
            tenant=self.tenant,
            priority=self.priority,
            submitted_at=submitted_at,
            shapes=self.shapes,
            terms=self.terms,
            clusters=self.clusters,
            max_runtime_seconds=self.max_runtime_seconds,
            queue=self.queue,
            preemptible=self.preemptible,
        )


@dataclass(frozen=True, slots=True)
class Stream:
    """`count` jobs of one kind: the first arrives at `first`, each other `every` microseconds after the one before."""

    work: Work
    count: int
    first: int
    every: int

    @property
    def last(self) -> int:
        return self.first + (self.count - 1) * self.every

    def arrivals(self) -> Iterator[tuple[int, int]]:
        """When each arrives, and its number."""
        for number in range(self.count):
            yield self.first + number * self.every, number


@dataclass(frozen=True)
class Workload:
    """Everything a run needs. `queue_classes` says which class the usage of a queue is reported under.

    `half_life`, microseconds, lets past use count in shares; `restart_seconds` lets runs be moved, and is what it takes to go on
    from a checkpoint. None: neither.
    """

    queues: tuple[Queue, ...]
    queue_classes: Mapping[str, str]
    nodes: tuple[Node, ...]
    streams: tuple[Stream, ...]
    prices: Prices | None = None
    weights: Mapping[str, int] = field(default_factory=dict)
    half_life: int | None = None
    restart_seconds: int | None = None

    @property
    def jobs(self) -> int:
        return sum(stream.count for stream in self.streams)

    def ideal(self) -> int:
        """Microseconds no schedule can do better than, from the first arrival to the last end; jobs that never end left out.

        The longest of: what all jobs under one root ask of a resource by what all its queues own, from the first of those jobs
        on; the same for the cards of the network; the last arrival of a kind and its runtime.
        """
        start = min(stream.first for stream in self.streams)
        ending = [(stream, stream.work.runtime) for stream in self.streams if stream.work.runtime is not None]
        bounds = [stream.last + runtime - start for stream, runtime in ending]
        roots = roots_of(self.queues)
        capacity: dict[tuple[str, Resource], int] = {}
        for queue in self.queues:
            for resource, amount in queue.nominal.items():
                key = roots[queue.name], resource
                capacity[key] = capacity.get(key, 0) + amount
        cards = sum(card.kind is not None for node in self.nodes for card in node.cards) * WHOLE_CARD_MILLI
        demand: dict[tuple[str, Resource], tuple[int, int]] = {}
        for stream, runtime in ending:
            root = roots.get(stream.work.queue, "")
            amounts = [((root, resource), amount) for resource, amount in stream.work.need.items()]
            for key, amount in [*amounts, (("", "cards"), min(map(_card_milli, stream.work.shapes)))]:
                total, first = demand.get(key, (0, stream.first))
                demand[key] = total + amount * runtime * stream.count, min(first, stream.first)
        for key, (total, first) in demand.items():
            most = cards if key == ("", "cards") else capacity.get(key, 0)
            if most:
                bounds.append(first - start + total // most)
        return max(bounds, default=0)


def needs(shapes: Sequence[Shape], fleet: Fleet) -> dict[Resource, int]:
    """What a job counts for in its queue, by its first shape: cores, and cards by model and class where only one can be meant."""
    shape = shapes[0]
    kinds = [kind for kind in fleet.kinds if shape.per_node and kind.suits(shape)]
    names = [{f"class:{kind.hardware_class}" for kind in kinds}, {f"model:{kind.model}" for kind in kinds}]
    need = {name: _card_milli(shape) for found in names if len(found) == 1 for name in found}
    return {**need, CPU: shape.nodes * shape.cpu_milli} if shape.cpu_milli else need


def _card_milli(shape: Shape) -> int:
    return shape.nodes * shape.per_node * shape.card_milli


def roots_of(queues: Sequence[Queue]) -> dict[str, str]:
    """For every queue the one at the top of its tree. The queues are known to make trees."""
    parents = {queue.name: queue.parent for queue in queues}
    roots = {}
    for name in parents:
        root = name
        while (parent := parents[root]) is not None:
            root = parent
        roots[name] = root
    return roots
