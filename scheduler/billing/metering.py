"""Card-seconds into cost lines: exact, and split wherever the rules or the price change.

Time is metered in whole seconds of the epoch: a span counts the second boundaries it crosses, so the parts of a span always
add up to the span. Money is the difference of two running totals (see `scheduler.domain.money`), so lines add up to the product.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise

from scheduler.billing.months import month_starts
from scheduler.billing.pricebook import PriceBook, Rate, Sku
from scheduler.billing.tiers import Entitlement
from scheduler.contract.registry import PricedItem
from scheduler.domain.clock import CHINA, MICROS_PER_SECOND, to_micros
from scheduler.domain.money import SECONDS_PER_HOUR, charge_up_to

MILLI = 1000

MAX_SPAN = timedelta(days=1)
"""The most that is metered of an attempt at a time: however late it is, one posting has few lines, and the rest follows at once."""


@dataclass(frozen=True, slots=True)
class Carried:
    """Micro-CNY × seconds already counted for a job but not yet a whole micro-CNY: between 0 and 3599 for each column."""

    list_part: int = 0
    contracted_part: int = 0


@dataclass(frozen=True, slots=True)
class Holding:
    """Thousandths of a card, a core or a GiB that are held. `beside_cards`: charged only where the price says so."""

    sku: Sku
    unit_milli: int
    beside_cards: bool = False


@dataclass(frozen=True, slots=True)
class Line:
    """One charge before it is tagged and posted: `unit_seconds` of one thing at one price."""

    start: datetime
    end: datetime
    unit_seconds: int
    price: Rate
    list_micros: int
    contracted_micros: int


def whole_seconds(start: datetime, end: datetime) -> int:
    """How many second boundaries lie in [start, end)."""
    return to_micros(end) // MICROS_PER_SECOND - to_micros(start) // MICROS_PER_SECOND


def unit_seconds_between(unit_milli: int, since: datetime, start: datetime, end: datetime) -> int:
    """Whole unit-seconds of [start, end) for something held from `since` on: the difference of two totals, each rounded down.

    So the spans of one attempt add up to the whole, and what a fraction of a card leaves under a second is not charged.
    """
    return unit_milli * whole_seconds(since, end) // 1000 - unit_milli * whole_seconds(since, start) // 1000


def holdings(cluster: str, model: str | None, card_milli: int, core_milli: int, memory_milli: int) -> list[Holding]:
    """Everything held that may be charged, in thousandths of a card, a core and a GiB; what it is held for first."""
    with_cards = card_milli > 0
    held = [
        Holding((cluster, PricedItem.ACCELERATOR, model), card_milli),
        Holding((cluster, PricedItem.CPU, None), core_milli, with_cards),
        Holding((cluster, PricedItem.MEMORY, None), memory_milli, with_cards),
    ]
    return [each for each in held if each.unit_milli]


def meter(
    holding: Holding,
    since: datetime,
    start: datetime,
    end: datetime,
    book: PriceBook,
    buyer: Entitlement,
    boundaries: Iterable[datetime],
    carried: Carried,
) -> list[Line]:
    """The lines of what is held from `since` on, over [start, end), in order of time, at the prices the buyer is entitled to.

    Split where the price may change (`PriceBook.edges`), at each of `boundaries` (policy versions) and where Chinese months begin,
    and with them claim years, so that a line is in one month's statement. A stretch before the first price, or of what is part of
    the price of the cards it lies beside, is free and makes no line.
    """
    lines = []
    cuts = [*boundaries, *book.edges(holding.sku, start, end), *month_starts(start, end)]
    for begin, finish in split(start, end, cuts):
        point = book.at(holding.sku, begin)
        unit_seconds = unit_seconds_between(holding.unit_milli, since, begin, finish)
        if point is None or unit_seconds == 0 or (holding.beside_cards and not point.beside_cards):
            continue
        price = point.rate(begin, buyer)
        list_total = carried.list_part + unit_seconds * price.list_micros
        contracted_total = carried.contracted_part + unit_seconds * price.contracted_micros
        carried = Carried(list_total % SECONDS_PER_HOUR, contracted_total % SECONDS_PER_HOUR)
        lines.append(Line(begin, finish, unit_seconds, price, charge_up_to(list_total), charge_up_to(contracted_total)))
    return lines


def mean_price(holding: Holding, start: datetime, end: datetime, book: PriceBook, buyer: Entitlement) -> tuple[int, int]:
    """What is held costs an hour on the average of [start, end), published and paid, micro-CNY rounded down; 0 where it is free."""
    lines = meter(holding, start, start, end, book, buyer, (), Carried())
    seconds = whole_seconds(start, end)
    listed = sum(line.unit_seconds * line.price.list_micros for line in lines)
    paid = sum(line.unit_seconds * line.price.contracted_micros for line in lines)
    return listed // seconds, paid // seconds


def split(start: datetime, end: datetime, cuts: Iterable[datetime]) -> list[tuple[datetime, datetime]]:
    """[start, end) cut at every moment strictly inside it."""
    edges = [start, *sorted({cut for cut in cuts if start < cut < end}), end]
    return list(pairwise(edges))


def new_years(start: datetime, end: datetime) -> list[datetime]:
    """The beginnings of Chinese calendar years, by which claims are counted, from a moment until another."""
    years = range(start.astimezone(CHINA).year + 1, end.astimezone(CHINA).year + 1)
    return [datetime(year, 1, 1, tzinfo=CHINA).astimezone(UTC) for year in years]
