"""The price book: the price in force is the last one that began, and of two that begin together the later version; a tenant pays
the lowest tier that is established to apply to it."""

from datetime import datetime, timedelta
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from scheduler.billing.pricebook import PriceBook, PricePoint, Sku, Tariff
from scheduler.billing.tiers import Entitlement
from scheduler.contract.price import PriceTier
from scheduler.contract.registry import PricedItem
from scheduler.domain.clock import CHINA
from scheduler.domain.weekly import WeeklyHours
from tests.builders import NOW

T = PriceTier
SKU: Sku = ("sz", PricedItem.ACCELERATOR, "910B3")
NIGHT = WeeklyHours(23 * 60, 7 * 60, frozenset({4, 5}))
POINTS = st.lists(
    st.tuples(st.integers(0, 5), st.integers(0, 99), st.booleans()).map(
        lambda drawn: PricePoint(
            f"v{drawn[1]:02d}",
            NOW + timedelta(hours=drawn[0]),
            Tariff(drawn[1], drawn[1]),
            ((NIGHT, Tariff(drawn[1], 0)),) if drawn[2] else (),
        )
    ),
    unique_by=lambda point: point.version,
)
TIERS = st.frozensets(st.sampled_from(PriceTier))
MICROS = st.integers(0, 20)


@given(POINTS, st.integers(-1, 7))
def test_the_price_in_force_is_the_latest_begun(points: list[PricePoint], hours: int) -> None:
    moment = NOW + timedelta(hours=hours)
    begun = [point for point in points if point.effective_from <= moment]
    expected = max(begun, key=lambda point: (point.effective_from, point.version), default=None)
    assert PriceBook((SKU, point) for point in points).at(SKU, moment) == expected


@given(POINTS, st.randoms(use_true_random=False), st.integers(0, 400))
def test_the_order_of_publication_does_not_matter(points: list[PricePoint], random: Random, minutes: int) -> None:
    shuffled = random.sample(points, len(points))
    book, other = (PriceBook((SKU, point) for point in order) for order in (points, shuffled))
    moment = NOW + timedelta(minutes=minutes)
    assert book.at(SKU, moment) == other.at(SKU, moment)
    assert book.edges(SKU, NOW, moment) == other.edges(SKU, NOW, moment)


@given(POINTS, st.integers(0, 3000), st.integers(1, 3000))
def test_between_two_edges_a_price_is_one(points: list[PricePoint], start: int, minutes: int) -> None:
    book, begin = PriceBook((SKU, point) for point in points), NOW + timedelta(minutes=start)
    end = begin + timedelta(minutes=minutes)
    edges = book.edges(SKU, begin, end)
    assert edges == sorted(set(edges))
    assert all(begin < edge < end for edge in edges)
    for one, other in zip([begin, *edges], [*edges, end], strict=True):
        rates = {
            point and point.rate(moment, Entitlement())
            for moment in (one, one + (other - one) / 2, other - timedelta(microseconds=1))
            for point in [book.at(SKU, moment)]
        }
        assert len(rates) == 1


@given(MICROS, MICROS, st.none() | MICROS, st.none() | MICROS, TIERS, TIERS)
def test_a_tenant_pays_the_lowest_tier_that_is_established(
    most: int, contracted: int, preferential: int | None, sme: int | None, established: frozenset[T], unknown: frozenset[T]
) -> None:
    listed = max(most, contracted, preferential or 0, sme or 0)
    offered = {T.CONTRACTED: contracted, T.PREFERENTIAL: preferential, T.SME: sme}
    point = PricePoint("v1", NOW, Tariff(listed, contracted, preferential, sme))
    rate = point.rate(NOW, Entitlement(established, unknown))
    priced = {tier: micros for tier, micros in offered.items() if micros is not None}
    mine = established | {T.CONTRACTED}
    assert rate.contracted_micros == min(micros for tier, micros in priced.items() if tier in mine) == priced[rate.tier]
    assert rate.contracted_micros <= rate.list_micros
    assert rate.tier in mine
    lower = {tier: micros for tier, micros in priced.items() if tier in unknown and micros < rate.contracted_micros}
    assert dict(rate.open_tiers) == lower


def test_of_equal_tiers_the_ordinary_one_is_named() -> None:
    point = PricePoint("v1", NOW, Tariff(10, 8, 8, 8))
    assert point.rate(NOW, Entitlement(frozenset(T))).tier is T.CONTRACTED


def test_off_peak_hours_begin_on_their_days_and_end_on_the_next() -> None:
    point = PricePoint("v1", NOW, Tariff(10, 8), ((NIGHT, Tariff(9, 4)),))
    friday = datetime(2026, 3, 6, 23, 0, tzinfo=CHINA)
    second = timedelta(seconds=1)
    prices = [
        (friday - second, 8),
        (friday, 4),
        (friday + timedelta(hours=8) - second, 4),
        (friday + timedelta(hours=8), 8),
        (friday + timedelta(hours=24), 4),
        (friday + timedelta(hours=48), 8),
    ]
    for moment, price in prices:
        rate = point.rate(moment, Entitlement())
        assert (rate.contracted_micros, rate.off_peak) == (price, price == 4)


def test_a_rate_says_why_and_what_would_make_it_lower() -> None:
    point = PricePoint("v1", NOW, Tariff(10, 8, 5, 6), ((WeeklyHours(0, 23 * 60, frozenset(range(7))), Tariff(10, 7, 5, 6)),))
    codes = [
        (Entitlement(), ["price_contracted", "price_off_peak"]),
        (Entitlement(frozenset({T.SME})), ["price_sme", "price_off_peak"]),
        (
            Entitlement(frozenset({T.SME}), frozenset({T.PREFERENTIAL})),
            ["price_sme", "price_off_peak", "price_preferential_not_established"],
        ),
        (Entitlement(frozenset({T.PREFERENTIAL}), frozenset({T.SME})), ["price_preferential", "price_off_peak"]),
        (
            Entitlement(unknown=frozenset({T.PREFERENTIAL, T.SME})),
            ["price_contracted", "price_off_peak", "price_preferential_not_established", "price_sme_not_established"],
        ),
    ]
    for buyer, expected in codes:
        assert [reason.code for reason in point.rate(NOW, buyer).reasons()] == expected
    assert "0.000006" in point.rate(NOW, Entitlement(unknown=frozenset({T.SME}))).reasons()[-1].text("zh")


def test_what_has_no_price_has_none() -> None:
    book = PriceBook([])
    assert book.at(SKU, NOW) is None
    assert book.edges(SKU, NOW, NOW + timedelta(days=9)) == []
    assert book.skus() == []
