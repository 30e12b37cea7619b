"""FOCUS files: CSV and Parquet say the same, exactly, and nothing in them is a formula."""

import csv
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from io import BytesIO, StringIO
from typing import Any

import pyarrow as arrow
import pyarrow.parquet as parquet
import pytest
from hypothesis import given, settings

from api.exports import focus_files
from api.exports.focus_files import MissingExtraError, need, write_csv, write_parquet
from scheduler.billing.focus import COLUMNS, Kind, Names, Row, focus_rows
from scheduler.billing.months import Month, MonthOfAccount
from tests.billing.postings import body, chained, journals

NAMES = Names(tenants={"acme": "=HYPERLINK(1)"}, providers={"p-sz": "@深圳"}, cities={})
ACCOUNT = MonthOfAccount(Month(2026, 11))


def batches(records: Sequence[dict[str, Any]], size: int = 7) -> Iterator[list[Row]]:
    rows = list(map(focus_rows(ACCOUNT, NAMES), records))
    for start in range(0, len(rows), size):
        yield rows[start : start + size]


def as_csv(records: Sequence[dict[str, Any]]) -> bytes:
    out = BytesIO()
    write_csv(batches(records), out)
    return out.getvalue()


def as_parquet(records: Sequence[dict[str, Any]]) -> bytes:
    out = BytesIO()
    write_parquet(batches(records), out)
    return out.getvalue()


@settings(max_examples=25)
@given(journals(max_size=12))
def test_both_forms_hold_every_amount_to_the_micro_cny(records: list[dict[str, Any]]) -> None:
    table = parquet.read_table(BytesIO(as_parquet(records)))
    lines = list(csv.DictReader(StringIO(as_csv(records).decode())))
    assert table.num_rows == len(lines) == len(records)
    assert table.column_names == list(lines[0] if lines else table.column_names)
    for name, key in (("BilledCost", "contracted_amount"), ("ListCost", "list_amount")):
        exact = [Decimal(record[key]) for record in records]
        assert table[name].to_pylist() == exact
        assert [Decimal(line[name]) for line in lines] == exact


def test_columns_have_the_types_a_store_can_sum_and_sort() -> None:
    start = datetime(2026, 11, 2, 1, 2, 3, 999_999, tzinfo=UTC)
    schema = parquet.read_schema(BytesIO(as_parquet(chained([body(start, start)])[1])))
    wanted = {
        Kind.AMOUNT: arrow.decimal128(38, 6),
        Kind.QUANTITY: arrow.decimal128(38, 12),
        Kind.MOMENT: arrow.timestamp("ms", tz="UTC"),
        Kind.INTEGER: arrow.int64(),
        Kind.FLAG: arrow.bool_(),
        Kind.TEXT: arrow.string(),
    }
    for column in COLUMNS:
        field = schema.field(column.name)
        assert (field.type, field.nullable) == (wanted[column.kind], column.nullable), column.name
    assert not any(arrow.types.is_floating(field.type) for field in schema)
    table = parquet.read_table(BytesIO(as_parquet(chained([body(start, start)])[1])))
    assert table["ChargePeriodStart"].to_pylist() == [datetime(2026, 11, 2, 1, 2, 3, tzinfo=UTC)]


def test_text_that_looks_like_a_formula_is_inert_in_csv_and_amounts_below_zero_are_numbers() -> None:
    start = datetime(2026, 11, 2, tzinfo=UTC)
    (line,) = csv.DictReader(
        StringIO(as_csv(chained([body(start, start, model="+cmd", contracted_amount="-1.000000")])[1]).decode())
    )
    assert (line["BillingAccountName"], line["ProviderName"], line["x_Model"]) == ("'=HYPERLINK(1)", "'@深圳", "'+cmd")
    assert line["BilledCost"] == "-1.000000"
    assert line["ChargeClass"] == ""


def test_the_same_records_make_the_same_bytes() -> None:
    start = datetime(2026, 11, 2, tzinfo=UTC)
    records = chained([body(start, start)] * 20)[1]
    assert as_csv(records) == as_csv(records)
    assert as_parquet(records) == as_parquet(records)


def test_rows_are_written_in_groups_of_a_bounded_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(focus_files, "ROWS_PER_GROUP", 14)
    start = datetime(2026, 11, 2, tzinfo=UTC)
    records = chained([body(start, start)] * 30)[1]
    metadata = parquet.ParquetFile(BytesIO(as_parquet(records))).metadata
    assert [metadata.row_group(number).num_rows for number in range(metadata.num_row_groups)] == [14, 14, 2]
    assert metadata.metadata[b"focus_version"] == b"1.2"


def test_a_value_that_does_not_fit_its_column_is_refused_and_not_rounded() -> None:
    start = datetime(2026, 11, 2, tzinfo=UTC)
    with pytest.raises(arrow.ArrowInvalid):
        as_parquet(chained([body(start, start, contracted_amount="1.0000001", eligibility=[])])[1])


def test_no_records_make_a_file_of_columns() -> None:
    assert parquet.read_table(BytesIO(as_parquet([]))).num_rows == 0
    assert as_csv([]).decode().splitlines()[0].startswith("BilledCost,BillingAccountId,")


def test_what_is_not_installed_is_named_with_the_way_to_get_it() -> None:
    with pytest.raises(MissingExtraError, match=r"this needs no_such_thing, .*pip install 'suanwang\[exports\]'"):
        need("no_such_thing.part")
