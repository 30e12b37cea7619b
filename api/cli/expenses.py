"""`suanwang expenses`: what was bought beside the machines under a contract, and charging such a purchase."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from api.cli.connection import DataOption, LanguageOption, TokenOption, UrlOption
from api.cli.jobs import DEFAULT_TOKEN, As, Output, city_of, read_spec
from api.cli.tables import console
from scheduler.contract.expense import ExpenseView


def expenses(
    expense_file: Annotated[
        Path | None, typer.Argument(metavar="[EXPENSE.yaml]", help="A purchase to charge, as YAML or JSON; without it, list them.")
    ] = None,
    data: DataOption = None,
    url: UrlOption = None,
    token_file: TokenOption = None,
    as_: As = DEFAULT_TOKEN,
    language: LanguageOption = "en",
    contract: Annotated[str | None, typer.Option(help="Only this contract's.")] = None,
    key: Annotated[str | None, typer.Option("--idempotency-key", help="Makes charging again safe.")] = None,
    output: Output = "table",
) -> None:
    """List what was bought beside the machines, or charge it: contract, job, item (corpus or model_service), amount, incurred_on,
    description, evidence_sha256."""
    expense = None if expense_file is None else read_spec(expense_file)
    with city_of(data, url, token_file, as_, language) as city:
        found = city.expenses(contract) if expense is None else [city.add_expense(expense, key)]
    if output == "json":
        typer.echo(json.dumps([each.model_dump(mode="json") for each in found], ensure_ascii=False, indent=2))
    else:
        console().print(expense_table(found))


def expense_table(found: Sequence[ExpenseView]) -> Table:
    """CNY; the voucher is an estimate, and is of the programme that was selected."""
    table = Table()
    for heading in ("record", "contract", "job", "item", "incurred", "description"):
        table.add_column(heading, overflow="fold")
    for heading in ("amount", "voucher"):
        table.add_column(heading, justify="right", no_wrap=True)
    for each in found:
        voucher = f"{each.record.voucher_programme} {each.record.voucher_estimate}" if each.record.voucher_programme else "–"
        incurred = each.incurred_on.isoformat()
        about = (each.contract, each.job or "–", each.item, incurred, each.description)
        table.add_row(f"#{each.record.sequence}", *about, each.amount, voucher)
    return table
