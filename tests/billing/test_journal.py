"""The chain: any record that is edited, moved, dropped or slipped in is found, and named."""

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.billing.journal import GENESIS, Head, append, canonical, hash_of, verify

VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**53), 2**53), st.text(max_size=8), st.lists(st.text(max_size=3), max_size=2)
)
BODIES = st.lists(
    st.fixed_dictionaries({"job": st.text(max_size=5), "amount": VALUES, "eligibility": VALUES}), min_size=2, max_size=6
)


def chain(bodies: list[dict[str, Any]]) -> tuple[Head, list[dict[str, Any]]]:
    head, records = Head(), []
    for number, body in enumerate(bodies):
        head, record = append(head, {"id": f"cost-{number}", **body})
        records.append(record)
    return head, records


@given(BODIES)
def test_an_untouched_chain_verifies_from_any_point(bodies: list[dict[str, Any]]) -> None:
    head, records = chain(bodies)
    assert records[0]["previous_hash"] == GENESIS
    assert verify(Head(), records) == (head, None)
    middle, broken = verify(Head(), records[:1])
    assert broken is None
    assert verify(middle, records[1:]) == (head, None)


@given(BODIES, st.data())
def test_any_edit_of_any_field_is_found_where_it_is(bodies: list[dict[str, Any]], data: st.DataObject) -> None:
    _, records = chain(bodies)
    position = data.draw(st.integers(0, len(records) - 1))
    key = data.draw(st.sampled_from(sorted(records[position])))
    edited = {
        **records[position],
        key: data.draw(VALUES.filter(lambda value: canonical({"": value}) != canonical({"": records[position][key]}))),
    }
    assert_break_at(position, [*records[:position], edited, *records[position + 1 :]])


@given(BODIES, st.data())
def test_a_missing_or_additional_field_is_found(bodies: list[dict[str, Any]], data: st.DataObject) -> None:
    _, records = chain(bodies)
    position = data.draw(st.integers(0, len(records) - 1))
    key = data.draw(st.sampled_from(sorted(records[position])))
    without = {name: value for name, value in records[position].items() if name != key}
    for changed in (without, {**records[position], "note": ""}):
        assert_break_at(position, [*records[:position], changed, *records[position + 1 :]])


@given(BODIES, st.data())
def test_a_dropped_a_doubled_and_a_moved_record_are_found(bodies: list[dict[str, Any]], data: st.DataObject) -> None:
    _, records = chain(bodies)
    position = data.draw(st.integers(0, len(records) - 2))
    swapped = [*records]
    swapped[position], swapped[position + 1] = swapped[position + 1], swapped[position]
    assert_break_at(position, [*records[:position], *records[position + 1 :]])
    assert_break_at(position, swapped)
    assert_break_at(position + 1, [*records[: position + 1], *records[position:]])


@given(BODIES)
def test_a_record_rehashed_after_an_edit_breaks_the_next(bodies: list[dict[str, Any]]) -> None:
    _, records = chain(bodies)
    forged = {**records[0], "job": records[0]["job"] + "!"}
    forged["hash"] = hash_of(forged)
    assert_break_at(1, [forged, *records[1:]])


def test_the_canonical_text_is_sorted_compact_and_unescaped() -> None:
    assert canonical({"b": "算", "a": [1, None]}) == '{"a":[1,null],"b":"算"}'


def test_what_json_cannot_say_is_not_hashed() -> None:
    with pytest.raises(ValueError, match="JSON"):
        canonical({"amount": float("nan")})


def assert_break_at(position: int, records: list[Mapping[str, Any]] | list[dict[str, Any]]) -> None:
    head, broken = verify(Head(), records)
    assert broken is not None
    assert head.sequence == position
