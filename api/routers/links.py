"""Links: the bandwidth between clusters, as far as an operator has declared it."""

from fastapi import APIRouter
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from sqlalchemy.orm import Session

from api.auth import Anyone, OperatorOnly
from api.city import TheCity
from api.idempotency import Keyed, once
from api.problems import unknown_reference
from scheduler.contract.links import Link, LinkView
from scheduler.service.links import link_of, link_rows, load_links
from scheduler.store.tables import ClusterRow, LinkRow

router = APIRouter(prefix="/v1/links", tags=["links"])


@router.post("", status_code=201, response_model=Link)
def declare_link(body: Link, city: TheCity, principal: OperatorOnly, keyed: Keyed) -> JSONResponse:
    """Declare what can be used of the way from one cluster to another, or declare it anew: the latest declaration holds from the
    next round on. `gbps: 0` takes it back."""

    def effect(session: Session) -> tuple[int, BaseModel]:
        for field, cluster in (("from", body.source), ("to", body.target)):
            if session.get(ClusterRow, cluster) is None:
                raise unknown_reference(field, "cluster", cluster)
        if load_links(session).get((body.source, body.target)) != body:
            document = body.model_dump(mode="json", by_alias=True)
            session.add(LinkRow(source_id=body.source, target_id=body.target, body=document, created_at=city.clock()))
        return 201, body

    return once(city, principal, keyed, effect)


@router.get("")
def list_links(city: TheCity, principal: Anyone) -> list[LinkView]:
    """Every link that has a bandwidth, by its two clusters. Of any other way nothing is known."""
    with city.database.read(principal.scope) as session:
        return [LinkView(**link_of(row).model_dump(), declared_at=row.created_at) for row in link_rows(session)]
