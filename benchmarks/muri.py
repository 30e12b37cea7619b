"""Queueing on an overloaded cluster: `python -m benchmarks.muri --data DIR` runs Muri's traces by every policy of `muri.yaml`.

DIR has `trace1.csv` and `trace3.csv`. What peers publish and the bounds to keep are data in `muri.yaml`; their policies run beside
ours (`peers`). Trace data is never copied here: only results are, as `results/muri.json`. Where DIR is absent nothing is measured.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import yaml

from api.cli.service import measure_service
from benchmarks.machine import machine
from benchmarks.peers import RANKS, simulate
from scheduler.replay.muri import CARDS_PER_NODE, CLUSTER, NODES, read_muri
from scheduler.replay.policy import parse_policy
from scheduler.replay.report import Distribution, distribution
from scheduler.replay.service import WorkTrace
from scheduler.replay.trace import SECOND

HERE = Path(__file__).parent


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.muri", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder with trace1.csv and trace3.csv")
    parser.add_argument("--only", help="run this policy of muri.yaml alone, and keep nothing")
    asked = parser.parse_args()
    known = yaml.safe_load((HERE / "muri.yaml").read_text())
    if not all((asked.data / f"{name}.csv").exists() for name in known["traces"]):
        print(f"muri: skipped, as {asked.data} has not all of {', '.join(known['traces'])}")
        return
    rows = [_row(read_muri(asked.data / f"{name}.csv"), name, known, asked.only) for name in known["traces"]]
    if asked.only is not None:
        return
    result = {
        "name": "muri",
        "command": f"suanwang replay --muri {asked.data / 'TRACE.csv'} --policy POLICY --json",
        "measured_by": " ".join(["python -m benchmarks.muri", *sys.argv[1:]]),
        "machine": machine(),
        "unit": "thousands of seconds",
        "rows": rows,
    }
    (HERE / "results" / "muri.json").write_text(json.dumps(result, indent=2) + "\n")


def _row(trace: WorkTrace, name: str, known: dict[str, Any], only: str | None) -> dict[str, Any]:
    """One trace by every policy, printed as lines."""
    published, bounds = known["traces"][name]["published"], known["traces"][name]["bounds"]
    print(f"{name}: mean, p99, makespan in thousands of seconds")
    for peer, figures in published.items():
        _print(f"{peer}, published", figures, "")
    simulated: dict[str, Any] = {}
    for peer, rank in RANKS.items() if only is None else ():
        took, makespan = simulate(trace, NODES * CARDS_PER_NODE, rank)
        simulated[peer] = _figures(distribution(took), makespan / SECOND)
        _print(f"{peer}, simulated here", simulated[peer], "")
    ours: dict[str, Any] = {}
    for policy, recipe in known["policies"].items():
        if only not in (None, policy):
            continue
        found = measure_service({CLUSTER: trace}, parse_policy(recipe), {}).whole
        ours[policy] = {
            "policy": recipe,
            **_figures(found.completion_seconds, found.makespan_seconds),
            "utilisation": round(found.utilisation, 4),
            "preemptions": found.preemptions,
            "lost_card_seconds": found.lost_card_seconds,
            "wall_seconds": round(found.wall_seconds, 1),
            "within_bounds": {},
        }
        within = {figure: ours[policy][figure] <= bound for figure, bound in bounds.get(policy, {}).items()}
        ours[policy]["within_bounds"] = within
        _print(policy, ours[policy], "".join(f"; {figure} {'kept' if kept else 'NOT KEPT'}" for figure, kept in within.items()))
    return {"trace": name, "published": published, "simulated": simulated, "bounds": bounds, "ours": ours}


def _figures(completion_seconds: Distribution, makespan_seconds: float) -> dict[str, float]:
    found = {"mean": completion_seconds.mean, "p99": completion_seconds.p99, "makespan": makespan_seconds}
    return {name: round((seconds or 0) / 1000, 2) for name, seconds in found.items()}


def _print(what: str, figures: dict[str, Any], note: str) -> None:
    wall = f"; {figures['wall_seconds']} s" if "wall_seconds" in figures else ""
    print(f"  {what:>52}: {figures['mean']:8.1f} {figures['p99']:8.0f} {figures['makespan']:8.0f}{note}{wall}", flush=True)


if __name__ == "__main__":
    main()
