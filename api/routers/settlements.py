"""What the ledger decided, taken and told."""

from typing import Annotated

import orjson
from fastapi import APIRouter, Query
from fastapi.responses import JSONResponse
from sqlalchemy import select
from sqlalchemy.orm import Session

from api.auth import LedgerOnly, SettlementReader
from api.city import TheCity
from api.idempotency import Keyed, once
from api.limits import MAX_SEQUENCE
from api.problems import ProblemError
from api.routers.costs import MAX_PAGE
from scheduler.contract.problem import FieldError
from scheduler.contract.settlement import Settlement, SettlementPage, SettlementView
from scheduler.domain.money import format_cny
from scheduler.service.journal import find_record
from scheduler.service.settlements import SettlementError, settle
from scheduler.store.tables import SettlementRow

router = APIRouter(prefix="/v1/settlements", tags=["costs"])


@router.post("", status_code=201, response_model=SettlementView)
def post_settlement(settlement: Settlement, city: TheCity, principal: LedgerOnly, keyed: Keyed) -> JSONResponse:
    """Say what was decided about a record under a programme: that is what is used of its cap and pool then, and not the estimate.

    The same settlement may be sent again, with or without an Idempotency-Key, and gets the first answer. Of several the one with
    the highest revision holds; a lower one that comes late is kept and changes nothing.
    """

    def effect(session: Session) -> tuple[int, SettlementView]:
        try:
            return 201, _view(settle(session, settlement, city.clock()))
        except SettlementError as error:
            raise _refused(error) from error

    return once(city, principal, keyed, effect)


@router.get("")
def list_settlements(
    city: TheCity,
    principal: SettlementReader,
    after: Annotated[int, Query(ge=0, le=MAX_SEQUENCE, description="the last sequence already read")] = 0,
    limit: Annotated[int, Query(ge=1, le=MAX_PAGE)] = MAX_PAGE,
    record: Annotated[str | None, Query(max_length=128, description="only those of this record")] = None,
) -> SettlementPage:
    """Settlements in the order in which they came; a tenant sees those of its own records."""
    query = select(SettlementRow).where(SettlementRow.sequence > after).order_by(SettlementRow.sequence).limit(limit)
    with city.database.read(principal.scope) as session:
        if record is not None:
            found = find_record(session, record)
            query = query.where(SettlementRow.record_sequence == (found.sequence if found is not None else None))
        rows = session.scalars(query).all()
    return SettlementPage(settlements=[_view(row) for row in rows], next=rows[-1].sequence if rows else after)


def _view(row: SettlementRow) -> SettlementView:
    return SettlementView(
        **orjson.loads(row.body),
        sequence=row.sequence,
        received_at=row.received_at,
        tenant=row.tenant_id,
        use_change=format_cny(row.use_change_micros),
    )


def _refused(error: SettlementError) -> ProblemError:
    told = ProblemError(error.code, errors=(), **error.numbers).problem
    named = FieldError(field=error.field, code=error.code, message=told.detail, message_zh=told.detail_zh)
    return ProblemError(error.code, errors=[named], **error.numbers)
