"""Months of account: every record is in exactly one statement, and in none that was closed before it was posted."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.billing.months import Month, MonthOfAccount, months_between
from scheduler.domain.clock import CHINA, rfc3339

MOMENTS = st.integers(0, 730 * 86_400).map(lambda seconds: datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds))
MONTHS = list(months_between(Month(2025, 12), Month(2028, 3)))
NOVEMBER = Month(2026, 11)


def record(period_start: datetime, posted_at: datetime) -> dict[str, Any]:
    return {"period_start": rfc3339(period_start), "posted_at": rfc3339(posted_at)}


def china(year: int, month: int, day: int, hour: int = 0, minute: int = 0, second: int = 0) -> datetime:
    return datetime(year, month, day, hour, minute, second, tzinfo=CHINA)


@given(MOMENTS, MOMENTS)
def test_every_record_is_in_exactly_one_statement_that_was_open_when_it_was_posted(starts: datetime, posted: datetime) -> None:
    (month,) = [month for month in MONTHS if MonthOfAccount(month).has(record(starts, posted))]
    assert month.start <= posted < month.closes_at
    if month.start <= starts < month.end:
        assert MonthOfAccount(month).adjusts(record(starts, posted)) is None


@pytest.mark.parametrize(
    ("starts", "posted", "month", "adjusts"),
    [
        (china(2026, 11, 30, 23), china(2026, 12, 1, 0, 5), "2026-11", None),
        (china(2026, 11, 30, 23), china(2026, 12, 3, 23, 59, 59), "2026-11", None),
        (china(2026, 11, 30, 23), china(2026, 12, 4), "2026-12", "2026-11"),
        (china(2026, 9, 1), china(2026, 12, 2), "2026-11", "2026-09"),
        (china(2026, 11, 1), china(2026, 11, 1, 1), "2026-11", None),
        (china(2026, 12, 2), china(2026, 12, 2, 1), "2026-12", None),
        (china(2027, 1, 1), china(2026, 11, 20), "2026-11", None),  # bought ahead
    ],
)
def test_where_a_record_goes(starts: datetime, posted: datetime, month: str, adjusts: str | None) -> None:
    account = MonthOfAccount(Month.parse(month))
    each = record(starts, posted)
    assert account.has(each)
    assert (str(account.adjusts(each)) if account.adjusts(each) else None) == adjusts


def test_a_month_is_a_half_open_month_in_shanghai() -> None:
    assert NOVEMBER.start.astimezone(UTC) == datetime(2026, 10, 31, 16, tzinfo=UTC)
    assert NOVEMBER.end == Month(2026, 12).start
    assert Month.of(NOVEMBER.end - timedelta(microseconds=1)) == NOVEMBER
    assert (Month(2026, 12).next, Month(2027, 1).previous) == (Month(2027, 1), Month(2026, 12))


@pytest.mark.parametrize("text", ["", "2026", "2026-1", "2026-13", "2026-00", "1999-01", "2026-11-01", "2026-11\n", "２０２６-11"])
def test_what_is_no_month_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="write for example 2026-11"):
        Month.parse(text)
