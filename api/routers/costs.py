"""The ledger's feed: every cost record once, in order, from any point; as JSON pages, as lines, or as CloudEvents."""

import json
from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import APIRouter, Query, Response
from fastapi.responses import JSONResponse
from sqlalchemy import select

from api.auth import Anyone, LedgerOrFinance
from api.city import TheCity
from api.limits import MAX_SEQUENCE
from api.negotiation import Accept, preferred
from api.problems import ProblemError
from scheduler.billing.events import SCHEMA_PATH, cost_event, record_schema
from scheduler.billing.journal import Head
from scheduler.contract.cost import CostRecord, CostRecordPage
from scheduler.contract.problem import FieldError
from scheduler.service.journal import FEED, find_record, stored
from scheduler.store.tables import CostRecordRow, JournalHeadRow

router = APIRouter(prefix="/v1", tags=["costs"])

MAX_PAGE = 200
MAX_LINES = 2000
"""The most records of one answer that is read line by line: some five megabytes."""

JSON = "application/json"
NDJSON = "application/x-ndjson"
EVENT = "application/cloudevents+json"
EVENTS = "application/cloudevents-batch+json"

_FEED_HEADERS = {
    "Link": 'where to read on: `<…?after=…>; rel="next"`, given even when there is nothing yet',
    "Feed-Next": "the last sequence of this answer: `after` of the next request",
    "Feed-Head-Sequence": "the last sequence there is",
    "Feed-Head-Hash": "the hash of the record there",
}


def _forms(*media_types: str, schema: Mapping[str, Any], headers: Mapping[str, str]) -> dict[int | str, dict[str, Any]]:
    described = {name: {"description": text, "schema": {"type": "string"}} for name, text in headers.items()}
    return {200: {"content": {media_type: {"schema": schema} for media_type in media_types}, "headers": described}}


@router.get(
    "/cost-records",
    response_model=CostRecordPage,
    responses=_forms(NDJSON, EVENTS, schema={"type": "string"}, headers=_FEED_HEADERS),
)
def list_cost_records(
    city: TheCity,
    principal: LedgerOrFinance,
    accept: Accept,
    after: Annotated[int, Query(ge=0, le=MAX_SEQUENCE, description="the last sequence already read")] = 0,
    limit: Annotated[int, Query(ge=1, le=MAX_LINES, description=f"at most {MAX_PAGE} but for {NDJSON}")] = MAX_PAGE,
) -> Response:
    """Records after a sequence, in order and without gaps, and the head of the chain to check them against.

    `Accept: application/x-ndjson` gives one record a line, and `Accept: application/cloudevents-batch+json` a batch of CloudEvents.
    Whatever the form, the headers say where to read on and where the feed ends: read until `Feed-Next` is `Feed-Head-Sequence`.
    """
    form = preferred(accept, (JSON, NDJSON, EVENTS))
    if form != NDJSON and limit > MAX_PAGE:
        raise _over_page()
    query = select(CostRecordRow).where(CostRecordRow.sequence > after).order_by(CostRecordRow.sequence).limit(limit)
    with city.database.read(principal.scope) as session:
        rows = [stored(row) for row in session.scalars(query)]
        last = session.get(JournalHeadRow, FEED)
    head = Head(last.sequence, last.hash) if last else Head()
    following = rows[-1].sequence if rows else after
    headers = {
        "Link": f'</v1/cost-records?after={following}&limit={limit}>; rel="next"',
        "Feed-Next": str(following),
        "Feed-Head-Sequence": str(head.sequence),
        "Feed-Head-Hash": head.hash,
        "Vary": "Accept",
    }
    # The stored text goes out as it is: what the ledger hashes is what was hashed here.
    if form == NDJSON:
        body = "".join(f"{row.served()}\n" for row in rows)
    elif form == EVENTS:
        body = f"[{','.join(cost_event(row, city.public_url) for row in rows)}]"
    else:
        end = {"next": following, "head_sequence": head.sequence, "head_hash": head.hash}
        body = f'{{"records":[{",".join(row.served() for row in rows)}],{json.dumps(end)[1:]}'
    return Response(body, media_type=form, headers=headers)


@router.get("/cost-records/{record_id}", response_model=CostRecord, responses=_forms(EVENT, schema={"type": "object"}, headers={}))
def get_cost_record(record_id: str, city: TheCity, principal: LedgerOrFinance, accept: Accept) -> Response:
    """One record; with `Accept: application/cloudevents+json` as a CloudEvent."""
    with city.database.read(principal.scope) as session:
        row = find_record(session, record_id)
    if row is None:
        raise ProblemError("not_found", noun="cost record", id=record_id[:128])
    form = preferred(accept, (JSON, EVENT))
    body = cost_event(row, city.public_url) if form == EVENT else row.served()
    return Response(body, media_type=form, headers={"Vary": "Accept"})


@router.get(SCHEMA_PATH.removeprefix("/v1"))
def get_record_schema(_: Anyone) -> JSONResponse:
    """The JSON Schema of a cost record, which every event names as its `dataschema`."""
    return JSONResponse(record_schema(), media_type="application/schema+json")


def _over_page() -> ProblemError:
    message, message_zh = (
        f"at most {MAX_PAGE} is allowed, or {MAX_LINES} with Accept: {NDJSON}",
        f"最多 {MAX_PAGE};以 {NDJSON} 读取时最多 {MAX_LINES}",
    )
    return ProblemError("invalid_request", [FieldError(field="limit", message=message, message_zh=message_zh)], count=1)
