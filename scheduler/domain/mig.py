"""Profiles of multi-instance GPU (MIG), as NVIDIA names them: `3g.40gb` is 3 compute slices and 40 GB of memory of one card.

`1c.3g.40gb` is one of the three compute slices of such an instance; `+me` and the like add engines
(NVIDIA, "MIG User Guide", device names). The Hygon vDCU and others are not named so, and are not profiles.
"""

import re

WHOLE_CARD_MILLI = 1000

PROFILE = r"^([1-9]c\.)?[1-9]g\.[1-9][0-9]{0,3}gb(\+[a-z]+(\.[a-z]+)*)?$"
"""What a profile looks like."""

MAX_SLICES = 16
"""The most compute slices a card is taken to have; the cards of today have 4 (A30) or 7."""


def is_profile(text: str) -> bool:
    return re.fullmatch(PROFILE, text, re.ASCII) is not None


def compute_slices(profile: str) -> int:
    """How many compute slices an instance of a profile has to itself."""
    return int(profile[0])


def memory_gb(profile: str) -> int:
    """The memory in a profile's name."""
    found = re.search(r"([0-9]+)gb", profile)
    return int(found[1]) if found else 0


def card_milli(profile: str, slices: int) -> int:
    """What an instance counts as, in milli-cards: its share of the card's compute `slices`, rounded down.

    So the instances of a card never count as more than the card: of seven slices `1g` is 142, `2g` 285, `3g` 428, `7g` 1000.
    """
    return min(WHOLE_CARD_MILLI * compute_slices(profile) // slices, WHOLE_CARD_MILLI)
