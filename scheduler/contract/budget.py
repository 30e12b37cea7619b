"""Budgets: what a tenant's jobs may commit in some days, as declared and as it stands."""

from datetime import date
from typing import Self

from pydantic import model_validator

from scheduler.contract.base import Key, Money, Price, Wire
from scheduler.domain.faults import Fault


class BudgetSpec(Wire):
    """预算: the most that jobs granted from `start` to `end` (Asia/Shanghai, both included) may cost a tenant: all of them, or
    those that fall under one contract. Declared anew under its name, the latest declaration holds; what has started goes on.

    A job whose cost for its whole `max_runtime` does not fit what is left is held until it does. With `contract`, `tenant` may be
    left out: it is the contract's.
    """

    name: Key
    tenant: Key | None = None
    contract: Key | None = None
    amount: Price
    start: date
    end: date

    @model_validator(mode="after")
    def _of_somebody_in_order(self) -> Self:
        if self.tenant is None and self.contract is None:
            raise Fault("budget_of_nobody")
        if self.end < self.start:
            raise Fault("dates_reversed", first="start", last="end")
        return self


class BudgetView(BudgetSpec):
    """A budget as it stands, CNY: what its jobs have been charged, what is kept back for those that have not ended, and what is
    left of it. Below zero: it was declared, or a price was raised, when that much had started already."""

    posted: Money
    reserved: Money
    left: Money
