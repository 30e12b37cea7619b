"""Statements: the sums of exactly the records they name, to the micro-CNY, and all statements together the sum of the journal."""

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from hashlib import sha256
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.billing import statement as statement_module
from scheduler.billing.months import Month, MonthOfAccount, months_between
from scheduler.billing.statement import Register, StatementBooks, TooManyLinesError
from scheduler.contract.registry import Contract
from scheduler.contract.statement import AccountStatement, Detail, LineKind, Party
from tests import builders
from tests.billing.postings import PROVIDERS, TENANTS, body, bought, chained, journals, tag, taken_back

MONTHS = list(months_between(Month(2026, 10), Month(2027, 8)))
NOVEMBER = Month(2026, 11)
REGISTER = Register(
    tenants={id_: Party(id=id_, name=id_, uscc=builders.USCCS[0]) for id_ in TENANTS},
    providers={id_: Party(id=id_, name=id_, uscc=builders.USCCS[1]) for id_ in PROVIDERS},
    contracts={"C-1": builders.contract()},
    jobs={"j-1": "pretrain-7b"},
    programmes={("shenzhen-training", "2024"): ("深圳市训力券", "Shenzhen training voucher")},
)
AMOUNTS = ("list_amount", "contracted_amount", "voucher_estimate")


def books(month: Month, records: Sequence[Mapping[str, Any]], detail: Detail = Detail.JOB) -> StatementBooks:
    account = MonthOfAccount(month)
    made = StatementBooks(month, detail)
    for record in records:
        if account.has(record):
            made.add(record)
    return made


def total(rows: Sequence[Any], name: str) -> Decimal:
    return sum((Decimal(row[name] if isinstance(row, dict) else getattr(row, name)) for row in rows), Decimal(0))


@given(journals(), st.sampled_from(Detail))
def test_a_statement_is_the_sum_of_its_records_and_all_of_them_are_the_journal(
    records: list[dict[str, Any]], detail: Detail
) -> None:
    counted = 0
    for month in MONTHS:
        mine = [record for record in records if MonthOfAccount(month).has(record)]
        made = books(month, records, detail)
        accounts = made.accounts(REGISTER)
        lines = [line for account in accounts for line in account.lines]
        for name in AMOUNTS:
            exact = total(mine, name)
            assert total(lines, name) == total([account.totals for account in accounts], name) == exact
            assert Decimal(getattr(made.totals(), name)) == exact
        estimates = total(made.vouchers(REGISTER), "estimate")
        assert estimates == total(mine, "voucher_estimate") == total([v for a in accounts for v in a.vouchers], "estimate")
        adjusting = [record for record in mine if MonthOfAccount(month).adjusts(record)]
        assert Decimal(made.totals().adjustment_amount) == total(adjusting, "contracted_amount")
        charged = sum(record["card_seconds"] for record in mine if record["kind"] != "unbilled")
        assert made.totals().card_seconds == charged
        assert sum(line.card_seconds for line in lines) == charged + made.totals().unbilled_card_seconds
        extent = made.extent(len(records), "0" * 64)
        assert (extent.first_sequence, extent.last_sequence) == (
            (mine[0]["sequence"], mine[-1]["sequence"]) if mine else (None, None)
        )
        assert extent.records_sha256 == sha256("".join(record["hash"] for record in mine).encode()).hexdigest()
        counted += extent.records
    assert counted == len(records)


def small_city() -> list[AccountStatement]:
    """November of two tenants: two days of a job, an hour put right, a corpus, a late line for October, one to be reviewed."""
    first = datetime(2026, 11, 2, 14, 0, tzinfo=UTC)
    late = datetime(2026, 10, 20, tzinfo=UTC)
    review = [tag("80.000056", status="needs_review", reason_codes=["facts_missing"])]
    bodies = [
        body(first, first + timedelta(hours=1)),
        body(first + timedelta(hours=1), first + timedelta(hours=2)),
        body(first + timedelta(hours=2), first + timedelta(hours=3)),
        bought(first, first, 1_500_000_000),
        body(late, datetime(2026, 11, 5, tzinfo=UTC)),
        body(first, first, tenant="uni", contract=None, job="j-2", eligibility=review),
    ]
    lost = chained(bodies)[1][1]
    replaced = body(first + timedelta(hours=1), first, unit_seconds=4 * 3600, replaces=lost["id"])
    free = body(first + timedelta(hours=1), first, unit_seconds=4 * 3600, kind="unbilled", replaces=lost["id"])
    records = chained([*bodies, taken_back(lost, first + timedelta(days=1)), replaced, free])[1]
    return books(NOVEMBER, records).accounts(REGISTER)


def test_the_statement_of_a_small_city() -> None:
    acme, uni = small_city()
    rows = [
        (line.adjusts, line.day, line.kind, line.job, line.card_seconds, line.contracted_amount, line.voucher_estimate)
        for line in acme.lines
    ]
    second, third = date(2026, 11, 2), date(2026, 11, 3)
    assert rows == [
        (None, second, LineKind.PURCHASE, None, 0, "1500.000000", "0.000000"),
        (None, second, LineKind.REPLACEMENT, "j-1", 14400, "40.000028", "20.000014"),
        (None, second, LineKind.REVERSAL, "j-1", -28800, "-80.000056", "-40.000028"),
        (None, second, LineKind.UNBILLED, "j-1", 14400, "0.000000", "0.000000"),
        (None, second, LineKind.USAGE, "j-1", 57600, "160.000112", "80.000056"),
        (None, third, LineKind.USAGE, "j-1", 28800, "80.000056", "40.000028"),
        ("2026-10", date(2026, 10, 20), LineKind.USAGE, "j-1", 28800, "80.000056", "40.000028"),
    ]
    assert (acme.contract and acme.contract.id, acme.lines[1].job_name) == ("C-1", "pretrain-7b")
    assert acme.totals.contracted_amount == "1780.000196"
    assert acme.totals.adjustment_amount == "80.000056"
    assert acme.totals.list_amount == "1836.000000"
    assert (acme.totals.card_seconds, acme.totals.unbilled_card_seconds) == (100_800, 14_400)
    assert [(v.programme, v.status, v.estimate, v.settled) for v in acme.vouchers] == [
        ("shenzhen-training", "eligible", "140.000098", None)
    ]
    assert uni.contract is None
    assert [(v.status, v.estimate, v.name_zh) for v in uni.vouchers] == [("needs_review", "40.000028", "深圳市训力券")]


def test_by_model_the_jobs_of_a_day_are_one_line() -> None:
    start = datetime(2026, 11, 2, 2, 0, tzinfo=UTC)
    records = chained([body(start, start, job=f"j-{number}") for number in range(5)])[1]
    (account,) = books(NOVEMBER, records, Detail.MODEL).accounts(REGISTER)
    assert [(line.job, line.model, line.records, line.contracted_amount) for line in account.lines] == [
        (None, "910B3", 5, "400.000280")
    ]


def test_what_the_ledger_settled_is_shown_beside_the_estimate_and_lowers_nothing() -> None:
    start = datetime(2026, 11, 2, 2, 0, tzinfo=UTC)
    made = StatementBooks(NOVEMBER, Detail.JOB)
    for record, settled in zip(chained([body(start, start)] * 3)[1], (39_000_000, None, 0), strict=True):
        made.add(record, {} if settled is None else {"shenzhen-training": settled})
    (voucher,) = made.vouchers(REGISTER)
    assert (voucher.estimate, voucher.settled) == ("120.000084", "39.000000")
    assert made.totals().voucher_settled == "39.000000"
    assert made.totals().contracted_amount == "240.000168"


def test_a_statement_has_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(statement_module, "MAX_LINES", 2)
    start = datetime(2026, 11, 2, 2, 0, tzinfo=UTC)
    records = chained([body(start, start, job=f"j-{number}") for number in range(3)])[1]
    books(NOVEMBER, records[:2])
    with pytest.raises(TooManyLinesError):
        books(NOVEMBER, records)
    books(NOVEMBER, records, Detail.MODEL)


def test_a_contract_that_is_named_is_shown_with_its_terms() -> None:
    (acme, _) = small_city()
    assert isinstance(acme.contract, Contract)
    assert acme.contract.amount == "10000000.000000"
