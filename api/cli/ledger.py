"""`suanwang ledger`: a reference consumer of the cost feed. It trusts nothing but the records: sequence, hashes and sums."""

import json
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Annotated, Any

import typer
from sqlalchemy import select

from api.cli.connection import DataOption, LanguageOption, TokenOption, UrlOption, connect, open_existing
from api.client import ApiUnreachableError, Client
from scheduler.billing.journal import Head, Row
from scheduler.billing.reconcile import Books
from scheduler.service.journal import FEED
from scheduler.store.database import CITY, Database
from scheduler.store.tables import CostRecordRow, JournalHeadRow

POLL_SECONDS = 1.0

app = typer.Typer(help="Read the cost feed as a voucher ledger does.", no_args_is_help=True, rich_markup_mode=None)


@app.command()
def follow(
    data: DataOption = None,
    url: UrlOption = None,
    token_file: TokenOption = None,
    language: LanguageOption = "en",
    once: Annotated[bool, typer.Option("--once", help="Stop at the head of the feed.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Each record as one line of JSON.")] = False,
) -> None:
    """Read every cost record in order, verify its place in the chain, and keep the sums. Exit code 1 at the first break."""
    books = Books()
    with connect(data, url, token_file, "ledger", language) as ledger:
        while True:
            _read_on(ledger, books, as_json)
            if once:
                break
            time.sleep(POLL_SECONDS)
    if not as_json:
        _tell(books, as_json)
    if not all(books.identities().values()):
        raise typer.Exit(1)


@app.command()
def verify(
    data: DataOption = None,
    url: UrlOption = None,
    token_file: TokenOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="The result as one JSON object.")] = False,
) -> None:
    """Walk the whole chain and check every identity; with --data the city need not be running. Exit code 1 if anything breaks."""
    if data is not None and url is None:
        database = Database(open_existing(data).database_url)
        books = Books()
        for rows in _stored(database):
            if not books.take_rows(rows):
                break
        books.end(_stored_head(database))
    else:
        with connect(data, url, token_file, "ledger", "en") as ledger:
            books = read_feed(ledger)
    _tell(books, as_json)
    if not all(books.identities().values()):
        raise typer.Exit(1)


def read_feed(ledger: Client) -> Books:
    """The feed from its first record to its head, verified and added up."""
    return take_all(ledger.cost_records())


def take_all(records: Iterable[Mapping[str, Any]]) -> Books:
    books = Books()
    for record in records:
        if not books.take(record):
            break
    return books


def _read_on(ledger: Client, books: Books, as_json: bool) -> None:
    try:
        for record in ledger.cost_records(books.head.sequence):
            if not books.take(record):
                _tell(books, as_json)
                raise typer.Exit(1)
            typer.echo(json.dumps(record, ensure_ascii=False) if as_json else _line(record))
    except ApiUnreachableError as error:
        typer.echo(f"waiting: {error}", err=True)


def _stored(database: Database) -> Iterator[list[Row]]:
    columns = (getattr(CostRecordRow, name) for name in ("sequence", "tenant_id", "job_id", "contract_id", "payload", "hash"))
    with database.read(CITY) as session:
        for rows in session.execute(select(*columns).order_by(CostRecordRow.sequence)).partitions(1000):
            yield [Row(*row) for row in rows]


def _stored_head(database: Database) -> Head:
    """Where the chain ends, as it was noted with the last posting: it shows records that were cut off the end."""
    with database.read(CITY) as session:
        row = session.get(JournalHeadRow, FEED)
        return Head(row.sequence, row.hash) if row else Head()


def _line(record: Mapping[str, Any]) -> str:
    selected = next((tag for tag in record["eligibility"] if tag["selected"]), None)
    voucher = f"{selected['programme']} {selected['status']} {selected['capped']}" if selected else "no voucher"
    label = " (recorded)" if record["recorded"] else ""
    what = f"{record['unit_seconds']} {record['item']}-seconds {record['model'] or ''}".strip()
    return f"#{record['sequence']} {record['job']} {record['cluster']}{label}: {what} {record['contracted_amount']} CNY; {voucher}"


def _tell(books: Books, as_json: bool) -> None:
    identities = books.identities()
    broken = books.first_break
    if as_json:
        result = {
            "ok": all(identities.values()),
            "records": books.head.sequence,
            "chain_head": books.head.hash,
            "first_break": {"sequence": broken.sequence, "id": broken.id, "what": broken.what} if broken else None,
            "identities": identities,
        }
        typer.echo(json.dumps(result))
        return
    typer.echo(f"{books.head.sequence} records verified, {len(books.jobs)} jobs, {books.total()} CNY; chain head {books.head.hash}")
    for name, held in identities.items():
        typer.echo(f"{'ok  ' if held else 'FAIL'} {name}")
    if broken:
        typer.echo(f"first break at #{broken.sequence} ({broken.id}): {broken.what}")
