"""Waiting in virtual clusters: `python -m benchmarks.philly --data DIR` runs Philly's trace by every policy of `philly.yaml`.

DIR has `philly.csv` and `philly_vc.csv`. Trace data is never copied here: only results are, as `results/philly.json`. Where DIR is
absent nothing is measured.
"""

import argparse
import json
import sys
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from itertools import repeat
from pathlib import Path
from typing import Any

import yaml

from benchmarks.machine import machine
from benchmarks.peers import RANKS, simulate
from scheduler.engine.order import cards_asked
from scheduler.replay.philly import CARDS_PER_NODE, read_philly
from scheduler.replay.policy import parse_policy
from scheduler.replay.report import distribution
from scheduler.replay.service import WorkTrace, serve

HERE = Path(__file__).parent

Delays = Sequence[int]
"""Microseconds."""


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.philly", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder with philly.csv and philly_vc.csv")
    parser.add_argument("--only", help="run this policy of philly.yaml alone, and keep nothing")
    asked = parser.parse_args()
    jobs, clusters = (asked.data / name for name in ("philly.csv", "philly_vc.csv"))
    if not (jobs.is_file() and clusters.is_file()):
        print(f"philly: skipped, as {asked.data} has not both philly.csv and philly_vc.csv")
        return
    known = yaml.safe_load((HERE / "philly.yaml").read_text())
    philly = read_philly(jobs, clusters)
    traces = {name: _possible(trace) for name, trace in philly.by_cluster.items()}
    recipes = {policy: recipe for policy, recipe in known["policies"].items() if asked.only in (None, policy)}
    print("delay in seconds, mean and p99")
    with ProcessPoolExecutor() as pool:  # policies know nothing of each other
        rows = dict(zip(recipes, pool.map(_row, recipes, recipes.values(), repeat(traces)), strict=True))
    if asked.only is not None:
        return
    possible = sum(len(trace.works) for trace in traces.values())
    result = {
        "name": "philly",
        "command": f"suanwang replay --philly {jobs} --clusters {clusters} --policy POLICY --json",
        "measured_by": " ".join(["python -m benchmarks.philly", *sys.argv[1:]]),
        "machine": machine(),
        "unit": "seconds",
        "jobs": possible,
        "cards": sum(len(trace.nodes) for trace in traces.values()) * CARDS_PER_NODE,
        "jobs_too_large": sum(len(trace.works) for trace in philly.by_cluster.values()) - possible,
        "jobs_left_out": philly.left_out,
        "policies": rows,
    }
    (HERE / "results" / "philly.json").write_text(json.dumps(result, indent=2) + "\n")


def _possible(trace: WorkTrace) -> WorkTrace:
    """A virtual cluster with the jobs that it could ever hold."""
    cards = len(trace.nodes) * CARDS_PER_NODE
    return replace(trace, works=tuple(work for work in trace.works if cards_asked(work.job) <= cards))


def _row(policy: str, recipe: str, traces: Mapping[str, WorkTrace]) -> dict[str, Any]:
    """Every virtual cluster by one policy, printed as a line."""
    began = time.process_time()
    found = {name: _delays(trace, recipe) for name, trace in traces.items()}
    figures = {
        "policy": recipe,
        **_figures([delay for delays, _ in found.values() for delay in delays]),
        "preemptions": sum(stops for _, stops in found.values() if stops is not None),
        "cpu_seconds": round(time.process_time() - began, 1),
        "clusters": {name: _figures(delays) for name, (delays, _) in found.items()},
    }
    print(f"  {policy:>32}: {figures['mean']:10,.0f} {figures['p99']:11,.0f}; {figures['cpu_seconds']} s", flush=True)
    return figures


def _delays(trace: WorkTrace, recipe: str) -> tuple[Delays, int | None]:
    """How much longer every job was there than it takes, and how often one was stopped; None where that is only simulated."""
    if recipe not in RANKS:
        outcome = serve(trace, parse_policy(recipe))
        return outcome.delays, outcome.preemptions
    took, _ = simulate(trace, len(trace.nodes) * CARDS_PER_NODE, RANKS[recipe])
    works = sorted(trace.works, key=lambda work: (work.job.submitted_at, work.job.id))
    return [each - work.takes for each, work in zip(took, works, strict=True)], None


def _figures(delays: Delays) -> dict[str, float]:
    found = distribution(delays)
    return {"mean": round(found.mean or 0, 1), "p99": round(found.p99 or 0, 1)}


if __name__ == "__main__":
    main()
