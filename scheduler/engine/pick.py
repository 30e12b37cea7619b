"""Which nodes a reservation keeps that says how many it wants and of what: chosen once, when it is made, and proven on nodes."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import replace

from scheduler.engine.drain import is_in_the_way
from scheduler.engine.fleet import Ints
from scheduler.engine.place import node_fits
from scheduler.engine.runs import Runs
from scheduler.engine.shape import Shape
from scheduler.engine.snapshot import Snapshot
from scheduler.engine.topology import together
from scheduler.engine.window import Window


def capable(snapshot: Snapshot, shape: Shape, cluster: int) -> list[Ints]:
    """For each kind of card the shape accepts: the nodes of a cluster that hold one member of it while nothing runs there."""
    fleet, found = snapshot.fleet, []
    for kind in fleet.kinds_for(shape):
        nodes = fleet.nodes_with(kind)
        nodes = nodes[fleet.cluster_of[nodes] == cluster]
        found.append(nodes[node_fits(fleet, fleet.empty, shape, kind, nodes)])
    return found


def pick(snapshot: Snapshot, shape: Shape, wanted: Window, taken: Iterable[Window]) -> frozenset[int] | None:
    """The nodes for a reservation as `wanted` that says none yet: outside the windows that are `taken` for any of its time, of one
    kind of card, in one domain where asked. None where there are too few.

    Of those that would do, the ones on which least would be stopped at its start; then those that answer, and have no more cards
    than asked for.
    """
    fleet = snapshot.fleet
    apart = {node for each in taken if each.start < wanted.end and wanted.start < each.end for node in each.nodes}
    stopped = _stopped(snapshot, wanted)
    cards = (fleet.empty.card_milli > 0).sum(axis=1)
    candidates = [
        sorted(group, key=lambda node: (stopped[node], not fleet.live[node], cards[node], node))[: shape.nodes]
        for nodes in capable(snapshot, shape, wanted.cluster)
        for group in together(fleet, [node for node in nodes.tolist() if node not in apart], shape)
        if len(group) >= shape.nodes
    ]
    if not candidates:
        return None
    return frozenset(min(candidates, key=lambda nodes: (sum(stopped[node] for node in nodes), sum(cards[nodes]), nodes)))


def _stopped(snapshot: Snapshot, wanted: Window) -> defaultdict[int, int]:
    """By node: the card-seconds that would be lost by stopping what is in the way there, and a little for each such run."""
    stopped: defaultdict[int, int] = defaultdict(int)
    for run in Runs.of(snapshot.runs).in_cluster(wanted.cluster):
        nodes = frozenset(part.node for part in run.place.allocations)
        if is_in_the_way(run, replace(wanted, nodes=nodes), snapshot.now):
            for node in nodes:
                stopped[node] += run.lost_card_seconds(snapshot.now) + 1
    return stopped
