"""What one round of the engine costs: `python -m benchmarks.engine`, rows and bounds in `engine.yaml`, results in `results/`.

Decisions only, in memory: no store, no API. The peers' figures are as they published them, on their machines and with their
clusters' API servers in between; a ratio to them says what users wait for, not how fast one loop is against another.
"""

import json
import resource
import statistics
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import yaml

from benchmarks.machine import machine
from scheduler.domain.hardware import HardwareClass
from scheduler.engine.cycle import Served, cycle
from scheduler.engine.fleet import Allocation, Card, Fleet, Kind, Node
from scheduler.engine.order import QueuedJob, Usage, held
from scheduler.engine.place import Place
from scheduler.engine.quota import Queue, Quotas
from scheduler.engine.shape import GIB, Shape
from scheduler.engine.snapshot import ActiveRun, Decisions, Grant, Prices, Quote, Snapshot
from scheduler.engine.state import State

RESULTS = Path(__file__).parent / "results"
SECOND = 1_000_000
CARDS_PER_NODE = 8
SEED = 1

KINDS = (
    Kind("huawei", "910B3", HardwareClass.DOMESTIC, 64 * GIB),
    Kind("metax", "MXC500", HardwareClass.DOMESTIC, 64 * GIB),
    Kind("nvidia", "H800", HardwareClass.FOREIGN, 80 * GIB),
    Kind("nvidia", "A100-SXM4-80GB", HardwareClass.FOREIGN, 80 * GIB),
)


def main() -> None:
    rows: dict[str, dict[str, Any]] = yaml.safe_load(Path(__file__).with_suffix(".yaml").read_text("utf-8"))
    verdict, reclaim = rows["kai-verdict"], rows["kai-reclaim"]
    report("kai-verdict", verdict, [kai_verdict() for _ in range(verdict["runs"])])
    report("kai-reclaim", reclaim, [kai_reclaim() for _ in range(reclaim["runs"])])
    first, after = zip(*(city(rows["city-one-change"]["runs"] // 2) for _ in range(rows["city-first-round"]["runs"])), strict=True)
    report("city-first-round", rows["city-first-round"], list(first))
    report("city-one-change", rows["city-one-change"], [each for run in after for each in run])


def report(name: str, row: dict[str, Any], seconds: list[float]) -> None:
    """Print and keep one row."""
    found = {
        "mean": statistics.fmean(seconds),
        "stdev": statistics.stdev(seconds),
        "median": statistics.median(seconds),
        "p99": float(np.percentile(seconds, 99)),
        "max": max(seconds),
    }
    rss = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    checks = {
        "bound_seconds": found["mean"],
        "bound_median_seconds": found["median"],
        "bound_p99_seconds": found["p99"],
        "bound_rss_bytes": rss,
    }
    kept = {bound: value <= row[bound] for bound, value in checks.items() if bound in row}
    command = " ".join(["python -m benchmarks.engine", *sys.argv[1:]])
    result = {"name": name, **row, "seconds": found, "peak_rss_bytes": rss, "kept": kept, "command": command, "machine": machine()}
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.json").write_text(json.dumps(result, indent=2) + "\n")
    peer = f"; {row['peer']['system']}: {row['peer']['seconds']} s" if "peer" in row else ""
    figures = ", ".join(f"{key} {value * 1000:.2f} ms" for key, value in found.items())
    print(f"{name}: {figures} over {len(seconds)}{peer}\n  {row['what']}; bounds kept: {kept}")


def kai_verdict() -> float:
    state = State(one_cluster(500))
    state.submit(QueuedJob(f"job-{number:04}", "t", 50, number, (shape(1, 1),)) for number in range(4000))
    state.round(0)
    state.submit([QueuedJob("gang", "t", 50, 4000, (shape(10, 8),))])
    return timed(lambda: state.round(1))


def kai_reclaim() -> float:
    fleet = one_cluster(500)
    whole = 500 * CARDS_PER_NODE * 1000
    quotas = Quotas.of(
        (
            Queue("city"),
            Queue("lender", parent="city", nominal={"model:910B3": whole}),
            Queue("borrower", parent="city", nominal={"model:910B3": 0}),
        )
    )
    runs, free, usage = [], fleet.all_free(), Usage.none(fleet)
    for number in range(500 * CARDS_PER_NODE):
        node, slot = divmod(number, CARDS_PER_NODE)
        place = Place(0, 0, (Allocation(node, (slot,), 1000, 0, 0),), 0.0)
        runs.append(
            ActiveRun(f"run-{number:04}", f"old-{number:04}", "b", 25, True, place, safe_at=number * SECOND, queue="borrower")
        )
        free.take(place.allocations)
        usage.add("b", place)
        quotas.use("borrower", held(fleet, place))
    queue = [QueuedJob(f"new-{n:04}", "l", 25, n, (shape(1, 1),), queue="lender") for n in range(len(runs))]
    moment = Snapshot(10_000 * SECOND, fleet, free, usage, queue, runs, quotas=quotas)
    found: list[Decisions] = []
    seconds = timed(lambda: found.append(cycle(moment)))
    if len(found[0].preemptions) != len(runs):
        raise RuntimeError("not every borrower was asked to stop")
    return seconds


def city(changes: int) -> tuple[float, list[float]]:
    """The first round of the city, and the rounds after one gang at a time has ended."""
    rng = np.random.default_rng(SEED)
    fleet = Fleet.of([_city_node(cluster, number) for cluster in range(100) for number in range(125)])
    shapes = _city_shapes(rng)
    picks = rng.integers(0, len(shapes), 1_000_000).tolist()
    jobs = {
        f"job-{number:07}": QueuedJob(f"job-{number:07}", f"t{pick % 50}", 50, number, (shapes[pick],), terms=f"p{pick % 5}")
        for number, pick in enumerate(picks)
    }
    state = State(fleet, _city_prices(rng))
    state.submit(jobs.values())
    served: list[Served] = []
    first = timed(partial(_serve, state, 0, served))
    running: list[Grant] = list(served[-1].grants)
    after = []
    for now in range(1, changes + 1):
        ended = running.pop(int(rng.integers(0, len(running))))
        state.end(ended.job)
        after.append(timed(partial(_serve, state, now, served)))
        running += served[-1].grants
    return first, after


def _serve(state: State, now: int, served: list[Served]) -> None:
    served.append(state.round(now))


def one_cluster(nodes: int) -> Fleet:
    cards = [tuple(Card(f"{number}/{slot}", KINDS[0]) for slot in range(CARDS_PER_NODE)) for number in range(nodes)]
    return Fleet.of([Node("c", f"n{number:03}", 192_000, 2**41, each) for number, each in enumerate(cards)])


def shape(nodes: int, per_node: int) -> Shape:
    return Shape(nodes, nodes, per_node, models=frozenset({"910B3"}))


def timed(work: Callable[[], object]) -> float:
    start = perf_counter()
    work()
    return perf_counter() - start


def _city_node(cluster: int, number: int) -> Node:
    kind = KINDS[(cluster + number // 63) % len(KINDS)]
    cards = tuple(Card(f"{cluster}/{number}/{slot}", kind) for slot in range(CARDS_PER_NODE))
    return Node(f"c{cluster:03}", f"n{number:03}", 192_000, 2**41, cards, rack=f"r{number // 8}")


def _city_shapes(rng: np.random.Generator) -> list[Shape]:
    """Ten thousand: one to 32 nodes, one to eight cards, one to three models, CPU and memory beside them."""
    models = [kind.model for kind in KINDS]
    found: set[Shape] = set()
    while len(found) < 10_000:
        nodes = int(rng.choice([1, 1, 1, 2, 4, 8, 16, 32]))
        per_node = CARDS_PER_NODE if nodes > 1 else int(rng.choice([1, 2, 4, 8]))
        found.add(
            Shape(
                nodes=nodes,
                min_nodes=nodes,
                per_node=per_node,
                models=frozenset(rng.choice(models, size=int(rng.integers(1, 4)), replace=False).tolist()),
                cpu_milli=int(rng.integers(1, 24)) * 500 * per_node,
                memory_bytes=int(rng.integers(1, 64)) * GIB,
            )
        )
    return sorted(found, key=lambda each: (each.nodes, each.per_node, sorted(each.models), each.cpu_milli, each.memory_bytes))


def _city_prices(rng: np.random.Generator) -> Prices:
    """Five price lists over a hundred clusters, five to twenty CNY per card-hour."""
    return {
        (f"p{terms}", f"c{cluster:03}", kind.model): Quote(price, price, price)
        for terms in range(5)
        for cluster in range(100)
        for kind in KINDS
        for price in [int(rng.integers(5, 20)) * 1_000_000]
    }


if __name__ == "__main__":
    main()
