"""Prices by cluster, item and model, each from a date on; a later one supersedes, and nothing is ever changed."""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from scheduler.contract.registry import PricedItem

Sku = tuple[str, PricedItem, str | None]
"""(cluster, item, model)."""


@dataclass(frozen=True, slots=True)
class PricePoint:
    """Micro-CNY per card-hour or core-hour from `effective_from` on."""

    version: str
    list_micros: int
    contracted_micros: int
    effective_from: datetime


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

    def changes(self, sku: Sku) -> list[datetime]:
        """When the price of something changes."""
        return [point.effective_from for point in self._points.get(sku, [])]

    def skus(self) -> list[Sku]:
        return list(self._points)
