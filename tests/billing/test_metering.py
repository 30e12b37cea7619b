"""Metering: however a span is cut and whenever it is posted, parts sum to the whole, to 10⁻⁶ CNY."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from scheduler.billing.metering import MAX_SPAN, Carried, Holding, Line, holdings, mean_price, split, whole_seconds
from scheduler.billing.metering import meter as meter_held
from scheduler.billing.pricebook import PriceBook, PricePoint, Sku, Tariff
from scheduler.billing.tiers import Entitlement
from scheduler.contract.price import MAX_OFF_PEAK, PriceTier
from scheduler.contract.registry import PricedItem
from scheduler.domain.clock import CHINA
from scheduler.domain.money import SECONDS_PER_HOUR
from scheduler.domain.weekly import DAY_MINUTES, WEEKDAYS, WeeklyHours

NOBODY = Entitlement()
SKU: Sku = ("sz", PricedItem.ACCELERATOR, "910B3")
START = datetime(2026, 3, 1, tzinfo=UTC)
OFFSETS = st.integers(0, 40 * 86_400 * 10**6).map(lambda micros: START + timedelta(microseconds=micros))
PRICES = st.integers(0, 10**9)


UNIT_MILLI = st.one_of(st.integers(1, 1000).map(lambda units: units * 1000), st.integers(1, 9000))
"""Whole cards, or fractions of some."""


def point(version: int, since: datetime, list_micros: int, contracted_micros: int, **changes: Any) -> tuple[Sku, PricePoint]:
    return SKU, PricePoint(f"price-{version:03d}", since, Tariff(list_micros, contracted_micros), **changes)


def meter(
    unit_milli: int,
    since: datetime,
    start: datetime,
    end: datetime,
    book: PriceBook,
    cuts: list[datetime],
    buyer: Entitlement = NOBODY,
) -> list[Line]:
    return meter_held(Holding(SKU, unit_milli), since, start, end, book, buyer, cuts, Carried())


@st.composite
def tariffs(draw: st.DrawFn) -> Tariff:
    """Published and paid, with tiers that may be offered or not, in any order of height."""
    listed = draw(PRICES)
    paid = st.integers(0, listed)
    return Tariff(listed, draw(paid), draw(st.none() | paid), draw(st.none() | paid))


@st.composite
def off_peak(draw: st.DrawFn) -> tuple[tuple[WeeklyHours, Tariff], ...]:
    """Hours that do not overlap: between cuts of the day, the last of them until the next day's first."""
    minutes = sorted(draw(st.sets(st.integers(0, DAY_MINUTES - 1), min_size=0, max_size=2 * MAX_OFF_PEAK)))
    if len(minutes) % 2:
        minutes.pop()
    if draw(st.booleans()):
        minutes = [*minutes[1:], *minutes[:1]]
    days = st.frozensets(st.integers(0, 6), min_size=1)
    return tuple(
        (WeeklyHours(start, end, draw(days)), draw(tariffs())) for start, end in zip(minutes[::2], minutes[1::2], strict=True)
    )


@st.composite
def books(draw: st.DrawFn) -> PriceBook:
    """A price from the start on, and changes at arbitrary moments."""
    since = [START, *draw(st.lists(OFFSETS, max_size=4))]
    return PriceBook(
        (SKU, PricePoint(f"price-{number:03d}", moment, draw(tariffs()), draw(off_peak()))) for number, moment in enumerate(since)
    )


TIERS = st.frozensets(st.sampled_from(PriceTier))
BUYERS = st.builds(Entitlement, TIERS, TIERS)


def post(
    book: PriceBook, unit_milli: int, postings: list[datetime], cuts: list[datetime], buyer: Entitlement = NOBODY
) -> list[Line]:
    """The lines of one job metered at each of `postings`, each time going on from what its posted lines add up to."""
    lines: list[Line] = []
    for begin, end in pairwise(postings):
        listed = sum(line.unit_seconds * line.price.list_micros - line.list_micros * SECONDS_PER_HOUR for line in lines)
        paid = sum(line.unit_seconds * line.price.contracted_micros - line.contracted_micros * SECONDS_PER_HOUR for line in lines)
        lines += meter_held(Holding(SKU, unit_milli), postings[0], begin, end, book, buyer, cuts, Carried(listed, paid))
    return lines


@given(books(), UNIT_MILLI, st.lists(OFFSETS, min_size=2, max_size=6).map(sorted), st.lists(OFFSETS, max_size=4), BUYERS)
def test_parts_sum_to_the_whole_whatever_the_cuts_and_the_postings(
    book: PriceBook, unit_milli: int, postings: list[datetime], cuts: list[datetime], buyer: Entitlement
) -> None:
    many = post(book, unit_milli, postings, cuts, buyer)
    once = post(book, unit_milli, [postings[0], postings[-1]], [], buyer)
    assert sum(line.unit_seconds for line in many) == unit_milli * whole_seconds(postings[0], postings[-1]) // 1000
    for lines in (many, once):
        products = [line.unit_seconds * line.price.contracted_micros for line in lines]
        assert sum(line.contracted_micros for line in lines) == sum(products) // SECONDS_PER_HOUR
        products = [line.unit_seconds * line.price.list_micros for line in lines]
        assert sum(line.list_micros for line in lines) == sum(products) // SECONDS_PER_HOUR
    assert sum(line.contracted_micros for line in many) == sum(line.contracted_micros for line in once)


@given(books(), st.lists(OFFSETS, min_size=2, max_size=6).map(sorted), st.lists(OFFSETS, max_size=4), BUYERS)
def test_no_line_crosses_a_change_of_price_or_a_boundary(
    book: PriceBook, postings: list[datetime], cuts: list[datetime], buyer: Entitlement
) -> None:
    for line in post(book, 8000, postings, cuts, buyer):
        assert line.start < line.end
        for moment in (line.start, line.end - timedelta(microseconds=1)):
            point = book.at(SKU, moment)
            assert point is not None
            assert line.price == point.rate(moment, buyer)
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
    lines = meter(8000, START, START, START + timedelta(hours=2), book, [])
    assert [(line.end, line.contracted_micros) for line in lines] == [
        (change, 80_000_000),
        (change + timedelta(hours=1), 160_000_000),
    ]


def test_a_line_is_split_at_the_chinese_new_year_and_not_at_the_new_year_of_utc() -> None:
    book = PriceBook([point(1, START, 1, 1)])
    begin, end = datetime(2026, 12, 31, tzinfo=UTC), datetime(2027, 1, 2, tzinfo=UTC)
    lines = meter(1000, begin, begin, end, book, [])
    assert [line.start for line in lines] == [begin, datetime(2027, 1, 1, tzinfo=CHINA)]


def test_a_line_is_split_where_a_month_of_account_begins() -> None:
    book = PriceBook([point(1, START, 1, 1)])
    begin, end = datetime(2026, 10, 31, tzinfo=UTC), datetime(2026, 12, 1, tzinfo=UTC)
    lines = meter(1000, begin, begin, end, book, [])
    assert [line.start for line in lines] == [begin, datetime(2026, 11, 1, tzinfo=CHINA), datetime(2026, 12, 1, tzinfo=CHINA)]


def test_a_line_is_split_at_a_policy_day() -> None:
    day = datetime(2026, 3, 2, tzinfo=CHINA)
    lines = meter(1000, START, START, START + timedelta(days=2), PriceBook([point(1, START, 1, 1)]), [day, day])
    assert [line.start for line in lines] == [START, day]


def test_time_before_the_first_price_is_free_and_makes_no_line() -> None:
    published = START + timedelta(hours=1)
    book = PriceBook([point(1, published, 10, 10)])
    assert meter(8000, START, START, published, book, []) == []
    assert [line.start for line in meter(8000, START, START, published + timedelta(hours=1), book, [])] == [published]


def test_less_than_a_second_makes_no_line() -> None:
    book = PriceBook([point(1, START, 10, 10)])
    assert meter(8000, START, START, START + timedelta(milliseconds=999), book, []) == []


def test_a_fraction_of_a_card_is_charged_by_whole_card_seconds_of_the_whole_attempt() -> None:
    book = PriceBook([point(1, START, 36_000, 36_000)])
    ends = [START + timedelta(seconds=seconds) for seconds in (0, 1, 2, 3, 10, 1000)]
    seconds = []
    for begin, end in pairwise(ends):
        seconds.append(sum(line.unit_seconds for line in meter(428, START, begin, end, book, [])))
    assert seconds == [0, 0, 1, 3, 424]
    assert sum(seconds) == 428


@given(books(), UNIT_MILLI, OFFSETS, OFFSETS, OFFSETS, BUYERS)
def test_metering_a_span_in_two_is_metering_it_at_once(
    book: PriceBook, unit_milli: int, one: datetime, two: datetime, three: datetime, buyer: Entitlement
) -> None:
    start, middle, end = sorted((one, two, three))
    halves = post(book, unit_milli, [start, middle, end], [], buyer)
    whole = post(book, unit_milli, [start, end], [], buyer)
    for part in ("unit_seconds", "list_micros", "contracted_micros"):
        assert sum(getattr(line, part) for line in halves) == sum(getattr(line, part) for line in whole)
    priced = [(line.price.contracted_micros, line.unit_seconds) for line in whole]
    assert sum(price * seconds for price, seconds in priced) == sum(
        line.price.contracted_micros * line.unit_seconds for line in halves
    )


@given(books(), OFFSETS, BUYERS)
def test_a_day_of_metering_has_few_lines(book: PriceBook, start: datetime, buyer: Entitlement) -> None:
    """Off-peak hours of every kind, as many changes of price as there are in the book, and a month that begins."""
    lines = meter(1000, start, start, start + MAX_SPAN, book, [], buyer)
    assert len(lines) <= 2 * MAX_OFF_PEAK + 1 + 2 * 4 + 1


NIGHT = WeeklyHours(22 * 60, 8 * 60, frozenset(range(7)))


def test_a_night_is_charged_at_its_own_price_to_the_second() -> None:
    """Two nights and a day between, posted late and all at once."""
    book = PriceBook([point(1, START, 12_000_000, 10_000_000, off_peak=((NIGHT, Tariff(12_000_000, 5_000_000)),))])
    start = datetime(2026, 3, 2, 21, 59, 59, tzinfo=CHINA)
    lines = meter(1000, start, start, start + timedelta(days=2), book, [])
    assert [(line.unit_seconds, line.price.off_peak, line.contracted_micros) for line in lines] == [
        (1, False, 2777),
        (10 * 3600, True, 50_000_000),
        (14 * 3600, False, 140_000_000),
        (10 * 3600, True, 50_000_000),
        (14 * 3600 - 1, False, 139_997_223),
    ]


def test_thirty_days_of_hourly_postings_have_a_line_an_hour_and_one_more_at_an_edge() -> None:
    book = PriceBook([point(1, START, 12, 10, off_peak=((NIGHT, Tariff(12, 5)),))])
    since = datetime(2026, 3, 2, 9, 30, tzinfo=CHINA)
    postings = [since + timedelta(hours=hour) for hour in range(30 * 24 + 1)]
    assert len(post(book, 1000, postings, [])) == 30 * 24 + 2 * 30 + 1  # April begins


def test_off_peak_hours_end_with_the_price_they_belong_to() -> None:
    change = datetime(2026, 3, 3, 1, 0, tzinfo=CHINA)
    book = PriceBook([point(1, START, 12, 10, off_peak=((NIGHT, Tariff(12, 5)),)), point(2, change, 14, 11)])
    start = datetime(2026, 3, 2, 22, 0, tzinfo=CHINA)
    lines = meter(1000, start, start, start + timedelta(hours=12), book, [])
    assert [(line.start, line.price.contracted_micros) for line in lines] == [(start, 5), (change, 11)]


def test_what_an_attempt_holds_is_its_cards_and_what_lies_beside_them() -> None:
    cpu, memory = ("sz", PricedItem.CPU, None), ("sz", PricedItem.MEMORY, None)
    assert holdings("sz", "910B3", 2500, 64_000, 0) == [Holding(SKU, 2500), Holding(cpu, 64_000, True)]
    assert holdings("sz", None, 0, 16_000, 128_000) == [Holding(cpu, 16_000), Holding(memory, 128_000)]


def test_cores_beside_cards_are_charged_only_where_and_while_their_price_says_so() -> None:
    cpu: Sku = ("sz", PricedItem.CPU, None)
    change = START + timedelta(hours=1)
    book = PriceBook(
        [
            (cpu, PricePoint("price-1", START, Tariff(36, 36))),
            (cpu, PricePoint("price-2", change, Tariff(36, 36), beside_cards=True)),
        ]
    )
    for beside, starts in ((False, [START, change]), (True, [change])):
        lines = meter_held(Holding(cpu, 1000, beside), START, START, START + timedelta(hours=2), book, NOBODY, [], Carried())
        assert [line.start for line in lines] == starts


def test_the_mean_price_weighs_hours_by_their_length() -> None:
    book = PriceBook([point(1, START, 12_000_000, 10_000_000, off_peak=((NIGHT, Tariff(12_000_000, 5_000_000)),))])
    start = datetime(2026, 3, 2, 21, 0, tzinfo=CHINA)
    assert mean_price(Holding(SKU, 1000), start, start + timedelta(hours=4), book, NOBODY) == (12_000_000, 25_000_000 // 4)
    assert mean_price(Holding(SKU, 8000), start, start + timedelta(hours=1), book, NOBODY) == (96_000_000, 80_000_000)
    assert mean_price(Holding(SKU, 1000), START - timedelta(hours=2), START, book, NOBODY) == (0, 0)


def test_every_day_of_the_week_has_a_name() -> None:
    assert datetime(2026, 3, 2, tzinfo=CHINA).strftime("%a").lower() == WEEKDAYS[0]
