"""A statement as a page to read and to print: one file without scripts or anything from outside.

The page is built as a tree, so every text is escaped by whoever writes it down, and none can be forgotten.
"""

from collections.abc import Iterable, Sequence
from xml.etree.ElementTree import Element, tostring  # what we make ourselves, we need not guard against

from api.exports.words import grouped, hours, reason_text, to_the_fen, word
from scheduler.contract.statement import AccountStatement, JournalExtent, Party, Statement, StatementLine, Totals, VoucherSum
from scheduler.domain.clock import CHINA
from scheduler.domain.reasons import Language

STYLE = """
@page { size: A4 landscape; margin: 14mm 12mm 16mm; @bottom-right { content: counter(page) " / " counter(pages); font-size: 8pt; } }
* { box-sizing: border-box; }
body { font: 10pt/1.45 "Noto Sans CJK SC", "Noto Sans SC", "Microsoft YaHei", "PingFang SC", "Segoe UI", sans-serif;
  color: #1a1a1a; background: #fff; max-width: 1200px; margin: 24px auto; padding: 0 16px; }
h1 { font-size: 17pt; margin: 0 0 10px; }
h2 { font-size: 12.5pt; margin: 22px 0 6px; border-bottom: 2px solid #1f4e79; padding-bottom: 3px; break-after: avoid; }
h3 { font-size: 10.5pt; margin: 14px 0 4px; break-after: avoid; }
table { border-collapse: collapse; width: 100%; margin: 4px 0 10px; }
th, td { border: 1px solid #c8ced6; padding: 3px 6px; text-align: left; vertical-align: top; overflow-wrap: anywhere; }
thead th { background: #eaf0f6; }
thead { display: table-header-group; }
tr { break-inside: avoid; }
.facts th { width: 22%; background: #f5f7fa; font-weight: 600; }
.number { text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums; }
.total td { font-weight: 700; background: #f5f7fa; }
.payable td { font-size: 12pt; font-weight: 700; }
.minor { color: #555; font-size: 8.5pt; }
.code { font-family: ui-monospace, "DejaVu Sans Mono", monospace; font-size: 8.5pt; }
.note { color: #444; font-size: 9pt; margin: 4px 0; }
.seals, .check { break-inside: avoid; }
.seals td { height: 18mm; }
@media print { body { max-width: none; margin: 0; padding: 0; font-size: 8.5pt; }
  th, td { padding: 2px 5px; } h2 { margin-top: 14px; } .account { break-before: page; } }
"""

Child = Element | str | None


def statement_html(statement: Statement, language: Language) -> str:
    """The page of a statement."""
    title = f"{word('statement', language)} {statement.month}"
    page = _element("html", lang="zh-CN" if language == "zh" else "en")
    head = _element("head", _element("meta", charset="utf-8"), _element("title", title), _element("style", STYLE))
    page.extend((head, _element("body", *_body(statement, title, language))))
    return "<!DOCTYPE html>\n" + tostring(page, encoding="unicode", method="html") + "\n"


def _body(statement: Statement, title: str, language: Language) -> Iterable[Element]:
    yield _element("h1", title)
    yield _facts(_head_facts(statement, language))
    yield _element("h2", word("summary", language))
    yield _totals(statement.totals, language)
    yield from _vouchers(statement.vouchers, language)
    for note in ("currency_note", "voucher_note", "adjustment_note"):
        yield _element("p", word(note, language), class_="note")
    yield _seals(statement, language)
    if not statement.accounts:
        yield _element("p", word("nothing", language))
    for account in statement.accounts:
        yield _element("section", *_account(account, language), class_="account")
    yield _element("section", *_check(statement.journal, language), class_="check")


def _head_facts(statement: Statement, language: Language) -> Iterable[tuple[str, Child]]:
    closes = f"{statement.closes_at.astimezone(CHINA):%Y-%m-%d %H:%M}"
    yield word("tenant", language), _party(statement.tenant, language)
    yield word("provider", language), _party(statement.provider, language)
    yield word("month", language), statement.month
    yield word("state", language), word(statement.state, language).format(closes=closes)


def _party(party: Party | None, language: Language) -> str:
    if party is None:
        return word("all", language)
    return f"{party.name} ({party.id}) · {word('uscc', language)} {party.uscc}"


def _totals(totals: Totals, language: Language) -> Element:
    settled = grouped(totals.voucher_settled) if totals.voucher_settled else word("not_settled", language)
    rows = (
        ("payable", to_the_fen(totals.contracted_amount)),
        ("contracted", grouped(totals.contracted_amount)),
        ("adjustments", grouped(totals.adjustment_amount)),
        ("list", grouped(totals.list_amount)),
        ("voucher_estimate", grouped(totals.voucher_estimate)),
        ("voucher_settled", settled),
        ("card_hours", hours(totals.card_seconds)),
        ("unbilled_card_hours", hours(totals.unbilled_card_seconds)),
        ("records", f"{totals.records:,}"),
    )
    body = [
        _element("tr", _element("th", word(key, language)), _number(text), class_="payable" if key == "payable" else None)
        for key, text in rows
    ]
    return _element("table", _element("tbody", *body), class_="facts")


def _vouchers(vouchers: Sequence[VoucherSum], language: Language) -> Iterable[Element]:
    if not vouchers:
        return
    yield _element("h3", word("vouchers", language))
    yield _table(
        [word(key, language) for key in ("programme", "version", "status", "estimate", "settled")],
        [
            (
                f"{voucher.name_zh if language == 'zh' else voucher.name_en} ({voucher.programme})",
                voucher.version,
                word(voucher.status, language),
                _number(grouped(voucher.estimate)),
                _number(grouped(voucher.settled) if voucher.settled else word("not_settled", language)),
            )
            for voucher in vouchers
        ],
    )


def _account(account: AccountStatement, language: Language) -> Iterable[Element]:
    contract = account.contract
    name = contract.id if contract else word("no_contract", language)
    yield _element("h2", f"{account.tenant.name} → {account.provider.name} · {word('contract', language)}: {name}")
    facts: list[tuple[str, Child]] = [
        (word("tenant", language), _party(account.tenant, language)),
        (word("provider", language), _party(account.provider, language)),
    ]
    if contract is not None:
        facts.append((word("contract_amount", language), grouped(contract.amount)))
        facts.append((word("contract_dates", language), f"{contract.start} – {contract.end}"))
    yield _facts(facts)
    yield _totals(account.totals, language)
    yield from _vouchers(account.vouchers, language)
    yield _element("h3", word("lines", language))
    headings = ("day", "adjusts", "kind", "job", "cluster", "model", "card_hours", "list", "contracted", "voucher_estimate")
    yield _table(
        [word(key, language) for key in headings],
        [_line(line, language) for line in account.lines],
        _total_row(account.totals, language),
    )


def _line(line: StatementLine, language: Language) -> Sequence[Child]:
    kind = _element("td", word(line.kind, language))
    if line.reason:
        kind.append(_element("div", reason_text(line.reason, language), class_="minor"))
    job = _element("td", line.job_name or line.job or "–")
    if line.job_name:
        job.append(_element("div", line.job, class_="minor"))
    what = " ".join(filter(None, (line.model or word(line.item, language), word(line.hardware_class, language))))
    return (
        f"{line.day}",
        line.adjusts or "",
        kind,
        job,
        line.cluster or "–",
        what,
        _number(hours(line.card_seconds)),
        _number(grouped(line.list_amount)),
        _number(grouped(line.contracted_amount)),
        _number(grouped(line.voucher_estimate)),
    )


def _total_row(totals: Totals, language: Language) -> Sequence[Child]:
    return (
        word("total", language),
        *("" for _ in range(5)),
        _number(hours(totals.card_seconds + totals.unbilled_card_seconds)),
        _number(grouped(totals.list_amount)),
        _number(grouped(totals.contracted_amount)),
        _number(grouped(totals.voucher_estimate)),
    )


def _check(journal: JournalExtent, language: Language) -> Iterable[Element]:
    yield _element("h2", word("check", language))
    yield _element("p", word("check_note", language), class_="note")
    yield _facts(
        (word(key, language), _element("span", _shown(getattr(journal, key)), class_="code"))
        for key in ("first_sequence", "last_sequence", "records", "records_sha256", "read_until", "head_hash")
    )


def _shown(value: str | int | None) -> str:
    return "–" if value is None else str(value)


def _seals(statement: Statement, language: Language) -> Element:
    parties = [(word("tenant", language), statement.tenant), (word("provider", language), statement.provider)]
    headings = [
        f"{role}: {party.name if party else ''} {word('signed', language)}, {word('date', language)}" for role, party in parties
    ]
    return _element("div", _table(headings, [("", "")]), class_="seals")


def _facts(rows: Iterable[tuple[str, Child]]) -> Element:
    body = (_element("tr", _element("th", name), _element("td", value)) for name, value in rows)
    return _element("table", _element("tbody", *body), class_="facts")


def _table(headings: Sequence[str], rows: Iterable[Sequence[Child]], total: Sequence[Child] | None = None) -> Element:
    table = _element("table", _element("thead", _element("tr", *(_element("th", heading) for heading in headings))))
    body = [_element("tr", *map(_cell, row)) for row in rows]
    if total is not None:
        body.append(_element("tr", *map(_cell, total), class_="total"))
    table.append(_element("tbody", *body))
    return table


def _cell(value: Child) -> Element:
    return value if isinstance(value, Element) and value.tag == "td" else _element("td", value)


def _number(text: str) -> Element:
    return _element("td", text, class_="number")


def _element(tag: str, *children: Child, class_: str | None = None, **attributes: str) -> Element:
    """An element with children in order; a text comes first if there is one."""
    made = Element(tag, attributes if class_ is None else {"class": class_, **attributes})
    for child in children:
        if isinstance(child, Element):
            made.append(child)
        elif child is not None:
            made.text = (made.text or "") + child
    return made
