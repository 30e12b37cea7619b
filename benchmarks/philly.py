"""Waiting in virtual clusters: `python -m benchmarks.philly --data DIR` runs Philly's trace by every policy of `philly.yaml`.

DIR has `philly.csv` and `philly_vc.csv`. Trace data is never copied here: only results are, as `results/philly.json`. Where DIR is
absent nothing is measured.
"""

import argparse
import json
import sys
import time
from collections.abc import Mapping, Sequence
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
    found = read_philly(jobs, clusters)
    policies = {name: recipe for name, recipe in known["policies"].items() if asked.only in (None, name)}
    rows = [_row(found.by_cluster, number, policies) for number in known["one_node_of"]]
    if asked.only is not None:
        return
    result = {
        "name": "philly",
        "command": f"suanwang replay --philly {jobs} --clusters {clusters} --policy POLICY --json",
        "measured_by": " ".join(["python -m benchmarks.philly", *sys.argv[1:]]),
        "machine": machine(),
        "unit": "seconds",
        "jobs_left_out": found.left_out,
        "rows": rows,
    }
    (HERE / "results" / "philly.json").write_text(json.dumps(result, indent=2) + "\n")


def _row(traces: Mapping[str, WorkTrace], one_of: int, policies: Mapping[str, str]) -> dict[str, Any]:
    """One size of the clusters by every policy, printed as lines."""
    smaller = {name: _smaller(trace, one_of) for name, trace in traces.items()}
    jobs, cards = (
        sum(len(each.works) for each in smaller.values()),
        sum(len(each.nodes) for each in smaller.values()) * CARDS_PER_NODE,
    )
    print(f"one node of {one_of}: {jobs} jobs, {cards} cards; delay in seconds, mean and p99")
    ours: dict[str, Any] = {}
    for policy, recipe in policies.items():
        began = time.perf_counter()
        outcomes = {name: _delays(trace, recipe) for name, trace in smaller.items()}
        together = [delay for delays, _ in outcomes.values() for delay in delays]
        figures = {
            "policy": recipe,
            **_figures(together),
            "preemptions": None if recipe in RANKS else sum(stops for _, stops in outcomes.values()),
            "wall_seconds": round(time.perf_counter() - began, 1),
            "clusters": {name: _figures(delays) for name, (delays, _) in outcomes.items()},
        }
        ours[policy] = figures
        print(f"  {policy:>32}: {figures['mean']:10,.0f} {figures['p99']:11,.0f}; {figures['wall_seconds']} s", flush=True)
    too_large = sum(len(trace.works) for trace in traces.values()) - jobs
    return {"one_node_of": one_of, "cards": cards, "jobs": jobs, "jobs_too_large": too_large, "policies": ours}


def _smaller(trace: WorkTrace, one_of: int) -> WorkTrace:
    """A virtual cluster with one node of so many, rounded up, and the jobs that its nodes could ever hold."""
    nodes = trace.nodes[: -(-len(trace.nodes) // one_of)]
    return WorkTrace(nodes, tuple(work for work in trace.works if cards_asked(work.job) <= len(nodes) * CARDS_PER_NODE))


def _delays(trace: WorkTrace, recipe: str) -> tuple[Delays, int]:
    """How much longer every job was there than it takes, and how often one was stopped."""
    if recipe not in RANKS:
        outcome = serve(trace, parse_policy(recipe))
        return outcome.delays, outcome.preemptions
    took, _ = simulate(trace, len(trace.nodes) * CARDS_PER_NODE, RANKS[recipe])
    works = sorted(trace.works, key=lambda work: (work.job.submitted_at, work.job.id))
    return [each - work.takes for each, work in zip(took, works, strict=True)], 0


def _figures(delays: Delays) -> dict[str, float]:
    found = distribution(delays)
    return {"mean": round(found.mean or 0, 1), "p99": round(found.p99 or 0, 1)}


if __name__ == "__main__":
    main()
