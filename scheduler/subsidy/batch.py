"""Many lines of one ruling at once, on arrays of integers: what `tag_line` says of each in turn, and what is left after them.

Amounts are int64 micro-CNY. Nothing here overflows: a product with a rate is taken in two parts, and running sums are taken in
pieces and kept at their limit. What differs little from line to line is said once: `outcomes` holds each combination of status,
reason codes and missing facts that occurs, and a line names its own by number.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scheduler.contract.cost import Tag
from scheduler.domain.money import MAX_MICROS, format_cny
from scheduler.subsidy.tagging import CARRYING, Allowance, Cuts, Outcome, Ruling, known, outcome

Micros = NDArray[np.int64]

_RATE_UNITS = 10_000
"""A rate has at most four decimal places."""
_PIECE = 8192
"""Lines summed at a time: that many of the largest amount, and a limit, stay below 2^63."""


@dataclass(frozen=True, slots=True)
class Tags:
    """The tags of n lines, in their order. All arrays are (n,) int64 micro-CNY but `outcome`, which numbers `outcomes` (uint8).

    What was left before each line is None where there is no such limit; whether its use is known is for the ruling to say.
    """

    ruling: Ruling
    base: Micros
    uncapped: Micros
    capped: Micros
    contract_remaining_before: Micros | None
    claim_remaining_before: Micros | None
    cap_remaining_before: Micros | None
    pool_remaining_before: Micros | None
    outcome: NDArray[np.uint8]
    outcomes: tuple[Outcome, ...]
    left: Allowance

    def __len__(self) -> int:
        return len(self.base)

    def each(self) -> Iterator[Tag]:
        """The tags one by one, as `tag_line` makes them: for readers of a few, not for posting many."""
        ruling = self.ruling
        for index in range(len(self)):
            end = self.outcomes[int(self.outcome[index])]
            yield Tag(
                programme=ruling.programme,
                version=ruling.version,
                status=end.status,
                reason_codes=list(end.reason_codes),
                missing=list(end.missing),
                base=format_cny(int(self.base[index])),
                rate=str(ruling.rate),
                uncapped=format_cny(int(self.uncapped[index])),
                capped=format_cny(int(self.capped[index])),
                contract_remaining_before=known(ruling, "contract.amount", _at(self.contract_remaining_before, index)),
                claim_remaining_before=known(ruling, "contract.other_public_funds", _at(self.claim_remaining_before, index)),
                cap_remaining_before=known(ruling, "used.applicant_year", _at(self.cap_remaining_before, index)),
                pool_remaining_before=known(ruling, "used.pool_year", _at(self.pool_remaining_before, index)),
                selected=False,
            )


def tag_batch(ruling: Ruling, amounts: Micros, allowance: Allowance) -> Tags:
    """The tags of lines of `amounts` (n,) int64 micro-CNY, in order, exactly as folding `tag_line` over them.

    Raises ValueError for an amount below zero or beyond what one may be, and for an array that is not int64 of one dimension.
    """
    if amounts.ndim != 1 or amounts.dtype != np.int64:
        raise ValueError(f"amounts must be int64 of one dimension, not {amounts.dtype} of {amounts.ndim}")
    if len(amounts) and not 0 <= int(amounts.min()) <= int(amounts.max()) <= MAX_MICROS:
        raise ValueError(f"only amounts from zero to {MAX_MICROS} micro-CNY can be tagged")
    asked = amounts if ruling.status in CARRYING else np.zeros_like(amounts)
    base, spent = _draw(asked, allowance.contract)
    uncapped = _share(base, ruling)
    limits = (allowance.claim, allowance.cap, allowance.pool)
    # what is paid is taken from all three alike, so the least of them cuts
    capped, paid = _draw(uncapped, min((limit for limit in limits if limit is not None), default=None))
    claim, cap, pool = (_remaining(limit, paid) for limit in limits)
    within_claim = uncapped if claim is None else np.minimum(uncapped, claim)
    within_cap = within_claim if cap is None else np.minimum(within_claim, cap)
    numbers, outcomes = _outcomes(
        ruling,
        contract=base < asked,
        claim=within_claim < uncapped,
        cap=within_cap < within_claim,
        usual=np.zeros(len(base), bool) if cap is None else (capped > 0) & (cap - capped < ruling.cap_reserve),
        pool=capped < within_cap,
    )
    # a sum of what nothing limits may not fit 64 bits, and nobody asks for it
    left = allowance.less(0 if spent is None else int(base.sum()), 0 if paid is None else int(capped.sum()))
    return Tags(ruling, base, uncapped, capped, _remaining(allowance.contract, spent), claim, cap, pool, numbers, outcomes, left)


def _draw(asked: Micros, limit: int | None) -> tuple[Micros, Micros | None]:
    """What is taken by each in turn until `limit` is used up, and what was taken before each. Without a limit all is taken."""
    if limit is None:
        return asked, None
    taken = np.zeros(len(asked) + 1, np.int64)
    for start in range(0, len(asked), _PIECE):
        piece = taken[start + 1 : start + _PIECE + 1]
        np.cumsum(asked[start : start + _PIECE], out=piece)
        piece += taken[start]
        np.minimum(piece, limit, out=piece)
    return np.diff(taken), taken[:-1]


def _share(base: Micros, ruling: Ruling) -> Micros:
    """⌊base × rate⌋, in two parts: a billion CNY by four decimal places is more than 64 bits hold."""
    rate = int(ruling.rate * _RATE_UNITS)
    if rate == _RATE_UNITS:
        return base
    whole, rest = np.divmod(base, _RATE_UNITS)
    return np.asarray(whole * rate + rest * rate // _RATE_UNITS)


def _remaining(limit: int | None, taken: Micros | None) -> Micros | None:
    return None if limit is None or taken is None else limit - taken


def _outcomes(ruling: Ruling, **cut: NDArray[np.bool_]) -> tuple[NDArray[np.uint8], tuple[Outcome, ...]]:
    """The combinations of cuts that occur, and which of them each line has."""
    bits = np.zeros(len(cut["contract"]), np.uint8)
    for place, name in enumerate(Cuts._fields):
        bits |= cut[name].astype(np.uint8) << place
    occurring = np.flatnonzero(np.bincount(bits, minlength=2 ** len(Cuts._fields)))
    number = np.zeros(2 ** len(Cuts._fields), np.uint8)
    number[occurring] = np.arange(len(occurring))
    combinations = (Cuts(*(bool(each >> place & 1) for place in range(len(Cuts._fields)))) for each in occurring.tolist())
    return number[bits], tuple(outcome(ruling, combination) for combination in combinations)


def _at(remaining: Micros | None, index: int) -> int | None:
    return None if remaining is None else int(remaining[index])
