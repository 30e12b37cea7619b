"""MIG profiles: what is one, and what an instance counts as."""

import pytest

from scheduler.domain.mig import WHOLE_CARD_MILLI, card_milli, compute_slices, is_profile, memory_gb


@pytest.mark.parametrize(
    ("profile", "slices", "milli", "memory"),
    [
        ("1g.10gb", 7, 142, 10),
        ("2g.20gb", 7, 285, 20),
        ("3g.40gb", 7, 428, 40),
        ("4g.40gb", 7, 571, 40),
        ("7g.80gb", 7, 1000, 80),
        ("1g.10gb+me", 7, 142, 10),
        ("1c.3g.40gb", 7, 142, 40),
        ("2g.12gb", 4, 500, 12),
        ("4g.24gb", 4, 1000, 24),
    ],
)
def test_an_instance_counts_as_its_share_of_the_compute_slices(profile: str, slices: int, milli: int, memory: int) -> None:
    assert is_profile(profile)
    assert (card_milli(profile, slices), memory_gb(profile)) == (milli, memory)


@pytest.mark.parametrize("text", ["", "3g", "3g.40", "3G.40GB", "0g.5gb", "3g.40gb ", "3g.40gb\n", "whole", "3g.40gb+", "10g.5gb"])
def test_other_names_are_no_profiles(text: str) -> None:
    assert not is_profile(text)


@pytest.mark.parametrize("parts", [["1g.10gb"] * 7, ["3g.40gb", "4g.40gb"], ["2g.20gb", "2g.20gb", "3g.40gb"]])
def test_the_parts_of_a_card_never_count_as_more_than_the_card(parts: list[str]) -> None:
    assert sum(map(compute_slices, parts)) == 7
    assert WHOLE_CARD_MILLI - 7 < sum(card_milli(part, 7) for part in parts) <= WHOLE_CARD_MILLI
