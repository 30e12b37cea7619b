"""What a card-hour costs each kind of job in each cluster, after voucher: the prices the engine chooses by."""

from collections.abc import Iterable
from datetime import datetime, timedelta

from scheduler.billing.pricebook import Sku
from scheduler.contract.cost import TagStatus
from scheduler.contract.registry import PricedItem
from scheduler.domain.hardware import HardwareClass
from scheduler.domain.money import parse_cny
from scheduler.engine.fleet import Fleet
from scheduler.engine.snapshot import Quote
from scheduler.service.registry import Registry
from scheduler.service.tags import Charge, Terms, claim_day, tags_for

Prices = dict[tuple[str, str, str | None], Quote]


def prices(registry: Registry, fleet: Fleet, terms: Iterable[Terms], now: datetime) -> Prices:
    """Quotes for every combination of terms and published price. Only an `eligible` estimate lowers a net price."""
    classes = {kind.model: kind.hardware_class for kind in fleet.kinds}
    return {
        (each.key(), sku[0], sku[2]): quote
        for each in set(terms)
        for sku in registry.book.skus()
        if (quote := _quote(registry, each, sku, classes.get(sku[2] or ""), now)) is not None
    }


def _quote(registry: Registry, terms: Terms, sku: Sku, hardware_class: HardwareClass | None, now: datetime) -> Quote | None:
    """One hour of one card or core, tagged as a cost line would be."""
    price = registry.book.at(sku, now)
    if price is None:
        return None
    cluster, item, _ = sku
    provider = registry.clusters[cluster].provider
    contract = registry.contract_for(terms.tenant, provider, terms.contract, claim_day(now))
    charge = Charge(
        item=item,
        hardware_class=hardware_class if item is PricedItem.ACCELERATOR else None,
        start=now,
        end=now + timedelta(hours=1),
        amount=price.contracted_micros,
    )
    selected = [tag for tag in tags_for(registry, terms, provider, contract, charge) if tag.selected]
    saved = sum(parse_cny(tag.capped) for tag in selected if tag.status is TagStatus.ELIGIBLE)
    return Quote(price.list_micros, price.contracted_micros, price.contracted_micros - saved)
