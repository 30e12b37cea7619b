"""Which cards of a node are joined by their vendor's links, directly or in a chain."""

from collections.abc import Callable
from itertools import combinations


def islands(count: int, joined: Callable[[int, int], bool | None]) -> list[int] | None:
    """The island of each of `count` cards, by the lowest card in it; None where it is not told of every pair."""
    island = list(range(count))
    for one, other in combinations(range(count), 2):
        linked = joined(one, other)
        if linked is None:
            return None
        if linked:
            both = {island[one], island[other]}
            island = [min(both) if number in both else number for number in island]
    return island
