"""`suanwang settlements`: what the ledger has decided about cost records."""

import json

import typer
from rich.table import Table

from api.cli.connection import DataOption, TokenOption, UrlOption
from api.cli.jobs import As, Output, city_of
from api.cli.tables import console


def settlements(
    record: str | None = typer.Option(None, help="Only those of this cost record."),
    data: DataOption = None,
    url: UrlOption = None,
    token_file: TokenOption = None,
    as_: As = "ledger",
    output: Output = "table",
) -> None:
    """Show settlements in the order in which they came, and what each changed of the use of its programme's cap."""
    with city_of(data, url, token_file, as_, "en") as city:
        found = list(city.settlements(record))
    if output == "json":
        typer.echo(json.dumps([each.model_dump(mode="json") for each in found], indent=2, ensure_ascii=False))
        return
    table = Table("settlement", "record", "programme")
    for heading in ("revision", "decision", "amount", "use", "settled on"):
        table.add_column(heading, justify="right")
    for each in found:
        amounts = (each.amount, each.use_change)
        table.add_row(each.id, each.record, each.programme, str(each.revision), each.decision, *amounts, f"{each.settled_on}")
    console().print(table)
