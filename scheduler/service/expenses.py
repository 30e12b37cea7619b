"""What was bought beside the machines becomes a cost record: posted like every other, tagged by what pays for such things."""

from datetime import UTC, datetime, time, timedelta
from typing import Any

from scheduler.contract.cost import RecordKind
from scheduler.contract.expense import Expense
from scheduler.contract.job import DECLINED, JobSpec
from scheduler.contract.registry import Contract
from scheduler.domain.clock import CHINA, rfc3339
from scheduler.domain.money import parse_cny
from scheduler.service.journal import Journal
from scheduler.service.registry import Registry
from scheduler.service.tags import Charge, Terms, context_of, tags_for
from scheduler.store.tables import JobRow


def left_of(registry: Registry, contract: Contract) -> int:
    """What posted records have left of a contract's amount, micro-CNY; below zero where they went beyond it."""
    return parse_cny(contract.amount) - registry.contract_spent.get(contract.id, 0)


def post_expense(journal: Journal, expense: Expense, contract: Contract, job: JobRow | None) -> int:
    """Append the record of an expense of a contract's tenant. Returns its sequence."""
    activity = None if job is None else JobSpec.model_validate(job.spec).activity
    voucher = expense.voucher
    declined = voucher is not None and voucher.programme == DECLINED
    terms = Terms(contract.tenant, contract.id, activity, voucher.programme if voucher and not declined else None, declined)
    start = datetime.combine(expense.incurred_on, time(), CHINA)
    charge = Charge(expense.item, None, start, start + timedelta(days=1), parse_cny(expense.amount))
    tags = tags_for(journal.registry, terms, contract.provider, contract, charge)
    journal.post(_body(expense, contract, charge, terms), tags, context_of(journal.registry, terms, contract.provider, contract))
    return journal.head.sequence


def _body(expense: Expense, contract: Contract, charge: Charge, terms: Terms) -> dict[str, Any]:
    return {
        "kind": RecordKind.PURCHASE.value,
        "tenant": contract.tenant,
        "provider": contract.provider,
        "contract": contract.id,
        "job": expense.job,
        **dict.fromkeys(("attempt", "attempt_number", "cluster", "hardware_class", "vendor", "model", "catalogue_version")),
        "recorded": False,
        "nodes": [],
        "devices": [],
        "item": expense.item.value,
        "activity": terms.activity.value if terms.activity else None,
        "period_start": rfc3339(charge.start.astimezone(UTC)),
        "period_end": rfc3339(charge.end.astimezone(UTC)),
        "unit_seconds": 0,
        "card_seconds": 0,
        "list_price": 0,
        "contracted_price": 0,
        "price_version": None,
        "price_tier": None,
        "price_reasons": [],
        "list_amount": charge.amount,
        "contracted_amount": charge.amount,
        "preempted_seconds": 0,
        "retried_seconds": 0,
        "gap_seconds": 0,
        "reason": None,
        "reverses": None,
        "replaces": None,
        "voucher_application": expense.voucher.application if expense.voucher else None,
        "description": expense.description,
        "evidence_sha256": expense.evidence_sha256,
    }
