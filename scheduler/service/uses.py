"""What records and settlements have used of a programme's caps and pool, and what is claimed of each contract.

Two sums make up the first, and each can be computed again: `subsidy_uses`, of the estimates of records, and `settlement_uses`, of
what settlements change about them. `claim_uses` is of both.
"""

from collections import defaultdict
from collections.abc import Mapping
from datetime import datetime
from functools import lru_cache
from typing import Any, NamedTuple

from sqlalchemy import select, text
from sqlalchemy.orm import Session

from scheduler.domain.clock import CHINA
from scheduler.store.tables import ClaimUseRow, SettlementRow, SettlementUseRow, SubsidyUseRow

Uses = dict[tuple[str, int], dict[str, int]]
"""Micro-CNY by (programme, claim year) and tenant."""

_CHANGE = text(
    "INSERT INTO settlement_uses (programme, year, tenant_id, change_micros) VALUES (:programme, :year, :tenant, :micros) "
    "ON CONFLICT (programme, year, tenant_id) DO UPDATE SET change_micros = settlement_uses.change_micros + excluded.change_micros"
)
_CLAIM = text(
    "INSERT INTO claim_uses (contract_id, programme, used_micros) VALUES (:contract, :programme, :micros) "
    "ON CONFLICT (contract_id, programme) DO UPDATE SET used_micros = claim_uses.used_micros + excluded.used_micros"
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


def load_claims(session: Session) -> dict[str, dict[str, int]]:
    """What is claimed of contracts: micro-CNY by contract and programme."""
    claims: defaultdict[str, dict[str, int]] = defaultdict(dict)
    for row in session.scalars(select(ClaimUseRow)):
        claims[row.contract_id][row.programme] = row.used_micros
    return claims


def change_claim(session: Session, contract: str | None, programme: str, micros: int) -> None:
    """Count what is claimed of a contract, if there is one. The journal's head must be locked."""
    if micros and contract is not None:
        session.execute(_CLAIM, {"contract": contract, "programme": programme, "micros": micros})


def settled(session: Session, sequence: int, programme: str) -> SettlementRow | None:
    """The settlement that holds for a record under a programme: the one with the highest revision."""
    same = (SettlementRow.record_sequence == sequence, SettlementRow.programme == programme)
    return session.scalars(select(SettlementRow).where(*same).order_by(SettlementRow.revision.desc()).limit(1)).first()
