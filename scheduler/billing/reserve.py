"""What a run may cost at most, kept back of its budgets from its grant to its end. Pure.

An upper bound, whenever the run starts within `START_WITHIN`: all that is held, for the whole time it may be charged for, at the
highest price of that time among those that are published.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

from scheduler.billing.metering import MILLI, Holding
from scheduler.billing.pricebook import PriceBook
from scheduler.billing.tiers import Entitlement
from scheduler.domain.money import SECONDS_PER_HOUR

START_WITHIN = timedelta(days=1)
"""How long after its grant a run is taken to start at the latest: if later, what is kept back is put right with its first line."""


def reserve(held: Sequence[Holding], max_runtime_seconds: int, granted: datetime, book: PriceBook, buyer: Entitlement) -> int:
    """What is kept back at a grant, micro-CNY: the most it may cost, and a micro-CNY of each item for what rounding may add."""
    until = granted + timedelta(seconds=max_runtime_seconds) + START_WITHIN
    return at_most(held, max_runtime_seconds, granted, until, book, buyer) + len(held)


def at_most(held: Iterable[Holding], seconds: int, start: datetime, end: datetime, book: PriceBook, buyer: Entitlement) -> int:
    """Micro-CNY that `seconds` of what is held cost at most, wherever they lie in [start, end)."""
    return sum(-(-_units(each, seconds) * _highest(each, start, end, book, buyer) // SECONDS_PER_HOUR) for each in held)


def _units(holding: Holding, seconds: int) -> int:
    return -(-holding.unit_milli * seconds // MILLI)


def _highest(holding: Holding, start: datetime, end: datetime, book: PriceBook, buyer: Entitlement) -> int:
    found = 0
    for moment in (start, *book.edges(holding.sku, start, end)):
        point = book.at(holding.sku, moment)
        if point is not None and (point.beside_cards or not holding.beside_cards):
            found = max(found, point.rate(moment, buyer).contracted_micros)
    return found
