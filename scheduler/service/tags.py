"""The voucher side of a spend in the live city: which programmes answer, what is left of their limits, and what a job declares."""

from dataclasses import dataclass
from datetime import date, datetime, timedelta

from scheduler.contract.cost import Item, Tag
from scheduler.contract.job import Activity, JobSpec
from scheduler.contract.registry import Contract, PricedItem
from scheduler.domain.clock import CHINA
from scheduler.domain.hardware import HardwareClass
from scheduler.domain.money import SECONDS_PER_HOUR
from scheduler.service.journal import Context
from scheduler.service.registry import Registry
from scheduler.subsidy.facts import Spend, facts_document
from scheduler.subsidy.programme import applicable
from scheduler.subsidy.tagging import judge, rivals, select, tag_line

SPANS_HOURS = (1, 4, 12, 24, 7 * 24)
"""Over how long a price is averaged, by how long a job runs at most: what is longer than a week is averaged over one."""


@dataclass(frozen=True, slots=True)
class Terms:
    """What decides a job's prices: jobs of equal terms are offered equal prices everywhere."""

    tenant: str
    contract: str | None
    activity: Activity | None
    applied: str | None
    declined: bool
    span_hours: int = 0
    """The first of `SPANS_HOURS` that is not shorter than the job."""
    core_milli: int = 0
    memory_milli: int = 0
    """Thousandths of a core and of a GiB beside each card of its first wish; for a job without cards, of a GiB beside each core."""

    @classmethod
    def of(cls, tenant: str, spec: JobSpec) -> "Terms":
        declined = spec.declines_vouchers
        applied = spec.voucher.programme if spec.voucher is not None and not declined else None
        wish = spec.alternatives[0]
        units = wish.per_node or wish.cpus
        return cls(
            tenant,
            spec.contract,
            spec.activity,
            applied,
            declined,
            span_hours=next(
                (hours for hours in SPANS_HOURS if spec.max_runtime_seconds <= hours * SECONDS_PER_HOUR), SPANS_HOURS[-1]
            ),
            core_milli=wish.cpus * 1000 // units if wish.per_node else 0,
            memory_milli=wish.host_memory_gib * 1000 // units,
        )

    def key(self) -> str:
        facts = (self.tenant, self.contract or "", self.activity, self.applied or "", self.declined)
        return "|".join(map(str, (*facts, self.span_hours, self.core_milli, self.memory_milli)))


@dataclass(frozen=True, slots=True)
class Charge:
    """A spend to tag: an amount, micro-CNY, over [start, end)."""

    item: PricedItem | Item
    hardware_class: HardwareClass | None
    start: datetime
    end: datetime
    amount: int


def claim_day(moment: datetime) -> date:
    """The Chinese calendar day a spend is judged on; its year is the claim year."""
    return moment.astimezone(CHINA).date()


def tags_for(registry: Registry, terms: Terms, provider: str, contract: Contract | None, charge: Charge) -> list[Tag]:
    """Every programme's answer to a charge, at most one of them selected, given what posted lines have left of each limit."""
    day = claim_day(charge.start)
    facts = registry.facts(terms.tenant, provider, contract)
    spend = Spend(
        item=Item(charge.item.value),
        hardware_class=charge.hardware_class,
        activity=terms.activity,
        start=charge.start,
        end=charge.end,
    )
    policies = applicable(registry.policies, day)
    tags = []
    for policy in policies:
        allowance = registry.allowance(policy, facts, terms.tenant, contract, day.year)
        tags.append(tag_line(judge(policy, facts, spend, day), charge.amount, allowance)[0])
    return select(tags, terms.applied, terms.declined, rivals(policies, registry.claiming(contract)))


def context_of(registry: Registry, terms: Terms, provider: str, contract: Contract | None) -> Context:
    """What decides the tags of a charge besides the charge itself, the policies and what is left of each limit."""
    facts = facts_document(registry.facts(terms.tenant, provider, contract))
    return Context.of({"facts": facts, "applied": terms.applied, "declined": terms.declined})


def policy_days(registry: Registry) -> list[datetime]:
    """Where the policy version that applies may change: no line crosses one."""
    first = {policy.valid_from for policy in registry.policies}
    past = {policy.valid_until + timedelta(days=1) for policy in registry.policies if policy.valid_until}
    return [datetime(day.year, day.month, day.day, tzinfo=CHINA) for day in first | past]
