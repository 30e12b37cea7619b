"""`suanwang windows` and `suanwang scheduling`: an operator's say in when nodes are used, and how jobs are put on them."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from api.cli.connection import DataOption, LanguageOption, TokenOption, UrlOption
from api.cli.jobs import DEFAULT_TOKEN, As, Output, city_of, print_json, read_spec
from api.cli.tables import console
from scheduler.contract.window import WindowView

NODES_SHOWN = 4

app = typer.Typer(no_args_is_help=True, help="Nodes set aside for maintenance or reservations.", rich_markup_mode=None)


@app.command("list")
def list_windows(
    data: DataOption = None,
    url: UrlOption = None,
    token_file: TokenOption = None,
    as_: As = DEFAULT_TOKEN,
    ended: Annotated[bool, typer.Option("--ended", help="Those that are over or cancelled as well.")] = False,
    output: Output = "table",
) -> None:
    """List windows that are open or ahead."""
    with city_of(data, url, token_file, as_, "en") as city:
        found = city.windows(ended=ended)
    if output == "json":
        typer.echo(json.dumps([each.model_dump(mode="json", by_alias=True) for each in found], ensure_ascii=False, indent=2))
    else:
        console().print(_table(found))


@app.command()
def create(
    spec_file: Annotated[Path, typer.Argument(metavar="WINDOW.yaml", help="The window, as YAML or JSON.")],
    data: DataOption = None,
    url: UrlOption = None,
    token_file: TokenOption = None,
    as_: As = DEFAULT_TOKEN,
    language: LanguageOption = "en",
    key: Annotated[str | None, typer.Option("--idempotency-key", help="Makes creating it again safe.")] = None,
    output: Output = "table",
) -> None:
    """Set nodes aside: kind (maintenance or reservation), cluster, nodes or hardware, start, end, tenants or queue, note."""
    spec = read_spec(spec_file)
    with city_of(data, url, token_file, as_, language) as city:
        _show(city.create_window(spec, key), output)


@app.command()
def cancel(
    window_id: Annotated[str, typer.Argument(metavar="WINDOW", help="The window's id.")],
    data: DataOption = None,
    url: UrlOption = None,
    token_file: TokenOption = None,
    as_: As = DEFAULT_TOKEN,
    language: LanguageOption = "en",
    output: Output = "table",
) -> None:
    """Give the nodes of a window back."""
    with city_of(data, url, token_file, as_, language) as city:
        _show(city.cancel_window(window_id), output)


def scheduling(
    policy_file: Annotated[
        Path | None,
        typer.Argument(metavar="[POLICY.yaml]", help="What to choose, such as backfill: conservative; without it, ask."),
    ] = None,
    data: DataOption = None,
    url: UrlOption = None,
    token_file: TokenOption = None,
    as_: As = DEFAULT_TOKEN,
    language: LanguageOption = "en",
) -> None:
    """Show how the city schedules, or choose it as a whole: what the file leaves out is as it was shipped."""
    policy = None if policy_file is None else read_spec(policy_file)
    with city_of(data, url, token_file, as_, language) as city:
        print_json(city.scheduling() if policy is None else city.declare_scheduling(policy))


def _show(window: WindowView, output: str) -> None:
    if output == "json":
        print_json(window)
    else:
        console().print(_table([window]))


def _table(windows: Sequence[WindowView]) -> Table:
    table = Table()
    table.add_column("window", no_wrap=True)
    for heading in ("kind", "state", "cluster", "nodes", "from", "to", "for", "note"):
        table.add_column(heading, overflow="fold")
    for each in windows:
        beneficiaries = [*each.tenants, *([f"queue {each.queue}"] if each.queue else [])]
        table.add_row(
            each.id,
            each.kind,
            each.state,
            each.cluster,
            _nodes(each.nodes),
            f"{each.start:%Y-%m-%d %H:%M:%S} UTC",
            f"{each.end:%Y-%m-%d %H:%M:%S} UTC",
            ", ".join(beneficiaries) or "–",
            each.note or "–",
        )
    return table


def _nodes(nodes: Sequence[str] | None) -> str:
    if nodes is None:
        return "all"
    more = len(nodes) - NODES_SHOWN
    return ", ".join(nodes[:NODES_SHOWN]) + (f" and {more} more" if more > 0 else "")
