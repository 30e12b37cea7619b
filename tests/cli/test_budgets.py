"""A budget in a table."""

from api.cli.budgets import budget_table
from scheduler.contract.budget import BudgetView


def test_a_budget_that_is_overrun_is_red() -> None:
    budget = BudgetView.model_validate(
        {
            "name": "2026",
            "tenant": "acme",
            "amount": "100",
            "start": "2026-01-01",
            "end": "2026-12-31",
            "posted": "60.5",
            "reserved": "40",
            "left": "-0.5",
        }
    )
    table = budget_table([budget])
    cells = [next(iter(column.cells)) for column in table.columns]
    amounts = ["100.000000", "60.500000", "40.000000", "[red]-0.500000[/]"]
    assert cells == ["2026", "acme", "any", "2026-01-01", "2026-12-31", *amounts]
