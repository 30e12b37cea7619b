"""`suanwang prices`: what computing costs in each cluster, by tier and by time of day; and publishing it."""

import json
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from api.cli.connection import DataOption, LanguageOption, TokenOption, UrlOption
from api.cli.errors import UsageProblemError
from api.cli.jobs import DEFAULT_TOKEN, As, Output, city_of, read_spec
from api.cli.tables import UNITS, console
from scheduler.contract.price import OffPeak, PriceEntry, PriceView
from scheduler.domain.clock import CHINA

_PRICES = ("list_price", "contracted_price", "preferential_price", "sme_price")


def prices(
    price_file: Annotated[
        Path | None, typer.Argument(metavar="[PRICE.yaml]", help="A price to publish, as YAML or JSON; without it, ask.")
    ] = None,
    data: DataOption = None,
    url: UrlOption = None,
    token_file: TokenOption = None,
    as_: As = DEFAULT_TOKEN,
    language: LanguageOption = "en",
    at: Annotated[
        str | None, typer.Option(help="The prices in force then, such as 2026-12-01T00:00:00+08:00; by default now.")
    ] = None,
    cluster: Annotated[str | None, typer.Option(help="Only this cluster's.")] = None,
    history: Annotated[bool, typer.Option("--history", help="Every price ever published, announced ones too.")] = False,
    key: Annotated[str | None, typer.Option("--idempotency-key", help="Makes publishing again safe.")] = None,
    output: Output = "table",
) -> None:
    """Show prices, CNY an hour: of a card, a core, or a GiB of memory. Or publish one."""
    if history and at is not None:
        raise UsageProblemError("--history is of all times: it goes without --at")
    moment = None if history else at or datetime.now(UTC).isoformat()
    entry = None if price_file is None else read_spec(price_file)
    with city_of(data, url, token_file, as_, language) as city:
        found = city.prices(moment, cluster) if entry is None else [city.publish_price(entry, key)]
    if output == "json":
        typer.echo(json.dumps([each.model_dump(mode="json", by_alias=True) for each in found], ensure_ascii=False, indent=2))
    else:
        console().print(price_table(sorted(found, key=_order)))


def price_table(found: Sequence[PriceView]) -> Table:
    """A line for each price and one under it for each of its off-peak hours, in which what is empty is as above."""
    table = Table()
    for heading in ("cluster", "item", "model"):
        table.add_column(heading, overflow="fold")
    for heading in ("list", "contracted", "preferential", "sme"):
        table.add_column(heading, justify="right", no_wrap=True)
    for heading in ("off-peak", "from", "version"):
        table.add_column(heading, overflow="fold")
    for each in found:
        begins = "–" if each.effective_from is None else f"{each.effective_from.astimezone(CHINA):%Y-%m-%d %H:%M:%S}"
        item = f"{each.item} / {UNITS[each.item]}"
        beside = " (beside cards too)" if each.beside_cards else ""
        table.add_row(each.cluster, item + beside, each.model or "–", *_amounts(each), "–", begins, each.version)
        for hours in each.off_peak:
            table.add_row("", "", "", *_amounts(hours), _hours(hours), "", "")
    return table


def _amounts(prices: PriceView | OffPeak) -> Iterator[str]:
    """Without the zeros at their ends: a price is read, and exact in `--output json`."""
    empty = "–" if isinstance(prices, PriceEntry) else ""
    for name in _PRICES:
        amount: str | None = getattr(prices, name)
        yield empty if amount is None else _short(amount)


def _short(amount: str) -> str:
    whole, _, places = amount.partition(".")
    return f"{whole}.{places.rstrip('0'):0<2}"


def _hours(hours: OffPeak) -> str:
    days = "" if hours.weekdays is None else f" {','.join(hours.weekdays)}"
    return f"{hours.start}–{hours.until}{days}"


def _order(price: PriceView) -> tuple[str, str, str, str]:
    return price.cluster, price.item, price.model or "", str(price.effective_from)
