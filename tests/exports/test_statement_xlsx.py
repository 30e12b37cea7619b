"""The workbook of a statement, opened as a spreadsheet would: exact numbers to sum, and no formula but our own sums."""

from decimal import Decimal
from io import BytesIO
from typing import Any

import openpyxl
import pytest

from api.exports.statement_xlsx import statement_xlsx
from scheduler.contract.statement import Statement
from tests.exports.statements import FORMULA, november

MICRO = Decimal("0.000001")


@pytest.fixture(scope="module")
def made() -> Statement:
    return november()


@pytest.fixture(scope="module")
def book(made: Statement) -> Any:
    return openpyxl.load_workbook(BytesIO(statement_xlsx(made, "en")))


def column(book: Any, heading: str) -> list[Any]:
    """The cells under a heading of the lines, without the row of sums."""
    sheet = book["Lines"]
    place = [cell.value for cell in sheet[1]].index(heading) + 1
    return [sheet.cell(row, place) for row in range(2, sheet.max_row)]


@pytest.mark.parametrize(
    ("heading", "name"), [("List", "list_amount"), ("Contracted", "contracted_amount"), ("Voucher estimate", "voucher_estimate")]
)
def test_amounts_are_numbers_whose_sum_loses_nothing(book: Any, made: Statement, heading: str, name: str) -> None:
    cells = column(book, heading)
    exact = [Decimal(getattr(line, name)) for account in made.accounts for line in account.lines]
    assert all(cell.data_type == "n" and cell.number_format == "#,##0.000000" for cell in cells)
    assert [Decimal(cell.value).quantize(MICRO) for cell in cells] == exact
    summed = sum(float(cell.value) for cell in cells)  # as a spreadsheet sums: in binary
    assert Decimal(summed).quantize(MICRO) == sum(exact) == Decimal(getattr(made.totals, name))


def test_the_largest_amounts_keep_their_six_places() -> None:
    """A billion CNY and a millionth: sixteen digits, as many as a cell holds."""
    for text in ("999999999.999999", "1000000000.000001", "-123456789.000001", "0.000001"):
        assert Decimal(float(f"{Decimal(text):.16G}")).quantize(MICRO) == Decimal(text)


def test_fifty_thousand_lines_sum_to_the_fen_and_far_below() -> None:
    amounts = [Decimal(number * 7_919_333 % 10**11) * MICRO for number in range(50_000)]  # up to 100,000 CNY each
    summed = sum(float(amount) for amount in amounts)
    assert abs(Decimal(summed) - sum(amounts)) < Decimal("0.0001")


def test_the_only_formulas_are_the_sums_of_the_last_row(book: Any) -> None:
    formulas = [cell for sheet in book for row in sheet for cell in row if cell.data_type == "f"]
    assert formulas
    assert {cell.row for cell in formulas} == {book["Lines"].max_row}
    assert {str(cell.value)[:5] for cell in formulas} == {"=SUM("}


def test_what_looks_like_a_formula_is_text_and_stays_text(book: Any) -> None:
    names = {cell.value: cell for cell in column(book, "Job name")}
    assert names[FORMULA].data_type == "s"
    assert names[FORMULA].quotePrefix
    assert [cell.data_type for cell in column(book, "Model") if cell.value == "-H800"] == ["s"]


def test_the_summary_has_the_exact_totals_and_what_to_check_them_by(book: Any, made: Statement) -> None:
    rows = {row[0].value: row[1].value for row in book["Summary"]}
    assert rows["Contracted"] == made.totals.contracted_amount
    assert rows["of which adjustments of earlier months"] == "80.000056"
    assert rows["To be paid (CNY, rounded to the fen)"] == "1,860.00"
    assert rows["SHA-256 of the records' hashes"] == made.journal.records_sha256
    assert (rows["First sequence"], rows["Last sequence"]) == (1, 9)


def test_one_statement_makes_one_file(made: Statement) -> None:
    assert statement_xlsx(made, "zh") == statement_xlsx(made, "zh") != statement_xlsx(made, "en")
