"""A batch of lines says exactly what tagging them one after the other says, at any amount and with any limit."""

from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.contract.cost import Tag, TagStatus
from scheduler.domain.money import MAX_MICROS
from scheduler.subsidy import batch
from scheduler.subsidy.batch import tag_batch
from scheduler.subsidy.programme import Verdict
from scheduler.subsidy.tagging import Allowance, Ruling, tag_line

amounts = st.one_of(st.integers(0, MAX_MICROS), st.integers(0, 1_000_000), st.sampled_from([0, 1, MAX_MICROS]))
limits = st.one_of(st.none(), amounts)
allowances = st.builds(Allowance, contract=limits, cap=limits, pool=limits, claim=limits)
MISSING = ("used.applicant_year", "used.pool_year", "contract.other_public_funds", "applicant.startup")
rulings = st.builds(
    Ruling,
    programme=st.just("p"),
    version=st.just("1"),
    status=st.sampled_from(TagStatus),
    reason_codes=st.just(("rate_base",)),
    missing=st.sets(st.sampled_from(MISSING)).map(lambda found: tuple(sorted(found))),
    rate=st.integers(0, 10_000).map(lambda units: Decimal(units) / 10_000),
    cap_relaxed=st.sampled_from([Verdict(False), Verdict(True), Verdict(None, ("applicant.multimodal_base_model",))]),
    cap_reserve=st.one_of(st.just(0), amounts),
    claim_code=st.sampled_from(["claim_cap_reached", "other_public_funds"]),
)


def folded(ruling: Ruling, lines: list[int], allowance: Allowance) -> tuple[list[Tag], Allowance]:
    tags = []
    for amount in lines:
        tag, allowance = tag_line(ruling, amount, allowance)
        tags.append(tag)
    return tags, allowance


@given(rulings, st.lists(amounts, max_size=20), allowances)
def test_a_batch_is_its_lines_one_after_the_other(ruling: Ruling, lines: list[int], allowance: Allowance) -> None:
    tags, left = folded(ruling, lines, allowance)
    tagged = tag_batch(ruling, np.array(lines, np.int64), allowance)
    assert list(tagged.each()) == tags
    assert tagged.left == left


@given(rulings, st.lists(amounts, min_size=1, max_size=20), allowances, st.data())
def test_two_batches_are_as_one(ruling: Ruling, lines: list[int], allowance: Allowance, data: st.DataObject) -> None:
    cut = data.draw(st.integers(0, len(lines)))
    whole = tag_batch(ruling, np.array(lines, np.int64), allowance)
    first = tag_batch(ruling, np.array(lines[:cut], np.int64), allowance)
    second = tag_batch(ruling, np.array(lines[cut:], np.int64), first.left)
    assert [*first.each(), *second.each()] == list(whole.each())
    assert second.left == whole.left


ELIGIBLE = Ruling("p", "1", TagStatus.ELIGIBLE, ("rate_base",), (), Decimal("0.3333"))


def test_more_of_the_largest_amounts_than_64_bits_can_sum_up() -> None:
    lines = [MAX_MICROS] * (2 * batch._PIECE + 3)
    allowance = Allowance(contract=MAX_MICROS, cap=MAX_MICROS // 2, pool=None)
    tags, left = folded(ELIGIBLE, lines[:3], allowance)
    tagged = tag_batch(ELIGIBLE, np.array(lines, np.int64), allowance)
    assert list(tagged.each())[:3] == tags
    assert tagged.left == left
    assert int(tagged.base.sum()) == MAX_MICROS
    unlimited = tag_batch(ELIGIBLE, np.array(lines, np.int64), Allowance(None, None, None))
    assert (unlimited.base == MAX_MICROS).all()
    assert (unlimited.capped == 333_300_000_000_000).all()


def test_a_limit_is_drawn_on_across_the_pieces_a_sum_is_taken_in() -> None:
    lines = np.full(3 * batch._PIECE, 10, np.int64)
    limit = 25 * batch._PIECE
    tagged = tag_batch(ELIGIBLE, lines, Allowance(contract=limit, cap=None, pool=None))
    assert int(tagged.base.sum()) == limit
    assert (np.flatnonzero(tagged.base < 10)[0], tagged.left.contract) == (limit // 10, 0)


def test_codes_that_are_alike_are_kept_once() -> None:
    tagged = tag_batch(ELIGIBLE, np.array([30_000, 30_000, 30_000, 30_000], np.int64), Allowance(None, 15_000, None))
    assert [end.reason_codes for end in tagged.outcomes] == [("rate_base",), ("rate_base", "cap_reached")]
    assert tagged.outcome.tolist() == [0, 1, 1, 1]


def test_every_array_is_of_integers() -> None:
    tagged = tag_batch(ELIGIBLE, np.array([1, 2], np.int64), Allowance(5, 5, 5, 5))
    arrays = [getattr(tagged, name) for name in tagged.__slots__ if isinstance(getattr(tagged, name), np.ndarray)]
    assert len(arrays) == 8
    assert {array.dtype for array in arrays} == {np.dtype(np.int64), np.dtype(np.uint8)}


@pytest.mark.parametrize(
    "lines",
    [
        np.array([-1], np.int64),
        np.array([MAX_MICROS + 1], np.int64),
        np.array([1.0]),
        np.array([1], np.int32),
        np.array([[1]], np.int64),
    ],
)
def test_what_is_no_array_of_amounts_is_refused(lines: np.ndarray[Any, Any]) -> None:
    with pytest.raises(ValueError, match="amounts"):
        tag_batch(ELIGIBLE, lines, Allowance(None, None, None))


@pytest.mark.parametrize("rate", ["0.9999", "0.9224", "1", "0", "0.0001"])
def test_a_share_of_the_largest_amount_is_exact(rate: str) -> None:
    ruling = Ruling("p", "1", TagStatus.ELIGIBLE, ("rate_base",), (), Decimal(rate))
    lines = [MAX_MICROS, MAX_MICROS - 1, 9_999, 1]
    tagged = tag_batch(ruling, np.array(lines, np.int64), Allowance(None, None, None))
    assert tagged.uncapped.tolist() == [int(amount * Decimal(rate)) for amount in lines]
    assert list(tagged.each()) == folded(ruling, lines, Allowance(None, None, None))[0]


@pytest.mark.parametrize(("amount", "reviewed"), [(100, False), (101, True)])
def test_what_is_usual_is_paid_to_its_last_micro_without_a_word(amount: int, reviewed: bool) -> None:
    ruling = Ruling("p", "1", TagStatus.ELIGIBLE, ("rate_base",), (), Decimal(1), cap_reserve=100)
    allowance = Allowance(None, 200, None)
    tag, _ = tag_line(ruling, amount, allowance)
    assert ("above_usual_amount" in tag.reason_codes, tag.status is TagStatus.NEEDS_REVIEW) == (reviewed, reviewed)
    assert list(tag_batch(ruling, np.array([amount], np.int64), allowance).each()) == [tag]
