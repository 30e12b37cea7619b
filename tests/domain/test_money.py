"""Money: exact strings in, exact strings out, and charges that add up however they are cut."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.domain.faults import Fault
from scheduler.domain.money import MAX_MICROS, MICROS_PER_CNY, SECONDS_PER_HOUR, charge_up_to, format_cny, parse_cny

MICROS = st.integers(-MAX_MICROS, MAX_MICROS)


@given(MICROS)
def test_an_amount_survives_the_way_out_and_back(micros: int) -> None:
    assert parse_cny(format_cny(micros)) == micros


@pytest.mark.parametrize(
    ("text", "micros"),
    [("0", 0), ("-0", 0), ("12.5", 12_500_000), ("0.000001", 1), ("-3.25", -3_250_000), ("1000000000", MAX_MICROS)],
)
def test_plain_decimals_are_read(text: str, micros: int) -> None:
    assert parse_cny(text) == micros


@pytest.mark.parametrize("micros", [0, 1, -1, MICROS_PER_CNY, -MICROS_PER_CNY - 1])
def test_an_amount_is_written_with_six_places(micros: int) -> None:
    whole, _, part = format_cny(micros).partition(".")
    assert len(part) == 6
    assert whole.lstrip("-").isdigit()


@pytest.mark.parametrize(
    "text",
    [
        "1e3",
        "NaN",
        "Infinity",
        "0.1234567",
        "+1",
        " 1",
        "1 ",
        "1\n",
        "1,000",
        "",
        ".5",
        "5.",
        "01",
        "--1",
        "0x10",
        "1_0",
        "１",
        "1٣",
    ],
)
def test_anything_else_is_refused_with_what_is_allowed(text: str) -> None:
    with pytest.raises(ValueError, match="at most 6 places"):
        parse_cny(text)


@pytest.mark.parametrize("text", ["1000000000.000001", "-1000000001", "9999999999.999999"])
def test_an_amount_beyond_the_limit_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is more than the 1000000000 CNY"):
        parse_cny(text)


def test_more_digits_than_an_amount_has_are_refused() -> None:
    with pytest.raises(ValueError, match="more than the 1000000000 CNY"):
        parse_cny("9" * 4000)


@given(st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 10**10)), max_size=20))
def test_charges_of_a_running_total_add_up_to_the_whole(parts: list[tuple[int, int]]) -> None:
    total = charged = 0
    for unit_seconds, price in parts:
        line = charge_up_to(total + unit_seconds * price) - charge_up_to(total)
        assert line >= 0
        total, charged = total + unit_seconds * price, charged + line
    assert charged == total // SECONDS_PER_HOUR


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("0.0000001", "amount_too_precise"),
        ("-1.1234567", "amount_too_precise"),
        ("NaN", "amount_not_finite"),
        ("-Infinity", "amount_not_finite"),
        ("1e6", "amount_with_exponent"),
        ("1.5E-3", "amount_with_exponent"),
        ("1000000000.000001", "amount_too_large"),
        ("99999999999999999999", "amount_too_large"),
        ("1,000", "amount_malformed"),
        ("01", "amount_malformed"),
        ("", "amount_malformed"),
    ],
)
def test_each_way_to_write_no_amount_has_a_code_of_its_own(text: str, code: str) -> None:
    with pytest.raises(Fault) as caught:
        parse_cny(text)
    assert caught.value.code == code
