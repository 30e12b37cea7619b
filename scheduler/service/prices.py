"""Published prices between the store, the wire and the price book."""

from dataclasses import replace
from datetime import datetime

from scheduler.billing.pricebook import PricePoint, Sku, Tariff
from scheduler.contract.price import OffPeak, PriceEntry, PriceView, amounts
from scheduler.contract.registry import PricedItem
from scheduler.domain.money import format_cny
from scheduler.store.tables import PriceRow


def price_row(entry: PriceEntry, version: str, effective_from: datetime, now: datetime) -> PriceRow:
    """The row of a price that is published now."""
    known = amounts(entry)
    return PriceRow(
        version=version,
        cluster_id=entry.cluster,
        item=entry.item,
        model=entry.model,
        list_micros=known["list_price"],
        contracted_micros=known["contracted_price"],
        effective_from=effective_from,
        created_at=now,
        preferential_micros=known.get("preferential_price"),
        sme_micros=known.get("sme_price"),
        off_peak=[each.model_dump(mode="json", by_alias=True, exclude_none=True) for each in entry.off_peak],
        beside_cards=entry.beside_cards,
    )


def price_view(row: PriceRow) -> PriceView:
    """A published price as it is shown."""
    return PriceView(
        version=row.version,
        cluster=row.cluster_id,
        item=PricedItem(row.item),
        model=row.model,
        list_price=format_cny(row.list_micros),
        contracted_price=format_cny(row.contracted_micros),
        preferential_price=None if row.preferential_micros is None else format_cny(row.preferential_micros),
        sme_price=None if row.sme_micros is None else format_cny(row.sme_micros),
        off_peak=tuple(map(OffPeak.model_validate, row.off_peak)),
        beside_cards=row.beside_cards,
        effective_from=row.effective_from,
    )


def price_point(row: PriceRow) -> tuple[Sku, PricePoint]:
    """A published price as the meter needs it. In off-peak hours, what they do not name is as outside."""
    ordinary = Tariff(row.list_micros, row.contracted_micros, row.preferential_micros, row.sme_micros)
    hours = [OffPeak.model_validate(each) for each in row.off_peak]
    return (
        (row.cluster_id, PricedItem(row.item), row.model),
        PricePoint(
            version=row.version,
            effective_from=row.effective_from,
            ordinary=ordinary,
            off_peak=tuple((each.hours(), replace(ordinary, **_named(each))) for each in hours),
            beside_cards=row.beside_cards,
        ),
    )


def _named(prices: OffPeak) -> dict[str, int]:
    return {name.replace("_price", "_micros"): micros for name, micros in amounts(prices).items()}
