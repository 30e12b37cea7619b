"""Every benchmark, several times over, and the table of all results: `make bench DATA=DIR`, or `python -m benchmarks --data DIR`.

DIR has what others publish, in folders named kueue, openb, muri, itp_elasticflow and philly; what is not there is said and left
out, and its row in the table is what was measured last. `--only NAME` runs one. Data of others is never copied here: only results.
"""

import argparse
import json
import statistics
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from api.cli.replay import measure
from benchmarks import engine
from benchmarks.machine import machine
from benchmarks.table import table
from benchmarks.workloads import folder_of, measure_row, rows
from scheduler.replay.generate import generate, parse_recipe
from scheduler.replay.openb import read_trace
from scheduler.replay.trace import Trace

RESULTS = Path(__file__).parent / "results"
RECIPE = "nodes=1500,jobs=8000,seed=1"


MODULES = (("openb", "openb"), ("muri", "muri"), ("itp", "itp_elasticflow"), ("philly", "philly"))
"""Benchmarks with a command of their own, and a folder of data each."""

MONEY = ("tagging", "posting", "verify", "export")
AGENTS = ("footprint",)
"""Benchmarks with a command of their own that need no data."""


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("traces"), help="folder of what others publish (traces)")
    parser.add_argument("--runs", type=int, choices=range(1, 101), default=3, metavar="1..100", help="how often each runs (3)")
    parser.add_argument("--only", metavar="NAME", help="run this one alone, such as kueue-baseline")
    asked = parser.parse_args()
    if asked.only in (None, "replay-generated"):
        bench("replay-generated", f"suanwang replay --generate {RECIPE} --json", asked.runs, lambda: generate(parse_recipe(RECIPE)))
    nodes, pods = (asked.data / "openb" / name for name in ("openb_node_list_all_node.csv", "openb_pod_list_default.csv"))
    if asked.only in (None, "replay-openb") and nodes.is_file():
        command = f"suanwang replay --nodes {nodes} --pods {pods} --json"
        bench("replay-openb", command, asked.runs, lambda: read_trace(nodes, pods))
    if asked.only in (None, "engine"):
        engine.main()
    for name in (*MONEY, *AGENTS):
        if asked.only in (None, name):
            subprocess.run([sys.executable, "-m", f"benchmarks.{name}"], check=True)
    for row in rows():
        if asked.only in (None, row["name"]):
            bench_row(row, asked.data / "kueue")
    for name, folder in MODULES:
        if asked.only in (None, name):  # a process of its own: what one leaves in memory is not another's
            command = [sys.executable, "-m", f"benchmarks.{name}", "--data", str(asked.data / folder)]
            subprocess.run(command, check=True) if (asked.data / folder).is_dir() else print(f"{name}: skipped; no {folder}")
    print("\n".join(table()))


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


def bench_row(row: dict[str, Any], kueue: Path) -> None:
    """Run, print and keep one row; say so where its files are not there."""
    name, folder = row["name"], folder_of(row, kueue)
    if not (folder / row["workload"]).is_file():
        print(f"{name}: skipped; no {folder / row['workload']}")
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
