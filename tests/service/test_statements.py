"""Months read from a store, on both systems of record: each record once, in its month, and no more than is needed."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import insert

from scheduler.billing.journal import Head, Row, append
from scheduler.billing.months import Month, MonthOfAccount
from scheduler.contract.statement import Detail
from scheduler.service import months
from scheduler.service.months import month_range, month_records, stored, stored_head
from scheduler.service.statements import Asked, records_to_read, statement
from scheduler.store.database import CITY, Database, Scope
from scheduler.store.tables import CostRecordRow, JournalHeadRow
from tests.billing.postings import body, chained
from tests.builders import add_job

NOVEMBER = Month(2026, 11)
HOUR = timedelta(hours=1)
COLUMNS = ("sequence", "tenant_id", "job_id", "contract_id", "payload", "hash")


def keep(database: Database, rows: list[Row]) -> None:
    """Rows in the store as posting would have left them."""
    with database.write(CITY) as session:
        session.execute(insert(CostRecordRow), [dict(zip(COLUMNS, row, strict=True)) for row in rows])
        session.add(JournalHeadRow(feed="cost-records", sequence=rows[-1].sequence, hash=rows[-1].hash))


def keep_on(database: Database, posted: dict[str, Any]) -> None:
    """One more record at the end of a stored journal."""
    with database.write(CITY) as session:
        head = session.get_one(JournalHeadRow, "cost-records")
        after, row = append(Head(head.sequence, head.hash), {"id": "cost-late", **posted})
        session.execute(insert(CostRecordRow), [dict(zip(COLUMNS, row, strict=True))])
        head.sequence, head.hash = after.sequence, after.hash


def quarter(database: Database, days: int = 92, **changes: Any) -> list[dict[str, Any]]:
    """A record every eight hours from 2026-10-01 on, by turns of acme and uni, each of a job of theirs."""
    with database.write(CITY) as session:
        jobs = {tenant: add_job(session, tenant).id for tenant in ("acme", "uni")}
    begin, bodies = datetime(2026, 10, 1, tzinfo=UTC), []
    for number in range(days * 3):
        tenant = ("acme", "uni")[number % 2]
        start = begin + number * timedelta(hours=8)
        whose = {"tenant": tenant, "job": jobs[tenant], "contract": "C-1" if tenant == "acme" else None}
        bodies.append(body(start, start + HOUR, **whose, **changes))
    rows, records = chained(bodies)
    keep(database, rows)
    return records


def test_a_month_is_found_without_reading_the_rest(city: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(months, "PIECE", 7)
    records = quarter(city)
    read, reads = stored(city), []

    def counting(after: int, last: int, limit: int) -> list[dict[str, Any]]:
        reads.append(limit)
        return read(after, last, limit)

    within = month_range(NOVEMBER, stored_head(city).sequence, counting)
    pieces = list(month_records(NOVEMBER, within, counting))
    expected = [record for record in records if MonthOfAccount(NOVEMBER).has(record)]
    assert [record for piece in pieces for record in piece] == expected
    assert max(reads) == 7
    assert within.records < len(expected) + 20
    assert reads.count(1) < 20  # two bisections of 276


def test_a_tenants_month_is_read_from_its_own_records(city: Database) -> None:
    records = quarter(city)
    within = month_range(NOVEMBER, stored_head(city).sequence, stored(city))
    own = [r for piece in month_records(NOVEMBER, within, stored(city, Scope(tenant="uni"))) for r in piece]
    assert own == [record for record in records if record["tenant"] == "uni" and MonthOfAccount(NOVEMBER).has(record)]
    assert records_to_read(city, Asked(NOVEMBER, "uni")) < within.records // 2 + 2


def test_an_empty_journal_has_empty_statements(city: Database) -> None:
    made = statement(city, Asked(NOVEMBER), NOVEMBER.start)
    assert (made.accounts, made.totals.contracted_amount, made.journal.records, made.journal.read_until) == ([], "0.000000", 0, 0)


def test_a_statement_names_the_parties_and_the_jobs_as_they_are_registered(city: Database) -> None:
    quarter(city)
    made = statement(city, Asked(NOVEMBER, "acme", "p-sz"), NOVEMBER.start)
    assert made.tenant and made.provider and (made.tenant.id, made.provider.id) == ("acme", "p-sz")
    (account,) = made.accounts
    assert {line.job_name for line in account.lines} == {"train"}
    assert account.contract and account.contract.id == "C-1"
    assert made.vouchers[0].name_en == "Shenzhen training voucher"
    assert statement(city, Asked(NOVEMBER, "acme", "p-hz"), NOVEMBER.start).accounts == []
    assert len(statement(city, Asked(NOVEMBER), NOVEMBER.start).accounts) == 2


def test_a_closed_statement_is_the_same_whatever_is_posted_after(city: Database) -> None:
    records = quarter(city, 40)  # until November 9
    october = Asked(Month(2026, 10), detail=Detail.MODEL)
    now = datetime(2026, 11, 10, tzinfo=UTC)
    before = statement(city, october, now)
    assert before.state == "closed"
    keep_on(city, body(datetime(2026, 10, 5, tzinfo=UTC), now, job=records[0]["job"]))
    assert statement(city, october, now + timedelta(days=400)) == before
    november = statement(city, Asked(NOVEMBER), now)
    assert november.state == "open"
    assert november.totals.adjustment_amount == "80.000056"
    assert [line.adjusts for account in november.accounts for line in account.lines if line.adjusts] == ["2026-10"]
