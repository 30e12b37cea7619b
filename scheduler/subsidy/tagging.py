"""From a spend to a tag, in two layers: `judge` needs no amount (placement asks it for a rate), `tag_line` puts one to it.

Every amount is an estimate, in integer micro-CNY rounded down, and the ledger decides. Two rules hold throughout:

- Missing evidence is `needs_review` and names the fact. Where the status is settled but the rate is not (a startup's uplift,
  a card of unknown class), the estimate is at the lowest rate that remains possible: that much does not depend on the
  missing fact, and nothing above it is promised. A rate nobody knows counts as nothing.
- Limits come after rates, and whatever a line takes is gone for the next: lines are tagged in order.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date
from decimal import Decimal
from typing import NamedTuple, Self

from scheduler.contract.cost import Tag, TagStatus
from scheduler.domain.money import format_cny, parse_cny
from scheduler.subsidy.facts import Facts, Situation, Spend
from scheduler.subsidy.programme import PolicyVersion, Rate, Verdict, all_hold

STRENGTH = {status: strength for strength, status in enumerate(TagStatus)}
CARRYING = (TagStatus.ELIGIBLE, TagStatus.NEEDS_REVIEW)
"""The answers under which money is possible."""
NO = Verdict(False)


@dataclass(frozen=True, slots=True)
class Ruling:
    """What a policy version says of a spend, before any amount: the same for every line of the same facts.

    `rate` is exact, and 0 where nothing is paid. `claim_code` says what the limit on the claim comes from. `cap_relaxed` is whether
    somebody may grant more than the cap; `cap_reserve` is how much of it, micro-CNY, is only granted by somebody's word.
    """

    programme: str
    version: str
    status: TagStatus
    reason_codes: tuple[str, ...]
    missing: tuple[str, ...]
    rate: Decimal
    cap_relaxed: Verdict = NO
    cap_reserve: int = 0
    claim_code: str = "claim_cap_reached"


@dataclass(frozen=True, slots=True)
class Allowance:
    """What is left before a line, micro-CNY: of the contract's amount, the applicant's year, the pool and this claim.

    None means there is no such limit. A limit whose use is unknown counts as untouched here; the ruling names the fact.
    """

    contract: int | None
    cap: int | None
    pool: int | None
    claim: int | None = None

    @classmethod
    def opening(cls, policy: PolicyVersion, facts: Facts) -> Self:
        """Before the first line of a claim. `facts.used` is of the year the claim draws on; a claim draws on one year."""
        return cls(
            contract=facts.contract.amount,
            cap=None if policy.cap is None else max(0, policy.cap.amount - (facts.used.applicant_year or 0)),
            pool=None if policy.pool is None else max(0, policy.pool.amount - (facts.used.pool_year or 0)),
            claim=claim_limit(policy, facts)[0],
        )

    def less(self, base: int, capped: int) -> "Allowance":
        """What is left after a line took `base` of the contract and `capped` of all else."""
        return Allowance(
            contract=None if self.contract is None else self.contract - base,
            cap=None if self.cap is None else self.cap - capped,
            pool=None if self.pool is None else self.pool - capped,
            claim=None if self.claim is None else self.claim - capped,
        )


class Amounts(NamedTuple):
    """A line's amount on its way to what may be paid, micro-CNY: each is at most the one before, cut at what was left."""

    base: int
    uncapped: int
    within_claim: int
    within_cap: int
    capped: int


class Cuts(NamedTuple):
    """Which limits a line ran into; `usual` is that it went beyond what is paid without somebody's word."""

    contract: bool
    claim: bool
    cap: bool
    usual: bool
    pool: bool


class Outcome(NamedTuple):
    """What the cuts of a line make of its ruling."""

    status: TagStatus
    reason_codes: tuple[str, ...]
    missing: tuple[str, ...]


def judge(policy: PolicyVersion, facts: Facts, spend: Spend, on: date) -> Ruling:
    """What `policy` says of `spend` on a day (Asia/Shanghai).

    The weakest finding decides: out of scope, then ineligible with the code of every rule that failed, then needs_review
    with the names of the facts that are missing, then eligible.
    """
    situation = Situation(policy.programme, facts, spend)
    failed = [] if policy.in_force(on) else [(TagStatus.INELIGIBLE, "policy_not_in_force")]
    missing = list(unknown_limits(policy, facts))
    for rule in policy.requires:
        verdict = rule.check(situation)
        missing.extend(verdict.missing)
        if verdict.holds is False:
            failed.append((rule.otherwise, rule.code))

    status = min((status for status, _ in failed), key=STRENGTH.__getitem__, default=TagStatus.ELIGIBLE)
    codes = [code for found, code in failed if status is not TagStatus.NOT_IN_SCOPE or found is status]
    ruling = Ruling(policy.programme, policy.version, status, tuple(codes), (), Decimal(0))
    if status not in CARRYING:
        return ruling

    choice = choose_rate(policy, situation)
    missing.extend(choice.missing)
    codes.extend(choice.codes)
    if missing:
        codes.append("facts_missing")
    if missing or not choice.settled:
        status = TagStatus.NEEDS_REVIEW
    cap = policy.cap
    return replace(
        ruling,
        status=status,
        reason_codes=tuple(codes),
        missing=tuple(dict.fromkeys(missing)),
        rate=choice.rate,
        cap_relaxed=all_hold(cap.relaxed_when, situation) if cap and cap.relaxed_when else NO,
        cap_reserve=cap.amount - cap.usual.amount if cap and cap.usual else 0,
        claim_code=claim_limit(policy, facts)[1],
    )


def tag_line(ruling: Ruling, amount: int, allowance: Allowance) -> tuple[Tag, Allowance]:
    """The tag of a line of `amount` micro-CNY, and what is left for the next line.

    Base is cut at the contract's amount, the result at what may be paid on the claim, to the applicant and from the pool. Raises
    ValueError for a negative amount: a correction reverses the tag of the record it corrects.
    """
    check_amount(amount)
    found = amounts(ruling, amount, allowance)
    end = outcome(ruling, cuts(ruling, amount, found, allowance))
    tag = Tag(
        programme=ruling.programme,
        version=ruling.version,
        status=end.status,
        reason_codes=list(end.reason_codes),
        missing=list(end.missing),
        base=format_cny(found.base),
        rate=str(ruling.rate),
        uncapped=format_cny(found.uncapped),
        capped=format_cny(found.capped),
        contract_remaining_before=known(ruling, "contract.amount", allowance.contract),
        claim_remaining_before=known(ruling, "contract.other_public_funds", allowance.claim),
        cap_remaining_before=known(ruling, "used.applicant_year", allowance.cap),
        pool_remaining_before=known(ruling, "used.pool_year", allowance.pool),
        selected=False,
    )
    return tag, allowance.less(found.base, found.capped)


def select(tags: Sequence[Tag], applied: str | None = None, declined: bool = False, barred: Collection[str] = ()) -> list[Tag]:
    """The tags of one line with at most one of them selected.

    The programme the tenant applied to, while money remains possible under it (`eligible` or `needs_review`); without an
    application the highest estimate among the eligible, by programme where two are equal. A tenant who declined gets none, and a
    programme that is `barred` because another has the contract (`rivals`) is not selected: the tags that could have paid say so.
    """
    paying = {tag.programme for tag in tags if tag.status in CARRYING and parse_cny(tag.capped) > 0}
    if declined:
        return [_with_code(tag, "voucher_declined") if tag.programme in paying else tag for tag in tags]
    tags = [_with_code(tag, "contract_claimed_elsewhere") if tag.programme in paying & set(barred) else tag for tag in tags]
    candidates = [tag for tag in tags if tag.programme in paying - set(barred) and _asked_for(tag, applied)]
    best = min(candidates, key=lambda tag: (-parse_cny(tag.capped), tag.programme), default=None)
    return [tag.model_copy(update={"selected": True}) if tag is best else tag for tag in tags]


def rivals(policies: Sequence[PolicyVersion], claiming: Collection[str]) -> frozenset[str]:
    """The programmes that may not pay for a contract of which those in `claiming` pay a part.

    All others, where one of those in `claiming` must be alone on a contract; and whoever itself must be alone.
    """
    alone = {policy.programme for policy in policies if policy.sole_on_contract is not None}
    everyone = {policy.programme for policy in policies}
    barred = everyone - set(claiming) if alone & set(claiming) else alone - set(claiming) if claiming else set()
    return frozenset(barred)


class Choice(NamedTuple):
    """The rate of a spend, why, and the facts that would settle it where it is not `settled`; `possible` are those that remain."""

    rate: Decimal
    codes: tuple[str, ...]
    missing: tuple[str, ...]
    settled: bool
    possible: tuple[Rate, ...]


def choose_rate(policy: PolicyVersion, situation: Situation) -> Choice:
    """The lowest of the rates that remain possible; one that nobody knows is taken as 0."""
    possible: list[Rate] = []
    missing: list[str] = []
    for rate in policy.rates:
        verdict = all_hold(rate.when, situation)
        if verdict.holds is False:
            continue
        possible.append(rate)
        missing.extend(verdict.missing)
        if verdict.holds and not rate.disputed:
            break
    lowest = min(rate.rate or Decimal(0) for rate in possible)
    if all(rate.rate == possible[0].rate for rate in possible):
        return Choice(lowest, (possible[-1].code,), (), possible[0].rate is not None, tuple(possible))
    return Choice(lowest, ("rate_undecided", *(rate.code for rate in possible)), tuple(missing), False, tuple(possible))


def claim_limit(policy: PolicyVersion, facts: Facts) -> tuple[int | None, str]:
    """The most that is paid on a claim before its first line, micro-CNY, and the code of where that limit comes from.

    Either the policy's own, or what other public money for the same spend leaves of the share that all of it may reach together.
    """
    own = None if policy.claim_cap is None else policy.claim_cap.amount
    others, amount = facts.contract.other_public_funds, facts.contract.amount
    if policy.funds_ceiling is None or amount is None or not others:
        return own, "claim_cap_reached"
    numerator, denominator = policy.funds_ceiling.share.as_integer_ratio()
    left = max(0, amount * numerator // denominator - others)
    return (own, "claim_cap_reached") if own is not None and own <= left else (left, "other_public_funds")


def unknown_limits(policy: PolicyVersion, facts: Facts) -> Iterator[str]:
    """The facts without which an amount cannot be held to the contract, the claim, the cap and the pool."""
    if facts.contract.amount is None:
        yield "contract.amount"
    if policy.funds_ceiling is not None and facts.contract.other_public_funds is None:
        yield "contract.other_public_funds"
    if policy.cap is not None and facts.used.applicant_year is None:
        yield "used.applicant_year"
    if policy.pool is not None and facts.used.pool_year is None:
        yield "used.pool_year"


def check_amount(amount: int) -> None:
    if amount < 0:
        raise ValueError("only an amount of zero or more can be tagged; reverse the original tag instead")


def amounts(ruling: Ruling, amount: int, allowance: Allowance) -> Amounts:
    """What becomes of an amount under a ruling; nothing where the ruling pays nothing."""
    if ruling.status not in CARRYING:
        return Amounts(0, 0, 0, 0, 0)
    base = _at_most(amount, allowance.contract)
    numerator, denominator = ruling.rate.as_integer_ratio()
    uncapped = base * numerator // denominator
    within_claim = _at_most(uncapped, allowance.claim)
    within_cap = _at_most(within_claim, allowance.cap)
    return Amounts(base, uncapped, within_claim, within_cap, _at_most(within_cap, allowance.pool))


def cuts(ruling: Ruling, amount: int, found: Amounts, allowance: Allowance) -> Cuts:
    """Which limits an amount ran into on the way to what may be paid."""
    if ruling.status not in CARRYING:
        return Cuts(False, False, False, False, False)
    return Cuts(
        contract=found.base < amount,
        claim=found.within_claim < found.uncapped,
        cap=found.within_cap < found.within_claim,
        usual=allowance.cap is not None and found.capped > 0 and allowance.cap - found.capped < ruling.cap_reserve,
        pool=found.capped < found.within_cap,
    )


def outcome(ruling: Ruling, cut: Cuts) -> Outcome:
    """Status, reason codes and missing facts of a line of this ruling that was cut like this."""
    relaxed = cut.cap and ruling.cap_relaxed.holds is not False
    added = {
        "contract_amount_reached": cut.contract,
        ruling.claim_code: cut.claim,
        "cap_reached": cut.cap,
        "cap_may_be_relaxed": relaxed,
        "facts_missing": cut.cap and ruling.cap_relaxed.missing and not ruling.missing,
        "above_usual_amount": cut.usual,
        "pool_reached": cut.pool,
    }
    return Outcome(
        TagStatus.NEEDS_REVIEW if relaxed or cut.usual else ruling.status,
        (*ruling.reason_codes, *(code for code, applies in added.items() if applies)),
        tuple(dict.fromkeys((*ruling.missing, *ruling.cap_relaxed.missing))) if relaxed else ruling.missing,
    )


def known(ruling: Ruling, fact: str, remaining: int | None) -> str | None:
    """What remains of a limit, as a tag says it: None where there is no such limit, or what was used of it is not known."""
    return None if remaining is None or fact in ruling.missing else format_cny(remaining)


def _at_most(amount: int, limit: int | None) -> int:
    return amount if limit is None else min(amount, limit)


def _asked_for(tag: Tag, applied: str | None) -> bool:
    return tag.status is TagStatus.ELIGIBLE if applied is None else tag.programme == applied


def _with_code(tag: Tag, code: str) -> Tag:
    return tag.model_copy(update={"reason_codes": [*tag.reason_codes, code]})
