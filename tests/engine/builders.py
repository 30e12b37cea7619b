"""Small networks, jobs and moments to test the engine with: every value that a test does not care about has a default."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from scheduler.domain.hardware import HardwareClass
from scheduler.engine.fleet import Allocation, Card, Fleet, Free, Kind, Node
from scheduler.engine.order import QueuedJob, Usage
from scheduler.engine.place import Place, place_in
from scheduler.engine.shape import GIB, Shape
from scheduler.engine.snapshot import ActiveRun, Prices, Quote, Snapshot

ASCEND = Kind("huawei", "910B3", HardwareClass.DOMESTIC, 64 * GIB)
METAX = Kind("metax", "MXC500", HardwareClass.DOMESTIC, 64 * GIB)
HOPPER = Kind("nvidia", "H800", HardwareClass.FOREIGN, 80 * GIB)
SLICE = Kind("nvidia", "H800", HardwareClass.FOREIGN, 40 * GIB, mig="3g.40gb", card_milli=428)

SECOND = 1_000_000

PriceBook = dict[tuple[str, str, str | None], Quote]


def node(name: str, cluster: str = "a", kind: Kind | None = ASCEND, cards: int = 8, cpus: int = 64, **rest: Any) -> Node:
    """A node of healthy cards of one kind, or of cards that must not be scheduled where `kind` is None."""
    devices = tuple(Card(f"{name}/{slot}", kind) for slot in range(cards))
    return Node(cluster=cluster, name=name, cpu_milli=cpus * 1000, memory_bytes=512 * GIB, cards=devices, **rest)


def gang(nodes: int = 1, per_node: int = 8, **rest: Any) -> Shape:
    return Shape(**{"nodes": nodes, "min_nodes": nodes, "per_node": per_node, **rest})


def job(id_: str, *shapes: Shape, tenant: str = "t", priority: int = 50, submitted_at: int = 0, **rest: Any) -> QueuedJob:
    return QueuedJob(id_, tenant, priority, submitted_at, shapes or (gang(),), **rest)


def place(fleet: Fleet, name: str, cards: int = 8, cluster: str = "a", card_milli: int = 1000) -> Place:
    """The first cards of one node."""
    row = fleet.index[cluster, name]
    part = Allocation(row, tuple(range(cards)), card_milli, cpu_milli=0, memory_bytes=0)
    return Place(fleet.clusters.index(cluster), int(fleet.card_kind[row, 0]), (part,), 0.0)


def run(attempt: str, where: Place, priority: int = 25, preemptible: bool = True, **rest: Any) -> ActiveRun:
    return ActiveRun(attempt, f"job-{attempt}", "t", priority, preemptible, where, **rest)


def places(fleet: Fleet, free: Free, shape: Shape) -> Iterator[Place]:
    """One place for every cluster and kind of card where the whole gang fits on live nodes now."""
    for kind in fleet.kinds_for(shape):
        for cluster in range(len(fleet.clusters)):
            found = place_in(fleet, free, shape, kind, cluster)
            if found is not None:
                yield found


def quote(net_price: int) -> Quote:
    return Quote(list_price=max(net_price, 100), contracted_price=max(net_price, 100), net_price=net_price)


def snapshot(
    fleet: Fleet,
    queue: Sequence[QueuedJob],
    runs: Sequence[ActiveRun] = (),
    prices: Prices | None = None,
    now: int = 0,
    weights: Mapping[str, int] | None = None,
) -> Snapshot:
    """A moment in which exactly `runs` hold something."""
    free, usage = fleet.all_free(), Usage.none(fleet)
    for each in runs:
        free.take(each.place.allocations)
        usage.add(each.tenant, each.place)
    return Snapshot(now, fleet, free, usage, queue, runs, prices, weights or {})
