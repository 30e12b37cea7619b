"""`suanwang links`: the bandwidth between clusters, as far as it has been declared."""

import json

import typer
from rich.table import Table

from api.cli.connection import DataOption, TokenOption, UrlOption
from api.cli.jobs import DEFAULT_TOKEN, As, Output, city_of
from api.cli.tables import console


def links(
    data: DataOption = None,
    url: UrlOption = None,
    token_file: TokenOption = None,
    as_: As = DEFAULT_TOKEN,
    output: Output = "table",
) -> None:
    """Show the links between clusters, by which the time to bring a job's data is told."""
    with city_of(data, url, token_file, as_, "en") as city:
        found = city.links()
    if output == "json":
        typer.echo(json.dumps([link.model_dump(mode="json", by_alias=True) for link in found], indent=2))
        return
    table = Table("from", "to")
    for heading in ("Gbps", "CNY/GiB", "declared"):
        table.add_column(heading, justify="right")
    for link in found:
        price = link.price_per_gib or "\u2013"
        table.add_row(link.source, link.target, f"{link.mbps / 1000:g}", price, f"{link.declared_at:%Y-%m-%d %H:%M:%S} UTC")
    console().print(table)
