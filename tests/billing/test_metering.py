"""Metering: however a span is cut and whenever it is posted, parts sum to the whole, to 10⁻⁶ CNY."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from scheduler.billing.metering import Carried, Line, meter, split, whole_seconds
from scheduler.billing.pricebook import PriceBook, PricePoint, Sku
from scheduler.contract.registry import PricedItem
from scheduler.domain.clock import CHINA
from scheduler.domain.money import SECONDS_PER_HOUR

SKU: Sku = ("sz", PricedItem.ACCELERATOR, "910B3")
START = datetime(2026, 3, 1, tzinfo=UTC)
OFFSETS = st.integers(0, 40 * 86_400 * 10**6).map(lambda micros: START + timedelta(microseconds=micros))
PRICES = st.integers(0, 10**9)


UNIT_MILLI = st.one_of(st.integers(1, 1000).map(lambda units: units * 1000), st.integers(1, 9000))
"""Whole cards, or fractions of some."""


def point(version: int, since: datetime, list_micros: int, contracted_micros: int) -> tuple[Sku, PricePoint]:
    return SKU, PricePoint(f"price-{version:03d}", list_micros, contracted_micros, since)


@st.composite
def books(draw: st.DrawFn) -> PriceBook:
    """A price from the start on, and changes at arbitrary moments."""
    since = [START, *draw(st.lists(OFFSETS, max_size=4))]
    return PriceBook(point(number, moment, draw(PRICES), draw(PRICES)) for number, moment in enumerate(since))


def post(book: PriceBook, unit_milli: int, postings: list[datetime], cuts: list[datetime]) -> list[Line]:
    """The lines of one job metered at each of `postings`, each time going on from what its posted lines add up to."""
    lines: list[Line] = []
    for begin, end in pairwise(postings):
        listed = sum(line.unit_seconds * line.price.list_micros - line.list_micros * SECONDS_PER_HOUR for line in lines)
        paid = sum(line.unit_seconds * line.price.contracted_micros - line.contracted_micros * SECONDS_PER_HOUR for line in lines)
        lines += meter(SKU, unit_milli, postings[0], begin, end, book, cuts, Carried(listed, paid))
    return lines


@given(books(), UNIT_MILLI, st.lists(OFFSETS, min_size=2, max_size=6).map(sorted), st.lists(OFFSETS, max_size=4))
def test_parts_sum_to_the_whole_whatever_the_cuts_and_the_postings(
    book: PriceBook, unit_milli: int, postings: list[datetime], cuts: list[datetime]
) -> None:
    many = post(book, unit_milli, postings, cuts)
    once = post(book, unit_milli, [postings[0], postings[-1]], [])
    assert sum(line.unit_seconds for line in many) == unit_milli * whole_seconds(postings[0], postings[-1]) // 1000
    for lines in (many, once):
        products = [line.unit_seconds * line.price.contracted_micros for line in lines]
        assert sum(line.contracted_micros for line in lines) == sum(products) // SECONDS_PER_HOUR
        products = [line.unit_seconds * line.price.list_micros for line in lines]
        assert sum(line.list_micros for line in lines) == sum(products) // SECONDS_PER_HOUR
    assert sum(line.contracted_micros for line in many) == sum(line.contracted_micros for line in once)


@given(books(), st.lists(OFFSETS, min_size=2, max_size=6).map(sorted), st.lists(OFFSETS, max_size=4))
def test_no_line_crosses_a_change_of_price_or_a_boundary(book: PriceBook, postings: list[datetime], cuts: list[datetime]) -> None:
    for line in post(book, 8, postings, cuts):
        assert line.start < line.end
        assert line.price == book.at(SKU, line.start) == book.at(SKU, line.end - timedelta(microseconds=1))
        assert not any(line.start < cut < line.end for cut in cuts)
        assert line.list_micros >= 0
        assert line.contracted_micros >= 0


@given(st.lists(OFFSETS, min_size=2).map(sorted))
def test_the_whole_seconds_of_parts_are_those_of_the_span(edges: list[datetime]) -> None:
    assert sum(whole_seconds(begin, end) for begin, end in pairwise(edges)) == whole_seconds(edges[0], edges[-1])


@given(OFFSETS, OFFSETS, st.lists(OFFSETS))
def test_a_split_span_is_the_span(one: datetime, other: datetime, cuts: list[datetime]) -> None:
    start, end = min(one, other), max(one, other)
    parts = split(start, end, cuts)
    assert (parts[0][0], parts[-1][1]) == (start, end)
    assert all(before[1] == after[0] for before, after in pairwise(parts))


def test_a_line_is_split_where_the_price_changes() -> None:
    change = START + timedelta(hours=1)
    book = PriceBook([point(1, START, 12_000_000, 10_000_000), point(2, change, 24_000_000, 20_000_000)])
    lines = meter(SKU, 8000, START, START, START + timedelta(hours=2), book, [], Carried())
    assert [(line.end, line.contracted_micros) for line in lines] == [
        (change, 80_000_000),
        (change + timedelta(hours=1), 160_000_000),
    ]


def test_a_line_is_split_at_the_chinese_new_year_and_not_at_the_new_year_of_utc() -> None:
    book = PriceBook([point(1, START, 1, 1)])
    begin, end = datetime(2026, 12, 31, tzinfo=UTC), datetime(2027, 1, 2, tzinfo=UTC)
    lines = meter(SKU, 1000, begin, begin, end, book, [], Carried())
    assert [line.start for line in lines] == [begin, datetime(2027, 1, 1, tzinfo=CHINA)]


def test_a_line_is_split_at_a_policy_day() -> None:
    day = datetime(2026, 3, 2, tzinfo=CHINA)
    lines = meter(SKU, 1000, START, START, START + timedelta(days=2), PriceBook([point(1, START, 1, 1)]), [day, day], Carried())
    assert [line.start for line in lines] == [START, day]


def test_time_before_the_first_price_is_free_and_makes_no_line() -> None:
    published = START + timedelta(hours=1)
    book = PriceBook([point(1, published, 10, 10)])
    assert meter(SKU, 8000, START, START, published, book, [], Carried()) == []
    assert [line.start for line in meter(SKU, 8000, START, START, published + timedelta(hours=1), book, [], Carried())] == [
        published
    ]


def test_less_than_a_second_makes_no_line() -> None:
    book = PriceBook([point(1, START, 10, 10)])
    assert meter(SKU, 8000, START, START, START + timedelta(milliseconds=999), book, [], Carried()) == []


def test_a_fraction_of_a_card_is_charged_by_whole_card_seconds_of_the_whole_attempt() -> None:
    book = PriceBook([point(1, START, 36_000, 36_000)])
    ends = [START + timedelta(seconds=seconds) for seconds in (0, 1, 2, 3, 10, 1000)]
    seconds = []
    for begin, end in pairwise(ends):
        seconds.append(sum(line.unit_seconds for line in meter(SKU, 428, START, begin, end, book, [], Carried())))
    assert seconds == [0, 0, 1, 3, 424]
    assert sum(seconds) == 428
