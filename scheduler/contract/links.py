"""Links: what an operator knows of the bandwidth between clusters, by which the time to bring a job's data is told."""

from decimal import Decimal
from typing import Annotated, Self

from pydantic import AfterValidator, Field, PlainSerializer, model_validator

from scheduler.contract.base import Key, Moment, Price, Wire
from scheduler.domain.money import MICROS_PER_CNY, parse_cny

MAX_GBPS = 100_000
MAX_PRICE_PER_GIB_MICROS = 1_000 * MICROS_PER_CNY
"""Far above any real price, and low enough that no estimate exceeds what an amount may be."""


def _plain(gbps: Decimal) -> str:
    return f"{gbps.normalize():f}"


def _affordable(price: str) -> str:
    if parse_cny(price) > MAX_PRICE_PER_GIB_MICROS:
        raise ValueError(f"at most {MAX_PRICE_PER_GIB_MICROS // MICROS_PER_CNY} CNY per GiB is allowed")
    return price


Gbps = Annotated[Decimal, Field(ge=0, le=MAX_GBPS, decimal_places=3), PlainSerializer(_plain, return_type=str)]
"""Gigabits per second as a number or a decimal string, to the megabit."""


class Link(Wire):
    """What can be used of the way from one cluster to another; the way back is a link of its own.

    `gbps: 0` takes back what was declared: nothing is known of that way any more. `price_per_gib` is shown in quotes and charged
    nowhere.
    """

    source: Key = Field(alias="from")
    target: Key = Field(alias="to")
    gbps: Gbps
    price_per_gib: Annotated[Price, AfterValidator(_affordable)] | None = None

    @model_validator(mode="after")
    def _between_two(self) -> Self:
        if self.source == self.target:
            raise ValueError("to must name another cluster than from: within a cluster nothing has to be brought")
        return self

    @property
    def mbps(self) -> int:
        return int(self.gbps * 1000)


class LinkView(Link):
    """A link as it was declared last."""

    declared_at: Moment
