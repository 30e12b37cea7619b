"""Our own format of a workload: cards, models, gangs, clusters, prices and tenants beside queues. Strict: unknown keys are refused.

format: suanwang-workload/1
seed: 1                                   # for what is drawn; 0 where absent
queues:                                   # as `engine.quota.Queue`; amounts in cores and cards, "500m" is half of one
  - {name: city, nominal: {cpu: 1000}}
  - {name: lab, parent: city, nominal: {"class:domestic": 64}, borrowing_limit: {"model:910B3": 8}, lending_limit: {cpu: 4},
     weight: 2, max_running: 100, reclaims: false}
clusters:                                 # `count` equal clusters of `nodes` equal nodes; named NAME-0, NAME-1, ... if many
  - {name: sz, count: 100, nodes: 125, racks: 5, cpus: 192, memory_gib: 1536, cards: 8,
     card: {vendor: huawei, model: 910B3, class: domestic, memory_gib: 64}}
prices:                                   # CNY per card-hour; without any, nothing is priced
  - {terms: "", cluster: sz-0, model: 910B3, list: "12.5", contracted: "10", net: "6.4"}
weights: {lab: 2}                         # of tenants; 1 where absent
policy: {half_life: 7d, consolidation: {restart: 5m}}    # as in `POST /v1/scheduling`; what is absent is off
jobs:
  - class: fill                           # what reports group by
    count: 4000
    at_ms: 0                              # when the first arrives, and how long after it each other
    every_ms: 0
    runtime_ms: 60000                     # from when it is started; absent: it never ends
    max_runtime: 2h                       # what the scheduler is told; absent: nothing
    queue: lab
    tenant: lab
    priority: 50
    preemptible: false
    checkpoint: 30m                       # how often it saves what it has done; absent: never
    hardware: {class: domestic, per_node: 8, nodes: 4, topology: rack}     # as in a job spec, alternatives as a list
    draw:                                 # instead of equal jobs, of this many distinct shapes drawn from the seed:
      shapes: 100                         # every combination of these four is a shape, the rest stays as above
      nodes: [1, 2, 4]
      per_node: [1, 8]
      cpus: [4, 8, 16]
      models: [910B3, MXC500]
      tenants: [lab, startup]             # each shape gets one of each of these
      queues: [lab, city]
      priorities: [25, 50, 75]
      runtime_ms: [1000, 60000]           # from, to
"""

from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import numpy as np
from numpy.random import Generator
from pydantic import Field, model_validator

from scheduler.contract.base import Duration, Name, Price, Wire
from scheduler.contract.job import MAX_CARDS_PER_NODE, Hardware
from scheduler.contract.scheduling import Consolidation, HalfLife
from scheduler.domain.clock import MICROS_PER_SECOND, parse_duration_seconds
from scheduler.domain.hardware import HardwareClass
from scheduler.domain.money import parse_cny
from scheduler.engine.fleet import Card, Fleet, Kind, Node
from scheduler.engine.quota import Queue, Quotas
from scheduler.engine.shape import GIB, Shape, shape_of
from scheduler.engine.snapshot import Prices, Quote
from scheduler.replay.document import Milli, broken, parse
from scheduler.replay.generate import MAX_JOBS, MAX_NODES, MAX_SEED
from scheduler.replay.workload import MILLISECOND, Stream, Work, Workload, needs

MAX_CLUSTERS = 10_000
MAX_COMBINATIONS = 10_000_000
MAX_MILLISECONDS = 10**10

_Label = Annotated[str, Field(min_length=1, max_length=100)]
_Resource = Annotated[str, Field(pattern=r"^(cpu|class:[a-z]+|model:.{1,64})$")]
_Amounts = dict[_Resource, Milli]
_Milliseconds = Annotated[int, Field(ge=0, le=MAX_MILLISECONDS)]
_Priority = Annotated[int, Field(ge=0, le=100)]


class _Queue(Wire):
    name: _Label
    parent: _Label | None = None
    nominal: _Amounts = Field(default_factory=dict)
    borrowing_limit: _Amounts = Field(default_factory=dict)
    lending_limit: _Amounts = Field(default_factory=dict)
    reclaims: bool = True
    weight: Annotated[int, Field(ge=1, le=10**6)] = 1
    max_running: Annotated[int, Field(ge=0, le=MAX_JOBS)] | None = None


class _Card(Wire):
    vendor: _Label
    model: _Label
    hardware_class: HardwareClass = Field(alias="class")
    memory_gib: Annotated[int, Field(ge=1, le=4096)]


class _Clusters(Wire):
    name: Name
    count: Annotated[int, Field(ge=1, le=MAX_CLUSTERS)] = 1
    nodes: Annotated[int, Field(ge=1, le=MAX_NODES)]
    racks: Annotated[int, Field(ge=0, le=MAX_NODES)] = 0
    cpus: Annotated[int, Field(ge=0, le=4096)]
    memory_gib: Annotated[int, Field(ge=0, le=65_536)]
    cards: Annotated[int, Field(ge=0, le=MAX_CARDS_PER_NODE)] = 0
    card: _Card | None = None

    @model_validator(mode="after")
    def _cards_are_of_some_model(self) -> Self:
        if (self.cards > 0) != (self.card is not None):
            raise ValueError("cards and card go together: how many each node has, and of what model")
        return self


class _Price(Wire):
    terms: str = ""
    cluster: _Label
    model: _Label | None = None
    list_price: Price = Field(alias="list")
    contracted: Price
    net: Price


class _Draw(Wire):
    shapes: Annotated[int, Field(ge=1, le=MAX_JOBS)]
    nodes: Annotated[tuple[int, ...], Field(min_length=1)] | None = None
    per_node: Annotated[tuple[int, ...], Field(min_length=1)] | None = None
    cpus: Annotated[tuple[int, ...], Field(min_length=1)] | None = None
    models: Annotated[tuple[_Label, ...], Field(min_length=1)] | None = None
    tenants: Annotated[tuple[_Label, ...], Field(min_length=1)] | None = None
    queues: Annotated[tuple[_Label, ...], Field(min_length=1)] | None = None
    priorities: Annotated[tuple[_Priority, ...], Field(min_length=1)] | None = None
    runtime_ms: tuple[_Milliseconds, _Milliseconds] | None = None


class _Jobs(Wire):
    class_name: _Label = Field(alias="class")
    count: Annotated[int, Field(ge=1, le=MAX_JOBS)]
    at_ms: _Milliseconds = 0
    every_ms: _Milliseconds = 0
    runtime_ms: _Milliseconds | None = None
    max_runtime: Duration | None = None
    queue: str = ""
    tenant: str = "tenant"
    priority: _Priority = 50
    preemptible: bool = False
    checkpoint: Duration | None = None
    terms: str = ""
    clusters: frozenset[_Label] | None = None
    hardware: Hardware | Annotated[tuple[Hardware, ...], Field(min_length=1, max_length=8)]
    draw: _Draw | None = None

    @model_validator(mode="after")
    def _one_shape_to_draw_from(self) -> Self:
        if self.draw is not None and not isinstance(self.hardware, Hardware):
            raise ValueError("draw varies one hardware, not a list of alternatives")
        return self


class _Policy(Wire):
    half_life: HalfLife | None = None
    consolidation: Consolidation | None = None


class _City(Wire):
    format: Literal["suanwang-workload/1"]
    seed: Annotated[int, Field(ge=0, le=MAX_SEED)] = 0
    queues: tuple[_Queue, ...] = ()
    clusters: Annotated[tuple[_Clusters, ...], Field(min_length=1)]
    prices: tuple[_Price, ...] = ()
    weights: dict[_Label, Annotated[int, Field(ge=1, le=10**6)]] = Field(default_factory=dict)
    policy: _Policy = _Policy()
    jobs: Annotated[tuple[_Jobs, ...], Field(min_length=1)]


def read_city(path: Path, document: dict[str, Any]) -> Workload:
    """The workload of one file. Equal files give equal workloads. Raises TraceError."""
    city = parse(path, document, _City)
    nodes = sum(clusters.count * clusters.nodes for clusters in city.clusters)
    jobs = sum(each.count for each in city.jobs)
    for name, found, most in (("clusters", nodes, MAX_NODES), ("jobs", jobs, MAX_JOBS)):
        if found > most:
            raise broken(path, name, f"{found} {'nodes' if name == 'clusters' else 'jobs'} in all", f"at most {most} are")
    queues = tuple(Queue(**queue.model_dump()) for queue in city.queues)
    try:
        Quotas.of(queues)
    except ValueError as error:
        raise broken(path, "queues", "one of them", str(error)) from error
    fleet_nodes = tuple(_nodes(city))
    if len({(node.cluster, node.name) for node in fleet_nodes}) < len(fleet_nodes):
        raise broken(path, "clusters", "a repeated name", "each needs a name of its own")
    fleet, random = Fleet.of(fleet_nodes), np.random.default_rng(city.seed)
    known = {queue.name for queue in queues}
    streams: list[Stream] = []
    for position, each in enumerate(city.jobs):
        streams += _streams(path, position, each, fleet, random, known)
    half_life, moves = city.policy.half_life, city.policy.consolidation
    return Workload(
        queues=queues,
        queue_classes={queue.name: queue.name for queue in queues},
        nodes=fleet_nodes,
        streams=tuple(streams),
        prices=_prices(city),
        weights=city.weights,
        half_life=None if half_life is None else parse_duration_seconds(half_life) * MICROS_PER_SECOND,
        restart_seconds=None if moves is None else parse_duration_seconds(moves.restart),
    )


def _nodes(city: _City) -> Iterator[Node]:
    for clusters in city.clusters:
        card = clusters.card
        kind = None if card is None else Kind(card.vendor, card.model, card.hardware_class, card.memory_gib * GIB)
        for number in range(clusters.count):
            cluster = clusters.name if clusters.count == 1 else f"{clusters.name}-{number}"
            for node in range(clusters.nodes):
                name = f"node-{node}"
                yield Node(
                    cluster=cluster,
                    name=name,
                    cpu_milli=clusters.cpus * 1000,
                    memory_bytes=clusters.memory_gib * GIB,
                    cards=tuple(Card(f"{name}/{slot}", kind) for slot in range(clusters.cards)),
                    rack=f"rack-{node * clusters.racks // clusters.nodes}" if clusters.racks else None,
                )


def _prices(city: _City) -> Prices | None:
    if not city.prices:
        return None
    return {
        (price.terms, price.cluster, price.model): Quote(*map(parse_cny, (price.list_price, price.contracted, price.net)))
        for price in city.prices
    }


def _streams(path: Path, position: int, jobs: _Jobs, fleet: Fleet, random: Generator, queues: set[str]) -> Iterator[Stream]:
    """One stream of equal jobs, or one for each shape that is drawn."""
    name = f"{jobs.class_name}-{position}"
    alternatives = (jobs.hardware,) if isinstance(jobs.hardware, Hardware) else jobs.hardware
    if jobs.draw is None:
        variants = [(jobs, tuple(shape_of(each) for each in alternatives))]
    else:
        variants = list(_drawn(path, f"jobs.{position}.draw", jobs, jobs.draw, alternatives[0], random))
    each, more = divmod(jobs.count, len(variants))
    for number, (variant, shapes) in enumerate(variants):
        if variant.queue and variant.queue not in queues:
            raise broken(path, f"jobs.{position}.queue", repr(variant.queue), "the name of one of `queues` is")
        work = Work(
            name=name if jobs.draw is None else f"{name}-{number}",
            class_name=variant.class_name,
            queue=variant.queue,
            tenant=variant.tenant,
            priority=variant.priority,
            shapes=shapes,
            need=needs(shapes, fleet),
            runtime=None if variant.runtime_ms is None else variant.runtime_ms * MILLISECOND,
            preemptible=variant.preemptible,
            terms=variant.terms,
            clusters=variant.clusters,
            max_runtime_seconds=None if variant.max_runtime is None else parse_duration_seconds(variant.max_runtime),
            checkpoint=None if variant.checkpoint is None else parse_duration_seconds(variant.checkpoint) * MICROS_PER_SECOND,
        )
        # drawn shapes take turns: the second of each comes after the first of all
        every = jobs.every_ms * MILLISECOND
        yield Stream(work, each + (number < more), jobs.at_ms * MILLISECOND + number * every, every * len(variants))


def _drawn(
    path: Path, at: str, jobs: _Jobs, draw: _Draw, base: Hardware, random: Generator
) -> Iterator[tuple[_Jobs, tuple[Shape, ...]]]:
    """Distinct shapes, and for each what else is drawn."""
    models = [base.models] if draw.models is None else [(model,) for model in draw.models]
    axes = [draw.nodes or (base.nodes,), draw.per_node or (base.per_node,), draw.cpus or (base.cpus,), models]
    combinations = int(np.prod([len(axis) for axis in axes]))
    if draw.shapes > min(combinations, jobs.count, MAX_COMBINATIONS):
        allowed = f"at most the {combinations} combinations there are, and at most the {jobs.count} jobs"
        raise broken(path, f"{at}.shapes", str(draw.shapes), allowed)
    chosen = set(random.choice(combinations, draw.shapes, replace=False).tolist())
    for number, (nodes, per_node, cpus, model) in enumerate(product(*axes)):
        if number not in chosen:
            continue
        fields = {"nodes": nodes, "per_node": per_node, "cpus": cpus, "models": model, "min_nodes": None}
        hardware = parse(path, {**base.model_dump(), **fields}, Hardware)
        yield _one_of_each(jobs, draw, random), (shape_of(hardware),)


def _one_of_each(jobs: _Jobs, draw: _Draw, random: Generator) -> _Jobs:
    fields: dict[str, Any] = {}
    for name, values in (("tenant", draw.tenants), ("queue", draw.queues), ("priority", draw.priorities)):
        if values is not None:
            fields[name] = values[int(random.integers(len(values)))]
    if draw.runtime_ms is not None:
        fields["runtime_ms"] = int(random.integers(draw.runtime_ms[0], max(draw.runtime_ms) + 1))
    return jobs.model_copy(update=fields)
