"""Cost records to test readers of the feed with: posted as everything is, without jobs that would have to run first."""

from datetime import timedelta
from typing import Any

from scheduler.contract.cost import Tag
from scheduler.domain.clock import rfc3339
from scheduler.service.journal import Context, Journal
from scheduler.store.database import CITY, Database
from tests.builders import NOW


def body(**changes: Any) -> dict[str, Any]:
    """Something acme bought beside the machines, under its contract: 12.345678 CNY."""
    nothing = dict.fromkeys(
        ("job", "attempt", "attempt_number", "cluster", "hardware_class", "vendor", "model", "catalogue_version", "activity")
    )
    rest = dict.fromkeys(("price_version", "reason", "reverses", "replaces", "voucher_application"))
    return {
        **nothing,
        **rest,
        "kind": "purchase",
        "tenant": "acme",
        "provider": "p-sz",
        "contract": "C-1",
        "recorded": False,
        "nodes": [],
        "devices": [],
        "item": "corpus",
        "period_start": rfc3339(NOW),
        "period_end": rfc3339(NOW + timedelta(hours=1)),
        "unit_seconds": 0,
        "card_seconds": 0,
        "list_price": 0,
        "contracted_price": 0,
        "list_amount": 12_345_678,
        "contracted_amount": 12_345_678,
        "preempted_seconds": 0,
        "retried_seconds": 0,
        "gap_seconds": 0,
        **changes,
    }


def tag(programme: str, capped: str, *, selected: bool = True, base: str = "12.345678") -> Tag:
    """A programme's answer to such a record."""
    return Tag(
        programme=programme,
        version="2024",
        status="eligible",
        reason_codes=["rate_base"],
        base=base,
        rate="0.5",
        uncapped=capped,
        capped=capped,
        selected=selected,
    )


def post_records(database: Database, count: int = 1, nonce: str = "n", tags: tuple[Tag, ...] = (), **changes: Any) -> None:
    """Post some in one transaction."""
    with database.write(CITY) as session:
        journal = Journal.locked(session, NOW, nonce)
        for _ in range(count):
            journal.post(body(**changes), list(tags), Context.of({"facts": {}}))
        journal.close()
