"""Gangs on nodes: whatever adds up fits, whoever need not move stays, and nothing is ever given twice."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scheduler.engine.blocks import Cards, Pool, place

ONE = Pool(8, (2,), 16)
TWO_CLUSTERS = Pool(4, (2, 2), 8)


def test_a_small_gang_goes_to_the_fullest_node_that_has_room() -> None:
    held = {"a": (0, 1, 2, 3), "b": (8, 9)}
    assert place(ONE, held, {"a": 4, "b": 2, "c": 4})["c"] == (4, 5, 6, 7)


def test_who_keeps_its_width_stays_and_who_has_no_width_leaves() -> None:
    held = {"a": (0, 1, 2, 3), "b": (8, 9)}
    assert place(ONE, held, {"a": 4}) == {"a": (0, 1, 2, 3)}
    assert place(ONE, held, {"a": 4, "b": 0}) == {"a": (0, 1, 2, 3)}


def test_a_wide_gang_makes_the_fewest_cards_get_up() -> None:
    held = {"four": (0, 1, 2, 3), "one": (8,)}
    placed = place(ONE, held, {"four": 4, "one": 1, "wide": 8})
    assert placed["wide"] == tuple(range(8, 16))
    assert placed["four"] == (0, 1, 2, 3)
    assert placed["one"] == (4,)


def test_a_pinned_gang_is_moved_last() -> None:
    held = {"four": (0, 1, 2, 3), "one": (8,)}
    placed = place(ONE, held, {"four": 4, "one": 1, "wide": 8}, pinned={"one"})
    assert placed["wide"] == tuple(range(8))
    assert placed["one"] == (8,)
    assert placed["four"] == (12, 13, 14, 15) or set(placed["four"]) <= set(range(9, 16))


def test_parts_of_a_node_are_put_together_for_one_that_needs_them() -> None:
    pool = Pool(4, (2,), 4)
    held = {"a": (0,), "b": (1,), "c": (2,), "d": (4, 5), "e": (6,)}
    placed = place(pool, held, {**{name: len(cards) for name, cards in held.items() if name != "c"}, "f": 2})
    assert placed["f"] == (2, 3)
    assert all(placed[name] == held[name] for name in "abde")
    scattered = {"a": (0,), "b": (1,), "c": (2,), "d": (4,), "e": (5,), "f": (6,)}
    placed = place(pool, scattered, {**dict.fromkeys("abcdef", 1), "g": 2})
    assert sum(placed[name] != scattered[name] for name in "abcdef") == 1


def test_a_gang_never_spans_two_clusters() -> None:
    held = {"a": (0, 1, 2, 3), "b": (8, 9, 10, 11)}
    placed = place(TWO_CLUSTERS, held, {"a": 4, "b": 4, "wide": 8})
    assert placed["wide"] in (tuple(range(8)), tuple(range(8, 16)))


@pytest.mark.parametrize("widths", [{"a": 3}, {"a": 32}, {"a": 16, "b": 1}])
def test_what_cannot_be_placed_is_refused(widths: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="powers of two"):
        place(ONE, {}, widths)


@pytest.mark.parametrize(("per_node", "nodes", "widest"), [(6, (2,), 8), (8, (2,), 12), (8, (3,), 16), (8, (), 8), (8, (0,), 8)])
def test_a_pool_that_could_strand_cards_is_refused(per_node: int, nodes: tuple[int, ...], widest: int) -> None:
    with pytest.raises(ValueError, match=r"needed|needs"):
        Pool(per_node, nodes, widest)


@st.composite
def histories(draw: st.DrawFn) -> tuple[Pool, list[dict[str, int]]]:
    """A pool, and the widths wanted round after round: always no more than there are cards."""
    pool = Pool(draw(st.sampled_from((1, 4, 8))), tuple(draw(st.lists(st.sampled_from((4, 8)), min_size=1, max_size=3))), 4)
    widest = 4 * pool.per_node
    pool = Pool(pool.per_node, pool.nodes, widest)
    sizes = st.sampled_from([0, *(1 << power for power in range(widest.bit_length()))])
    rounds, widths = [], dict[str, int]()
    for _ in range(draw(st.integers(1, 6))):
        left, wanted = pool.cards, dict[str, int]()
        for number in range(draw(st.integers(1, 24))):
            name = f"g{number}"
            width = widths.get(name, 0) if draw(st.booleans()) else draw(sizes)
            if width <= left:
                wanted[name], left = width, left - width
        widths = wanted
        rounds.append(wanted)
    return pool, rounds


def assert_whole_and_apart(pool: Pool, placed: dict[str, Cards], widths: dict[str, int]) -> None:
    """Every gang has as many cards as it should, on one node or whole nodes of one cluster, and no card is given twice."""
    assert sorted(placed) == sorted(name for name, width in widths.items() if width)
    cards = [card for each in placed.values() for card in each]
    assert len(set(cards)) == len(cards)
    assert set(cards) <= set(range(pool.cards))
    clusters = [number for number, nodes in enumerate(pool.nodes) for _ in range(nodes)]
    for name, each in placed.items():
        nodes = {card // pool.per_node for card in each}
        assert len(each) == widths[name]
        assert len(nodes) == max(1, widths[name] // pool.per_node)
        assert len({clusters[node] for node in nodes}) == 1


@settings(max_examples=150, deadline=None)
@given(histories(), st.frozensets(st.integers(0, 23)))
def test_whatever_adds_up_fits_round_after_round(history: tuple[Pool, list[dict[str, int]]], pinned: frozenset[int]) -> None:
    pool, rounds = history
    held: dict[str, Cards] = {}
    for widths in rounds:
        names = [f"g{number}" for number in pinned]
        placed = place(pool, held, widths, names)
        assert_whole_and_apart(pool, placed, widths)
        assert placed == place(pool, dict(reversed(held.items())), dict(reversed(widths.items())), names)
        if all(len(held.get(name, ())) == width for name, width in widths.items()):
            assert placed == {name: cards for name, cards in held.items() if name in placed}, "nobody changed, nobody moves"
        held = placed
