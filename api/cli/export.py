"""`suanwang export`: the journal for programs that people use: FOCUS 1.2 as CSV or Parquet."""

import gc
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Literal

import typer

from api.cli.connection import DataOption, TokenOption, UrlOption
from api.cli.errors import UsageProblemError
from api.cli.journal import Progress, Source, month_of, open_source, whole_file
from api.cli.stores import DatabaseFile, DatabaseUrl
from api.exports.focus_files import FORMATS, MissingExtraError
from scheduler.billing.focus import Row, focus_rows
from scheduler.billing.months import Month, MonthOfAccount, months_between
from scheduler.service.months import month_range, month_records

MAX_MONTHS = 120
"""Months of one file."""

app = typer.Typer(help="Write the journal to files for other programs.", no_args_is_help=True, rich_markup_mode=None)


@app.callback()
def _export() -> None:
    """Write the journal to files for other programs."""


@app.command()
def focus(
    out: Annotated[Path, typer.Option("--out", help="The file to write; one that is there is replaced.")],
    first: Annotated[str, typer.Option("--from", metavar="YYYY-MM", help="The first month, Asia/Shanghai.")],
    until: Annotated[str, typer.Option("--to", metavar="YYYY-MM", help="The month after the last one.")],
    format_: Annotated[Literal["csv", "parquet"], typer.Option("--format", help="parquet needs the extra `exports`.")] = "csv",
    tenant: Annotated[str | None, typer.Option("--tenant", help="Only this tenant's records.")] = None,
    provider: Annotated[str | None, typer.Option("--provider", help="Only what this provider charges.")] = None,
    data: DataOption = None,
    database: DatabaseUrl = None,
    database_file: DatabaseFile = None,
    url: UrlOption = None,
    token_file: TokenOption = None,
) -> None:
    """Export whole months as FOCUS 1.2, one row a record: the records of these months' statements, late ones as corrections."""
    begin, end = month_of(first, "--from"), month_of(until, "--to")
    months = [month for month, _ in zip(months_between(begin, end), range(MAX_MONTHS + 1), strict=False)]
    if not 0 < len(months) <= MAX_MONTHS:
        raise UsageProblemError(f"--to: a month after {begin} and at most {MAX_MONTHS} months later is allowed")
    rows = 0

    def counted(source: Source) -> Iterator[Sequence[Row]]:
        nonlocal rows
        for batch in _batches(source, months, tenant, provider):
            rows += len(batch)
            yield batch

    gc.freeze()  # what is loaded stays loaded: the collector need not walk through it with every piece of records
    with open_source(data, (database, database_file), url, token_file, tenant) as source:
        if provider is not None and provider not in source.names.providers:
            raise UsageProblemError(f"--provider: there is no provider {provider}")
        try:
            with whole_file(out) as file:
                FORMATS[format_](counted(source), file)
        except MissingExtraError as error:
            raise UsageProblemError(f"--format {format_}: {error}") from error
    typer.echo(f"{rows:,} records of {begin} until {end} in {out}")
    if months[-1].closes_at > datetime.now(UTC):
        still = next(month for month in months if month.closes_at > datetime.now(UTC))
        typer.echo(
            f"the books of {still} are open until {still.closes_at:%Y-%m-%d}: what is posted until then is not in it", err=True
        )


def _batches(source: Source, months: Sequence[Month], tenant: str | None, provider: str | None) -> Iterator[list[Row]]:
    ranges = {month: month_range(month, source.head, source.read) for month in months}
    progress = Progress(sum(each.records for each in ranges.values()), "records")
    for month, within in ranges.items():
        row = focus_rows(MonthOfAccount(month), source.names)
        for records in month_records(month, within, source.read_own):
            progress.add(len(records))
            yield [
                row(record)
                for record in records
                if _asked_for(record["tenant"], tenant) and _asked_for(record["provider"], provider)
            ]


def _asked_for(value: str, only: str | None) -> bool:
    return only is None or value == only
