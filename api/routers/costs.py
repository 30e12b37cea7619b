"""The ledger's feed: every cost record once, in order, from any point."""

import json
from typing import Annotated

from fastapi import APIRouter, Query, Response
from sqlalchemy import select

from api.auth import LedgerOrFinance
from api.city import TheCity
from api.limits import MAX_SEQUENCE
from scheduler.billing.journal import Head
from scheduler.contract.cost import CostRecordPage
from scheduler.service.journal import FEED, stored
from scheduler.store.tables import CostRecordRow, JournalHeadRow

router = APIRouter(prefix="/v1", tags=["costs"])

MAX_PAGE = 200


@router.get("/cost-records", response_model=CostRecordPage)
def list_cost_records(
    city: TheCity,
    principal: LedgerOrFinance,
    after: Annotated[int, Query(ge=0, le=MAX_SEQUENCE, description="the last sequence already read")] = 0,
    limit: Annotated[int, Query(ge=1, le=MAX_PAGE)] = MAX_PAGE,
) -> Response:
    """Records after a sequence, in order and without gaps, and the head of the chain to check them against."""
    query = select(CostRecordRow).where(CostRecordRow.sequence > after).order_by(CostRecordRow.sequence).limit(limit)
    with city.database.read(principal.scope) as session:
        rows = session.scalars(query).all()
        head = session.get(JournalHeadRow, FEED)
    end = {
        "next": rows[-1].sequence if rows else after,
        "head_sequence": head.sequence if head else Head().sequence,
        "head_hash": head.hash if head else Head().hash,
    }
    # The stored text goes out as it is: what the ledger hashes is what was hashed here.
    records = ",".join(stored(row).served() for row in rows)
    return Response(f'{{"records":[{records}],{json.dumps(end)[1:]}', media_type="application/json")
