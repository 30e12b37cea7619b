"""Every benchmark, several times over: mean and spread of the wall time, and the report of the last run.

The generated trace and the rows of `engine` always run; with `--nodes FILE --pods FILE` an openb trace runs too, and with
`--kueue DIR` the rows of `workloads`, on real time. `--only NAME` runs one. Data of others is never copied here: only results are.
"""

import argparse
import json
import statistics
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from api.cli.replay import measure
from benchmarks import engine
from benchmarks.machine import machine
from benchmarks.workloads import folder_of, measure_row, rows
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
    parser.add_argument("--kueue", type=Path, help="folder with baseline, large-scale and tas of Kueue's performance tests")
    parser.add_argument("--only", metavar="NAME", help="run this one alone, such as kueue-baseline")
    asked = parser.parse_args()
    if (asked.nodes is None) != (asked.pods is None):
        parser.error("--nodes and --pods go together")
    if asked.only in (None, "replay-generated"):
        bench("replay-generated", f"suanwang replay --generate {RECIPE} --json", asked.runs, lambda: generate(parse_recipe(RECIPE)))
    if asked.nodes is not None and asked.only in (None, f"replay-{asked.pods.stem}"):
        command = f"suanwang replay --nodes {asked.nodes} --pods {asked.pods} --json"
        bench(f"replay-{asked.pods.stem}", command, asked.runs, lambda: read_trace(asked.nodes, asked.pods))
    if asked.only in (None, "engine"):
        engine.main()
    for row in rows():
        if asked.only in (None, row["name"]):
            bench_row(row, asked.kueue)


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
    keep(result)
    rate = reports[-1].jobs_total / mean
    print(f"{name}: {mean:.2f} s mean of {runs}, spread {spread:.2f} s, {rate:,.0f} jobs/s\n  {command}\n  {result['machine']}")


def bench_row(row: dict[str, Any], kueue: Path | None) -> None:
    """Run, print and keep one row; say so where its files are not there."""
    name, folder = row["name"], folder_of(row, kueue)
    if folder is None or not (folder / row["workload"]).is_file():
        print(f"{name}: skipped; give --kueue the folder that has {row['workload']}")
        return
    result = {**measure_row(row, folder), "measured_by": " ".join(["python -m benchmarks", *sys.argv[1:]]), "machine": machine()}
    keep(result)
    wall, peer = result["wall_seconds"], row["peer"]
    of_ideal = "" if result["of_ideal"] is None else f", {result['of_ideal']:.3f} of ideal"
    print(f"{name}: {wall['mean']:.3f} s mean of {row['runs']}, spread {wall['spread']:.3f} s{of_ideal}")
    print(f"  {peer['system']}: {peer['wall_seconds']} s ({peer['spread']}). {peer['caveat']}\n  {result['command']}")
    for check in result["checks"]:
        print(f"  {'kept' if check['kept'] else 'BROKEN'}: {check['what']}: {check['found']:.3f}, bound {check['bound']}")


def keep(result: dict[str, Any]) -> None:
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{result['name']}.json").write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
