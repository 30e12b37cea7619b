"""FOCUS 1.2: the rows hold to the specification's mandatory columns, nullability and values, and to the record they are of."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from hypothesis import given

from scheduler.billing.focus import COLUMNS, Kind, Names, focus_rows
from scheduler.billing.months import Month, MonthOfAccount
from tests.billing.postings import BEGIN, body, bought, chained, journals, tag, taken_back

NAMES = Names(
    tenants={"acme": "Acme 公司"}, providers={"p-sz": "Shenzhen Computing"}, cities={"sz": "shenzhen", "p-hz": "hangzhou"}
)
NOVEMBER = MonthOfAccount(Month(2026, 11))

MANDATORY = {
    *("BilledCost", "BillingAccountId", "BillingAccountName", "BillingCurrency", "BillingPeriodEnd", "BillingPeriodStart"),
    *("ChargeCategory", "ChargeClass", "ChargeDescription", "ChargePeriodEnd", "ChargePeriodStart", "ContractedCost"),
    *("EffectiveCost", "InvoiceIssuerName", "ListCost", "PricingQuantity", "PricingUnit", "ProviderName", "PublisherName"),
    *("ServiceCategory", "ServiceName"),
}
"""FOCUS 1.2, "feature level: mandatory", of its 57 columns."""

NEVER_NULL = MANDATORY - {"BillingAccountName", "ChargeClass", "ChargeDescription", "PricingQuantity", "PricingUnit"} | {
    *("BillingAccountType", "ChargeFrequency", "ServiceSubcategory")
}
"""Columns of which the specification says "allows nulls: false"."""

VALUES: dict[str, set[str | None]] = {
    "ChargeCategory": {"Usage", "Purchase", "Tax", "Credit", "Adjustment"},
    "ChargeClass": {None, "Correction"},
    "ChargeFrequency": {"One-Time", "Recurring", "Usage-Based"},
    "PricingCategory": {"Standard", "Dynamic", "Committed", "Other", None},
    "BillingCurrency": {"CNY"},
    "ServiceCategory": {
        *("AI and Machine Learning", "Analytics", "Business Applications", "Compute", "Databases", "Developer Tools", "Multicloud"),
        *("Identity", "Integration", "Internet of Things", "Management and Governance", "Media", "Migration", "Mobile"),
        *("Networking", "Security", "Storage", "Web", "Other"),
    },
}
UNIT = re.compile(r"[A-Z][A-Za-z]*(-(Years|Months|Days|Hours|Minutes|Seconds))?")
NUMBER = re.compile(r"-?\d+(\.\d+)?")
MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")


def rows_of(*bodies: Mapping[str, Any]) -> list[dict[str, str | None]]:
    to_row = focus_rows(NOVEMBER, NAMES)
    names = [column.name for column in COLUMNS]
    return [dict(zip(names, to_row(record), strict=True)) for record in chained(bodies)[1]]


def check(row: Mapping[str, str | None]) -> None:
    """What the specification demands of any row (v1.2, columns; sections on nullability and content constraints)."""
    for column in COLUMNS:
        value = row[column.name]
        assert value != "", column.name
        assert value is not None or column.nullable, column.name
        if value is not None:
            pattern = {Kind.AMOUNT: NUMBER, Kind.QUANTITY: NUMBER, Kind.INTEGER: NUMBER, Kind.MOMENT: MOMENT}.get(column.kind)
            assert pattern is None or pattern.fullmatch(value), (column.name, value)
    for name, allowed in VALUES.items():
        assert row[name] in allowed, (name, row[name])
    quantity, usage = row["PricingQuantity"], row["ChargeCategory"] == "Usage"
    correction = row["ChargeClass"] == "Correction"
    for name in ("PricingQuantity", "PricingCategory", "SkuId", "SkuPriceId", "ListUnitPrice", "ContractedUnitPrice"):
        assert row[name] is not None or correction, name
    assert (row["PricingUnit"] is None) == (quantity is None)
    assert (row["ConsumedQuantity"] is None) == (row["ConsumedUnit"] is None) == (not usage)
    assert usage or row["ChargeFrequency"] != "Usage-Based"
    assert all(UNIT.fullmatch(str(row[name])) for name in ("PricingUnit", "ConsumedUnit") if row[name] is not None)
    for cost, price in (("ListCost", "ListUnitPrice"), ("ContractedCost", "ContractedUnitPrice")):
        assert Decimal(str(row[price])) >= 0
        product = Decimal(str(quantity)) * Decimal(str(row[price]))
        assert abs(product - Decimal(str(row[cost]))) < Decimal("0.000002"), (cost, product, row[cost])
    assert (row["ResourceType"] is None) == (row["ResourceId"] is None)
    assert (row["SubAccountType"] is None) == (row["SubAccountId"] is None)
    assert str(row["ChargePeriodStart"]) <= str(row["ChargePeriodEnd"])


@given(journals())
def test_every_row_of_any_journal_holds_to_the_specification(records: list[dict[str, Any]]) -> None:
    to_row = focus_rows(NOVEMBER, NAMES)
    names = [column.name for column in COLUMNS]
    for record in records:
        row = dict(zip(names, to_row(record), strict=True))
        check(row)
        assert (row["BilledCost"], row["ContractedCost"], row["EffectiveCost"]) == (record["contracted_amount"],) * 3
        assert row["ListCost"] == record["list_amount"]


def test_the_columns_are_those_of_the_specification_and_ours_after_them() -> None:
    names = [column.name for column in COLUMNS]
    ours = [name for name in names if name.startswith("x_")]
    focus = names[: -len(ours)]
    assert names == focus + ours
    assert focus == sorted(focus)
    assert set(focus) >= MANDATORY
    assert {column.name for column in COLUMNS if not column.nullable} >= NEVER_NULL
    assert len(set(names)) == len(names)


def test_a_voucher_changes_no_cost_column() -> None:
    start = BEGIN + timedelta(days=3)
    without, with_ = rows_of(body(start, start, eligibility=[]), body(start, start))
    differing = {name for name in with_ if with_[name] != without[name]}
    ours = {"x_RecordId", "x_Sequence", "x_RecordHash"}
    voucher = {"x_VoucherProgramme", "x_VoucherPolicyVersion", "x_VoucherStatus", "x_EligibleBase", "x_SubsidyRate"}
    assert differing == ours | voucher | {"x_SubsidyEstimate", "x_ReasonCodes"}
    assert with_["x_SubsidyEstimate"] == "40.000028"
    assert with_["x_ReasonCodes"] == "shenzhen-training/2024=eligible:rate_base"


def test_a_price_below_the_published_one_is_contracted_below_list() -> None:
    start = BEGIN + timedelta(days=3)
    (row,) = rows_of(body(start, start, price_tier="sme", price_reasons=["price_sme"]))
    assert (row["ListCost"], row["ContractedCost"]) == ("96.000000", "80.000056")
    assert (row["ListUnitPrice"], row["ContractedUnitPrice"]) == ("12.000000", "10.000007")
    assert (row["PricingQuantity"], row["PricingUnit"]) == ("8.000000000000", "Accelerator-Hours")
    assert (row["ConsumedQuantity"], row["ConsumedUnit"]) == ("28800.0", "Accelerator-Seconds")
    assert (row["x_PriceTier"], row["x_PriceReasons"]) == ("sme", "price_sme")


def test_what_is_for_a_closed_month_is_a_correction_and_what_is_taken_back_in_an_open_one_is_not() -> None:
    open_, closed = datetime(2026, 11, 10, tzinfo=UTC), datetime(2026, 10, 10, tzinfo=UTC)
    first = chained([body(open_, open_), body(closed, closed)])[1]
    rows = rows_of(*(taken_back(record, open_ + timedelta(days=1)) for record in first))
    assert [row["ChargeClass"] for row in rows] == [None, "Correction"]
    assert [row["x_RecordKind"] for row in rows] == ["reversal", "reversal"]
    assert {row["BilledCost"] for row in rows} == {"-80.000056"}
    assert {row["PricingQuantity"] for row in rows} == {"-8.000000000000"}
    assert {row["ContractedUnitPrice"] for row in rows} == {"10.000007"}


def test_a_purchase_is_one_thing_at_its_price_and_can_be_taken_back() -> None:
    start = BEGIN + timedelta(days=3)
    purchase = bought(start, start, 1_500_000_000)
    (record,) = chained([purchase])[1]
    row, back = rows_of(purchase, taken_back(record, start))
    assert (row["ChargeCategory"], row["ChargeFrequency"], row["PricingUnit"]) == ("Purchase", "One-Time", "Units")
    assert (row["BilledCost"], back["BilledCost"]) == ("1500.000000", "-1500.000000")
    assert (row["PricingQuantity"], back["PricingQuantity"]) == ("1.000000000000", "-1.000000000000")
    assert (back["ChargeCategory"], back["ConsumedQuantity"]) == ("Purchase", None)


def test_periods_are_half_open_utc_and_the_statements_month() -> None:
    start = datetime(2026, 11, 1, 3, 0, 0, 999_999, tzinfo=UTC)
    (row,) = rows_of(body(start, start))
    assert (row["BillingPeriodStart"], row["BillingPeriodEnd"]) == ("2026-10-31T16:00:00Z", "2026-11-30T16:00:00Z")
    assert (row["ChargePeriodStart"], row["ChargePeriodEnd"]) == ("2026-11-01T03:00:00Z", "2026-11-01T04:00:00Z")
    assert row["x_StatementMonth"] == "2026-11"


def test_every_programmes_answer_is_given_where_none_is_selected() -> None:
    start = BEGIN + timedelta(days=3)
    answers = [
        tag("0.000000", status="ineligible", reason_codes=["activity_not_covered", "provider_not_registered"], selected=False),
        tag("0.000000", programme="hangzhou-compute", status="needs_review", reason_codes=["facts_missing"], selected=False),
    ]
    (row,) = rows_of(body(start, start, eligibility=answers))
    assert row["x_VoucherProgramme"] is None
    assert row["x_SubsidyEstimate"] is None
    assert row["x_ReasonCodes"] == (
        "shenzhen-training/2024=ineligible:activity_not_covered,provider_not_registered;hangzhou-compute/2024=needs_review:facts_missing"
    )
