"""Rows that are data: a workload of somebody's, the bounds it is held to, and what a peer published (`rows/*.yaml`).

A row names its files below `rows` or, with `of: kueue`, below the folder of Kueue's. Bounds come from the row (of the
ideal, or of wall time) and from the peer's own `rangespec.yaml` where there is one: wall time, usage of the queues of a class at
least, mean time to admission of a class at most.
"""

import statistics
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml

from api.cli.workload import measure_workload
from scheduler.replay.formats import read_workload
from scheduler.replay.workload_report import WorkloadReport

ROWS = Path(__file__).parent / "rows"


@dataclass(frozen=True, slots=True)
class Check:
    """One bound and what was found: wall time as the mean of the runs, the rest in the run that kept to it least."""

    what: str
    bound: float
    found: float
    kept: bool


def rows() -> Iterator[dict[str, Any]]:
    """Every row, by name."""
    for path in sorted(ROWS.glob("*.yaml")):
        yield yaml.safe_load(path.read_text())


def folder_of(row: dict[str, Any], kueue: Path) -> Path:
    """Where the files of a row are."""
    return kueue if row.get("of") == "kueue" else ROWS


def measure_row(row: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Run one row; what is kept of it, without the machine."""
    workload = read_workload(folder / row["workload"])
    reports = [measure_workload(workload, row["clock"], row["store"]) for _ in range(row["runs"])]
    walls = [report.wall_seconds for report in reports]
    mean, spread = statistics.fmean(walls), max(walls) - min(walls)
    ideal = reports[0].ideal_seconds
    rangespec = yaml.safe_load((folder / row["rangespec"]).read_text()) if "rangespec" in row else None
    path = folder / row["workload"]
    shown = path.relative_to(ROWS.parents[1]) if path.is_relative_to(ROWS) else path
    options = f"--clock {row['clock']} --store {row['store']} --json"
    return {
        "name": row["name"],
        "command": f"suanwang replay --workload {shown} {options}",
        "runs": row["runs"],
        "wall_seconds": {"mean": mean, "spread": spread, "each": walls},
        "of_ideal": mean / ideal if ideal else None,
        "peer": row["peer"],
        "checks": [asdict(check) for check in _checks(row["bounds"], rangespec, reports)],
        "report": reports[-1].as_json(),
    }


def _checks(bounds: dict[str, float], rangespec: dict[str, Any] | None, reports: list[WorkloadReport]) -> Iterator[Check]:
    wall = statistics.fmean(report.wall_seconds for report in reports)
    if "of_ideal" in bounds:
        ratio = wall / reports[0].ideal_seconds
        yield Check("wall time of ideal", bounds["of_ideal"], ratio, ratio <= bounds["of_ideal"])
    if "wall_seconds" in bounds:
        yield Check("wall seconds", bounds["wall_seconds"], wall, wall <= bounds["wall_seconds"])
    if rangespec is None:
        return
    most = rangespec["cmd"]["maxWallMs"] / 1000
    yield Check("peer's bound: wall seconds", most, wall, wall <= most)
    for name, percent in rangespec["clusterQueueClassesMinUsage"].items():
        usage = min(report.queues_usage_percent[name] for report in reports)
        yield Check(f"peer's bound: usage of {name} in percent", percent, usage, usage >= percent)
    for name, milliseconds in rangespec["wlClassesMaxAvgTimeToAdmissionMs"].items():
        wait = max(report.classes[name].wait_seconds.mean or 0.0 for report in reports)
        yield Check(f"peer's bound: mean seconds to admission of {name}", milliseconds / 1000, wait, wait <= milliseconds / 1000)
