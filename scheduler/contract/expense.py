"""What a tenant bought beside the machines, for a job or under a contract: a corpus, or a model as a service."""

from datetime import date
from typing import Annotated, Literal

from pydantic import AfterValidator

from scheduler.contract.base import Key, Page, Price, Text, Wire
from scheduler.contract.cost import CostRecord, Item, Sha256
from scheduler.contract.job import VoucherRequest
from scheduler.domain.faults import Fault
from scheduler.domain.money import MICROS_PER_CNY, parse_cny

MAX_EXPENSE_MICROS = 100_000_000 * MICROS_PER_CNY
"""Of one expense: far above any corpus that is known to have been sold, and low enough to catch an amount in fen."""

MAX_EXPENSES = 10_000
"""Under one contract."""


def _in_bounds(text: str) -> str:
    if not 0 < parse_cny(text) <= MAX_EXPENSE_MICROS:
        most = MAX_EXPENSE_MICROS // MICROS_PER_CNY
        raise Fault("expense_out_of_bounds", most=most)
    return text


class Expense(Wire):
    """One purchase under a contract with who sold it. It is judged by the day on which it was incurred, in China.

    `evidence_sha256` is that of the invoice or the delivery note: under one contract the same one is taken once. `voucher` is the
    programme the tenant applied to for it; all are evaluated anyway, and `none` declines every one of them.
    """

    contract: Key
    job: Key | None = None
    item: Literal[Item.CORPUS, Item.MODEL_SERVICE]
    amount: Annotated[Price, AfterValidator(_in_bounds)]
    incurred_on: date
    description: Text
    evidence_sha256: Sha256 | None = None
    voucher: VoucherRequest | None = None


class ExpenseView(Expense):
    """An expense as it stands in the feed: `record` is its cost record, with what every programme says of it."""

    id: Key
    record: CostRecord


class ExpensePage(Page):
    """Expenses in the order they were posted in."""

    expenses: list[ExpenseView]
