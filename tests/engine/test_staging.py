"""How long data takes: exact seconds by hand, and never a guess."""

import pytest

from scheduler.engine.staging import MAX_STAGING_SECONDS, Data, Staging, data_of, staging, staging_text

LINKS = {("a", "c"): 1000, ("b", "c"): 100}


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ((), Staging(0, 0)),
        ((Data("c", 10**6),), Staging(0, 0)),
        ((Data("a", 1),), Staging(9, 0)),
        ((Data("a", 100),), Staging(859, 0)),
        ((Data("a", 100), Data("b", 1)), Staging(859, 0)),
        ((Data("a", 1), Data("b", 100)), Staging(8590, 0)),
        ((Data("", 7),), Staging(0, 7)),
        ((Data("", 7), Data("a", 1), Data("d", 3)), Staging(9, 10)),
    ],
    ids=["nothing", "there already", "rounded up", "one", "together", "the slowest decides", "nobody knows where", "no link"],
)
def test_what_it_takes_to_bring_data_to_a_cluster(data: tuple[Data, ...], expected: Staging) -> None:
    """1 GiB is 8,589,934,592 bits: 8.59 s at 1 Gbps, 85.9 s at 100 Mbps."""
    assert staging(LINKS, data, "c") == expected


def test_a_link_is_known_in_one_direction_only() -> None:
    assert staging(LINKS, (Data("c", 1),), "a") == Staging(0, 1)


def test_more_than_anybody_waits_for_is_not_told_apart() -> None:
    assert staging({("a", "c"): 1}, (Data("a", 2**53),), "c") == Staging(MAX_STAGING_SECONDS, 0)


def test_datasets_of_one_cluster_are_one_transfer_and_their_order_does_not_matter() -> None:
    sizes = [("b", 1), (None, 5), ("a", 2), ("b", 3), ("c", 0)]
    assert data_of(sizes) == data_of(reversed(sizes)) == (Data("", 5), Data("a", 2), Data("b", 4))


def test_it_is_told_as_a_duration_or_as_unknown() -> None:
    assert (staging_text(Staging(3661, 0)), staging_text(Staging(0, 0)), staging_text(Staging(9, 1))) == ("1h1m1s", "0s", "unknown")
