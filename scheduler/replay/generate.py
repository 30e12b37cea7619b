"""A city of our own where there is no recorded trace: nodes and jobs drawn from a seed.

Enter at `generate(parse_recipe("nodes=1500,jobs=8000,seed=1"))`. Jobs arrive as a Poisson process and stay for log-normal times;
together they ask for `OFFERED_LOAD` times the card-seconds the network has over the time they arrive in, so that it fills up and
some have to wait. One in ten jobs needs no card, a third a part of one, the others whole cards up to gangs of many nodes.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator

from scheduler.domain.hardware import HardwareClass
from scheduler.engine.fleet import Card, Kind, Node
from scheduler.engine.order import QueuedJob
from scheduler.engine.shape import GIB, WHOLE_CARD_MILLI, Shape
from scheduler.replay.trace import SECOND, Trace, TraceError, TraceJob

MAX_NODES = 100_000
MAX_JOBS = 1_000_000
MAX_SEED = 2**32 - 1

NODES_PER_RACK = 32
TENANTS = 20
OFFERED_LOAD = 2.0
MEDIAN_STAY_SECONDS = 1800
STAY_SIGMA = 1.0
MAX_STAY_SECONDS = 12 * 3600


@dataclass(frozen=True, slots=True)
class Recipe:
    """How many nodes and jobs to draw, and from which seed."""

    nodes: int
    jobs: int
    seed: int


_LIMITS = {"nodes": (1, MAX_NODES), "jobs": (1, MAX_JOBS), "seed": (0, MAX_SEED)}


@dataclass(frozen=True, slots=True)
class _Site:
    """A cluster of equal nodes, and its share of the network's nodes."""

    cluster: str
    kind: Kind | None
    cards: int
    cores: int
    memory_gib: int
    share: float


_DOMESTIC, _FOREIGN = HardwareClass.DOMESTIC, HardwareClass.FOREIGN
_SITES = (
    _Site("ascend", Kind("huawei", "910B3", _DOMESTIC, 64 * GIB), 8, 192, 1536, 0.30),
    _Site("metax", Kind("metax", "MXC500", _DOMESTIC, 64 * GIB), 8, 128, 1024, 0.20),
    _Site("hopper", Kind("nvidia", "H800", _FOREIGN, 80 * GIB), 8, 192, 2048, 0.15),
    _Site("ampere", Kind("nvidia", "A100", _FOREIGN, 80 * GIB), 8, 128, 1024, 0.15),
    _Site("edge", Kind("nvidia", "T4", _FOREIGN, 16 * GIB), 4, 96, 384, 0.10),
    _Site("plain", None, 0, 96, 384, 0.10),
)

_SIZES: tuple[tuple[float, int, int, int], ...] = (
    # share of jobs, nodes, cards of each node, milli of each card
    (0.10, 1, 0, WHOLE_CARD_MILLI),
    (0.12, 1, 1, 250),
    (0.18, 1, 1, 500),
    (0.27, 1, 1, WHOLE_CARD_MILLI),
    (0.10, 1, 2, WHOLE_CARD_MILLI),
    (0.08, 1, 4, WHOLE_CARD_MILLI),
    (0.08, 1, 8, WHOLE_CARD_MILLI),
    (0.04, 2, 8, WHOLE_CARD_MILLI),
    (0.02, 8, 8, WHOLE_CARD_MILLI),
    (0.01, 32, 8, WHOLE_CARD_MILLI),
)

_WISHES: tuple[tuple[float, HardwareClass | None, frozenset[str]], ...] = (
    # share of jobs with cards, class, models: most take what they get, the others insist
    (0.50, None, frozenset()),
    (0.15, _DOMESTIC, frozenset()),
    (0.10, _FOREIGN, frozenset()),
    (0.10, None, frozenset({"910B3"})),
    (0.05, None, frozenset({"910B3", "MXC500"})),
    (0.05, None, frozenset({"H800"})),
    (0.05, None, frozenset({"H800", "A100"})),
)


def parse_recipe(text: str) -> Recipe:
    """`nodes=1500,jobs=8000,seed=1`, in any order. Raises TraceError naming the key and what is allowed."""
    found: dict[str, int] = {}
    for part in text.split(","):
        key, equals, value = part.partition("=")
        if key not in _LIMITS or not equals:
            raise TraceError(f"generate: {part!r} is not allowed; write {_example()}")
        if key in found:
            raise TraceError(f"generate: {key} is given twice")
        least, most = _LIMITS[key]
        if not (value.isascii() and value.isdigit() and len(value) <= len(str(most)) and least <= int(value) <= most):
            raise TraceError(f"generate: {key}={value} is not allowed; a whole number from {least} to {most} is")
        found[key] = int(value)
    missing = [key for key in _LIMITS if key not in found]
    if missing:
        raise TraceError(f"generate: {', '.join(missing)} is missing; write {_example()}")
    return Recipe(**found)


def generate(recipe: Recipe) -> Trace:
    """The trace of a recipe: equal recipes give equal traces (with one version of numpy, which may change its streams)."""
    random = np.random.default_rng(recipe.seed)
    nodes = tuple(_nodes(recipe.nodes))
    shapes = _shapes(random, recipe.jobs)
    stays = random.lognormal(np.log(MEDIAN_STAY_SECONDS), STAY_SIGMA, recipe.jobs).clip(1, MAX_STAY_SECONDS).astype(np.int64)
    gaps = random.exponential(1.0, recipe.jobs)
    cards = np.array([shape.nodes * shape.per_node * shape.card_milli for shape in shapes])
    offered = float((cards * stays).sum()) / WHOLE_CARD_MILLI
    horizon = max(offered / max(sum(len(node.cards) for node in nodes), 1) / OFFERED_LOAD, 1.0)
    arrivals = (np.cumsum(gaps) / gaps.sum() * horizon).astype(np.int64)
    tenants = random.integers(TENANTS, size=recipe.jobs)
    return Trace(
        nodes=nodes,
        jobs=tuple(
            TraceJob(
                QueuedJob(f"job-{number:07d}", f"tenant-{tenant:02d}", 0, int(arrival) * SECOND, (shape,)),
                leaves_at=int(arrival + stay) * SECOND,
            )
            for number, (tenant, arrival, stay, shape) in enumerate(zip(tenants, arrivals, stays, shapes, strict=True))
        ),
    )


def _example() -> str:
    return ",".join(f"{key}=N" for key in _LIMITS)


def _nodes(count: int) -> list[Node]:
    """Nodes dealt to the sites by their shares; a network of one node is all of the first site."""
    edges = np.rint(np.cumsum([site.share for site in _SITES]) * count).astype(int)
    sites = [_SITES[int(np.searchsorted(edges, number, side="right"))] for number in range(count)]
    return [_node(site, number) for number, site in enumerate(sites)]


def _node(site: _Site, number: int) -> Node:
    name = f"{site.cluster}-{number:06d}"
    return Node(
        cluster=site.cluster,
        name=name,
        cpu_milli=site.cores * 1000,
        memory_bytes=site.memory_gib * GIB,
        cards=tuple(Card(f"{name}/{slot}", site.kind) for slot in range(site.cards)),
        rack=f"rack-{number // NODES_PER_RACK}",
    )


def _shapes(random: Generator, count: int) -> list[Shape]:
    sizes = _draw(random, [size[0] for size in _SIZES], count)
    wishes = _draw(random, [wish[0] for wish in _WISHES], count)
    cores = random.integers(4, 12, size=count)
    return [_shape(*_SIZES[size][1:], *_WISHES[wish][1:], int(each)) for size, wish, each in zip(sizes, wishes, cores, strict=True)]


def _draw(random: Generator, shares: Sequence[float], count: int) -> list[int]:
    return [int(choice) for choice in random.choice(len(shares), size=count, p=shares)]


def _shape(
    nodes: int, per_node: int, card_milli: int, hardware_class: HardwareClass | None, models: frozenset[str], cores: int
) -> Shape:
    """Cores and memory go with the cards: `cores` and 8 GiB a core for each card, or for the job if it needs none."""
    cores *= max(per_node, 1)
    wants_cards = per_node > 0
    return Shape(
        nodes=nodes,
        min_nodes=nodes,
        per_node=per_node,
        card_milli=card_milli,
        hardware_class=hardware_class if wants_cards else None,
        models=models if wants_cards else frozenset(),
        cpu_milli=cores * 1000,
        memory_bytes=cores * 8 * GIB,
    )
