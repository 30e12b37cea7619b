"""Who is asking: bearer tokens with roles, and the scope of the store each one may see.

Only a token's SHA-256 is stored, so a copy of the database opens nothing.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from sqlalchemy import select

from api.city import TheCity
from api.problems import ProblemError
from scheduler.contract.registry import Role
from scheduler.store.database import CITY, Scope
from scheduler.store.tables import TokenRow

_bearer = HTTPBearer(auto_error=False, description="A token issued by `POST /v1/tokens` or `suanwang token`")


@dataclass(frozen=True, slots=True)
class Principal:
    """The holder of a valid token. `subject` is the tenant's or the cluster's id for the two bound roles."""

    token: str
    role: Role
    subject: str | None

    @property
    def scope(self) -> Scope:
        if self.role is Role.TENANT:
            return Scope(tenant=self.subject)
        if self.role is Role.AGENT:
            return Scope(cluster=self.subject)
        return CITY


def sha256(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def _principal(city: TheCity, credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]) -> Principal:
    if credentials is None:
        raise ProblemError("unauthenticated")
    with city.database.read(CITY) as session:
        row = session.scalars(select(TokenRow).where(TokenRow.sha256 == sha256(credentials.credentials))).one_or_none()
    now = city.clock()
    if row is None or row.revoked_at is not None or (row.expires_at is not None and row.expires_at <= now):
        raise ProblemError("unauthenticated")
    return Principal(row.id, Role(row.role), row.subject)


Anyone = Annotated[Principal, Depends(_principal)]
"""Any valid token."""


def _only(*roles: Role) -> Callable[[Principal], Principal]:
    def check(principal: Anyone) -> Principal:
        if principal.role not in roles:
            raise ProblemError("forbidden", needed=" or ".join(roles), role=principal.role)
        return principal

    return check


TenantOnly = Annotated[Principal, Depends(_only(Role.TENANT))]
TenantOrStaff = Annotated[Principal, Depends(_only(Role.TENANT, Role.OPERATOR, Role.FINANCE))]
TenantOrFinance = Annotated[Principal, Depends(_only(Role.TENANT, Role.FINANCE))]
TenantOrOperator = Annotated[Principal, Depends(_only(Role.TENANT, Role.OPERATOR))]
OperatorOnly = Annotated[Principal, Depends(_only(Role.OPERATOR))]
Staff = Annotated[Principal, Depends(_only(Role.OPERATOR, Role.FINANCE))]
AgentOnly = Annotated[Principal, Depends(_only(Role.AGENT))]
LedgerOnly = Annotated[Principal, Depends(_only(Role.LEDGER))]
SettlementReader = Annotated[Principal, Depends(_only(Role.TENANT, Role.OPERATOR, Role.FINANCE, Role.LEDGER))]
LedgerOrFinance = Annotated[Principal, Depends(_only(Role.LEDGER, Role.FINANCE))]
CostReader = Annotated[Principal, Depends(_only(Role.TENANT, Role.FINANCE, Role.LEDGER))]
