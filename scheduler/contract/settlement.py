"""What a voucher ledger decides about a cost record, and says back to the city."""

from datetime import date
from enum import StrEnum
from typing import Annotated

from pydantic import Field

from scheduler.contract.base import Count, Key, Moment, Money, Price, Text, Wire

MAX_REVISION = 1_000_000


class Decision(StrEnum):
    """Paid or to be paid; not paid; paid once and taken back."""

    APPROVED = "approved"
    REJECTED = "rejected"
    REVERSED = "reversed"


class Settlement(Wire):
    """A decision about one record under one programme. `id` is the ledger's own: the same id is the same settlement, sent again.

    Of several decisions about the same record and programme the one with the highest `revision` holds, whenever it arrives.
    `amount` is what is paid in all under it, not what it adds; for `rejected` and `reversed` it is 0.
    """

    id: Key
    record: Key
    programme: Key
    revision: Annotated[int, Field(ge=1, le=MAX_REVISION)]
    decision: Decision
    amount: Price
    settled_on: date
    invoice: Text | None = None
    payment: Text | None = None


class SettlementView(Settlement):
    """A settlement as the city has it. `use_change` is what it changed, when it came, of the use of the programme's cap and pool:
    the amount less the estimate or the settlement before; 0 for one that came after a higher revision."""

    sequence: Count
    received_at: Moment
    tenant: Key
    use_change: Money


class SettlementPage(Wire):
    """Settlements in the order in which they came. `next` is where to read on: it is given even when the page is empty."""

    settlements: list[SettlementView]
    next: Count
