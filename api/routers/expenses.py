"""What tenants bought beside the machines: a corpus or a model service, under a contract, in the same feed as everything else."""

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Query
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from api.auth import TenantOnly, TenantOrStaff
from api.city import TheCity
from api.idempotency import Keyed, once
from api.limits import MAX_SEQUENCE
from api.problems import ProblemError, unknown_reference
from scheduler.contract.cost import CostRecord
from scheduler.contract.expense import MAX_EXPENSES, Expense, ExpensePage, ExpenseView
from scheduler.contract.job import DECLINED
from scheduler.contract.problem import FieldError
from scheduler.contract.registry import Contract
from scheduler.domain.money import format_cny, parse_cny
from scheduler.service.expenses import left_of, post_expense
from scheduler.service.journal import Journal, stored
from scheduler.service.registry import Registry
from scheduler.service.tags import claim_day
from scheduler.store.database import CITY
from scheduler.store.tables import CostRecordRow, ExpenseRow, JobRow

router = APIRouter(prefix="/v1/expenses", tags=["expenses"])


@router.post("", status_code=201, response_model=ExpenseView)
def add_expense(body: Expense, city: TheCity, principal: TenantOnly, keyed: Keyed) -> JSONResponse:
    """Charge a purchase to one of the tenant's contracts, once and for ever: it is a cost record from now on."""

    def effect(session: Session) -> tuple[int, BaseModel]:
        """In a session of the whole city, since caps and pools are everybody's: whose contract and job it is, is asked here."""
        now = city.clock()
        journal = Journal.locked(session, now, city.make_id("n", now)[2:])
        contract = journal.registry.contracts.get(body.contract)
        if contract is None or contract.tenant != principal.subject:
            raise unknown_reference("contract", "contract", body.contract)
        job = None if body.job is None else session.get(JobRow, body.job)
        if body.job is not None and (job is None or job.tenant_id != principal.subject):
            raise unknown_reference("job", "job", body.job)
        _check_voucher(journal.registry, body)
        _check_day(body, contract, now)
        _check_once(session, body)
        left = left_of(journal.registry, contract)
        if parse_cny(body.amount) > left:
            raise _refused("expense_beyond_contract", "amount", contract=contract.id, left=format_cny(max(0, left)))
        sequence = post_expense(journal, body, contract, job)
        journal.close()
        row = ExpenseRow(
            record_sequence=sequence,
            tenant_id=contract.tenant,
            contract_id=contract.id,
            evidence_sha256=body.evidence_sha256,
            id=city.make_id("exp", now),
            body=body.model_dump(mode="json"),
            created_at=now,
        )
        session.add(row)
        return 201, _view(row, session.get_one(CostRecordRow, sequence))

    return once(city, principal, keyed, effect, CITY)


@router.get("")
def list_expenses(
    city: TheCity,
    principal: TenantOrStaff,
    contract: Annotated[str | None, Query(max_length=128)] = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    after: Annotated[int, Query(ge=0, le=MAX_SEQUENCE)] = 0,
) -> ExpensePage:
    """Expenses in the order they were posted in; a tenant sees its own. `after` is the `next` of the page before."""
    query = select(ExpenseRow).where(ExpenseRow.record_sequence > after).order_by(ExpenseRow.record_sequence).limit(limit)
    if contract is not None:
        query = query.where(ExpenseRow.contract_id == contract)
    with city.database.read(principal.scope) as session:
        rows = session.scalars(query).all()
        expenses = [_view(row, session.get_one(CostRecordRow, row.record_sequence)) for row in rows]
    return ExpensePage(expenses=expenses, next=str(rows[-1].record_sequence) if len(rows) == limit else None)


def _check_voucher(registry: Registry, expense: Expense) -> None:
    named = DECLINED if expense.voucher is None else expense.voucher.programme
    if named != DECLINED and named not in {policy.programme for policy in registry.policies}:
        raise unknown_reference("voucher.programme", "programme", named)


def _check_day(expense: Expense, contract: Contract, now: datetime) -> None:
    """An expense is of a day that has come, within the contract's dates: else it is not the contract's."""
    day, today = expense.incurred_on, claim_day(now)
    if day > today:
        raise _refused("expense_in_future", "incurred_on", day=day.isoformat(), today=today.isoformat())
    if not contract.start <= day <= contract.end:
        dates = {"start": contract.start.isoformat(), "end": contract.end.isoformat()}
        raise _refused("expense_outside_contract", "incurred_on", contract=contract.id, day=day.isoformat(), **dates)


def _check_once(session: Session, expense: Expense) -> None:
    mine = select(ExpenseRow).where(ExpenseRow.contract_id == expense.contract)
    if expense.evidence_sha256 is not None:
        same = session.scalars(mine.where(ExpenseRow.evidence_sha256 == expense.evidence_sha256)).first()
        if same is not None:
            raise _refused("expense_already_posted", "evidence_sha256", id=same.id)
    if session.scalars(select(func.count()).select_from(mine.subquery())).one() >= MAX_EXPENSES:
        raise _refused("too_many_expenses", "contract", contract=expense.contract, limit=MAX_EXPENSES)


def _refused(code: str, field: str, **numbers: str | int) -> ProblemError:
    """A refusal whose field says the same."""
    told = ProblemError(code, (), **numbers).problem
    message, message_zh = told.detail.removeprefix(f"{field}: "), told.detail_zh.removeprefix(f"{field}:")
    error = FieldError(field=field, code=code, message=message, message_zh=message_zh)
    return ProblemError(code, [error], **numbers)


def _view(row: ExpenseRow, record: CostRecordRow) -> ExpenseView:
    return ExpenseView(**row.body, id=row.id, record=CostRecord.model_validate_json(stored(record).served()))
