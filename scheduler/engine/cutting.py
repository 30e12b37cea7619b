"""What a part of a card is worth: the prices of the cutting-stock problem (Gilmore and Gomory, "A Linear Programming Approach to
the Cutting-Stock Problem", Operations Research 1961).

Cards are the stock, the parts that jobs ask for are the cuts. The linear programme that serves all of the demand with the fewest
cards has one price per size: how much of a card one more such part takes. Where most jobs ask for 810/1000 such a part costs a
whole card, since what it leaves serves nobody; a 470 costs half a card; what fits into a hole that nobody else needs is free.

Enter at `card_values(asked)`.
"""

from collections.abc import Mapping, Sequence
from math import gcd

import numpy as np
from numpy.typing import NDArray

from scheduler.engine.shape import WHOLE_CARD_MILLI

Floats = NDArray[np.float64]

MAX_SIZES = 48
"""Sizes that are priced: the most frequent. The others are taken to fill holes, as rare sizes do."""

MAX_STEPS = 400
_TOLERANCE = 1e-9


def card_values(asked: Mapping[int, int]) -> Floats:
    """For 0 to 1000 free milli of one card: what they are worth, as a share of a card; a whole card is worth 1.

    `asked` says how often each size, 1 to 1000, was asked for. What nobody asked for is worth nothing less than a whole card.
    """
    sizes = sorted(sorted(asked, key=lambda size: (-asked[size], size))[:MAX_SIZES], reverse=True)
    unit = gcd(WHOLE_CARD_MILLI, *sizes)
    lengths, stock = [size // unit for size in sizes], WHOLE_CARD_MILLI // unit
    counts = np.array([asked[size] for size in sizes], dtype=np.float64)
    patterns = np.diag([float(stock // length) for length in lengths])
    values, last = _best_fill(lengths, (1 / patterns.diagonal()).tolist(), stock)
    for _ in range(MAX_STEPS):
        if not sizes or values[stock] <= 1 + _TOLERANCE:
            break
        enters = _pattern(lengths, last, stock)
        used, per_new = np.linalg.solve(patterns, np.column_stack((counts, enters))).T
        ratios = np.where(per_new > _TOLERANCE, used / np.maximum(per_new, _TOLERANCE), np.inf)
        patterns[:, ratios.argmin()] = enters
        values, last = _best_fill(lengths, np.linalg.solve(patterns.T, np.ones(len(sizes))).tolist(), stock)
    below_whole = np.repeat(values[:stock], unit) / max(values[stock], 1.0)
    return np.append(below_whole, 1.0)


def _best_fill(lengths: Sequence[int], prices: Sequence[float], stock: int) -> tuple[list[float], list[int]]:
    """For every length up to the stock: the most that cuts from it can be worth, and the last cut made (-1: the rest is waste)."""
    cuts = [(length, number, price) for number, (length, price) in enumerate(zip(lengths, prices, strict=True)) if price > 0]
    values, last = [0.0] * (stock + 1), [-1] * (stock + 1)
    for room in range(1, stock + 1):
        best, cut = values[room - 1], -1
        for length, number, price in cuts:
            if length <= room and values[room - length] + price > best + _TOLERANCE:
                best, cut = values[room - length] + price, number
        values[room], last[room] = best, cut
    return values, last


def _pattern(lengths: Sequence[int], last: Sequence[int], stock: int) -> Floats:
    """How often each length is cut from one card of the best fill."""
    pattern = np.zeros(len(lengths))
    room = stock
    while room > 0:
        cut = last[room]
        if cut < 0:
            room -= 1
        else:
            pattern[cut] += 1
            room -= lengths[cut]
    return pattern
