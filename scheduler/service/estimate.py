"""What a run would cost: metered and tagged beforehand exactly as it would be charged, and nothing of it is kept."""

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from scheduler.billing.metering import Carried, Holding, Line, meter, new_years, split
from scheduler.billing.pricebook import Rate
from scheduler.contract.cost import Tag, TagStatus
from scheduler.contract.registry import Contract, PricedItem
from scheduler.domain.hardware import HardwareClass
from scheduler.domain.money import SECONDS_PER_HOUR, parse_cny
from scheduler.service.registry import Registry
from scheduler.service.tags import Charge, Terms, claim_day, policy_days, tags_for

_STRENGTH = {status: strength for strength, status in enumerate(TagStatus)}


@dataclass(frozen=True, slots=True)
class Share:
    """What is charged of one item at one rate, over all the time it holds."""

    item: PricedItem
    rate: Rate
    unit_seconds: int
    list_micros: int
    contracted_micros: int


@dataclass(frozen=True, slots=True)
class Estimate:
    """A whole run, micro-CNY. `tag` is the programme that answers best, `voucher_micros` its estimate, and `saved_micros` what
    of estimates lowers the net amount."""

    shares: tuple[Share, ...]
    list_micros: int
    contracted_micros: int
    tag: Tag | None
    voucher_micros: int
    saved_micros: int


@dataclass(frozen=True, slots=True)
class Run:
    """Who would hold what, where and when. The first of `held` is what the run is for."""

    terms: Terms
    provider: str
    hardware_class: HardwareClass | None
    held: Sequence[Holding]
    start: datetime
    end: datetime


def estimate(registry: Registry, run: Run) -> Estimate:
    """The run at the prices that hold while it lasts, off-peak hours and announced changes among them, tagged stretch by stretch
    between policy days, each stretch against what the ones before it have left of the limits."""
    contract = registry.contract_for(run.terms.tenant, run.provider, run.terms.contract, claim_day(run.start))
    buyer = registry.entitlement(run.terms.tenant, run.provider, contract)
    days = policy_days(registry)
    lines: list[tuple[PricedItem, Line]] = []
    carried = Carried()
    for holding in run.held:
        found = meter(holding, run.start, run.start, run.end, registry.book, buyer, days, carried)
        lines += [(holding.sku[1], line) for line in found]
        carried = _carried(carried, found)
    tags = list(_tags(registry, run, contract, lines, days))
    known = [tag for tag in tags if tag.status is not TagStatus.NOT_IN_SCOPE]
    best = max(known, key=lambda tag: (tag.selected, _STRENGTH[tag.status], parse_cny(tag.capped)), default=None)
    return Estimate(
        shares=tuple(_shares(lines)),
        list_micros=sum(line.list_micros for _, line in lines),
        contracted_micros=sum(line.contracted_micros for _, line in lines),
        tag=best,
        voucher_micros=sum(parse_cny(tag.capped) for tag in known if best and _standing(tag) == _standing(best)),
        saved_micros=sum(parse_cny(tag.capped) for tag in known if counts(tag)),
    )


def counts(tag: Tag) -> bool:
    """Whether a programme's estimate lowers a net price: it is the one that would be claimed, and nothing about it is open."""
    return tag.selected and tag.status is TagStatus.ELIGIBLE


def _standing(tag: Tag) -> tuple[str, TagStatus, bool]:
    return tag.programme, tag.status, tag.selected


def _carried(before: Carried, lines: Sequence[Line]) -> Carried:
    """What is not yet a whole micro-CNY after some more lines."""
    listed = sum(line.unit_seconds * line.price.list_micros - line.list_micros * SECONDS_PER_HOUR for line in lines)
    paid = sum(line.unit_seconds * line.price.contracted_micros - line.contracted_micros * SECONDS_PER_HOUR for line in lines)
    return Carried(before.list_part + listed, before.contracted_part + paid)


def _shares(lines: Iterable[tuple[PricedItem, Line]]) -> Iterable[Share]:
    by_rate: dict[tuple[PricedItem, Rate], list[Line]] = {}
    for item, line in lines:
        by_rate.setdefault((item, line.price), []).append(line)
    for (item, rate), found in by_rate.items():
        yield Share(
            item,
            rate,
            sum(line.unit_seconds for line in found),
            sum(line.list_micros for line in found),
            sum(line.contracted_micros for line in found),
        )


def _tags(
    registry: Registry, run: Run, contract: Contract | None, lines: Sequence[tuple[PricedItem, Line]], days: Sequence[datetime]
) -> Iterable[Tag]:
    """Every programme's answer to each item's amount between two policy days or years. The meter would ask for every line: the sum
    is the same to a micro-CNY a line, and off-peak hours do not multiply the questions."""
    tenant = run.terms.tenant
    left = replace(
        registry, uses={key: dict(used) for key, used in registry.uses.items()}, contract_spent=dict(registry.contract_spent)
    )
    stretches = split(run.start, run.end, [*days, *new_years(run.start, run.end)])
    starts = [start for start, _ in stretches]
    amounts: dict[tuple[int, PricedItem], int] = {}
    for item, line in lines:
        key = bisect_right(starts, line.start) - 1, item
        amounts[key] = amounts.get(key, 0) + line.contracted_micros
    for (number, item), amount in sorted(amounts.items(), key=lambda each: each[0][0]):
        start, end = stretches[number]
        tags = tags_for(left, run.terms, run.provider, contract, Charge(item, run.hardware_class, start, end, amount))
        yield from tags
        if contract is not None:
            left.contract_spent[contract.id] = left.contract_spent.get(contract.id, 0) + amount
        for tag in tags:
            if tag.selected:
                used = left.uses.setdefault((tag.programme, claim_day(start).year), {})
                used[tenant] = used.get(tenant, 0) + parse_cny(tag.capped)
