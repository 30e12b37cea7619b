"""A month of a city as FOCUS files: `python -m benchmarks.export` posts generated records and exports them, as `export.yaml` says.

Each size is a SQLite journal of its own, chained as the city chains it, and each export the command in a process of its own: what
it took at most of memory is what the system says of that process. Memory that does not grow from one size to the next does not grow
to the size of a month either; its time is extrapolated from the rate of the largest, and said to be.
"""

import argparse
import json
import os
import random
import sqlite3
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import yaml

from benchmarks.machine import machine
from scheduler.billing.journal import Head, Row, append
from scheduler.domain.clock import rfc3339
from scheduler.domain.money import charge_up_to, format_cny
from scheduler.service.journal import FEED
from scheduler.store.database import Database
from scheduler.store.migrate import migrate

HERE = Path(__file__).parent
BATCH = 20_000
MONTH = datetime(2026, 11, 1, tzinfo=UTC)
MODELS = (("910B3", "huawei", "domestic"), ("MXC500", "metax", "domestic"), ("H800", "nvidia", "foreign"))
PROGRAMMES = ("hangzhou-compute", "shanghai-compute", "shenzhen-training")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.export", description=__doc__)
    parser.add_argument(
        "--folder", type=Path, help="where the journals are made, some 2.5 GB a million records (a temporary folder)"
    )
    asked = parser.parse_args()
    known = yaml.safe_load((HERE / "export.yaml").read_text("utf-8"))
    rows = []
    for records in known["records"]:
        with tempfile.TemporaryDirectory(dir=asked.folder) as folder:
            database = Path(folder) / "city.db"
            post(database, records, known)
            rows += [exported(database, records, form) for form in known["formats"]]
    result = {
        "name": "export",
        "command": "suanwang export focus --from 2026-11 --to 2026-12 --format FORMAT --database URL --out FILE",
        "measured_by": " ".join(["python -m benchmarks.export", *sys.argv[1:]]),
        "machine": machine(),
        "rows": rows,
        "extrapolated": extrapolated(rows, known["month"]),
    }
    (HERE / "results" / "export.json").write_text(json.dumps(result, indent=2) + "\n")
    print(f"a month, extrapolated: {result['extrapolated']}")


def extrapolated(rows: list[dict[str, Any]], month: int) -> dict[str, Any]:
    """A whole month as Parquet at the rate of the largest size, in time of the processor: others may have used the machine too."""
    largest = next(row for row in reversed(rows) if row["format"] == "parquet")
    rate = largest["records"] / largest["cpu_seconds"]
    return {"records": month, "records_per_cpu_second": round(rate), "cpu_hours": round(month / rate / 3600, 2)}


def post(path: Path, records: int, known: dict[str, Any]) -> None:
    """A journal of the month with so many records, spread over it evenly."""
    database = Database(f"sqlite:///{path}")
    migrate(database)
    database.close()
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA synchronous=OFF")
        head = Head()
        for batch in batches(records, known):
            connection.executemany("INSERT INTO cost_records VALUES (?, ?, ?, ?, ?, ?)", batch)
            head = Head(batch[-1].sequence, batch[-1].hash)
        connection.execute("INSERT INTO journal_heads (feed, sequence, hash) VALUES (?, ?, ?)", (FEED, head.sequence, head.hash))


def batches(records: int, known: dict[str, Any]) -> Iterator[list[Row]]:
    draw = random.Random(known["seed"])
    head, batch = Head(), []
    every = timedelta(days=29) / records
    for number in range(records):
        head, row = append(head, {"id": f"cost-{number + 1:012d}-bench", **body(draw, MONTH + number * every, known)})
        batch.append(row)
        if len(batch) == BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


def body(draw: random.Random, end: datetime, known: dict[str, Any]) -> dict[str, Any]:
    """An hour of a whole node, with an answer of three programmes."""
    tenant, job = draw.randrange(known["tenants"]), draw.randrange(known["jobs"])
    model, vendor, hardware_class = draw.choice(MODELS)
    cluster, price = draw.randrange(known["clusters"]), draw.randrange(5_000_000, 40_000_000)
    units = 8 * draw.randrange(1, 3601)
    paid = format_cny(charge_up_to(units * price))
    start = end - timedelta(hours=1)
    return {
        "kind": "usage",
        "tenant": f"tenant-{tenant}",
        "provider": f"provider-{cluster}",
        "contract": f"C-{tenant}-{cluster}",
        "job": f"job-{job:08d}",
        "attempt": f"att-{job:08d}-1",
        "attempt_number": 1,
        "cluster": f"cluster-{cluster}",
        "recorded": False,
        "nodes": [f"node-{draw.randrange(1500):04d}"],
        "devices": [f"GPU-{draw.getrandbits(64):016x}" for _ in range(8)],
        "hardware_class": hardware_class,
        "vendor": vendor,
        "model": model,
        "catalogue_version": "2026.1",
        "item": "accelerator",
        "activity": "pretrain",
        "period_start": rfc3339(start),
        "period_end": rfc3339(end),
        "unit_seconds": units,
        "card_seconds": units,
        "list_price": format_cny(price * 6 // 5),
        "contracted_price": format_cny(price),
        "price_version": f"price-{cluster:06d}",
        "price_tier": "contracted",
        "price_reasons": [],
        "list_amount": format_cny(charge_up_to(units * (price * 6 // 5))),
        "contracted_amount": paid,
        "preempted_seconds": 0,
        "retried_seconds": 0,
        "gap_seconds": 0,
        "reason": None,
        "reverses": None,
        "replaces": None,
        "voucher_application": None,
        "voucher_programme": PROGRAMMES[-1],
        "voucher_estimate": paid,
        "context": f"{tenant:064x}",
        "eligibility": [tag(programme, paid) for programme in PROGRAMMES],
        "posted_at": rfc3339(end),
    }


def tag(programme: str, paid: str) -> dict[str, Any]:
    selected = programme == PROGRAMMES[-1]
    return {
        "programme": programme,
        "version": "2024",
        "status": "eligible" if selected else "ineligible",
        "reason_codes": ["rate_base"] if selected else ["applicant_city_not_covered", "provider_not_registered"],
        "missing": [],
        "base": paid,
        "rate": "1.00",
        "uncapped": paid,
        "capped": paid,
        "contract_remaining_before": "1000000.000000",
        "cap_remaining_before": "10000000.000000",
        "pool_remaining_before": "500000000.000000",
        "selected": selected,
    }


def exported(database: Path, records: int, form: str) -> dict[str, Any]:
    """One export by the command, in a process of its own."""
    out = database.with_name(f"focus.{form}")
    arguments = ("--from", "2026-11", "--to", "2026-12", "--format", form, "--database", f"sqlite:///{database}", "--out", str(out))
    began = time.monotonic()
    process = os.posix_spawn(sys.executable, [sys.executable, "-m", "api.cli.main", "export", "focus", *arguments], os.environ)
    _, status, usage = os.wait4(process, 0)
    wall = time.monotonic() - began
    if status != 0:
        raise SystemExit(f"the export of {records:,} records failed")
    row = {
        "records": records,
        "format": form,
        "wall_seconds": round(wall, 1),
        "cpu_seconds": round(usage.ru_utime + usage.ru_stime, 1),
        "records_per_second": round(records / wall),
        "peak_rss_bytes": usage.ru_maxrss * 1024,
        "journal_bytes": database.stat().st_size,
        "file_bytes": out.stat().st_size,
    }
    print(
        f"{form} {records:>10,} records: {row['wall_seconds']} s ({row['cpu_seconds']} s of CPU), {row['records_per_second']:,}/s, "
        f"peak {row['peak_rss_bytes'] / 2**20:.0f} MiB, {row['file_bytes'] / 2**20:.0f} MiB",
        flush=True,
    )
    out.unlink()
    return row


if __name__ == "__main__":
    main()
