"""Prices by cluster, item and model, each from a date on; a later one supersedes, and nothing is ever changed."""

from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property

from scheduler.billing.tiers import Entitlement
from scheduler.contract.price import PriceTier
from scheduler.contract.registry import PricedItem
from scheduler.domain.money import format_cny
from scheduler.domain.reasons import Reason
from scheduler.domain.weekly import Week, WeeklyHours

Sku = tuple[str, PricedItem, str | None]
"""(cluster, item, model)."""


@dataclass(frozen=True, slots=True)
class Tariff:
    """Micro-CNY per unit-hour: what is published, and what is paid by tier. None: the tier is not offered."""

    list_micros: int
    contracted_micros: int
    preferential_micros: int | None = None
    sme_micros: int | None = None

    def of(self, tier: PriceTier) -> int | None:
        match tier:
            case PriceTier.CONTRACTED:
                return self.contracted_micros
            case PriceTier.PREFERENTIAL:
                return self.preferential_micros
            case PriceTier.SME:
                return self.sme_micros

    def lowest(self, tiers: Collection[PriceTier]) -> tuple[int, PriceTier]:
        """The lowest price of some tiers and its tier; of equals the tier named first. What everybody pays is always among them."""
        offered = [(micros, tier) for tier in PriceTier if tier in tiers and (micros := self.of(tier)) is not None]
        return min([(self.contracted_micros, PriceTier.CONTRACTED), *offered], key=lambda each: each[0])


@dataclass(frozen=True, slots=True)
class Rate:
    """What one unit-hour costs one tenant at one moment, micro-CNY, and why: at which tier, and whether in off-peak hours.

    `open_tiers` are those that would be lower and of which nobody has established whether they apply, with their prices.
    """

    version: str
    list_micros: int
    contracted_micros: int
    tier: PriceTier = PriceTier.CONTRACTED
    off_peak: bool = False
    open_tiers: tuple[tuple[PriceTier, int], ...] = ()

    def reasons(self) -> list[Reason]:
        """Why it is this price: the tier, off-peak hours, and what would make it lower if it were established."""
        found = [_OF_TIER[self.tier]]
        if self.off_peak:
            found.append(Reason("price_off_peak"))
        return found + [_if_established(tier, micros) for tier, micros in self.open_tiers]


_OF_TIER = {
    PriceTier.CONTRACTED: Reason("price_contracted"),
    PriceTier.PREFERENTIAL: Reason("price_preferential"),
    PriceTier.SME: Reason("price_sme"),
}


NOT_ESTABLISHED = frozenset({"price_preferential_not_established", "price_sme_not_established"})
"""The reasons that say what a lower price waits for."""


def _if_established(tier: PriceTier, micros: int) -> Reason:
    code = "price_sme_not_established" if tier is PriceTier.SME else "price_preferential_not_established"
    return Reason(code, {"price": format_cny(micros)})


@dataclass(frozen=True)
class PricePoint:
    """A published price from `effective_from` on. `off_peak` are hours that never overlap, with what holds in them. For cores and
    memory, `beside_cards` says that they are charged beside cards too."""

    version: str
    effective_from: datetime
    ordinary: Tariff
    off_peak: tuple[tuple[WeeklyHours, Tariff], ...] = ()
    beside_cards: bool = False

    @cached_property
    def _week(self) -> Week:
        return Week(hours for hours, _ in self.off_peak)

    def rate(self, moment: datetime, buyer: Entitlement) -> Rate:
        """What a tenant pays at a moment: the lowest tier that is established to apply."""
        number = self._week.at(moment)
        tariff = self.ordinary if number is None else self.off_peak[number][1]
        micros, tier = tariff.lowest(buyer.established)
        open_tiers = [(each, lower) for each in PriceTier if each in buyer.unknown and (lower := tariff.of(each)) is not None]
        return Rate(
            version=self.version,
            list_micros=tariff.list_micros,
            contracted_micros=micros,
            tier=tier,
            off_peak=number is not None,
            open_tiers=tuple((each, lower) for each, lower in open_tiers if lower < micros),
        )

    def edges(self, start: datetime, end: datetime) -> list[datetime]:
        """When off-peak hours begin and end, strictly inside [start, end)."""
        return self._week.edges(start, end)


class PriceBook:
    """Every price ever published. Of two with the same moment the later version, by id, holds."""

    def __init__(self, points: Iterable[tuple[Sku, PricePoint]]) -> None:
        self._points: dict[Sku, list[PricePoint]] = defaultdict(list)
        for sku, point in points:
            self._points[sku].append(point)
        for history in self._points.values():
            history.sort(key=lambda point: (point.effective_from, point.version))

    def at(self, sku: Sku, moment: datetime) -> PricePoint | None:
        """The price in force at a moment, None before the first."""
        history = self._points.get(sku, [])
        position = bisect_right(history, moment, key=lambda point: point.effective_from)
        return history[position - 1] if position else None

    def edges(self, sku: Sku, start: datetime, end: datetime) -> list[datetime]:
        """Every moment strictly inside [start, end) at which what something costs may change."""
        history = self._points.get(sku, [])
        inside = slice(
            bisect_right(history, start, key=lambda point: point.effective_from),
            bisect_left(history, end, key=lambda point: point.effective_from),
        )
        changes = [point.effective_from for point in history[inside]]
        stretches = zip([start, *changes], [*changes, end], strict=True)
        found = set(changes)
        for begin, finish in stretches:
            point = self.at(sku, begin)
            found.update(point.edges(begin, finish) if point else ())
        return sorted(found)

    def skus(self) -> list[Sku]:
        return list(self._points)
