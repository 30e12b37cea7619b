"""`suanwang nodes`: every node with its cards, what ails them, and which are used by others than the city's jobs."""

from collections.abc import Iterable, Iterator
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from api.cli.connection import DataOption, TokenOption, UrlOption
from api.cli.jobs import DEFAULT_TOKEN, As, Output, city_of
from api.cli.tables import console
from api.client import Client
from scheduler.contract.inventory import CardView, NodePage, NodeView, Process
from scheduler.domain.hardware import Health

GIB = 2**30
CLOCK_OFF_SECONDS = 60
"""A node's clock that is further off than this is told of."""


def nodes(
    data: DataOption = None,
    url: UrlOption = None,
    token_file: TokenOption = None,
    as_: As = DEFAULT_TOKEN,
    troubled: Annotated[bool, typer.Option(help="Only nodes with something to be looked at.")] = False,
    output: Output = "table",
) -> None:
    """Show the nodes, their cards, what ails them, and cards that are in use though no job of the city holds them."""
    with city_of(data, url, token_file, as_, "en") as city:
        found = [node for node in _all(city) if not troubled or _is_troubled(node)]
    if output == "json":
        typer.echo(NodePage(nodes=found).model_dump_json(indent=2))
        return
    console().print(node_table(found))


def node_table(found: Iterable[NodeView]) -> Table:
    """A row a node, with a line for each card that somebody ought to look at."""
    table = Table("cluster", "node")
    for heading in ("heard", "cards", "allocated", "healthy"):
        table.add_column(heading, justify="right")
    table.add_column("to be looked at", overflow="fold")
    for node in found:
        cards = node.accelerators
        counts = (len(cards), sum(card.allocated for card in cards), sum(card.health is Health.HEALTHY for card in cards))
        heard = "never" if node.heard_seconds_ago is None else f"{node.heard_seconds_ago} s ago"
        troubles = "\n".join((*_node_troubles(node), *(line for card in cards for line in _troubles(card))))
        table.add_row(node.cluster, node.hostname, heard, *map(str, counts), escape(troubles))
    return table


def _all(city: Client) -> Iterator[NodeView]:
    page = city.nodes()
    yield from page.nodes
    while page.next:
        page = city.nodes(after=page.next)
        yield from page.nodes


def _is_troubled(node: NodeView) -> bool:
    cards = (card.foreign_use or card.health is not Health.HEALTHY for card in node.accelerators)
    return any(_node_troubles(node)) or any(cards)


def _node_troubles(node: NodeView) -> Iterator[str]:
    if node.closed:
        yield f"takes no new work: {', '.join(node.closed)}"
    ahead = node.clock_ahead_seconds or 0
    if abs(ahead) > CLOCK_OFF_SECONDS:
        yield f"its clock is {abs(ahead)} s {'ahead' if ahead > 0 else 'behind'}"
    yield from (f"probe {probe}: {error}" for probe, error in node.probe_errors.items())


def _troubles(card: CardView) -> Iterator[str]:
    if card.health is not Health.HEALTHY or card.health_reasons:
        yield f"card {card.index} is {card.health}: {', '.join(card.health_reasons) or 'no reason told'}"
    if card.foreign_use:
        users = ", ".join(map(_process, card.processes or ()))
        yield f"card {card.index} is used and no job holds it: {users}"


def _process(process: Process) -> str:
    memory = "" if process.memory_bytes is None else f" {process.memory_bytes / GIB:.1f} GiB"
    return f"{process.name or 'process'} {process.pid}{memory}"
