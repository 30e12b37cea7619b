"""Budgets: what a tenant's jobs may commit, and how much of it they have."""

from fastapi import APIRouter
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from sqlalchemy.orm import Session

from api.auth import Staff, TenantOrStaff
from api.city import TheCity
from api.idempotency import Keyed, once
from api.problems import ProblemError, unknown_reference
from scheduler.contract.budget import BudgetSpec, BudgetView
from scheduler.contract.problem import FieldError
from scheduler.service.budgets import budget_view
from scheduler.service.registry import declared_budgets
from scheduler.store.budget_tables import BudgetRow
from scheduler.store.tables import ContractRow, TenantRow

router = APIRouter(prefix="/v1/budgets", tags=["budgets"])


@router.post("", status_code=201, response_model=BudgetView)
def declare_budget(body: BudgetSpec, city: TheCity, principal: Staff, keyed: Keyed) -> JSONResponse:
    """Declare a budget, or declare it anew: the latest declaration holds from the next round on, and jobs that it holds start by
    themselves when they fit. What has started goes on. A name stays with its tenant."""

    def effect(session: Session) -> tuple[int, BaseModel]:
        budget = _of_tenant(session, body)
        declared = {each.name: each for each in declared_budgets(session)}
        before = declared.get(budget.name, budget)
        if before.tenant != budget.tenant:
            raise ProblemError("already_exists", noun="budget", id=budget.name)
        if budget.name not in declared or before != budget:
            document = budget.model_dump(mode="json")
            session.add(BudgetRow(name=budget.name, tenant_id=budget.tenant, body=document, created_at=city.clock()))
        return 201, budget_view(session, budget)

    return once(city, principal, keyed, effect)


@router.get("")
def list_budgets(city: TheCity, principal: TenantOrStaff) -> list[BudgetView]:
    """Every budget as it stands; a tenant sees its own."""
    with city.database.read(principal.scope) as session:
        return [budget_view(session, budget) for budget in declared_budgets(session)]


def _of_tenant(session: Session, body: BudgetSpec) -> BudgetSpec:
    """The budget with its tenant named, who must be the contract's where there is one."""
    contract = session.get(ContractRow, body.contract) if body.contract is not None else None
    if body.contract is not None and contract is None:
        raise unknown_reference("contract", "contract", body.contract)
    tenant = body.tenant or (contract.tenant_id if contract else None)
    if tenant is None or session.get(TenantRow, tenant) is None:
        raise unknown_reference("tenant", "tenant", tenant or "")
    if contract is not None and contract.tenant_id != tenant:
        fault = FieldError(
            field="tenant", message="must be the contract's tenant, or be left out", message_zh="须为合同的租户,或不填"
        )
        raise ProblemError("invalid_request", [fault], count=1)
    return body.model_copy(update={"tenant": tenant})
