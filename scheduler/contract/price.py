"""What computing costs in a cluster: published prices with what is paid in place of them, by tier and by time of day.

A discount is on the row: `list` is what the provider publishes, and what a tenant pays is below it (FOCUS 1.2: ListCost and
ContractedCost). It is never a subsidy: a voucher looks at what was paid.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, StringConstraints, model_validator

from scheduler.contract.base import Key, Moment, Page, Price, Text, Wire
from scheduler.contract.registry import PricedItem
from scheduler.domain.faults import Fault
from scheduler.domain.money import MICROS_PER_CNY, parse_cny
from scheduler.domain.weekly import WEEKDAYS, WeeklyHours, first_overlap, parse_time_of_day

MAX_PRICE_MICROS = 10_000 * MICROS_PER_CNY
"""Per unit-hour: far above any real price, and low enough that no line of a real gang exceeds what an amount may be."""

MAX_OFF_PEAK = 4
"""Off-peak hours of one price: with them a day of metering is cut into nine lines at most, and two more where prices change."""


class PriceTier(StrEnum):
    """What a tenant pays in place of the published price; of those that apply to it, the lowest.

    `contracted` applies to everybody. `preferential` (优惠价) is what a city's major facilities take from those of their own city,
    and `sme` the city's low-cost plan for small and medium-sized enterprises.
    """

    CONTRACTED = "contracted"
    PREFERENTIAL = "preferential"
    SME = "sme"


class Prices(Wire):
    """Prices that hold together, CNY per unit-hour; of those left out each holds as it does elsewhere."""

    list_price: Price | None = None
    contracted_price: Price | None = None
    preferential_price: Price | None = None
    sme_price: Price | None = None


def _time_of_day(text: str) -> str:
    parse_time_of_day(text)
    return text


TimeOfDay = Annotated[str, StringConstraints(max_length=5), AfterValidator(_time_of_day)]
"""`HH:MM`, local time of China."""


class OffPeak(Prices):
    """Hours with prices of their own, in local time of China: from a time of day until another, which may be on the next day.

    With `weekdays` only those that start on one of them. A price left out is as it is outside.
    """

    start: TimeOfDay = Field(alias="from")
    until: TimeOfDay
    weekdays: (
        Annotated[tuple[Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"], ...], Field(min_length=1, max_length=7)] | None
    ) = None

    def hours(self) -> WeeklyHours:
        days = WEEKDAYS if self.weekdays is None else self.weekdays
        numbers = frozenset(map(WEEKDAYS.index, days))
        return WeeklyHours(parse_time_of_day(self.start), parse_time_of_day(self.until), numbers)

    @model_validator(mode="after")
    def _is_some_time_at_some_price(self) -> Self:
        if self.start == self.until:
            raise Fault("off_peak_empty")
        if not amounts(self):
            raise Fault("off_peak_without_price")
        return self


class PriceEntry(Wire):
    """One price of one cluster, CNY: per card-hour of a model, per core-hour, or per GiB-hour of memory. A later `effective_from`
    supersedes it; without one it holds at once. All its prices change together: one that is left out is no longer offered.

    `list` is what the provider publishes, `contracted` what everybody pays; see `PriceTier` for the other two. CPU and memory
    beside accelerators are part of the card's price unless their own price says `beside_cards`.
    """

    cluster: Key
    item: PricedItem
    model: Text | None = None
    list_price: Price
    contracted_price: Price
    preferential_price: Price | None = None
    sme_price: Price | None = None
    off_peak: Annotated[tuple[OffPeak, ...], Field(max_length=MAX_OFF_PEAK)] = ()
    beside_cards: bool = False
    effective_from: Moment | None = None

    @model_validator(mode="after")
    def _makes_sense(self) -> Self:
        if (self.item is PricedItem.ACCELERATOR) != (self.model is not None):
            raise Fault("model_misplaced", item=self.item)
        if self.beside_cards and self.item is PricedItem.ACCELERATOR:
            raise Fault("beside_cards_misplaced")
        if parse_cny(self.list_price) > MAX_PRICE_MICROS:
            most = MAX_PRICE_MICROS // MICROS_PER_CNY
            raise Fault("price_too_high", most=most)
        known = amounts(self)
        _check_tiers("", known)
        for name, micros in known.items():
            if name != "list_price" and micros > known["contracted_price"]:
                raise Fault("tier_above_contracted", tier=name)
        overlap = first_overlap(each.hours() for each in self.off_peak)
        if overlap is not None:
            raise Fault("off_peak_overlap", first=overlap[0], second=overlap[1])
        for number, each in enumerate(self.off_peak):
            _check_off_peak(f"off_peak.{number}.", amounts(each), known)
        return self


class PriceView(PriceEntry):
    """A price as stored: `version` names it in cost lines."""

    version: Key


class PricePage(Page):
    """Prices in the order they were published in."""

    prices: list[PriceView]


def amounts(prices: Prices | PriceEntry) -> dict[str, int]:
    """Micro-CNY of each of some prices that is named, the published one first."""
    return {name: parse_cny(text) for name in Prices.model_fields if (text := getattr(prices, name)) is not None}


def _check_tiers(where: str, known: Mapping[str, int]) -> None:
    """Nothing that is paid is above what is published."""
    for name, micros in known.items():
        if micros > known["list_price"]:
            raise Fault("tier_above_list", where=where, tier=name)


def _check_off_peak(where: str, named: Mapping[str, int], ordinary: Mapping[str, int]) -> None:
    for name, micros in named.items():
        if micros > ordinary.get(name, micros):
            raise Fault("off_peak_above_ordinary", where=where, tier=name)
    _check_tiers(where, {**ordinary, **named})
