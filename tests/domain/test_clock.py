"""Durations and times at the border: exact both ways, and naive times refused."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.domain.clock import CHINA, format_duration, from_micros, parse_duration_seconds, rfc3339, to_micros

ZONES = [UTC, CHINA, timezone(timedelta(hours=-11))]


@given(st.integers(0, 9_999 * 86_400))
def test_a_duration_survives_the_way_out_and_back(seconds: int) -> None:
    assert parse_duration_seconds(format_duration(seconds)) == seconds


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("30m", 1800), ("24h", 86_400), ("7d", 604_800), ("1h30m", 5400)])
def test_durations_are_read(text: str, seconds: int) -> None:
    assert parse_duration_seconds(text) == seconds


@pytest.mark.parametrize(
    "text", ["", "1", "h", "-1h", "+1h", "1.5h", "1 h", " 1h", "1h\n", "30m1h", "1h1h", "1w", "1H", "99999d", "1e3s", "٣h", "１h"]
)
def test_anything_else_is_refused_with_what_is_allowed(text: str) -> None:
    with pytest.raises(ValueError, match=r"write for example 90s, 30m, 24h, 7d or 1h30m"):
        parse_duration_seconds(text)


@given(st.datetimes(datetime(2000, 1, 1), datetime(9998, 1, 1), timezones=st.sampled_from(ZONES)))  # noqa: DTZ001 - the zone is drawn beside
def test_a_moment_survives_as_microseconds(moment: datetime) -> None:
    assert from_micros(to_micros(moment)) == moment


@pytest.mark.parametrize("to_border", [to_micros, rfc3339])
def test_a_naive_time_is_refused(to_border: object) -> None:
    assert callable(to_border)
    with pytest.raises(ValueError, match="without a zone"):
        to_border(datetime(2026, 3, 1))  # noqa: DTZ001 - naive on purpose


def test_a_time_is_written_in_utc_with_microseconds() -> None:
    assert rfc3339(datetime(2026, 1, 1, tzinfo=CHINA)) == "2025-12-31T16:00:00.000000Z"
