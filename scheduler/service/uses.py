"""What records and settlements have used of a programme's caps and pool.

Two sums make it up, and each can be computed again: `subsidy_uses`, of the estimates of records, and `settlement_uses`, of what
settlements change about them.
"""

from collections import defaultdict
from collections.abc import Mapping
from datetime import datetime
from functools import lru_cache
from typing import Any, NamedTuple

from sqlalchemy import select, text
from sqlalchemy.orm import Session

from scheduler.domain.clock import CHINA
from scheduler.store.tables import SettlementRow, SettlementUseRow, SubsidyUseRow

Uses = dict[tuple[str, int], dict[str, int]]
"""Micro-CNY by (programme, claim year) and tenant."""

_CHANGE = text(
    "INSERT INTO settlement_uses (programme, year, tenant_id, change_micros) VALUES (:programme, :year, :tenant, :micros) "
    "ON CONFLICT (programme, year, tenant_id) DO UPDATE SET change_micros = settlement_uses.change_micros + excluded.change_micros"
)


class Claim(NamedTuple):
    """Whose use of a cap: a tenant's, under a programme, in a Chinese calendar year. The pool's use is the sum over tenants."""

    programme: str
    year: int
    tenant: str

    @classmethod
    def of(cls, record: Mapping[str, Any], programme: str) -> "Claim":
        """The claim a record counts under."""
        return cls(programme, _year(record["period_start"]), record["tenant"])


@lru_cache(maxsize=4096)
def _year(moment: str) -> int:
    return datetime.fromisoformat(moment).astimezone(CHINA).year


def load_uses(session: Session) -> Uses:
    """What is used of every cap."""
    uses: defaultdict[tuple[str, int], dict[str, int]] = defaultdict(dict)
    for row in session.scalars(select(SubsidyUseRow)):
        uses[row.programme, row.year][row.tenant_id] = row.used_micros
    for change in session.scalars(select(SettlementUseRow)):
        of_year = uses[change.programme, change.year]
        of_year[change.tenant_id] = of_year.get(change.tenant_id, 0) + change.change_micros
    return uses


def change_use(session: Session, claim: Claim, micros: int) -> None:
    """Count what a settlement changes. The journal's head must be locked."""
    if micros:
        session.execute(_CHANGE, {**claim._asdict(), "micros": micros})


def settled(session: Session, sequence: int, programme: str) -> SettlementRow | None:
    """The settlement that holds for a record under a programme: the one with the highest revision."""
    same = (SettlementRow.record_sequence == sequence, SettlementRow.programme == programme)
    return session.scalars(select(SettlementRow).where(*same).order_by(SettlementRow.revision.desc()).limit(1)).first()
