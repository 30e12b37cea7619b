"""Deadlines met on Microsoft's ITP clusters: `python -m benchmarks.itp --data DIR`.

Every cluster is replayed with elastic widths under each of the charges in `itp.yaml` and with rigid widths (every job only as wide
as it was submitted, planned by the soonest deadline), and all four together as separate clusters and as one network, on all of
their cards and on parts of them. DIR has `clusterNN.csv` and `throughputs_A100/`. Trace data is never copied here: only results
are, as `results/itp.json`. Where DIR is absent nothing is measured.
"""

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

import yaml

from api.cli.elastic import measure
from benchmarks.machine import machine
from scheduler.engine.plan import Restart
from scheduler.replay.elastic import Charges
from scheduler.replay.itp import Cluster, Curves, read_cluster, read_curves
from scheduler.replay.trace import SECOND

HERE = Path(__file__).parent
CURVES = "throughputs_A100"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.itp", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of clusterNN.csv and throughputs_A100/")
    data: Path = parser.parse_args().data
    if not (data / CURVES).is_dir():
        print(f"itp: skipped, as {data / CURVES} is not there")
        return
    known = yaml.safe_load((HERE / "itp.yaml").read_text())
    start, worked, curves = time.perf_counter(), time.process_time(), read_curves(data / CURVES)
    result = {
        "name": "itp",
        "command": f"suanwang replay --itp {data / 'clusterNN.csv'}:NODES --throughputs {data / CURVES} [--pool] [--rigid] --json",
        "measured_by": " ".join(["python -m benchmarks.itp", *sys.argv[1:]]),
        "machine": machine(),
        "published": known["published"],
        "run": known["run"],
        "clusters": {name: _cluster(data, name, known, curves) for name in known["clusters"]},
        "networks": [_network(data, known, curves, divisor) for divisor in known["fractions"]],
    }
    result["seconds"], result["cpu_seconds"] = time.perf_counter() - start, time.process_time() - worked
    print(f"in all {result['seconds']:.0f} s, {result['cpu_seconds']:.0f} s of one core")
    (HERE / "results" / "itp.json").write_text(json.dumps(result, indent=2) + "\n")


def _cluster(data: Path, name: str, known: dict[str, Any], curves: Curves) -> dict[str, Any]:
    """One cluster, printed as a line: elastic under every charge, and rigid under the default one."""
    row: dict[str, Any] = {
        charge: measure([_read(data, name, known, curves)], False, _charges(each)).as_json()
        for charge, each in known["charges"].items()
    }
    row["rigid"] = measure([_read(data, name, known, curves, rigid=True)], False, _charges(known["charges"]["default"])).as_json()
    bound = known["clusters"][name].get("bound")
    shares = {way: found["deadlines_met_share"] for way, found in row.items()}
    row["bound"] = bound
    row["kept"] = bound is None or shares["as_elasticflow"] > bound
    told = "no figure of theirs" if bound is None else f"ElasticFlow {bound:.3f}: {'ahead' if row['kept'] else 'BEHIND'}"
    print(f"cluster {name}: " + ", ".join(f"{way} {share:.3f}" for way, share in shares.items()) + f"; {told}", flush=True)
    return row


def _network(data: Path, known: dict[str, Any], curves: Curves, divisor: int) -> dict[str, Any]:
    """All clusters on a part of their cards, each for itself and as one network, printed as a line."""
    clusters = [_read(data, name, known, curves, divisor) for name in known["clusters"]]
    charges = _charges(known["charges"]["default"])
    row = {way: measure(clusters, way == "pool", charges).as_json() for way in ("separate", "pool")}
    told = (
        f"{way} {found['deadlines_met_share']:.4f} of deadlines, wait {found['wait_seconds']['mean']:.0f} s mean, "
        f"{found['wait_seconds']['p99']:.0f} s p99"
        for way, found in row.items()
    )
    print(f"all on {row['pool']['cards_total']} cards: " + "; ".join(told), flush=True)
    return {"cards": row["pool"]["cards_total"], **row}


def _read(data: Path, name: str, known: dict[str, Any], curves: Curves, divisor: int = 1, rigid: bool = False) -> Cluster:
    cluster = known["clusters"][name]
    return read_cluster(data / cluster["file"], cluster["nodes"] // divisor, curves, rigid)


def _charges(known: dict[str, int]) -> Charges:
    restart = Restart(known["restart"] * SECOND, known.get("per_doubling", 0) * SECOND)
    return Charges(restart, known.get("every_round", 0) * SECOND, known.get("spacing", 0) * SECOND)


if __name__ == "__main__":
    main()
