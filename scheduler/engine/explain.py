"""Why a job got nothing: a funnel from what exists, over what answers and has a price, to what is free, with the numbers."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace

import numpy as np

from scheduler.domain.reasons import Reason
from scheduler.domain.topology import CLUSTER, LEVEL_NAMES
from scheduler.engine.fleet import NO_KIND, Bools
from scheduler.engine.order import QueuedJob
from scheduler.engine.place import capacity, node_fits
from scheduler.engine.reserve import ends_at
from scheduler.engine.room import Room
from scheduler.engine.shape import Shape
from scheduler.engine.snapshot import Snapshot, Verdict
from scheduler.engine.topology import gang_nodes
from scheduler.engine.window import Window, binding, left_outside

NOBODY_KNOWS = frozenset({"waiting_for_price", "waiting_for_cluster"})
"""What no end of a run can change."""


def explain(snapshot: Snapshot, room: Room, job: QueuedJob, closed: Sequence[Collection[int]] = ()) -> Verdict:
    """`never` if no alternative could run on the network as registered, even empty; `wait` otherwise. One reason a shape, and
    after it what its constraints exclude.

    `closed`: for each shape the kinds of card that something else keeps from it, so that whether they are free does not matter.
    """
    shut = closed or [()] * len(job.shapes)
    reasons = [(shape, _why(snapshot, room, job, shape, kinds)) for shape, kinds in zip(job.shapes, shut, strict=True)]
    waits = [(shape, reason) for shape, reason in reasons if not reason.code.startswith("never_")]
    told = tuple(each for shape, reason in waits or reasons for each in (reason, *_excluded(snapshot, job, shape)))
    return Verdict("wait" if waits else "never", told)


def could_ever_fit(snapshot: Snapshot, job: QueuedJob) -> Verdict | None:
    """None if some alternative fits the empty network, silent clusters included; else the verdict `never`."""
    verdict = explain(snapshot, Room(snapshot.fleet, snapshot.free), job)
    return verdict if verdict.kind == "never" else None


def _why(snapshot: Snapshot, room: Room, job: QueuedJob, shape: Shape, closed: Collection[int]) -> Reason:
    """Each step of the funnel is an array over kinds of card × clusters; the first step that leaves nothing is the reason."""
    fleet, kinds = snapshot.fleet, snapshot.fleet.kinds_for(shape)
    ask: dict[str, str | int] = {
        "nodes": shape.min_nodes,
        "per_node": shape.per_node or 1,
        "what": shape.what(),
        "level": LEVEL_NAMES[shape.within],
    }
    total = np.array([capacity(fleet, shape, kind) for kind in kinds]).reshape(len(kinds), len(fleet.clusters))
    if job.clusters is not None:
        total = total * np.array([cluster in job.clusters for cluster in fleet.clusters])
    if not total.any():
        return Reason("never_no_such_hardware", {"per_node": ask["per_node"], "what": ask["what"]})
    enough = total >= shape.min_nodes
    if not enough.any():
        code = "never_larger_than_cluster" if shape.within == CLUSTER else "never_larger_than_domain"
        row, cluster = np.unravel_index(total.argmax(), total.shape)
        return Reason(code, {**ask, "cluster": fleet.clusters[cluster], "total": int(total[row, cluster])})
    live = enough & fleet.answers
    if not live.any():
        silent = sorted(fleet.clusters[cluster] for cluster in np.flatnonzero(enough.any(axis=0)))
        return Reason("waiting_for_cluster", {"clusters": ", ".join(silent)})
    priced = live & _priced(snapshot, job, kinds)
    if not priced.any():
        return Reason("waiting_for_price", {"what": ask["what"]})
    outside = priced & _outside_windows(snapshot, job, shape, kinds)
    if not outside.any():
        return _window_of(snapshot, job, int(np.where(priced, total, 0).max(axis=0).argmax()))
    free = np.array([room.gangs(shape, kind) for kind in kinds])
    open_ = priced & np.array([kind not in closed for kind in kinds])[:, np.newaxis]
    standing = np.where(open_ if open_.any() else priced, free * (total.max() + 1) + total, -1)
    row, cluster = np.unravel_index(standing.argmax(), standing.shape)
    code = "waiting_for_cards" if shape.within == CLUSTER else "waiting_for_domain"
    best: dict[str, str | int] = {
        "cluster": fleet.clusters[cluster],
        "free": int(free[row, cluster]),
        "total": int(total[row, cluster]),
    }
    return Reason(code, {**ask, **best})


def _excluded(snapshot: Snapshot, job: QueuedJob, shape: Shape) -> Iterator[Reason]:
    """How many of the nodes that are large enough each constraint leaves, where any is lost."""
    if not shape.constraints:
        return
    fleet, bare = snapshot.fleet, replace(shape, constraints=())
    large = np.zeros(len(fleet.nodes), dtype=np.bool_)
    for kind in fleet.kinds_for(bare):
        nodes = fleet.nodes_with(kind)
        large[nodes] |= node_fits(fleet, fleet.empty, bare, kind, nodes)
    if job.clusters is not None:
        large &= np.array([cluster in job.clusters for cluster in fleet.clusters], dtype=np.bool_)[fleet.cluster_of]
    have, left = np.count_nonzero(large), np.count_nonzero(large & fleet.meets(shape.constraints))
    if left < have:
        each = ", ".join(
            f"{constraint}: {np.count_nonzero(large & fleet.meets((constraint,)))}" for constraint in shape.constraints
        )
        numbers: dict[str, str | int] = {"per_node": shape.per_node or 1, "what": bare.what()}
        yield Reason("constraints_exclude", {**numbers, "have": int(have), "left": int(left), "each": each})


def _binding(snapshot: Snapshot, job: QueuedJob) -> tuple[Window, ...]:
    """The windows that a job would reach into if it started now."""
    return binding(snapshot.windows, job.tenant, snapshot.now, ends_at(snapshot.now, job.max_runtime_seconds))


def _outside_windows(snapshot: Snapshot, job: QueuedJob, shape: Shape, kinds: tuple[int, ...]) -> Bools:
    """For each kind and cluster: whether the gang would fit, if nothing ran there, outside the windows that bind it now."""
    fleet, windows = snapshot.fleet, _binding(snapshot, job) if snapshot.windows else ()
    if not windows:
        return np.ones((len(kinds), len(fleet.clusters)), dtype=np.bool_)
    left = left_outside(fleet, windows)
    nodes = [fleet.nodes_with(kind) for kind in kinds]
    fitting = [each[node_fits(fleet, left, shape, kind, each)] for kind, each in zip(kinds, nodes, strict=True)]
    enough: Bools = np.array([gang_nodes(fleet, each, shape) for each in fitting]) >= shape.min_nodes
    return enough


def _window_of(snapshot: Snapshot, job: QueuedJob, cluster: int) -> Reason:
    """The first window of a cluster that binds the job."""
    return next(each for each in _binding(snapshot, job) if each.cluster == cluster).reason(snapshot.fleet.clusters[cluster])


def _priced(snapshot: Snapshot, job: QueuedJob, kinds: tuple[int, ...]) -> Bools:
    """For each kind and cluster: whether the job has a price there."""
    fleet, prices = snapshot.fleet, snapshot.prices
    if prices is None:
        return np.ones((len(kinds), len(fleet.clusters)), dtype=np.bool_)
    models = [None if kind == NO_KIND else fleet.kinds[kind].model for kind in kinds]
    return np.array([[(job.terms, cluster, model) in prices for cluster in fleet.clusters] for model in models], dtype=np.bool_)
