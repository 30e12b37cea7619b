"""The chain: any record that is edited, moved, dropped or slipped in is found, and named."""

import json
from collections.abc import Mapping
from datetime import date
from hashlib import sha256
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.billing.journal import GENESIS, Head, Row, append, canonical, hash_of, verify, verify_rows

VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**53) + 1, 2**53 - 1), st.text(max_size=8), st.lists(st.text(max_size=3), max_size=2)
)
BODIES = st.lists(
    st.fixed_dictionaries({"job": st.text(max_size=5), "amount": VALUES, "eligibility": VALUES}), min_size=2, max_size=6
)


def chain(bodies: list[dict[str, Any]]) -> tuple[Head, list[dict[str, Any]]]:
    head, records = Head(), []
    for number, body in enumerate(bodies):
        head, row = append(head, {"id": f"cost-{number}", "tenant": "acme", **body})
        records.append(json.loads(row.served()))
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


@given(st.recursive(VALUES, lambda inner: st.dictionaries(st.text("abcdefgh_", max_size=4), inner, max_size=3)))
def test_any_json_library_writes_the_same_canonical_text(value: Any) -> None:
    assert canonical({"": value}) == json.dumps({"": value}, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


@pytest.mark.parametrize("value", [2**53, date(2026, 1, 1), "\ud800", b"x"])
def test_what_readers_would_not_agree_on_is_not_hashed(value: Any) -> None:
    with pytest.raises(TypeError):
        canonical({"amount": value})


def rows_of(bodies: list[dict[str, Any]]) -> list[Row]:
    head, rows = Head(), []
    for number, body in enumerate(bodies):
        head, row = append(head, {**body, "id": f"cost-{number}", "tenant": "acme", "contract": "C-1", "job": f"job-{number}"})
        rows.append(row)
    return rows


@given(BODIES, st.data())
def test_any_character_changed_in_any_stored_row_is_found_where_it_is(bodies: list[dict[str, Any]], data: st.DataObject) -> None:
    rows = rows_of(bodies)
    assert verify_rows(Head(), rows) == (Head(len(rows), rows[-1].hash), None)
    position = data.draw(st.integers(0, len(rows) - 1))
    column = data.draw(st.sampled_from(["sequence", "tenant", "job", "contract", "payload", "hash"]))
    before = getattr(rows[position], column)
    if column == "sequence":
        after = data.draw(st.integers(0, 10).filter(lambda value: value != before))
    else:
        place = data.draw(st.integers(0, len(before) - 1))
        after = before[:place] + data.draw(st.characters(codec="utf-8").filter(lambda c: c != before[place])) + before[place + 1 :]
    edited_row: Row = Row(**{**rows[position]._asdict(), column: after})
    edited = [*rows[:position], edited_row, *rows[position + 1 :]]
    head, broken = verify_rows(Head(), edited)
    assert broken is not None
    assert head.sequence == position
    assert broken.sequence == (after if column == "sequence" else position + 1)
    assert broken.what


@given(BODIES, st.data())
def test_a_row_whose_hash_was_made_anew_breaks_the_next(bodies: list[dict[str, Any]], data: st.DataObject) -> None:
    rows = rows_of(bodies)
    position = data.draw(st.integers(0, len(rows) - 2))
    payload = rows[position].payload.replace('"tenant":"acme"', '"tenant":"evil"')
    forged = rows[position]._replace(payload=payload, tenant="evil", hash=sha256(payload.encode()).hexdigest())
    _, broken = verify_rows(Head(), [*rows[:position], forged, *rows[position + 1 :]])
    assert broken is not None
    assert (broken.sequence, broken.id) == (position + 2, f"cost-{position + 1}")


def assert_break_at(position: int, records: list[Mapping[str, Any]] | list[dict[str, Any]]) -> None:
    head, broken = verify(Head(), records)
    assert broken is not None
    assert head.sequence == position
