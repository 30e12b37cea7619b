"""What parts of cards are worth, against prices found by hand and what linear programming promises."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scheduler.engine.cutting import MAX_SIZES, card_values

TOLERANCE = 1e-6

demands = st.dictionaries(st.integers(1, 100).map(lambda tens: tens * 10), st.integers(1, 500), max_size=12)


@pytest.mark.parametrize(
    ("asked", "worth"),
    [
        ({}, {0: 0.0, 999: 0.0, 1000: 1.0}),
        ({1000: 5}, {0: 0.0, 999: 0.0, 1000: 1.0}),
        ({500: 1}, {499: 0.0, 500: 0.5, 999: 0.5, 1000: 1.0}),
        ({810: 3, 1000: 9}, {190: 0.0, 809: 0.0, 810: 1.0}),
        ({333: 1}, {332: 0.0, 333: 1 / 3, 666: 2 / 3, 998: 2 / 3}),
        ({320: 10, 650: 1}, {210: 0.0, 320: 1 / 3, 350: 1 / 3, 530: 1 / 3, 650: 2 / 3, 680: 2 / 3}),
        ({320: 1, 650: 10}, {320: 0.0, 350: 0.0, 650: 1.0}),
        ({160: 1, 810: 9}, {160: 0.0, 810: 1.0}),
    ],
)
def test_the_prices_of_small_demands(asked: dict[int, int], worth: dict[int, float]) -> None:
    values = card_values(asked)
    assert values.shape == (1001,)
    assert {milli: values[milli] for milli in worth} == pytest.approx(worth)


@settings(max_examples=80, deadline=None)
@given(demands)
def test_values_are_those_of_best_fills(asked: dict[int, int]) -> None:
    values = card_values(asked)
    assert values[0] == 0 and values[1000] == 1
    assert (np.diff(values) >= -TOLERANCE).all(), "more room is never worth less"
    for cut in range(0, 1001, 50):
        together = values[: 1001 - cut] + values[cut]
        assert (together <= values[cut:] + TOLERANCE).all(), "what serves two parts serves their sum"


@settings(max_examples=80, deadline=None)
@given(demands)
def test_no_packing_takes_fewer_cards_than_the_prices_say(asked: dict[int, int]) -> None:
    """Weak duality, with first-fit decreasing as the packing; and the two are near, which holds for no other prices."""
    parts = sorted((size for size, times in asked.items() for _ in range(times)), reverse=True)
    room: list[int] = []
    for part in parts:
        card = next((number for number, left in enumerate(room) if left >= part), None)
        if card is None:
            room.append(1000 - part)
        else:
            room[card] -= part
    price = float(sum(card_values(asked)[size] * times for size, times in asked.items()))
    assert price <= len(room) + TOLERANCE
    assert len(room) <= 11 / 9 * price + len(asked) + 1


def test_only_the_most_frequent_sizes_are_priced() -> None:
    asked = dict.fromkeys(range(501, 501 + MAX_SIZES), 100) | {250: 1}
    values = card_values(asked)
    assert values[501] == pytest.approx(1.0)
    assert values[499] == 0.0
