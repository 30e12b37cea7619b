"""Exact money: integers of 10⁻⁶ CNY inside, decimal strings at the border, no float anywhere.

A price is micro-CNY per unit-hour (one card, or one core, for one hour) and usage is integer unit-seconds, so a charge is
a fraction over 3600. `charge_up_to` rounds the *running total* down, and a line is the difference of two totals: lines of
one job therefore always add up to the exact product, whatever the number of lines.
"""

import re
from decimal import Decimal

MICROS_PER_CNY = 1_000_000
SECONDS_PER_HOUR = 3600
MAX_MICROS = 10**15  # a billion CNY: the most one amount may be, and well inside a 64-bit column

_AMOUNT = re.compile(r"-?(0|[1-9]\d{0,9})(\.\d{1,6})?", re.ASCII)


def parse_cny(text: str) -> int:
    """Micro-CNY from a plain decimal string with at most six places; no exponent, no NaN, no thousands separator.

    Raises ValueError naming what is allowed.
    """
    if not _AMOUNT.fullmatch(text):
        raise ValueError(f"{text!r} is not an amount: a decimal string such as '12.50' with at most 6 places is allowed")
    micros = int(Decimal(text) * MICROS_PER_CNY)
    if abs(micros) > MAX_MICROS:
        raise ValueError(f"{text!r} is more than the {MAX_MICROS // MICROS_PER_CNY} CNY one amount may be")
    return micros


def format_cny(micros: int) -> str:
    """The decimal string of an amount, always with six places: `format_cny(1_500_000) == "1.500000"`."""
    if micros < 0:
        return f"-{format_cny(-micros)}"
    return f"{micros // MICROS_PER_CNY}.{micros % MICROS_PER_CNY:06d}"


def charge_up_to(priced_unit_seconds: int) -> int:
    """Micro-CNY for a running total of `unit_seconds × price_micros_per_hour`, rounded down."""
    return priced_unit_seconds // SECONDS_PER_HOUR
