"""Past records tagged again: under the versions that decided them, which must come out the same, or under another, to see what it
would have meant.

A record keeps all that decided its tags: the facts (its `context`), the versions' names, and what was left of each limit before it.
"""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import date, timedelta
from typing import Any, NamedTuple

from scheduler.contract.cost import CostRecord, RecordKind, Tag, TagStatus
from scheduler.domain.clock import CHINA
from scheduler.domain.money import parse_cny
from scheduler.subsidy.facts import Facts, Line, Spend, parse_facts
from scheduler.subsidy.programme import PolicyVersion
from scheduler.subsidy.tagging import Allowance, Ruling, claim_limit, judge, select, tag_line
from scheduler.subsidy.trace import TraceStep, trace

CLAIMED_ELSEWHERE = "contract_claimed_elsewhere"
MINE, OTHERS = "mine", "others"


@dataclass(frozen=True)
class Context:
    """What decided the tags of some records, besides the records themselves: the facts, and what the tenant said of vouchers."""

    facts: Facts
    applied: str | None
    declined: bool

    @classmethod
    def parse(cls, document: Mapping[str, Any]) -> "Context":
        """From the document a record's `context` names. Raises pydantic.ValidationError for what is none."""
        return cls(parse_facts(document["facts"]), document["applied"], document["declined"])


def spend_of(record: CostRecord) -> Spend:
    """What a record's money was spent on."""
    return Spend(
        item=record.item,
        hardware_class=record.hardware_class,
        activity=record.activity,
        start=record.period_start,
        end=record.period_end,
    )


def claim_day(record: CostRecord) -> date:
    """The Chinese calendar day a record is judged on; its year is the claim year."""
    return record.period_start.astimezone(CHINA).date()


def tags_again(record: CostRecord, context: Context, policies: Mapping[tuple[str, str], PolicyVersion]) -> list[Tag]:
    """The tags of a record that is no reversal, computed anew from what is stored: equal to those it was posted with.

    `policies` by programme and version. Raises KeyError for a version that is not among them.
    """
    amount, spend, day = parse_cny(record.contracted_amount), spend_of(record), claim_day(record)
    tags = []
    for tag in record.eligibility:
        policy = policies[tag.programme, tag.version]
        before = Allowance(
            contract=_micros(tag.contract_remaining_before),
            cap=_micros(tag.cap_remaining_before),
            pool=_micros(tag.pool_remaining_before),
            claim=_micros(tag.claim_remaining_before),
        )
        tags.append(tag_line(judge(policy, context.facts, spend, day), amount, before)[0])
    barred = [tag.programme for tag in record.eligibility if CLAIMED_ELSEWHERE in tag.reason_codes]
    return select(tags, context.applied, context.declined, barred)


def record_trace(record: CostRecord, tag: Tag, context: Context, policy: PolicyVersion) -> list[TraceStep]:
    """How a tag of a record that is no reversal came about under the version it names, step by step."""
    line = Line(**asdict(spend_of(record)), amount=parse_cny(record.contracted_amount))
    return trace(policy, context.facts, line, claim_day(record), tag)


class Outcome(NamedTuple):
    """What became of a record: its tag under one programme, and the micro-CNY that are paid for it, under that and under others."""

    status: TagStatus | None
    reason_codes: tuple[str, ...]
    rate: str
    paid: int
    paid_by_others: int


class Difference(NamedTuple):
    """A record for which another version decides otherwise."""

    record: CostRecord
    before: Outcome
    after: Outcome


@dataclass
class Sums:
    """Micro-CNY paid under the programme replayed, and under others, before and after."""

    before: int = 0
    after: int = 0
    others_before: int = 0
    others_after: int = 0


@dataclass
class Replay:
    """Records in the order they were posted, as if `policy` had decided for its programme over [start, end) of Chinese days.

    Records before `start` only say what had been used of the year's cap and pool. The estimates of other programmes stay as they
    were; who pays for a line is chosen anew, and it is one at most.
    """

    policy: PolicyVersion
    start: date
    end: date
    records: int = 0
    changed: int = 0
    tenants: dict[str, Sums] = field(default_factory=lambda: defaultdict(Sums))
    statuses: Counter[tuple[str, str]] = field(default_factory=Counter)
    """Records by status before and after; empty where the programme did not answer."""
    _used: Counter[tuple[int, str]] = field(default_factory=Counter)
    _pools: Counter[int] = field(default_factory=Counter)
    _claims: dict[str | None, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    """What is claimed of a contract under the programme replayed, and under others."""
    _rulings: dict[tuple[object, ...], Ruling] = field(default_factory=dict)
    _changed: dict[str, Outcome] = field(default_factory=dict)
    """What was changed, by record: a reversal takes back that."""

    def take(self, record: CostRecord, context: Context) -> Difference | None:
        """Tag the next record. Returns how it differs, None where it does not, or lies outside of the days replayed."""
        day = claim_day(record)
        before = after = _outcome(record.eligibility, self.policy.programme)
        if self.start <= day < self.end:
            after = self._again(record, context, day, before)
            self._count(record.tenant, before, after)
        self._used[day.year, record.tenant] += after.paid
        self._pools[day.year] += after.paid
        self._claims[record.contract].update({MINE: after.paid, OTHERS: after.paid_by_others})
        if before == after:
            return None
        self.changed += 1
        self._changed[record.id] = after
        return Difference(record, before, after)

    def total(self) -> Sums:
        """Over all tenants."""
        every = self.tenants.values()
        return Sums(
            sum(each.before for each in every),
            sum(each.after for each in every),
            sum(each.others_before for each in every),
            sum(each.others_after for each in every),
        )

    def _again(self, record: CostRecord, context: Context, day: date, before: Outcome) -> Outcome:
        if record.kind is RecordKind.UNBILLED:
            return before  # nothing is charged, so no programme was asked
        if record.kind is RecordKind.REVERSAL:
            taken_back = self._changed.get(record.reverses or "")
            if taken_back is None:
                return before
            return taken_back._replace(paid=-taken_back.paid, paid_by_others=-taken_back.paid_by_others)
        policy, claims = self.policy, self._claims[record.contract]
        limit = claim_limit(policy, context.facts)[0]
        allowance = Allowance(
            contract=_contract_left(record, context),
            claim=None if limit is None else max(0, limit - claims[MINE]),
            cap=None if policy.cap is None else max(0, policy.cap.amount - self._used[day.year, record.tenant]),
            pool=None if policy.pool is None else max(0, policy.pool.amount - self._pools[day.year]),
        )
        tag, _ = tag_line(self._ruling(record, context, day), parse_cny(record.contracted_amount), allowance)
        others = [_unselected(other) for other in record.eligibility if other.programme != policy.programme]
        barred = {other.programme for other in record.eligibility if CLAIMED_ELSEWHERE in other.reason_codes}
        if policy.sole_on_contract is not None:
            barred |= {policy.programme} if claims[OTHERS] else set()
            barred |= {other.programme for other in others} if claims[MINE] else set()
        return _outcome(select([*others, tag], context.applied, context.declined, barred), policy.programme)

    def _ruling(self, record: CostRecord, context: Context, day: date) -> Ruling:
        """The same for all records of equal facts that begin and end on the same days."""
        last = (record.period_end - timedelta(microseconds=1)).astimezone(CHINA).date()
        key = (record.context, record.item, record.hardware_class, record.activity, day, last)
        if key not in self._rulings:
            self._rulings[key] = judge(self.policy, context.facts, spend_of(record), day)
        return self._rulings[key]

    def _count(self, tenant: str, before: Outcome, after: Outcome) -> None:
        self.records += 1
        self.statuses[before.status or "", after.status or ""] += 1
        sums = self.tenants[tenant]
        sums.before += before.paid
        sums.after += after.paid
        sums.others_before += before.paid_by_others
        sums.others_after += after.paid_by_others


def _unselected(tag: Tag) -> Tag:
    codes = [code for code in tag.reason_codes if code != CLAIMED_ELSEWHERE]
    return tag.model_copy(update={"selected": False, "reason_codes": codes})


def _outcome(tags: Sequence[Tag], programme: str) -> Outcome:
    paid = {tag.programme: parse_cny(tag.capped) for tag in tags if tag.selected}
    mine = paid.pop(programme, 0)
    tag = next((tag for tag in tags if tag.programme == programme), None)
    if tag is None:
        return Outcome(None, (), "0", mine, sum(paid.values()))
    return Outcome(tag.status, tuple(tag.reason_codes), tag.rate, mine, sum(paid.values()))


def _contract_left(record: CostRecord, context: Context) -> int | None:
    """What was left of the contract's amount before the record: all its tags say the same."""
    return _micros(record.eligibility[0].contract_remaining_before) if record.eligibility else context.facts.contract.amount


def _micros(amount: str | None) -> int | None:
    return None if amount is None else parse_cny(amount)
