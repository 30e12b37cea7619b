"""Versions as vendors write them, in the order their vendors mean."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.domain.versions import MAX_CHARACTERS, parse_range, parse_version

ASCENDING = [
    "7.0.RC1",
    "8.0.RC2.alpha003",
    "8.0.RC2",
    "8.0.RC2.2",
    "8.0.RC3.alpha002",
    "8.0.0",
    "23.0.7",
    "24.1.dev1",
    "24.1.rc2",
    "24.1.rc10",
    "24.1",
    "24.1.0.1",
    "535.54.03",
    "535.104.05",
    "535.104.12",
    "550.54.15",
]


def test_versions_stand_in_the_order_their_vendors_mean() -> None:
    versions = [parse_version(text) for text in ASCENDING]
    assert all(one is not None and other is not None and one < other for one, other in pairwise(versions))


@pytest.mark.parametrize(
    ("one", "other"),
    [("535.104.05", "535.104.5"), ("24.1", "24.1.0"), ("24.1.0.rc2", "24.1.RC2"), ("v12.4", "12.4"), ("1-rc1", "1_rc1")],
)
def test_zeros_case_and_separators_do_not_matter(one: str, other: str) -> None:
    assert parse_version(one) == parse_version(other)


@pytest.mark.parametrize("text", ["", "latest", "550.54.15, 24.1", "12.x", "1..2", "1" * (MAX_CHARACTERS + 1)])
def test_what_is_no_version_has_no_place_in_the_order(text: str) -> None:
    assert parse_version(text) is None


@pytest.mark.parametrize(
    ("text", "inside", "outside"),
    [
        (">=535.104", ["535.104.05", "535.104", "550.54.15"], ["535.54.03", "535.104.rc1"]),
        (">=12.2,<13", ["12.2", "12.8.1"], ["12.1", "13", "13.1"]),
        ("==24.1.rc2", ["24.1.0.RC2"], ["24.1", "24.1.rc3"]),
        ("> 1, != 1.5, <= 2", ["1.4", "2.0"], ["1", "1.5.0", "2.0.1"]),
    ],
)
def test_a_range_holds_where_all_of_it_does(text: str, inside: list[str], outside: list[str]) -> None:
    asked = parse_range(text)
    for expected, texts in ((True, inside), (False, outside)):
        for each in texts:
            version = parse_version(each)
            assert version is not None and asked.holds(version) is expected, each


@pytest.mark.parametrize("text", ["", "550", "=550", ">=", ">=5,", ">=five", "~=5.0", ">=5 <6", ">=" + "1." * MAX_CHARACTERS + "1"])
def test_what_is_no_range_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match=r"is not a range of versions: write for example >=535\.104"):
        parse_range(text)


def test_ranges_written_alike_but_for_spaces_are_equal() -> None:
    assert parse_range(">= 12.2, < 13") == parse_range(">=12.2,<13")


@given(st.lists(st.integers(0, 999), min_size=1, max_size=4), st.lists(st.integers(0, 999), min_size=1, max_size=4))
def test_plain_versions_compare_as_lists_of_numbers(one: list[int], other: list[int]) -> None:
    width = max(len(one), len(other))
    padded = [[*each, *[0] * (width - len(each))] for each in (one, other)]
    versions = [parse_version(".".join(map(str, each))) for each in (one, other)]
    assert versions[0] is not None and versions[1] is not None
    assert (versions[0] < versions[1]) == (padded[0] < padded[1])
    assert (versions[0] == versions[1]) == (padded[0] == padded[1])
