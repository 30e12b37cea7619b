"""What a card-hour costs each kind of job in each cluster, after voucher: the prices the engine chooses by."""

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime, timedelta
from functools import cache

from scheduler.billing.metering import MILLI, Holding, holdings, mean_price
from scheduler.billing.pricebook import Sku
from scheduler.billing.tiers import Entitlement
from scheduler.contract.cost import TagStatus
from scheduler.contract.registry import PricedItem
from scheduler.domain.hardware import HardwareClass
from scheduler.domain.money import parse_cny
from scheduler.engine.fleet import Fleet
from scheduler.engine.snapshot import Quote
from scheduler.service.registry import Registry
from scheduler.service.tags import Charge, Terms, claim_day, tags_for

Prices = dict[tuple[str, str, str | None], Quote]

_HOUR = timedelta(hours=1)


def prices(registry: Registry, fleet: Fleet, terms: Iterable[Terms], now: datetime) -> Prices:
    """Quotes for every combination of terms and published price. Only an `eligible` estimate lowers a net price.

    A price is the average over about as long as such jobs run, from now on: off-peak hours and announced changes count by their
    length. It is of one card with the cores and the memory that lie beside it, where those are charged. Terms have much in common,
    so each average and each tag is found once.
    """
    classes = {kind.model: kind.hardware_class for kind in fleet.kinds}

    @cache
    def mean(holding: Holding, span_hours: int, buyer: Entitlement) -> tuple[int, int]:
        return mean_price(holding, now, now + timedelta(hours=span_hours), registry.book, buyer)

    @cache
    def saved(terms: Terms, provider: str, item: PricedItem, hardware_class: HardwareClass | None, amount: int) -> int:
        """What is saved on an hour, tagged as a cost line would be."""
        contract = registry.contract_for(terms.tenant, provider, terms.contract, claim_day(now))
        charge = Charge(item, hardware_class, now, now + _HOUR, amount)
        selected = [tag for tag in tags_for(registry, terms, provider, contract, charge) if tag.selected]
        return sum(parse_cny(tag.capped) for tag in selected if tag.status is TagStatus.ELIGIBLE)

    def quote(terms: Terms, sku: Sku) -> Quote:
        cluster, item, model = sku
        with_cards = item is PricedItem.ACCELERATOR
        hardware_class = classes.get(model or "") if with_cards else None
        provider = registry.clusters[cluster].provider
        contract = registry.contract_for(terms.tenant, provider, terms.contract, claim_day(now))
        buyer = registry.entitlement(terms.tenant, provider, contract)
        claim = replace(terms, span_hours=0, core_milli=0, memory_milli=0)  # what no voucher rule asks for
        listed = paid = net = 0
        cards, cores = (MILLI, terms.core_milli) if with_cards else (0, MILLI)
        for holding in holdings(cluster, model, cards, cores, terms.memory_milli):
            list_micros, micros = mean(holding, terms.span_hours, buyer)
            listed, paid, net = listed + list_micros, paid + micros, net + micros
            if micros:
                net -= saved(claim, provider, holding.sku[1], hardware_class, micros)
        return Quote(listed, paid, net)

    offered = [sku for sku in registry.book.skus() if sku[1] is not PricedItem.MEMORY and registry.book.at(sku, now)]
    return {(each.key(), sku[0], sku[2]): quote(each, sku) for each in set(terms) for sku in offered}
