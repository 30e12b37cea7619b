"""A statement as a workbook: a summary, and every line as numbers that can be summed.

Amounts are numbers, written with the very digits of the statement (up to 16 of them: ten before the point). A spreadsheet reads
each as the nearest binary number, which shows the same six places; sums of tens of thousands of them err by far less than a fen;
the exact totals stand beside, as text. What looks like a formula is stored as text and marked to stay text when it is edited.
"""

from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from io import BytesIO
from typing import Any

from api.exports.focus_files import need
from api.exports.words import reason_text, to_the_fen, word
from scheduler.billing.plain_text import begins_like_a_formula
from scheduler.contract.statement import AccountStatement, Party, Statement, StatementLine
from scheduler.domain.clock import CHINA
from scheduler.domain.reasons import Language

MEDIA_TYPE = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"

_LINE_COLUMNS = (
    *("tenant", "provider", "contract", "day", "adjusts", "kind", "reason", "job", "job_name", "cluster", "item", "model"),
    *("hardware_class", "records", "unit_seconds", "card_seconds", "list", "contracted", "voucher_estimate"),
)
_SUMMED = _LINE_COLUMNS.index("records")
"""From this column on a line has numbers."""

_EPOCH = datetime(1980, 1, 1, tzinfo=UTC).replace(tzinfo=None)
"""The moment every workbook says it was made, so that one statement always makes the same file."""

Cell = str | int | Decimal | date | None


def statement_xlsx(statement: Statement, language: Language) -> bytes:
    """The workbook of a statement. Raises `api.exports.focus_files.MissingExtraError` without xlsxwriter."""
    out = BytesIO()
    workbook = need("xlsxwriter").Workbook(out, {"in_memory": True})
    workbook.set_properties({"title": f"{word('statement', language)} {statement.month}", "created": _EPOCH})
    sheets = _Sheets(workbook)
    sheets.write(word("summary", language), _summary(statement, language), (34, 60, 14, 16, 20, 20))
    lines = [_line(account, line, language) for account in statement.accounts for line in account.lines]
    sheets.write_lines(word("lines", language), [word(key, language) for key in _LINE_COLUMNS], lines, word("total", language))
    workbook.close()
    return out.getvalue()


class _Sheets:
    """Writes cells by what they are; nothing a person wrote is ever read as a formula."""

    def __init__(self, workbook: Any) -> None:
        self._book = workbook
        self._amount = workbook.add_format({"num_format": "#,##0.000000"})
        self._count = workbook.add_format({"num_format": "#,##0"})
        self._day = workbook.add_format({"num_format": "yyyy-mm-dd"})
        self._bold = workbook.add_format({"bold": True, "bg_color": "#EAF0F6", "text_wrap": True, "valign": "top"})
        self._quoted = workbook.add_format({"quote_prefix": True})
        self._amount_total = workbook.add_format({"num_format": "#,##0.000000", "bold": True})
        self._count_total = workbook.add_format({"num_format": "#,##0", "bold": True})

    def write(self, name: str, rows: Iterable[Sequence[Cell]], widths: Sequence[int]) -> None:
        sheet = self._book.add_worksheet(name)
        for column, width in enumerate(widths):
            sheet.set_column(column, column, width)
        for number, row in enumerate(rows):
            for column, value in enumerate(row):
                self._cell(sheet, number, column, value)

    def write_lines(self, name: str, headings: Sequence[str], lines: Sequence[Sequence[Cell]], total: str) -> None:
        sheet = self._book.add_worksheet(name)
        sheet.freeze_panes(1, 0)
        sheet.set_landscape()
        sheet.fit_to_pages(1, 0)
        sheet.repeat_rows(0)
        sheet.set_column(0, len(headings) - 1, 15)
        for column, heading in enumerate(headings):
            sheet.write_string(0, column, heading, self._bold)
        for number, line in enumerate(lines, start=1):
            for column, value in enumerate(line):
                self._cell(sheet, number, column, value)
        if lines:
            self._total_row(sheet, len(lines) + 1, lines, total)
            sheet.autofilter(0, 0, len(lines), len(headings) - 1)

    def _total_row(self, sheet: Any, number: int, lines: Sequence[Sequence[Cell]], total: str) -> None:
        sheet.write_string(number, 0, total, self._bold)
        for column in range(_SUMMED, len(_LINE_COLUMNS)):
            values = [line[column] for line in lines]
            letter = chr(ord("A") + column)
            of_money = any(isinstance(value, Decimal) for value in values)
            result = sum(value for value in values if isinstance(value, int | Decimal))
            formula = f"=SUM({letter}2:{letter}{number})"
            sheet.write_formula(number, column, formula, self._amount_total if of_money else self._count_total, result)

    def _cell(self, sheet: Any, row: int, column: int, value: Cell) -> None:
        match value:
            case Decimal():
                sheet.write_number(row, column, value, self._amount)
            case int():
                sheet.write_number(row, column, value, self._count)
            case date():
                sheet.write_datetime(row, column, value, self._day)
            case str() if value:
                sheet.write_string(row, column, value, self._quoted if begins_like_a_formula(value) else None)


def _summary(statement: Statement, language: Language) -> Iterable[Sequence[Cell]]:
    closes = f"{statement.closes_at.astimezone(CHINA):%Y-%m-%d %H:%M}"
    totals, journal = statement.totals, statement.journal
    yield (f"{word('statement', language)} {statement.month}",)
    yield word("tenant", language), _party(statement.tenant, language)
    yield word("provider", language), _party(statement.provider, language)
    yield word("state", language), word(statement.state, language).format(closes=closes)
    yield ()
    yield word("payable", language), to_the_fen(totals.contracted_amount)
    for key, amount in (
        ("contracted", totals.contracted_amount),
        ("adjustments", totals.adjustment_amount),
        ("list", totals.list_amount),
        ("voucher_estimate", totals.voucher_estimate),
        ("voucher_settled", totals.voucher_settled or word("not_settled", language)),
    ):
        yield word(key, language), amount
    yield word("card_seconds", language), totals.card_seconds
    yield word("records", language), totals.records
    yield ()
    yield tuple(word(key, language) for key in ("programme", "vouchers", "version", "status", "estimate", "settled"))
    for voucher in statement.vouchers:
        name = voucher.name_zh if language == "zh" else voucher.name_en
        settled = Decimal(voucher.settled) if voucher.settled else word("not_settled", language)
        status = word(voucher.status, language)
        yield voucher.programme, name, voucher.version, status, Decimal(voucher.estimate), settled
    yield ()
    for note in ("currency_note", "voucher_note", "adjustment_note", "check_note"):
        yield (word(note, language),)
    for key in ("first_sequence", "last_sequence", "records_sha256", "read_until", "head_hash"):
        value = getattr(journal, key)
        yield word(key, language), "–" if value is None else value


def _party(party: Party | None, language: Language) -> str:
    return word("all", language) if party is None else f"{party.name} ({party.id}), {party.uscc}"


def _line(account: AccountStatement, line: StatementLine, language: Language) -> Sequence[Cell]:
    return (
        account.tenant.id,
        account.provider.id,
        account.contract.id if account.contract else "",
        line.day,
        line.adjusts,
        word(line.kind, language),
        reason_text(line.reason, language),
        line.job,
        line.job_name,
        line.cluster,
        word(line.item, language),
        line.model,
        word(line.hardware_class, language),
        line.records,
        line.unit_seconds,
        line.card_seconds,
        Decimal(line.list_amount),
        Decimal(line.contracted_amount),
        Decimal(line.voucher_estimate),
    )
