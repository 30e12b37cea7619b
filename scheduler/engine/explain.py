"""Why a job got nothing: a funnel from what exists, over what answers and has a price, to what is free, with the numbers."""

from dataclasses import dataclass

from scheduler.domain.reasons import Reason
from scheduler.engine.fleet import NO_KIND
from scheduler.engine.order import QueuedJob
from scheduler.engine.place import capacity
from scheduler.engine.room import Room
from scheduler.engine.shape import Shape
from scheduler.engine.snapshot import Snapshot, Verdict


@dataclass(frozen=True, slots=True)
class _Chance:
    """One cluster and kind of card: how many members of the gang it could hold in all, and how many now."""

    cluster: str
    total: int
    free: int
    live: bool
    priced: bool


def explain(snapshot: Snapshot, room: Room, job: QueuedJob) -> Verdict:
    """`never` if no alternative could run on the network as registered, even empty; `wait` otherwise. One reason a shape."""
    reasons = [_why(snapshot, room, job, shape) for shape in job.shapes]
    waits = tuple(reason for reason in reasons if not reason.code.startswith("never_"))
    return Verdict("wait", waits) if waits else Verdict("never", tuple(reasons))


def could_ever_fit(snapshot: Snapshot, job: QueuedJob) -> Verdict | None:
    """None if some alternative fits the empty network, silent clusters included; else the verdict `never`."""
    verdict = explain(snapshot, Room(snapshot.fleet, snapshot.free), job)
    return verdict if verdict.kind == "never" else None


def _why(snapshot: Snapshot, room: Room, job: QueuedJob, shape: Shape) -> Reason:
    ask: dict[str, str | int] = {"nodes": shape.min_nodes, "per_node": shape.per_node or 1, "what": shape.what()}
    chances = _chances(snapshot, room, job, shape)
    if not chances:
        return Reason("never_no_such_hardware", {"per_node": ask["per_node"], "what": ask["what"]})
    largest = max(chances, key=lambda chance: chance.total)
    if largest.total < shape.min_nodes:
        code = "never_larger_than_rack" if shape.one_rack else "never_larger_than_cluster"
        return Reason(code, {**ask, "cluster": largest.cluster, "total": largest.total})
    enough = [chance for chance in chances if chance.total >= shape.min_nodes]
    live = [chance for chance in enough if chance.live]
    if not live:
        return Reason("waiting_for_cluster", {"clusters": ", ".join(sorted({chance.cluster for chance in enough}))})
    priced = [chance for chance in live if chance.priced]
    if not priced:
        return Reason("waiting_for_price", {"what": ask["what"]})
    best = max(priced, key=lambda chance: (chance.free, chance.total))
    code = "waiting_for_rack" if shape.one_rack else "waiting_for_cards"
    return Reason(code, {**ask, "cluster": best.cluster, "free": best.free, "total": best.total})


def _chances(snapshot: Snapshot, room: Room, job: QueuedJob, shape: Shape) -> list[_Chance]:
    fleet = snapshot.fleet
    found = []
    for kind in fleet.kinds_for(shape):
        model = None if kind == NO_KIND else fleet.kinds[kind].model
        total = capacity(fleet, shape, kind)
        now = room.gangs(shape, kind)
        found += [
            _Chance(
                cluster=cluster,
                total=int(total[number]),
                free=int(now[number]),
                live=number in fleet.live_clusters,
                priced=snapshot.prices is None or (job.terms, cluster, model) in snapshot.prices,
            )
            for number, cluster in enumerate(fleet.clusters)
            if total[number] and (job.clusters is None or cluster in job.clusters)
        ]
    return found
