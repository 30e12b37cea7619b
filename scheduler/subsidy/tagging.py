"""From a spend to a tag, in two layers: `judge` needs no amount (placement asks it for a rate), `tag_line` puts one to it.

Every amount is an estimate, in integer micro-CNY rounded down, and the ledger decides. Two rules hold throughout:

- Missing evidence is `needs_review` and names the fact. Where the status is settled but the rate is not (a startup's uplift,
  a card of unknown class), the estimate is at the lowest rate that remains possible: that much does not depend on the
  missing fact, and nothing above it is promised.
- Caps come after rates, and whatever a line takes is gone for the next: lines are tagged in order.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date
from decimal import Decimal
from typing import Self

from scheduler.contract.base import Wire
from scheduler.contract.cost import Item, Tag, TagStatus
from scheduler.domain.money import MICROS_PER_CNY, format_cny, parse_cny
from scheduler.subsidy.facts import ALL_PROGRAMMES, Case, Facts, Situation, Spend
from scheduler.subsidy.programme import PolicyVersion, Verdict, all_hold, applicable

_MICROS_PER_FEN = MICROS_PER_CNY // 100
_STRENGTH = {status: strength for strength, status in enumerate(TagStatus)}
_CARRYING = (TagStatus.ELIGIBLE, TagStatus.NEEDS_REVIEW)


@dataclass(frozen=True, slots=True)
class Ruling:
    """What a policy version says of a spend, before any amount: the same for every line of the same facts.

    `rate` is exact, and 0 where nothing is paid. `cap_relaxed` is whether somebody may grant more than the cap.
    """

    programme: str
    version: str
    status: TagStatus
    reason_codes: tuple[str, ...]
    missing: tuple[str, ...]
    rate: Decimal
    cap_relaxed: Verdict


@dataclass(frozen=True, slots=True)
class Allowance:
    """What is left before a line, micro-CNY: of the contract's amount, the applicant's year and the pool.

    None means there is no such limit. A limit whose use is unknown counts as untouched here; the ruling names the fact.
    """

    contract: int | None
    cap: int | None
    pool: int | None

    @classmethod
    def opening(cls, policy: PolicyVersion, facts: Facts) -> Self:
        """Before the first line of a claim. `facts.used` is of the year the claim draws on; a claim draws on one year."""
        return cls(
            contract=facts.contract.amount,
            cap=None if policy.cap is None else max(0, policy.cap.amount - (facts.used.applicant_year or 0)),
            pool=None if policy.pool is None else max(0, policy.pool.amount - (facts.used.pool_year or 0)),
        )

    def less(self, base: int, capped: int) -> "Allowance":
        """What is left after a line took `base` of the contract and `capped` of cap and pool."""
        return Allowance(
            contract=None if self.contract is None else self.contract - base,
            cap=None if self.cap is None else self.cap - capped,
            pool=None if self.pool is None else self.pool - capped,
        )


class TaggedLine(Wire):
    """A line of a case and every programme's answer to it. `index` counts from 0."""

    index: int
    item: Item
    amount: str
    tags: list[Tag]


class Total(Wire):
    """One programme over all lines. `status` is the weakest of its lines that carry money, the strongest of all if none does."""

    capped: str
    uncapped: str
    status: TagStatus


class Evaluation(Wire):
    """A whole case. `selected` is what would be claimed, per programme, rounded down to the fen."""

    lines: list[TaggedLine]
    totals: dict[str, Total]
    selected: dict[str, str]


def judge(policy: PolicyVersion, facts: Facts, spend: Spend, on: date) -> Ruling:
    """What `policy` says of `spend` on a day (Asia/Shanghai).

    The weakest finding decides: out of scope, then ineligible with the code of every rule that failed, then needs_review
    with the names of the facts that are missing, then eligible.
    """
    situation = Situation(policy.programme, facts, spend)
    failed = [] if policy.in_force(on) else [(TagStatus.INELIGIBLE, "policy_not_in_force")]
    missing = list(_unknown_limits(policy, facts))
    for rule in policy.requires:
        verdict = rule.check(situation)
        missing.extend(verdict.missing)
        if verdict.holds is False:
            failed.append((rule.otherwise, rule.code))

    status = min((status for status, _ in failed), key=_STRENGTH.__getitem__, default=TagStatus.ELIGIBLE)
    codes = [code for found, code in failed if status is not TagStatus.NOT_IN_SCOPE or found is status]
    relaxed = all_hold(policy.cap.relaxed_when, situation) if policy.cap and policy.cap.relaxed_when else Verdict(False)
    ruling = Ruling(policy.programme, policy.version, status, tuple(codes), (), Decimal(0), relaxed)
    if status not in _CARRYING:
        return ruling

    rate, rate_codes, rate_missing = _rate(policy, situation)
    codes.extend(rate_codes)
    missing.extend(rate_missing)
    if missing:
        codes.append("facts_missing")
    if missing or "rate_undecided" in rate_codes:
        status = TagStatus.NEEDS_REVIEW
    return replace(ruling, status=status, reason_codes=tuple(codes), missing=tuple(dict.fromkeys(missing)), rate=rate)


def tag_line(ruling: Ruling, amount: int, allowance: Allowance) -> tuple[Tag, Allowance]:
    """The tag of a line of `amount` micro-CNY, and what is left for the next line.

    Base is cut at the contract's amount, the result at cap and pool. Raises ValueError for a negative amount: a correction
    reverses the tag of the record it corrects.
    """
    if amount < 0:
        raise ValueError("only an amount of zero or more can be tagged; reverse the original tag instead")
    status, codes, missing = ruling.status, ruling.reason_codes, ruling.missing
    base = uncapped = capped = 0
    if status in _CARRYING:
        base = amount if allowance.contract is None else min(amount, allowance.contract)
        numerator, denominator = ruling.rate.as_integer_ratio()
        uncapped = base * numerator // denominator
        within_cap = uncapped if allowance.cap is None else min(uncapped, allowance.cap)
        capped = within_cap if allowance.pool is None else min(within_cap, allowance.pool)
        beyond_cap = uncapped > within_cap
        cuts = {
            "contract_amount_reached": base < amount,
            "cap_reached": beyond_cap,
            "cap_may_be_relaxed": beyond_cap and ruling.cap_relaxed.holds is not False,
            "facts_missing": beyond_cap and ruling.cap_relaxed.missing and not missing,
            "pool_reached": capped < within_cap,
        }
        codes = (*codes, *(code for code, cut in cuts.items() if cut))
        if cuts["cap_may_be_relaxed"]:
            status, missing = TagStatus.NEEDS_REVIEW, tuple(dict.fromkeys((*missing, *ruling.cap_relaxed.missing)))
    tag = Tag(
        programme=ruling.programme,
        version=ruling.version,
        status=status,
        reason_codes=list(codes),
        missing=list(missing),
        base=format_cny(base),
        rate=str(ruling.rate),
        uncapped=format_cny(uncapped),
        capped=format_cny(capped),
        contract_remaining_before=_known(allowance.contract, "contract.amount", missing),
        cap_remaining_before=_known(allowance.cap, "used.applicant_year", missing),
        pool_remaining_before=_known(allowance.pool, "used.pool_year", missing),
        selected=False,
    )
    return tag, allowance.less(base, capped)


def select(tags: Sequence[Tag], applied: str | None = None, declined: bool = False) -> list[Tag]:
    """The tags of one line with at most one of them selected.

    The programme the tenant applied to, while money remains possible under it (`eligible` or `needs_review`); without an
    application the highest estimate among the eligible, by programme where two are equal. A tenant who declined gets none,
    and the tags that could have paid say so.
    """
    paying = [tag for tag in tags if tag.status in _CARRYING and parse_cny(tag.capped) > 0]
    if declined:
        return [_declined(tag) if tag in paying else tag for tag in tags]
    if applied is None:
        candidates = [tag for tag in paying if tag.status is TagStatus.ELIGIBLE]
    else:
        candidates = [tag for tag in paying if tag.programme == applied]
    best = min(candidates, key=lambda tag: (-parse_cny(tag.capped), tag.programme), default=None)
    return [tag.model_copy(update={"selected": True}) if tag is best else tag for tag in tags]


def evaluate(case: Case, policies: Sequence[PolicyVersion]) -> Evaluation:
    """Every line of a case under the programme it names, or under all, in order, each programme drawing on limits of its own.

    A case that names a programme applies to it. Raises ValueError for a programme or version that is not among `policies`.
    """
    versions = _named(case, policies)
    left = {version.programme: Allowance.opening(version, case) for version in versions}
    applied = None if case.programme == ALL_PROGRAMMES else case.programme
    lines = []
    for index, line in enumerate(case.lines):
        tags = []
        for version in versions:
            tag, left[version.programme] = tag_line(judge(version, case, line, case.on), line.amount, left[version.programme])
            tags.append(tag)
        lines.append(TaggedLine(index=index, item=line.item, amount=format_cny(line.amount), tags=select(tags, applied)))
    by_programme = {programme: [tag for line in lines for tag in line.tags if tag.programme == programme] for programme in left}
    claimed = {programme: _sum(tag.capped for tag in tags if tag.selected) for programme, tags in by_programme.items()}
    return Evaluation(
        lines=lines,
        totals={programme: _total(tags) for programme, tags in by_programme.items()},
        selected={programme: format_cny(micros - micros % _MICROS_PER_FEN) for programme, micros in claimed.items() if micros},
    )


def _rate(policy: PolicyVersion, situation: Situation) -> tuple[Decimal, tuple[str, ...], tuple[str, ...]]:
    """The rate, its reason codes and the facts that would settle it: the lowest of those that remain possible."""
    possible = []
    missing: list[str] = []
    for rate in policy.rates:
        verdict = all_hold(rate.when, situation)
        if verdict.holds is False:
            continue
        possible.append(rate)
        missing.extend(verdict.missing)
        if verdict.holds and not rate.disputed:
            break
    lowest = min(rate.rate for rate in possible)
    if all(rate.rate == lowest for rate in possible):
        return lowest, (possible[-1].code,), ()
    return lowest, ("rate_undecided", *(rate.code for rate in possible)), tuple(missing)


def _unknown_limits(policy: PolicyVersion, facts: Facts) -> Iterator[str]:
    """The facts without which an amount cannot be held to the contract, the cap and the pool."""
    if facts.contract.amount is None:
        yield "contract.amount"
    if policy.cap is not None and facts.used.applicant_year is None:
        yield "used.applicant_year"
    if policy.pool is not None and facts.used.pool_year is None:
        yield "used.pool_year"


def _known(remaining: int | None, use: str, missing: tuple[str, ...]) -> str | None:
    return None if remaining is None or use in missing else format_cny(remaining)


def _declined(tag: Tag) -> Tag:
    return tag.model_copy(update={"reason_codes": [*tag.reason_codes, "voucher_declined"]})


def _sum(amounts: Iterable[str]) -> int:
    return sum(parse_cny(amount) for amount in amounts)


def _total(tags: Sequence[Tag]) -> Total:
    carrying = [tag.status for tag in tags if parse_cny(tag.uncapped) > 0]
    return Total(
        capped=format_cny(_sum(tag.capped for tag in tags)),
        uncapped=format_cny(_sum(tag.uncapped for tag in tags)),
        status=min(carrying, key=_STRENGTH.__getitem__)
        if carrying
        else max((tag.status for tag in tags), key=_STRENGTH.__getitem__),
    )


def _named(case: Case, policies: Sequence[PolicyVersion]) -> tuple[PolicyVersion, ...]:
    """The versions a case asks for. Raises ValueError naming the field and what is allowed."""
    if case.programme == ALL_PROGRAMMES:
        return applicable(policies, case.on)
    versions = [version for version in policies if version.programme == case.programme]
    if not versions:
        known = ", ".join(sorted({version.programme for version in policies}))
        raise ValueError(f"programme: {case.programme!r} is not known; allowed: {ALL_PROGRAMMES}, {known}")
    named = applicable(versions, case.on) if case.version is None else [v for v in versions if v.version == case.version]
    if not named:
        known = ", ".join(version.version for version in versions)
        raise ValueError(f"version: {case.programme} has no version {case.version!r} to decide by; name one of: {known}")
    return tuple(named)
