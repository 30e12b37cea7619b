"""Card-seconds into cost lines: exact, and split wherever the rules or the price change.

Time is metered in whole seconds of the epoch: a span counts the second boundaries it crosses, so the parts of a span always
add up to the span. Money is the difference of two running totals (see `scheduler.domain.money`), so lines add up to the product.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise

from scheduler.billing.pricebook import PriceBook, PricePoint, Sku
from scheduler.domain.clock import CHINA, MICROS_PER_SECOND, to_micros
from scheduler.domain.money import SECONDS_PER_HOUR, charge_up_to


@dataclass(frozen=True, slots=True)
class Carried:
    """Micro-CNY × seconds already counted for a job but not yet a whole micro-CNY: between 0 and 3599 for each column."""

    list_part: int = 0
    contracted_part: int = 0


@dataclass(frozen=True, slots=True)
class Line:
    """One charge before it is tagged and posted: `unit_seconds` of one thing at one price."""

    start: datetime
    end: datetime
    unit_seconds: int
    price: PricePoint
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


def meter(
    sku: Sku,
    unit_milli: int,
    since: datetime,
    start: datetime,
    end: datetime,
    book: PriceBook,
    boundaries: Iterable[datetime],
    carried: Carried,
) -> list[Line]:
    """The lines of `unit_milli` thousandths of a card or core, held from `since` on, over [start, end), in order of time.

    Split where the price changes, at each of `boundaries` (policy versions) and at Chinese new years. A stretch before the
    first price is free of charge and makes no line: the operator had published none.
    """
    lines = []
    cuts = [*boundaries, *book.changes(sku), *_new_years(start, end)]
    for begin, finish in split(start, end, cuts):
        price = book.at(sku, begin)
        unit_seconds = unit_seconds_between(unit_milli, since, begin, finish)
        if price is None or unit_seconds == 0:
            continue
        list_total = carried.list_part + unit_seconds * price.list_micros
        contracted_total = carried.contracted_part + unit_seconds * price.contracted_micros
        carried = Carried(list_total % SECONDS_PER_HOUR, contracted_total % SECONDS_PER_HOUR)
        lines.append(Line(begin, finish, unit_seconds, price, charge_up_to(list_total), charge_up_to(contracted_total)))
    return lines


def split(start: datetime, end: datetime, cuts: Iterable[datetime]) -> list[tuple[datetime, datetime]]:
    """[start, end) cut at every moment strictly inside it."""
    edges = [start, *sorted({cut for cut in cuts if start < cut < end}), end]
    return list(pairwise(edges))


def _new_years(start: datetime, end: datetime) -> list[datetime]:
    years = range(start.astimezone(CHINA).year + 1, end.astimezone(CHINA).year + 1)
    return [datetime(year, 1, 1, tzinfo=CHINA).astimezone(UTC) for year in years]
