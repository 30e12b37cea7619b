"""The price book: the price in force is the last one that began, and of two that begin together the later version."""

from datetime import datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from scheduler.billing.pricebook import PriceBook, PricePoint, Sku
from scheduler.contract.registry import PricedItem
from tests.builders import NOW

SKU: Sku = ("sz", PricedItem.ACCELERATOR, "910B3")
POINTS = st.lists(
    st.tuples(st.integers(0, 5), st.integers(0, 99)).map(
        lambda drawn: PricePoint(f"v{drawn[1]:02d}", drawn[1], drawn[1], NOW + timedelta(hours=drawn[0]))
    ),
    unique_by=lambda point: point.version,
)


@given(POINTS, st.integers(-1, 7))
def test_the_price_in_force_is_the_latest_begun(points: list[PricePoint], hours: int) -> None:
    moment = NOW + timedelta(hours=hours)
    begun = [point for point in points if point.effective_from <= moment]
    expected = max(begun, key=lambda point: (point.effective_from, point.version), default=None)
    assert PriceBook((SKU, point) for point in points).at(SKU, moment) == expected


@given(POINTS, st.randoms())
def test_the_order_of_publication_does_not_matter(points: list[PricePoint], random: object) -> None:
    book, other = (PriceBook((SKU, point) for point in order) for order in (points, list(reversed(points))))
    assert book.changes(SKU) == other.changes(SKU) == sorted(point.effective_from for point in points)


def test_what_has_no_price_has_none() -> None:
    book = PriceBook([])
    moment: datetime = NOW
    assert book.at(SKU, moment) is None
    assert book.changes(SKU) == []
    assert book.skus() == []
