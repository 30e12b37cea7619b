"""`suanwang nodes`: every node with its cards, what ails them, and which are used by others than the city's jobs."""

from collections.abc import Iterable, Iterator
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from api.cli.connection import DataOption, TokenOption, UrlOption
from api.cli.jobs import DEFAULT_TOKEN, As, Output, city_of
from api.cli.programmes import LanguageOption
from api.cli.tables import console
from api.client import Client
from scheduler.contract.inventory import CardView, NodePage, NodeView, Process
from scheduler.domain.hardware import Health
from scheduler.domain.health import health_text
from scheduler.domain.reasons import Language

GIB = 2**30
_CHINESE = {
    "cluster": "集群",
    "node": "节点",
    "heard": "最近上报",
    "cards": "卡数",
    "allocated": "已分配",
    "healthy": "健康",
    "degraded": "降级",
    "lost": "丢失",
    "to be looked at": "需关注",
    "never": "从未",
    "{seconds} s ago": "{seconds} 秒前",
    "takes no new work: {why}": "不接受新作业:{why}",
    "its clock is {seconds} s ahead": "时钟快 {seconds} 秒",
    "its clock is {seconds} s behind": "时钟慢 {seconds} 秒",
    "probe {probe}: {error}": "探针 {probe}:{error}",
    "no reason told": "未说明原因",
    "card {index} is {health}: {why}": "卡 {index} {health}:{why}",
    "card {index} is used and no job holds it: {users}": "卡 {index} 被占用,但没有作业持有它:{users}",
    "process": "进程",
}
CLOCK_OFF_SECONDS = 60
"""A node's clock that is further off than this is told of."""


def nodes(
    data: DataOption = None,
    url: UrlOption = None,
    token_file: TokenOption = None,
    as_: As = DEFAULT_TOKEN,
    troubled: Annotated[bool, typer.Option(help="Only nodes with something to be looked at.")] = False,
    output: Output = "table",
    lang: LanguageOption = "en",
) -> None:
    """Show the nodes, their cards, what ails them, and cards that are in use though no job of the city holds them."""
    with city_of(data, url, token_file, as_, lang) as city:
        found = [node for node in _all(city) if not troubled or _is_troubled(node)]
    if output == "json":
        typer.echo(NodePage(nodes=found).model_dump_json(indent=2))
        return
    console().print(node_table(found, lang))


def node_table(found: Iterable[NodeView], lang: Language = "en") -> Table:
    """A row a node, with a line for each card that somebody ought to look at."""
    table = Table(*(_said(name, lang) for name in ("cluster", "node")))
    for heading in ("heard", "cards", "allocated", "healthy"):
        table.add_column(_said(heading, lang), justify="right")
    table.add_column(_said("to be looked at", lang), overflow="fold")
    for node in found:
        cards = node.accelerators
        counts = (len(cards), sum(card.allocated for card in cards), sum(card.health is Health.HEALTHY for card in cards))
        ago = node.heard_seconds_ago
        heard = _said("never", lang) if ago is None else _said("{seconds} s ago", lang, seconds=ago)
        troubles = "\n".join((*_node_troubles(node, lang), *(line for card in cards for line in _troubles(card, lang))))
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
    return any(_node_troubles(node, "en")) or any(cards)


def _node_troubles(node: NodeView, lang: Language) -> Iterator[str]:
    if node.closed:
        yield _said("takes no new work: {why}", lang, why=", ".join(node.closed))
    ahead = node.clock_ahead_seconds or 0
    if abs(ahead) > CLOCK_OFF_SECONDS:
        yield _said("its clock is {seconds} s ahead" if ahead > 0 else "its clock is {seconds} s behind", lang, seconds=abs(ahead))
    yield from (_said("probe {probe}: {error}", lang, probe=probe, error=error) for probe, error in node.probe_errors.items())


def _troubles(card: CardView, lang: Language) -> Iterator[str]:
    if card.health is not Health.HEALTHY or card.health_reasons:
        why = ", ".join(health_text(code, lang) for code in card.health_reasons) or _said("no reason told", lang)
        yield _said("card {index} is {health}: {why}", lang, index=card.index, health=_said(card.health, lang), why=why)
    if card.foreign_use:
        users = ", ".join(_process(process, lang) for process in card.processes or ())
        yield _said("card {index} is used and no job holds it: {users}", lang, index=card.index, users=users)


def _process(process: Process, lang: Language) -> str:
    memory = "" if process.memory_bytes is None else f" {process.memory_bytes / GIB:.1f} GiB"
    return f"{process.name or _said('process', lang)} {process.pid}{memory}"


def _said(english: str, lang: Language, **values: object) -> str:
    return (english if lang == "en" else _CHINESE[english]).format_map(values)
