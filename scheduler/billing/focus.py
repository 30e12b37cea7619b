"""Cost records as rows of FOCUS 1.2 (FinOps Open Cost and Usage Specification, 2025-05-29), one row a record.

Every value is text exactly as a reader of CSV gets it; `Kind` says what it is in a store with types. What the specification leaves
to us, and how we read it:

- Costs are what the provider charges. A price below the published one (contracted, preferential, SME) is `ContractedCost` below
  `ListCost`. A voucher is an estimate of money that government pays to the buyer afterwards: it changes no cost column and stands
  in `x_` columns. Only what a provider deducts on its own invoice would be a Credit, and no record says such a thing.
- `ChargeClass` is "Correction" where a row is for a month whose books were closed before (`scheduler.billing.months`), as the
  specification has it; a reversal within an open month is a negative row without it. `x_RecordKind` tells reversals apart always.
- `PricingQuantity` is in hours, as the price lists are, with twelve places; `ConsumedQuantity` has the exact seconds. Their product
  with a unit price is the cost but for less than two micro-CNY: lines are differences of running totals (`scheduler.domain.money`).
- Times are UTC to the second, rounded down, as seconds are metered; `BillingPeriod` is the statement's month, Asia/Shanghai.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, NamedTuple

from scheduler.billing.months import MonthOfAccount
from scheduler.contract.cost import Item, RecordKind
from scheduler.domain.clock import rfc3339_seconds
from scheduler.domain.money import SECONDS_PER_HOUR

VERSION = "1.2"
QUANTITY_PLACES = 12

Row = tuple[str | None, ...]
"""One value a column of `COLUMNS`, None where there is none."""

_ONE = "1." + "0" * QUANTITY_PLACES


class Kind(Enum):
    """What the text of a column is."""

    TEXT = "text"
    MOMENT = "moment"
    AMOUNT = "amount"
    QUANTITY = "quantity"
    INTEGER = "integer"
    FLAG = "flag"


class Column(NamedTuple):
    """A column: its FOCUS id or `x_` name, what its text is, and whether a row may be without it."""

    name: str
    kind: Kind = Kind.TEXT
    nullable: bool = False


@dataclass(frozen=True, slots=True)
class Names:
    """What people call the parties, and where they are: by id. What is not known is left out."""

    tenants: Mapping[str, str]
    providers: Mapping[str, str]
    cities: Mapping[str, str]
    """City of a cluster or a provider."""


class _Service(NamedTuple):
    """How FOCUS files an item: category, subcategory, our own name, and the unit that is held for a time."""

    category: str
    subcategory: str
    name: str
    unit: str = "Unit"


_SERVICES = {
    Item.ACCELERATOR: _Service("AI and Machine Learning", "Machine Learning", "Accelerator rental", "Accelerator"),
    Item.CPU: _Service("Compute", "Other (Compute)", "CPU rental", "Core"),
    Item.MEMORY: _Service("Compute", "Other (Compute)", "Memory rental", "GiB"),
    Item.STORAGE: _Service("Storage", "Other (Storage)", "Storage"),
    Item.NETWORK: _Service("Networking", "Other (Networking)", "Network"),
    Item.SECURITY: _Service("Security", "Other (Security)", "Security"),
    Item.SUPPORT: _Service("Other", "Other (Other)", "Support"),
    Item.CORPUS: _Service("AI and Machine Learning", "Other (AI and Machine Learning)", "Training corpus"),
    Item.MODEL_SERVICE: _Service("AI and Machine Learning", "Generative AI", "Model service"),
}

_FOCUS = (
    Column("BilledCost", Kind.AMOUNT),
    Column("BillingAccountId"),
    Column("BillingAccountName", nullable=True),
    Column("BillingAccountType"),
    Column("BillingCurrency"),
    Column("BillingPeriodEnd", Kind.MOMENT),
    Column("BillingPeriodStart", Kind.MOMENT),
    Column("ChargeCategory"),
    Column("ChargeClass", nullable=True),
    Column("ChargeDescription", nullable=True),
    Column("ChargeFrequency"),
    Column("ChargePeriodEnd", Kind.MOMENT),
    Column("ChargePeriodStart", Kind.MOMENT),
    Column("ConsumedQuantity", Kind.QUANTITY, nullable=True),
    Column("ConsumedUnit", nullable=True),
    Column("ContractedCost", Kind.AMOUNT),
    Column("ContractedUnitPrice", Kind.AMOUNT, nullable=True),
    Column("EffectiveCost", Kind.AMOUNT),
    Column("InvoiceId", nullable=True),
    Column("InvoiceIssuerName"),
    Column("ListCost", Kind.AMOUNT),
    Column("ListUnitPrice", Kind.AMOUNT, nullable=True),
    Column("PricingCategory", nullable=True),
    Column("PricingQuantity", Kind.QUANTITY, nullable=True),
    Column("PricingUnit", nullable=True),
    Column("ProviderName"),
    Column("PublisherName"),
    Column("RegionId", nullable=True),
    Column("RegionName", nullable=True),
    Column("ResourceId", nullable=True),
    Column("ResourceName", nullable=True),
    Column("ResourceType", nullable=True),
    Column("ServiceCategory"),
    Column("ServiceName"),
    Column("ServiceSubcategory"),
    Column("SkuId", nullable=True),
    Column("SkuMeter", nullable=True),
    Column("SkuPriceDetails", nullable=True),
    Column("SkuPriceId", nullable=True),
    Column("SubAccountId", nullable=True),
    Column("SubAccountName", nullable=True),
    Column("SubAccountType", nullable=True),
    Column("Tags", nullable=True),
)

_OWN = (
    Column("x_RecordId"),
    Column("x_RecordKind"),
    Column("x_Sequence", Kind.INTEGER),
    Column("x_RecordHash"),
    Column("x_PostedAt"),
    Column("x_StatementMonth"),
    Column("x_ProviderId"),
    Column("x_ClusterId", nullable=True),
    Column("x_AttemptId", nullable=True),
    Column("x_Recorded", Kind.FLAG),
    Column("x_HardwareClass", nullable=True),
    Column("x_Vendor", nullable=True),
    Column("x_Model", nullable=True),
    Column("x_CardSeconds", Kind.INTEGER),
    Column("x_PriceTier", nullable=True),
    Column("x_PriceReasons", nullable=True),
    Column("x_UnbilledReason", nullable=True),
    Column("x_Reverses", nullable=True),
    Column("x_Replaces", nullable=True),
    Column("x_VoucherApplication", nullable=True),
    Column("x_VoucherProgramme", nullable=True),
    Column("x_VoucherPolicyVersion", nullable=True),
    Column("x_VoucherStatus", nullable=True),
    Column("x_EligibleBase", Kind.AMOUNT, nullable=True),
    Column("x_SubsidyRate", Kind.AMOUNT, nullable=True),
    Column("x_SubsidyEstimate", Kind.AMOUNT, nullable=True),
    Column("x_ReasonCodes", nullable=True),
)

COLUMNS = (*_FOCUS, *_OWN)
"""Those of FOCUS by name, then our own."""


def focus_rows(account: MonthOfAccount, names: Names) -> Callable[[Mapping[str, Any]], Row]:
    """A function from a record of one month's statement, as the feed serves it, to its row."""
    begin, end, month = rfc3339_seconds(account.month.start), rfc3339_seconds(account.month.end), str(account.month)

    def row(record: Mapping[str, Any]) -> Row:
        cluster, provider, tenant = record["cluster"], record["provider"], record["tenant"]
        service = _SERVICES[record["item"]]
        bought = _is_bought(record)
        units, paid, listed = record["unit_seconds"], record["contracted_amount"], record["list_amount"]
        seller = names.providers.get(provider, provider)
        city = names.cities.get(cluster or provider)
        sku = f"{cluster or provider}/{record['item']}/{record['model'] or 'any'}"
        focus = (
            paid,
            tenant,
            names.tenants.get(tenant),
            "Tenant",
            "CNY",
            end,
            begin,
            "Purchase" if bought else "Usage",
            "Correction" if account.adjusts(record) else None,
            _description(record, service),
            "One-Time" if bought else "Usage-Based",
            _to_the_second(record["period_end"]),
            _to_the_second(record["period_start"]),
            None if bought else f"{units}.0",
            None if bought else f"{service.unit}-Seconds",
            paid,
            _unit_price(paid if bought else record["contracted_price"]),
            paid,
            None,  # a statement is no invoice: who issues one knows its number
            seller,
            listed,
            _unit_price(listed if bought else record["list_price"]),
            "Standard",
            _count(paid) if bought else _hours(units),
            "Units" if bought else f"{service.unit}-Hours",
            seller,
            seller,
            city,
            city,
            record["job"],
            None,  # a job's name is not part of a record
            "Job" if record["job"] else None,
            service.category,
            service.name,
            service.subcategory,
            sku,
            service.name,
            _price_details(record),
            record["price_version"] or f"{sku}/none",
            record["contract"],
            record["contract"],
            "Contract" if record["contract"] else None,
            f'{{"suanwang/activity":"{record["activity"]}"}}' if record["activity"] else None,
        )
        return focus + _own(record, month)

    return row


def _own(record: Mapping[str, Any], month: str) -> Row:
    selected = next((tag for tag in record["eligibility"] if tag["selected"]), None)
    voucher = _NO_VOUCHER if selected is None else tuple(selected[key] for key in _VOUCHER)
    return (
        record["id"],
        record["kind"],
        str(record["sequence"]),
        record["hash"],
        record["posted_at"],
        month,
        record["provider"],
        record["cluster"],
        record["attempt"],
        "true" if record["recorded"] else "false",
        record["hardware_class"],
        record["vendor"],
        record["model"],
        str(record["card_seconds"]),
        record.get("price_tier"),
        ";".join(record.get("price_reasons", ())) or None,
        record["reason"],
        record["reverses"],
        record["replaces"],
        record["voucher_application"],
        *voucher,
        ";".join(map(_answer, record["eligibility"])) or None,
    )


_VOUCHER = ("programme", "version", "status", "base", "rate", "capped")
_NO_VOUCHER = (None,) * len(_VOUCHER)


def _answer(tag: Mapping[str, Any]) -> str:
    """One programme's answer, such as `shenzhen-training/2024=eligible:rate_base`."""
    return f"{tag['programme']}/{tag['version']}={tag['status']}:{','.join(tag['reason_codes'])}"


def _is_bought(record: Mapping[str, Any]) -> bool:
    """Whether a record is of something bought beside the machines, or takes such a thing back."""
    return record["kind"] == RecordKind.PURCHASE or (record["kind"] == RecordKind.REVERSAL and record["attempt"] is None)


def _description(record: Mapping[str, Any], service: _Service) -> str:
    what = f"{service.name}, {record['model']}" if record["model"] else service.name
    where = f" in {record['cluster']}" if record["cluster"] else f" from {record['provider']}"
    return f"{what}{where}: {record['kind']}"


def _price_details(record: Mapping[str, Any]) -> str | None:
    """For a single unit, as the specification wants it."""
    if record["item"] == Item.ACCELERATOR and record["hardware_class"] is not None:
        return f'{{"GpuCount":1,"x_HardwareClass":"{record["hardware_class"]}"}}'
    return '{"CoreCount":1}' if record["item"] == Item.CPU else None


def _to_the_second(moment: str) -> str:
    """An RFC 3339 moment in UTC, rounded down to the second."""
    return f"{moment[:19]}Z"


def _unit_price(price: str) -> str:
    """Never below zero: what is taken back has a negative quantity."""
    return price.removeprefix("-")


def _count(amount: str) -> str:
    """One thing that is bought, or taken back."""
    return f"-{_ONE}" if amount.startswith("-") else _ONE


def _hours(unit_seconds: int) -> str:
    """Seconds as hours with twelve places, rounded to the nearest: at ten thousand CNY an hour that is not worth a micro-CNY."""
    scaled = (abs(unit_seconds) * 10**QUANTITY_PLACES * 2 + SECONDS_PER_HOUR) // (2 * SECONDS_PER_HOUR)
    whole, part = divmod(scaled, 10**QUANTITY_PLACES)
    return f"{'-' if unit_seconds < 0 else ''}{whole}.{part:0{QUANTITY_PLACES}d}"
