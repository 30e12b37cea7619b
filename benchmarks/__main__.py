"""Replays of one workload, several times over: mean and spread of the wall time, and the report of the last run.

The generated city always runs; with `--nodes FILE --pods FILE` an openb trace runs after it. Trace data is never copied here:
only its results are.
"""

import argparse
import json
import statistics
import sys
from collections.abc import Callable
from pathlib import Path

from api.cli.replay import measure
from benchmarks.machine import machine
from scheduler.replay.generate import generate, parse_recipe
from scheduler.replay.openb import read_trace
from scheduler.replay.trace import Trace

RESULTS = Path(__file__).parent / "results"
RECIPE = "nodes=1500,jobs=8000,seed=1"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--nodes", type=Path, help="node list of an openb trace (CSV)")
    parser.add_argument("--pods", type=Path, help="pod list of an openb trace (CSV)")
    parser.add_argument("--runs", type=int, choices=range(1, 101), default=3, metavar="1..100", help="how often each runs (3)")
    asked = parser.parse_args()
    if (asked.nodes is None) != (asked.pods is None):
        parser.error("--nodes and --pods go together")
    bench("replay-generated", f"suanwang replay --generate {RECIPE} --json", asked.runs, lambda: generate(parse_recipe(RECIPE)))
    if asked.nodes is not None:
        command = f"suanwang replay --nodes {asked.nodes} --pods {asked.pods} --json"
        bench(f"replay-{asked.pods.stem}", command, asked.runs, lambda: read_trace(asked.nodes, asked.pods))


def bench(name: str, command: str, runs: int, trace: Callable[[], Trace]) -> None:
    """Run, print and keep one workload. `command` is what a reader types to see one such run."""
    reports = [measure(trace()) for _ in range(runs)]
    walls = [report.wall_seconds for report in reports]
    mean, spread = statistics.fmean(walls), max(walls) - min(walls)
    result = {
        "name": name,
        "command": command,
        "measured_by": " ".join(["python -m benchmarks", *sys.argv[1:]]),
        "machine": machine(),
        "runs": runs,
        "wall_seconds": {"mean": mean, "spread": spread, "each": walls},
        "report": reports[-1].as_json(),
    }
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.json").write_text(json.dumps(result, indent=2) + "\n")
    rate = reports[-1].jobs_total / mean
    print(f"{name}: {mean:.2f} s mean of {runs}, spread {spread:.2f} s, {rate:,.0f} jobs/s\n  {command}\n  {result['machine']}")


if __name__ == "__main__":
    main()
