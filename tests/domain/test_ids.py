"""Identifiers: sorted by time, of one length, and as unique as the randomness they are given."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from scheduler.domain.ids import RANDOM_BYTES, new_id

MOMENTS = st.datetimes(datetime(2020, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 - zone is given beside
RANDOM = st.binary(min_size=RANDOM_BYTES, max_size=RANDOM_BYTES)


@given(MOMENTS, RANDOM)
def test_every_identifier_has_one_length_and_its_prefix(moment: datetime, randomness: bytes) -> None:
    prefix, _, letters = new_id("job", moment, randomness).partition("-")
    assert prefix == "job"
    assert len(letters) == 26
    assert set(letters) <= set("0123456789abcdefghjkmnpqrstvwxyz")


@given(MOMENTS, st.integers(1, 10**9), RANDOM, RANDOM)
def test_identifiers_sort_by_time(moment: datetime, milliseconds: int, one: bytes, other: bytes) -> None:
    assert new_id("job", moment, one) < new_id("job", moment + timedelta(milliseconds=milliseconds), other)


@given(MOMENTS, RANDOM, RANDOM)
def test_in_one_millisecond_only_the_randomness_tells_them_apart(moment: datetime, one: bytes, other: bytes) -> None:
    assert (new_id("job", moment, one) == new_id("job", moment, other)) == (one == other)
