"""The voucher side of a spend in the live city: which programmes answer, what is left of their limits, and what a job declares."""

from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from scheduler.contract.cost import Item, Tag
from scheduler.contract.job import Activity, JobSpec
from scheduler.contract.registry import Contract, PricedItem
from scheduler.domain.clock import CHINA
from scheduler.domain.hardware import HardwareClass
from scheduler.service.registry import Registry
from scheduler.subsidy.facts import Spend, facts_document
from scheduler.subsidy.programme import applicable
from scheduler.subsidy.tagging import judge, select, tag_line


@dataclass(frozen=True, slots=True)
class Terms:
    """What decides a job's prices: jobs of equal terms are offered equal prices everywhere."""

    tenant: str
    contract: str | None
    activity: Activity
    applied: str | None
    declined: bool

    @classmethod
    def of(cls, tenant: str, spec: JobSpec) -> "Terms":
        declined = spec.declines_vouchers
        applied = spec.voucher.programme if spec.voucher is not None and not declined else None
        return cls(tenant, spec.contract, spec.activity, applied, declined)

    def key(self) -> str:
        return "|".join((self.tenant, self.contract or "", self.activity, self.applied or "", str(self.declined)))


@dataclass(frozen=True, slots=True)
class Charge:
    """A spend to tag: an amount, micro-CNY, over [start, end)."""

    item: PricedItem
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
    tags = []
    for policy in applicable(registry.policies, day):
        allowance = registry.allowance(policy, terms.tenant, contract, day.year)
        tags.append(tag_line(judge(policy, facts, spend, day), charge.amount, allowance)[0])
    return select(tags, terms.applied, terms.declined)


def context_of(registry: Registry, terms: Terms, provider: str, contract: Contract | None) -> dict[str, Any]:
    """What decides the tags of a charge besides the charge itself, the policies and what is left of each limit."""
    facts = facts_document(registry.facts(terms.tenant, provider, contract))
    return {"facts": facts, "applied": terms.applied, "declined": terms.declined}
