"""What `suanwang ledger verify` costs: `python -m benchmarks.verify`, rows and bounds in `verify.yaml`, result in `results/`.

Records are those of `benchmarks.posting`, in an SQLite file. Measured is processor time of one process; ranges of the chain are
walked by as many as there are cores, which share nothing, so a machine does so many times as much. The bound is for all its cores.
"""

import json
import os
import statistics
import sys
from collections.abc import Callable
from pathlib import Path
from time import process_time
from typing import Any

import yaml

from benchmarks.machine import machine
from benchmarks.posting import JOBS, STORES, line, post, prepare
from scheduler.billing.journal import Head, verify_rows
from scheduler.service.audit import records, walk
from scheduler.store.database import Database

HERE = Path(__file__).parent
BATCH = 10_000


def main() -> None:
    rows: dict[str, dict[str, Any]] = yaml.safe_load((HERE / "verify.yaml").read_text("utf-8"))
    count = max(row["records"] for row in rows.values())
    with STORES["sqlite"]() as url:
        database = Database(url)
        jobs = prepare(database)
        for start in range(0, count, BATCH):
            post(database, jobs, [line(jobs[number % JOBS], number) for number in range(start, min(count, start + BATCH))])
        [sample] = next(records(database, 0, 1))
        chain = repeated(rows["chain"], lambda number: follow(database, number))
        audit = repeated(rows["audit"], lambda number: walk(url, Head(), number))
        database.close()
    cores = os.cpu_count() or 1
    result = {
        "name": "verify",
        "rows": rows,
        "bytes_a_record": len(sample[4]),
        "chain": spread(chain, cores),
        "audit": spread(audit, cores),
        "cores": cores,
        "command": " ".join(["python -m benchmarks.verify", *sys.argv[1:]]),
        "machine": machine(),
    }
    (HERE / "results" / "verify.json").write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))


def follow(database: Database, count: int) -> None:
    """Walk the chain. Raises RuntimeError if it breaks."""
    head = Head()
    for rows in records(database, 0, count):
        head, broken = verify_rows(head, rows)
        if broken is not None:
            raise RuntimeError(broken.what)
    if head.sequence != count:
        raise RuntimeError(f"{head.sequence} of {count} records")


def repeated(row: dict[str, Any], work: Callable[[int], object]) -> list[float]:
    """Records a second of processor time, run after run."""
    found = []
    for _ in range(row["runs"]):
        began = process_time()
        work(row["records"])
        found.append(row["records"] / (process_time() - began))
    return found


def spread(rates: list[float], cores: int) -> dict[str, float]:
    mean = statistics.fmean(rates)
    return {
        "records_per_second_of_a_core": mean,
        "stdev": statistics.stdev(rates),
        "best": max(rates),
        "records_per_second_of_all_cores": mean * cores,
    }


if __name__ == "__main__":
    main()
