"""Purchases in a table: what was bought, for how much, and what a voucher may pay of it."""

from typing import Any

from api.cli.expenses import expense_table
from scheduler.contract.cost import CostRecord
from scheduler.contract.expense import ExpenseView

RECORD: dict[str, Any] = {
    **{name: None for name, field in CostRecord.model_fields.items() if field.is_required()},
    **{
        "id": "cost-1",
        "sequence": 7,
        "tenant": "acme",
        "provider": "p-sz",
        "kind": "purchase",
        "item": "corpus",
        "recorded": False,
    },
    **dict.fromkeys(("previous_hash", "hash", "context"), "0" * 64),
    **dict.fromkeys(("posted_at", "period_start", "period_end"), "2026-03-02T04:00:00Z"),
    **{key: [] for key in ("nodes", "devices", "eligibility")},
    **dict.fromkeys(("unit_seconds", "card_seconds"), 0),
    **dict.fromkeys(("list_price", "contracted_price"), "0"),
    **dict.fromkeys(("list_amount", "contracted_amount"), "100"),
    **{"voucher_programme": "shenzhen-corpus", "voucher_estimate": "30"},
}
EXPENSE = {"contract": "C-1", "item": "corpus", "amount": "100", "incurred_on": "2026-03-01", "description": "text of law"}


def test_an_expense_with_and_without_a_voucher() -> None:
    other = {**RECORD, "sequence": 8, "voucher_programme": None, "voucher_estimate": "0"}
    found = [
        ExpenseView.model_validate({**EXPENSE, "id": "exp-1", "record": RECORD}),
        ExpenseView.model_validate({**EXPENSE, "id": "exp-2", "job": "job-1", "record": other}),
    ]
    rows = list(zip(*(column.cells for column in expense_table(found).columns), strict=True))
    assert rows == [
        ("#7", "C-1", "–", "corpus", "2026-03-01", "text of law", "100.000000", "shenzhen-corpus 30.000000"),
        ("#8", "C-1", "job-1", "corpus", "2026-03-01", "text of law", "100.000000", "–"),
    ]
