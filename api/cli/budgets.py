"""`suanwang budgets`: what tenants' jobs may commit, what they have, and what is left."""

import json
from collections.abc import Sequence

import typer
from rich.table import Table

from api.cli.connection import DataOption, TokenOption, UrlOption
from api.cli.jobs import DEFAULT_TOKEN, As, Output, city_of
from api.cli.tables import console
from scheduler.contract.budget import BudgetView


def budgets(
    data: DataOption = None,
    url: UrlOption = None,
    token_file: TokenOption = None,
    as_: As = DEFAULT_TOKEN,
    output: Output = "table",
) -> None:
    """Show the budgets, and how much of each is charged, kept back for what runs, and left."""
    with city_of(data, url, token_file, as_, "en") as city:
        found = city.budgets()
    if output == "json":
        typer.echo(json.dumps([budget.model_dump(mode="json") for budget in found], indent=2))
    else:
        console().print(budget_table(found))


def budget_table(found: Sequence[BudgetView]) -> Table:
    """Budgets as people read them, CNY."""
    table = Table("budget", "tenant", "contract", "granted from", "to")
    for heading in ("amount", "posted", "reserved", "left"):
        table.add_column(heading, justify="right", no_wrap=True)
    for budget in found:
        left = f"[red]{budget.left}[/]" if budget.left.startswith("-") else budget.left
        days = (budget.start.isoformat(), budget.end.isoformat())
        amounts = (budget.amount, budget.posted, budget.reserved, left)
        table.add_row(budget.name, budget.tenant, budget.contract or "any", *days, *amounts)
    return table
