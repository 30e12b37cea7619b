"""How full the network gets: `python -m benchmarks.openb --data DIR` runs every trace and seed of openb by the protocol of FGD.

DIR has the node and pod lists and `arrivals/` (see `scheduler.replay.arrivals`); the published figures to compare with are data in
`openb.yaml`. Trace data is never copied here: only results are, as `results/openb.json`. Where DIR is absent nothing is measured.
"""

import argparse
import json
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from api.cli.replay import measure
from benchmarks.machine import machine
from scheduler.replay.arrivals import HEADLINE_PERCENTS, read_trace
from scheduler.replay.report import Report

HERE = Path(__file__).parent
NODES = "openb_node_list_gpu_node.csv"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.openb", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of the openb trace with arrivals/")
    data: Path = parser.parse_args().data
    if not (data / NODES).exists():
        print(f"openb: skipped, as {data / NODES} is not there")
        return
    published = yaml.safe_load((HERE / "openb.yaml").read_text())
    rows = [_row(data, trace, published) for trace in published["traces"]]
    result = {
        "name": "openb",
        "command": f"suanwang replay --nodes {data / NODES} --pods {data / 'openb_pod_list_TRACE.csv'} "
        f"--arrivals {data / 'arrivals/TRACE.txt.gz'} --seed SEED --json",
        "measured_by": " ".join(["python -m benchmarks.openb", *sys.argv[1:]]),
        "machine": machine(),
        "rows": rows,
    }
    (HERE / "results" / "openb.json").write_text(json.dumps(result, indent=2) + "\n")


def _row(data: Path, trace: str, published: dict[str, Any]) -> dict[str, Any]:
    """One trace over all its seeds, printed as a line."""
    seeds, tuned_on = published["seeds"], published["tuned_on"]
    untuned = [seed for seed in seeds if seed not in tuned_on]
    files = (data / NODES, data / f"openb_pod_list_{trace}.csv", data / "arrivals" / f"{trace}.txt.gz")
    reports = {seed: measure(read_trace(*files, seed), in_order=True) for seed in seeds}
    walls = [report.wall_seconds for report in reports.values()]
    cards = reports[seeds[0]].cards_total
    row: dict[str, Any] = {"trace": trace, "allocated_percent": {}, "published": published["traces"][trace]}
    for percent in map(str, HEADLINE_PERCENTS):
        row["allocated_percent"][percent] = {
            "mean": statistics.fmean(_each(reports, percent, seeds)),
            "sd": statistics.stdev(_each(reports, percent, seeds)),
            "mean_of_seeds_not_tuned_on": statistics.fmean(_each(reports, percent, untuned)),
            "each": dict(zip(map(str, seeds), _each(reports, percent, seeds), strict=True)),
        }
    row["cards_left_at_130"] = cards * (1 - row["allocated_percent"]["130"]["mean"] / 100)
    row["seconds_a_seed"] = {"mean": statistics.fmean(walls), "max": max(walls)}
    ours, fgd = row["allocated_percent"], row["published"]["FGD"]
    print(
        f"{trace:>11}: "
        + "; ".join(f"at {at} {ours[at]['mean']:.2f} ± {ours[at]['sd']:.2f} (FGD {fgd[int(at)]:.2f})" for at in ours)
        + f"; {row['cards_left_at_130']:.0f} cards left; {row['seconds_a_seed']['mean']:.2f} s a seed",
        flush=True,
    )
    return row


def _each(reports: dict[int, Report], percent: str, seeds: Sequence[int]) -> list[float]:
    found = [(reports[seed].allocated_percent or {})[percent] for seed in seeds]
    if None in found:
        raise ValueError(f"some arrivals never reach {percent} %")
    return [figure for figure in found if figure is not None]


if __name__ == "__main__":
    main()
