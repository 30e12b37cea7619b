"""How fast cost lines are tagged: `python -m benchmarks.tagging`, sizes and bound in `tagging.yaml`, results in `results/`.

One core, in memory: from amounts to what posting needs of every line (status, codes, base, uncapped, capped, and what was left of
each limit). Batches are beside `tag_line` one by one, and beside judging every line anew, which a batch of alike lines is spared.
"""

import json
import statistics
import sys
from collections.abc import Callable
from datetime import date
from pathlib import Path
from time import process_time
from typing import Any

import numpy as np
import yaml

from benchmarks.machine import machine
from scheduler.subsidy.batch import tag_batch
from scheduler.subsidy.facts import Case, parse_case
from scheduler.subsidy.programme import PolicyVersion, shipped_policies
from scheduler.subsidy.tagging import Allowance, judge, tag_line

HERE = Path(__file__).parent
SEED = 1
MOST_MICROS = 30_000_000
"""An hour of one card is some ten CNY."""


def main() -> None:
    row = yaml.safe_load(Path(__file__).with_suffix(".yaml").read_text("utf-8"))
    policy = next(each for each in shipped_policies() if (each.programme, each.version) == (row["programme"], row["version"]))
    case = one_line(row["programme"])
    rng = np.random.default_rng(SEED)
    lines = rng.integers(0, MOST_MICROS, row["lines"], dtype=np.int64)
    few = lines[: row["one_by_one"]].tolist()
    found = {
        "batches": rate(row["runs"], len(lines), lambda: in_batches(policy, case, lines, row["batch"])),
        "small_batches": rate(row["runs"], len(lines), lambda: in_batches(policy, case, lines, row["small_batch"])),
        "one_by_one": rate(row["runs"], len(few), lambda: one_by_one(policy, case, few, False)),
        "one_by_one_judged": rate(row["runs"], len(few), lambda: one_by_one(policy, case, few, True)),
    }
    command = " ".join(["python -m benchmarks.tagging", *sys.argv[1:]])
    result = {"name": "tagging", **row, "lines_per_second": found, "command": command, "machine": machine()}
    (HERE / "results" / "tagging.json").write_text(json.dumps(result, indent=2) + "\n")
    for name, each in found.items():
        print(
            f"tagging, {name.replace('_', ' ')}: {each['median']:,.0f} lines/s a core, least of {row['runs']}: {each['min']:,.0f}"
        )
    print(f"  bound {row['bound_lines_per_second']:,} kept: {found['batches']['min'] >= row['bound_lines_per_second']}")


def rate(runs: int, lines: int, work: Callable[[], object]) -> dict[str, float]:
    """Lines per second of processor time."""
    rates = []
    for _ in range(runs):
        start = process_time()
        work()
        rates.append(lines / (process_time() - start))
    return {"median": statistics.median(rates), "min": min(rates), "max": max(rates)}


def in_batches(policy: PolicyVersion, case: Case, lines: np.ndarray[Any, np.dtype[np.int64]], size: int) -> Allowance:
    """Tag all lines in batches, each judged once; the limits run from one to the next."""
    left = Allowance.opening(policy, case)
    for start in range(0, len(lines), size):
        left = tag_batch(judge(policy, case, case.lines[0], case.on), lines[start : start + size], left).left
    return left


def one_by_one(policy: PolicyVersion, case: Case, lines: list[int], judged: bool) -> Allowance:
    """Tag lines one after the other, each judged anew where asked."""
    left, ruling = Allowance.opening(policy, case), judge(policy, case, case.lines[0], case.on)
    for amount in lines:
        if judged:
            ruling = judge(policy, case, case.lines[0], case.on)
        _, left = tag_line(ruling, amount, left)
    return left


def one_line(programme: str) -> Case:
    """A claim of which every rule holds."""
    registered = {"programme": programme, "service_item": "gpu-rental", "listed_on": "2024-12-20"}
    return parse_case(
        {
            "programme": programme,
            "on": date(2025, 6, 30),
            "applicant": {"type": "enterprise", "city": "shenzhen", "startup": False, "registered_provider": False},
            "provider": {"city": "shenzhen", "affiliated": False, "registrations": [registered]},
            "contract": {
                "signed_on": "2025-01-05",
                "start": "2025-02-01",
                "end": "2025-12-31",
                "amount": "100000000.00",
                "service_item": "gpu-rental",
            },
            "used": {"applicant_year": "0.00", "pool_year": "0.00"},
            "lines": [
                {
                    "item": "accelerator",
                    "activity": "pretrain",
                    "start": "2025-03-01T00:00:00+08:00",
                    "end": "2025-03-01T01:00:00+08:00",
                    "amount": "10.00",
                }
            ],
        }
    )


if __name__ == "__main__":
    main()
