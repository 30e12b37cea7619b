"""Why a record is tagged as it is: the facts that decided, and every rule in order, to see or to compute again."""

import json
from typing import Annotated

from fastapi import APIRouter, Path, Response
from sqlalchemy import select

from api.auth import CostReader, LedgerOrFinance
from api.city import TheCity
from api.problems import ProblemError
from scheduler.contract.base import Key, Wire
from scheduler.contract.cost import CostRecord, RecordKind, Tag
from scheduler.service.journal import find_record
from scheduler.store.tables import CostContextRow, ProgrammeRow
from scheduler.subsidy.programme import parse_policy
from scheduler.subsidy.replay import Context, record_trace
from scheduler.subsidy.trace import TraceStep

router = APIRouter(prefix="/v1", tags=["costs"])


class TagTrace(Wire):
    """A tag and how it came about, computed again from what is stored."""

    tag: Tag
    steps: list[TraceStep]


class RecordTrace(Wire):
    """A record's tags, each with its steps; those of a reversal are what it takes back, and have none."""

    record: Key
    tags: list[TagTrace]


@router.get("/cost-records/{record_id}/trace")
def get_trace(record_id: str, city: TheCity, principal: CostReader) -> RecordTrace:
    """Every rule of every programme that answered for a record: what it asks, what was found, its words and their source."""
    with city.database.read(principal.scope) as session:
        row = find_record(session, record_id)
        if row is None:
            raise ProblemError("not_found", noun="cost record", id=record_id[:128])
        record = CostRecord.model_validate_json(row.served())
        context = Context.parse(json.loads(session.get_one(CostContextRow, record.context).body))
        named = select(ProgrammeRow).where(ProgrammeRow.programme.in_([tag.programme for tag in record.eligibility]))
        versions = [parse_policy(row.body) for row in session.scalars(named)]
    policies = {(version.programme, version.version): version for version in versions}
    reversal = record.kind is RecordKind.REVERSAL
    traced = (
        TagTrace(tag=tag, steps=[] if reversal else record_trace(record, tag, context, policies[tag.programme, tag.version]))
        for tag in record.eligibility
    )
    return RecordTrace(record=record.id, tags=list(traced))


@router.get("/cost-contexts/{sha256}", response_class=Response, responses={200: {"content": {"application/json": {}}}})
def get_context(
    sha256: Annotated[str, Path(pattern=r"^[0-9a-f]{64}$", description="the `context` of a cost record")],
    city: TheCity,
    principal: LedgerOrFinance,
) -> Response:
    """The facts that decided the tags of the records that name them, as the text that was hashed."""
    with city.database.read(principal.scope) as session:
        row = session.get(CostContextRow, sha256)
    if row is None:
        raise ProblemError("not_found", noun="context", id=sha256)
    return Response(row.body, media_type="application/json")
