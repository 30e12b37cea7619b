"""Published prices between the store, the wire and the price book."""

from collections.abc import Mapping
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
    view = price_view(row)
    ordinary = amounts(view)
    return (
        (row.cluster_id, view.item, row.model),
        PricePoint(
            version=row.version,
            effective_from=row.effective_from,
            ordinary=_tariff(ordinary),
            off_peak=tuple((each.hours(), _tariff({**ordinary, **amounts(each)})) for each in view.off_peak),
            beside_cards=row.beside_cards,
        ),
    )


def _tariff(known: Mapping[str, int]) -> Tariff:
    return Tariff(known["list_price"], known["contracted_price"], known.get("preferential_price"), known.get("sme_price"))
