"""Generated journals: usage, time that is not charged, purchases, reversals and replacements over three months, chained."""

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import strategies as st

from scheduler.billing.journal import Head, Row, append
from scheduler.domain.clock import rfc3339
from scheduler.domain.money import charge_up_to, format_cny, parse_cny

BEGIN = datetime(2026, 10, 30, 22, 0, tzinfo=UTC)
"""In the last hours of 2026-10-31 in Shanghai."""

TENANTS, PROVIDERS = ("acme", "uni"), ("p-hz", "p-sz")
_NUMBERS = ("unit_seconds", "card_seconds")
_AMOUNTS = ("list_amount", "contracted_amount", "voucher_estimate")


def body(start: datetime, posted_at: datetime, **changes: Any) -> dict[str, Any]:
    """A record's body before it is appended: an hour of eight 910B3 of acme's job j-1, under contract C-1, all of it eligible."""
    units = changes.pop("unit_seconds", 8 * 3600)
    listed, paid = changes.pop("prices", (12_000_000, 10_000_007))
    free = changes.get("kind") == "unbilled"
    amount = 0 if free else charge_up_to(units * paid)
    whole = {
        "kind": "usage",
        "tenant": "acme",
        "provider": "p-sz",
        "contract": "C-1",
        "job": "j-1",
        "attempt": "a-1",
        "attempt_number": 1,
        "cluster": "sz",
        "recorded": True,
        "nodes": ["s1"],
        "devices": [f"s1/{slot}" for slot in range(8)],
        "hardware_class": "domestic",
        "vendor": "huawei",
        "model": "910B3",
        "catalogue_version": "2026.1",
        "item": "accelerator",
        "activity": "pretrain",
        "period_start": rfc3339(start),
        "period_end": rfc3339(start + timedelta(hours=1)),
        "unit_seconds": units,
        "card_seconds": units,
        "list_price": format_cny(0 if free else listed),
        "contracted_price": format_cny(0 if free else paid),
        "price_version": None if free else "price-1",
        "list_amount": format_cny(0 if free else charge_up_to(units * listed)),
        "contracted_amount": format_cny(amount),
        "preempted_seconds": 0,
        "retried_seconds": 0,
        "gap_seconds": 0,
        "reason": "unbilled_node_lost" if free else None,
        "reverses": None,
        "replaces": None,
        "voucher_application": None,
        "context": "0" * 64,
        "posted_at": rfc3339(posted_at),
        **changes,
    }
    if "eligibility" not in whole:
        whole["eligibility"] = [] if free else [tag(whole["contracted_amount"])]
    selected = next((each for each in whole["eligibility"] if each["selected"]), None)
    whole["voucher_programme"] = selected["programme"] if selected else None
    whole["voucher_estimate"] = selected["capped"] if selected else "0.000000"
    return whole


def tag(amount: str, **changes: Any) -> dict[str, Any]:
    capped = format_cny(parse_cny(amount) // 2)
    return {
        "programme": "shenzhen-training",
        "version": "2024",
        "status": "eligible",
        "reason_codes": ["rate_base"],
        "missing": [],
        "base": amount,
        "rate": "0.50",
        "uncapped": capped,
        "capped": capped,
        "contract_remaining_before": None,
        "cap_remaining_before": None,
        "pool_remaining_before": None,
        "selected": True,
        **changes,
    }


def bought(start: datetime, posted_at: datetime, amount: int, **changes: Any) -> dict[str, Any]:
    """The body of a purchase, micro-CNY."""
    text = format_cny(amount)
    nothing = dict.fromkeys(
        ("job", "attempt", "attempt_number", "cluster", "hardware_class", "vendor", "model", "catalogue_version")
    )
    same = {"list_amount": text, "contracted_amount": text, "list_price": text, "contracted_price": text, "price_version": None}
    return body(
        start,
        posted_at,
        **{
            "kind": "purchase",
            "unit_seconds": 0,
            "item": "corpus",
            "activity": None,
            "nodes": [],
            "devices": [],
            "eligibility": [],
            **nothing,
            **same,
            **changes,
        },
    )


def taken_back(record: Mapping[str, Any], posted_at: datetime) -> dict[str, Any]:
    """The body of a record's reversal: every number of it negated."""
    numbers = {key: -record[key] for key in _NUMBERS} | {key: _negated(record[key]) for key in _AMOUNTS}
    amounts = ("base", "uncapped", "capped")
    tags = [{**each, **{key: _negated(each[key]) for key in amounts}} for each in record["eligibility"]]
    placed = ("id", "sequence", "previous_hash", "hash")
    kept = {key: value for key, value in record.items() if key not in placed}
    again = {"kind": "reversal", "reverses": record["id"], "posted_at": rfc3339(posted_at), "eligibility": tags}
    return {**kept, **numbers, **again}


def _negated(amount: str) -> str:
    return format_cny(-parse_cny(amount))


def chained(bodies: Sequence[Mapping[str, Any]]) -> tuple[list[Row], list[dict[str, Any]]]:
    """Bodies as a chain: rows as they are stored, and records as they are served."""
    head, rows, records = Head(), [], []
    for number, each in enumerate(bodies, start=1):
        head, row = append(head, {"id": f"cost-{number:012d}-n", **each})
        rows.append(row)
        records.append(json.loads(row.served()))
    return rows, records


@st.composite
def journals(draw: st.DrawFn, max_size: int = 25) -> list[dict[str, Any]]:
    """Records as served, in order of posting: late ones, ones for times to come, and some taken back later on."""
    records: list[dict[str, Any]] = []
    bodies: list[dict[str, Any]] = []
    now = BEGIN
    for _ in range(draw(st.integers(0, max_size))):
        now += timedelta(seconds=draw(st.integers(0, 6 * 86_400)))
        start = now - timedelta(hours=draw(st.integers(-800, 1500)))
        parties = {
            "tenant": draw(st.sampled_from(TENANTS)),
            "provider": draw(st.sampled_from(PROVIDERS)),
            "contract": draw(st.sampled_from(["C-1", None])),
        }
        kind = draw(st.sampled_from(["usage", "unbilled", "purchase", "reversal"]))
        standing = [record for record in records if record["kind"] in ("usage", "purchase")]
        if kind == "purchase":
            bodies.append(bought(start, now, draw(st.integers(0, 10**12)), **parties))
        elif kind == "reversal" and standing:
            bodies.append(taken_back(draw(st.sampled_from(standing)), now))
        else:
            job = {"job": draw(st.sampled_from(["j-1", "j-2"])), "kind": "unbilled" if kind == "unbilled" else "usage"}
            prices = draw(st.tuples(st.integers(10_000_007, 99_999_999), st.integers(0, 10_000_007)))
            units = draw(st.integers(1, 512 * 3600))
            bodies.append(body(start, now, unit_seconds=units, prices=prices, **job, **parties))
        records = chained(bodies)[1]
    return records
