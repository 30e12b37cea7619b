"""The generator files of Kueue's performance tests, unchanged (github.com/kubernetes-sigs/kueue, `test/performance/scheduler`).

What each key means is taken from their generator: a set creates its `workloads` one after the other, `creationIntervalMs` before
each. A queue's quota is in cores. Without a topology there is no hardware in their test, only quota: here that is one node with
as many cores as all quotas together. With one, the last level of `topology.levels` is the node, the one above it the rack, the
first of three the cluster.

A constraint at the rack's level: `required` means one rack; `preferred` one rack, or else the whole cluster; `balanced` (slices
of `sliceSize` pods, each in one rack) is taken as `preferred`. Pods of a gang go to nodes of their own, which is stricter than
Kueue. `reclaimWithinCohort` and `withinClusterQueue` are read and not followed: nothing that runs is stopped for a quota here
(`Queue.reclaims` is off).
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from scheduler.domain.topology import RACK
from scheduler.engine.fleet import Node
from scheduler.engine.quota import Queue
from scheduler.engine.shape import GIB, Shape
from scheduler.replay.document import Milli, broken, parse
from scheduler.replay.generate import MAX_JOBS, MAX_NODES
from scheduler.replay.workload import CPU, MILLISECOND, Stream, Work, Workload

MAX_QUEUES = 10_000
MAX_PODS = 10_000
MAX_MILLISECONDS = 10**10
TENANT = "kueue"
"""One for all: between queues it is quota that decides, not the share of a tenant."""

_CLUSTER = "cluster"

_Count = Annotated[int, Field(ge=1, le=MAX_JOBS)]
_Milliseconds = Annotated[int, Field(ge=0, le=MAX_MILLISECONDS)]
_Name = Annotated[str, Field(min_length=1, max_length=100)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, alias_generator=to_camel)


class _Template(_Strict):
    class_name: _Name
    runtime_ms: _Milliseconds
    priority: Annotated[int, Field(ge=-(2**31), lt=2**31)]
    request: Milli
    pod_count: Annotated[int, Field(ge=1, le=MAX_PODS)] = 1
    tas_constraint: Literal["required", "preferred", "balanced"] | None = None
    tas_level: _Name | None = None
    slice_size: Annotated[int, Field(ge=1, le=MAX_PODS)] | None = None


class _WorkloadsSet(_Strict):
    count: _Count
    creation_interval_ms: _Milliseconds
    workloads: Annotated[tuple[_Template, ...], Field(min_length=1)]


class _QueuesSet(_Strict):
    class_name: _Name
    count: _Count
    nominal_quota: Milli
    borrowing_limit: Milli | None = None
    reclaim_within_cohort: Literal["Never", "LowerPriority", "Any"] = "Never"
    within_cluster_queue: Literal["Never", "LowerPriority", "LowerOrNewerEqualPriority"] = "Never"
    workloads_sets: Annotated[tuple[_WorkloadsSet, ...], Field(min_length=1)]


class _Cohort(_Strict):
    class_name: _Name
    count: _Count
    queues_sets: Annotated[tuple[_QueuesSet, ...], Field(min_length=1)]


class _Capacity(_Strict):
    cpu: Milli
    memory: Annotated[str, Field(pattern=r"^[0-9]{1,6}Gi$")]


class _Level(_Strict):
    name: _Name
    count: _Count
    node_label: _Name
    capacity: _Capacity | None = None


class _Topology(_Strict):
    name: _Name
    levels: Annotated[tuple[_Level, ...], Field(min_length=1, max_length=3)]


class _Flavor(_Strict):
    name: _Name
    node_label: _Name | None = None
    topology_name: _Name | None = None


class _Generator(_Strict):
    cohorts: Annotated[tuple[_Cohort, ...], Field(min_length=1)]
    topology: _Topology | None = None
    resource_flavor: _Flavor | None = None


_Counted = TypeVar("_Counted", _Cohort, _QueuesSet)


def read_kueue(path: Path, document: dict[str, Any]) -> Workload:
    """The workload of one generator file. Raises TraceError."""
    generator = parse(path, document, _Generator)
    _check_sizes(path, generator)
    shapes = _Shapes(path, generator.topology)
    queues: list[Queue] = []
    classes: dict[str, str] = {}
    streams: list[Stream] = []
    for cohort_at, cohort, number in _numbered(generator.cohorts):
        name = f"{cohort.class_name}-{number}"
        queues.append(Queue(name))
        for set_at, queues_set, index in _numbered(cohort.queues_sets):
            queue = f"{queues_set.class_name}-{set_at}-{index}-{name}"
            limit = queues_set.borrowing_limit
            borrowing = {} if limit is None else {CPU: limit}
            queues.append(Queue(queue, name, {CPU: queues_set.nominal_quota}, borrowing, reclaims=False))
            classes[queue] = queues_set.class_name
            streams += _streams(shapes, f"cohorts.{cohort_at}.queuesSets.{set_at}", queue, queues_set)
    if len({queue.name for queue in queues}) < len(queues):
        raise broken(path, "cohorts", "a repeated className", "each needs a name of its own")
    nodes = _nodes(path, generator.topology) if generator.topology else (_all_quota(queues),)
    return Workload(tuple(queues), classes, nodes, tuple(streams))


def _numbered(sets: tuple[_Counted, ...]) -> Iterator[tuple[int, _Counted, int]]:
    for position, each in enumerate(sets):
        for number in range(each.count):
            yield position, each, number


def _check_sizes(path: Path, generator: _Generator) -> None:
    """Each count has its limit; here their products get theirs, before anything is made of them."""
    queues = jobs = 0
    for cohort in generator.cohorts:
        for queues_set in cohort.queues_sets:
            queues += cohort.count * queues_set.count
            each = sum(workloads.count * len(workloads.workloads) for workloads in queues_set.workloads_sets)
            jobs += cohort.count * queues_set.count * each
    for what, found, most in (("queues", queues, MAX_QUEUES), ("workloads", jobs, MAX_JOBS)):
        if found > most:
            raise broken(path, "cohorts", f"{found} {what}", f"at most {most} are")


def _streams(shapes: "_Shapes", at: str, queue: str, queues_set: _QueuesSet) -> Iterator[Stream]:
    for position, workloads in enumerate(queues_set.workloads_sets):
        each = len(workloads.workloads)
        interval = workloads.creation_interval_ms * MILLISECOND
        for turn, template in enumerate(workloads.workloads):
            field = f"{at}.workloadsSets.{position}.workloads.{turn}"
            work = Work(
                name=f"{queue}/{template.class_name}-{position}-{turn}",
                class_name=template.class_name,
                queue=queue,
                tenant=TENANT,
                priority=template.priority,
                shapes=shapes.of(field, template),
                need={CPU: template.request * template.pod_count},
                runtime=template.runtime_ms * MILLISECOND,
            )
            yield Stream(work, workloads.count, first=(turn + 1) * interval, every=each * interval)


class _Shapes:
    """What a template asks of the nodes; equal templates share one tuple, so that all of them are decided alike."""

    def __init__(self, path: Path, topology: _Topology | None) -> None:
        self._path = path
        self._levels = [level.node_label for level in topology.levels] if topology else []
        self._known: dict[_Template, tuple[Shape, ...]] = {}

    def of(self, field: str, template: _Template) -> tuple[Shape, ...]:
        if template not in self._known:
            self._known[template] = self._shapes(field, template)
        return self._known[template]

    def _shapes(self, field: str, template: _Template) -> tuple[Shape, ...]:
        pods, request = template.pod_count, template.request
        together = Shape(1, 1, 0, cpu_milli=pods * request)
        if not self._levels:
            return (together,)
        anywhere = Shape(pods, pods, 0, cpu_milli=request)
        if template.tas_level is None:
            return (anywhere,)
        if template.tas_level not in self._levels:
            allowed = f"a nodeLabel of topology.levels is: {', '.join(self._levels)}"
            raise broken(self._path, f"{field}.tasLevel", repr(template.tas_level), allowed)
        height = len(self._levels) - 1 - self._levels.index(template.tas_level)
        narrow = (together, Shape(pods, pods, 0, cpu_milli=request, within=RACK), anywhere)[height]
        return (narrow,) if template.tas_constraint == "required" or narrow == anywhere else (narrow, anywhere)


def _nodes(path: Path, topology: _Topology) -> tuple[Node, ...]:
    """Every node of the topology. Levels that are not there count once."""
    total = 1
    for level in topology.levels:
        total *= level.count
    if total > MAX_NODES:
        raise broken(path, "topology.levels", f"{total} nodes", f"at most {MAX_NODES} are")
    last = topology.levels[-1]
    if last.capacity is None:
        raise broken(path, f"topology.levels.{len(topology.levels) - 1}.capacity", "nothing", "the last level needs one")
    per_rack = last.count
    per_cluster = per_rack * (topology.levels[-2].count if len(topology.levels) > 1 else 1)
    return tuple(
        Node(
            cluster=f"{_CLUSTER}-{number // per_cluster}",
            name=f"node-{number}",
            cpu_milli=last.capacity.cpu,
            memory_bytes=int(last.capacity.memory.removesuffix("Gi")) * GIB,
            rack=f"rack-{number // per_rack}",
        )
        for number in range(total)
    )


def _all_quota(queues: list[Queue]) -> Node:
    return Node(_CLUSTER, "quota", cpu_milli=sum(queue.nominal.get(CPU, 0) for queue in queues), memory_bytes=0)
