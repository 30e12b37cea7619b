"""The tables of budgets, and of what is kept back of them."""

from datetime import datetime

from sqlalchemy import BigInteger, ForeignKey, Integer, String
from sqlalchemy.orm import Mapped, mapped_column

from scheduler.store.tables import Base, Json, TenantOwned


class BudgetRow(TenantOwned, Base):
    """A declaration of a budget; of those with one name the latest holds."""

    __tablename__ = "budgets"
    id: Mapped[int] = mapped_column(BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True)
    name: Mapped[str] = mapped_column(index=True)
    body: Mapped[Json]
    """`scheduler.contract.budget.BudgetSpec`, its tenant named."""
    created_at: Mapped[datetime]


class ReservationRow(TenantOwned, Base):
    """What is kept back for an attempt from its grant to its end, and what of it has been charged."""

    __tablename__ = "reservations"
    attempt_id: Mapped[str] = mapped_column(ForeignKey("attempts.id"), primary_key=True)
    contract: Mapped[str]
    """Empty where it falls under none."""
    day: Mapped[str] = mapped_column(String(10))
    """Of its grant, Asia/Shanghai: in the budgets of this day it counts."""
    reserved_micros: Mapped[int]
    posted_micros: Mapped[int]
    voided_micros: Mapped[int | None]
    """The rest, once it has ended and all of it is accounted for."""


class CommitmentRow(TenantOwned, Base):
    """The sums over the reservations of a tenant under a contract by day of grant: charged, and still kept back."""

    __tablename__ = "commitments"
    tenant_id: Mapped[str] = mapped_column(ForeignKey("tenants.id"), primary_key=True)
    contract: Mapped[str] = mapped_column(primary_key=True)
    day: Mapped[str] = mapped_column(String(10), primary_key=True)
    posted_micros: Mapped[int]
    reserved_micros: Mapped[int]
