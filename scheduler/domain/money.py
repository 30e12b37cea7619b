"""Exact money: integers of 10⁻⁶ CNY inside, decimal strings at the border, no float anywhere.

A price is micro-CNY per unit-hour (one card, or one core, for one hour) and usage is integer unit-seconds, so a charge is
a fraction over 3600. `charge_up_to` rounds the *running total* down, and a line is the difference of two totals: lines of
one job therefore always add up to the exact product, whatever the number of lines.
"""

import re
from decimal import Decimal

from scheduler.domain.faults import Fault

MICROS_PER_CNY = 1_000_000
SECONDS_PER_HOUR = 3600
MAX_MICROS = 10**15  # a billion CNY: the most one amount may be, and well inside a 64-bit column

_AMOUNT = re.compile(r"-?(0|[1-9]\d{0,9})(\.\d{1,6})?", re.ASCII)
_SHOWN_CHARACTERS = 40  # of a text that is no amount
_NO_AMOUNTS = {
    "amount_too_precise": re.compile(r"-?\d+\.(\d{7,})", re.ASCII),
    "amount_too_large": re.compile(r"-?[1-9]\d{10,}(\.\d{1,6})?", re.ASCII),
    "amount_not_finite": re.compile(r"[+-]?(nan|inf(inity)?)", re.ASCII | re.IGNORECASE),
    "amount_with_exponent": re.compile(r"[+-]?\d+(\.\d*)?e[+-]?\d+", re.ASCII | re.IGNORECASE),
}
"""What is most often given in place of an amount, each with a code of its own."""


def parse_cny(text: str) -> int:
    """Micro-CNY from a plain decimal string with at most six places; no exponent, no NaN, no thousands separator.

    Raises Fault saying what is wrong and what is allowed.
    """
    if not _AMOUNT.fullmatch(text):
        raise _no_amount(text)
    micros = int(Decimal(text) * MICROS_PER_CNY)
    if abs(micros) > MAX_MICROS:
        raise Fault("amount_too_large", value=text, limit=MAX_MICROS // MICROS_PER_CNY)
    return micros


def _no_amount(text: str) -> Fault:
    code = next((code for code, pattern in _NO_AMOUNTS.items() if pattern.fullmatch(text)), "amount_malformed")
    places = len(text.partition(".")[2])
    return Fault(code, value=text[:_SHOWN_CHARACTERS], places=places, limit=MAX_MICROS // MICROS_PER_CNY)


def format_cny(micros: int) -> str:
    """The decimal string of an amount, always with six places: `format_cny(1_500_000) == "1.500000"`."""
    if micros < 0:
        return f"-{format_cny(-micros)}"
    return f"{micros // MICROS_PER_CNY}.{micros % MICROS_PER_CNY:06d}"


def charge_up_to(priced_unit_seconds: int) -> int:
    """Micro-CNY for a running total of `unit_seconds × price_micros_per_hour`, rounded down."""
    return priced_unit_seconds // SECONDS_PER_HOUR
