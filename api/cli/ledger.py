"""`suanwang ledger`: a reference consumer of the cost feed. It trusts nothing but the records: sequence, hashes and sums."""

import json
import os
import time
from collections.abc import Iterable, Mapping
from typing import Annotated, Any

import typer

from api.cli.connection import DataOption, LanguageOption, TokenOption, UrlOption, connect
from api.cli.journal import open_store
from api.cli.stores import DatabaseFile, DatabaseUrl
from api.client import ApiUnreachableError, Client
from scheduler.billing.reconcile import Books
from scheduler.contract.cost import RecordKind
from scheduler.service.audit import Audit, audit

POLL_SECONDS = 1.0
PROGRESS_SECONDS = 2.0

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
    database: DatabaseUrl = None,
    database_file: DatabaseFile = None,
    url: UrlOption = None,
    token_file: TokenOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="The result as one JSON object.")] = False,
) -> None:
    """Walk the whole chain and check every identity. Exit code 1 if anything breaks, naming the first row that does.

    On the store itself, of an embedded city (which need not be running) or as --database or --database-file say, everything that
    sums records up is held to them, and every second of every attempt. By --url it is what a ledger can check: the feed alone.
    """
    if url is not None:
        with connect(data, url, token_file, "ledger", "en") as ledger:
            found: Books | Audit = read_feed(ledger)
    else:
        with open_store(data, (database, database_file)) as store:
            found = audit(store, len(os.sched_getaffinity(0)), _Progress())
    _tell(found, as_json)
    if not all(found.identities().values()):
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


class _Progress:
    """Says on standard error how far it has come, for whoever waits longer than a moment."""

    def __init__(self) -> None:
        self._told_at = time.monotonic()

    def __call__(self, done: int, of: int) -> None:
        if time.monotonic() - self._told_at >= PROGRESS_SECONDS:
            self._told_at = time.monotonic()
            typer.echo(f"{done} of {of} records walked", err=True)


def _line(record: Mapping[str, Any]) -> str:
    selected = next((tag for tag in record["eligibility"] if tag["selected"]), None)
    voucher = f"{selected['programme']} {selected['status']} {selected['capped']}" if selected else "no voucher"
    label = " (recorded)" if record["recorded"] else ""
    what = f"{record['unit_seconds']} {record['item']}-seconds {record['model'] or ''}".strip()
    why = "" if record["kind"] == RecordKind.USAGE else f" [{record['reason'] or record['kind']}]"
    paid = f"{record['contracted_amount']} CNY{why}; {voucher}"
    return f"#{record['sequence']} {record['job']} {record['cluster']}{label}: {what} {paid}"


def _tell(books: Books | Audit, as_json: bool) -> None:
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
        where = f"#{broken.sequence} ({broken.id})" if broken.sequence else broken.id
        typer.echo(f"first break at {where}: {broken.what}")
