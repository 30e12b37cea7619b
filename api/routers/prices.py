"""What computing costs: prices are published from a moment on, superseded by later ones, and never changed."""

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Query
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from sqlalchemy import Select, func, select
from sqlalchemy.orm import Session

from api.auth import Anyone, Staff
from api.city import TheCity
from api.idempotency import Keyed, once
from api.problems import ProblemError, unknown_reference
from scheduler.contract.base import Moment
from scheduler.contract.price import PriceEntry, PricePage, PriceView
from scheduler.contract.problem import FieldError
from scheduler.domain.clock import rfc3339
from scheduler.service.prices import price_row, price_view
from scheduler.store.tables import AttemptRow, ClusterRow, PriceRow

router = APIRouter(prefix="/v1/prices", tags=["prices"])


@router.post("", status_code=201, response_model=PriceView)
def add_price(body: PriceEntry, city: TheCity, principal: Staff, keyed: Keyed) -> JSONResponse:
    """Publish a price. It holds from `effective_from` on (or at once), never in the past: time that is over keeps its price."""

    def effect(session: Session) -> tuple[int, BaseModel]:
        if session.get(ClusterRow, body.cluster) is None:
            raise unknown_reference("cluster", "cluster", body.cluster)
        now = city.clock()
        effective_from = body.effective_from or now
        _check_not_over(session, body.cluster, effective_from, now)
        row = price_row(body, city.make_id("price", now), effective_from, now)
        session.add(row)
        return 201, price_view(row)

    return once(city, principal, keyed, effect)


@router.get("")
def list_prices(
    city: TheCity,
    principal: Anyone,
    at: Annotated[Moment | None, Query(description="Only the prices in force at this moment.")] = None,
    cluster: Annotated[str | None, Query(max_length=128)] = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 200,
    after: Annotated[str | None, Query(max_length=128)] = None,
) -> PricePage:
    """Every price ever published, or those in force at a moment, in the order they were published in. `after` is the `next` of the
    page before."""
    query = select(PriceRow) if at is None else _in_force(at)
    query = query.order_by(PriceRow.version).limit(limit)
    if cluster is not None:
        query = query.where(PriceRow.cluster_id == cluster)
    if after is not None:
        query = query.where(PriceRow.version > after)
    with city.database.read(principal.scope) as session:
        prices = [price_view(row) for row in session.scalars(query)]
    return PricePage(prices=prices, next=prices[-1].version if len(prices) == limit else None)


def _in_force(at: datetime) -> Select[PriceRow]:
    """The latest begun of each cluster, item and model; of two that begin together the later version, as the price book has it."""
    newest = func.row_number().over(
        partition_by=(PriceRow.cluster_id, PriceRow.item, PriceRow.model),
        order_by=(PriceRow.effective_from.desc(), PriceRow.version.desc()),
    )
    ranked = select(PriceRow.version, newest.label("place")).where(PriceRow.effective_from <= at).subquery()
    return select(PriceRow).join(ranked, (ranked.c.version == PriceRow.version) & (ranked.c.place == 1))


def _check_not_over(session: Session, cluster: str, effective_from: datetime, now: datetime) -> None:
    """Raises ProblemError where a price would change time that is over or, by another machine's clock, even posted."""
    if effective_from < now:
        error = FieldError(field="effective_from", message="may not lie in the past", message_zh="不得早于当前时间")
        raise ProblemError("price_in_past", [error], effective_from=rfc3339(effective_from), now=rfc3339(now))
    posted = session.scalars(select(func.max(AttemptRow.metered_until)).where(AttemptRow.cluster_id == cluster)).one()
    if posted is not None and effective_from < posted:
        error = FieldError(field="effective_from", message="lies in time that is posted", message_zh="位于已入账的时间内")
        raise ProblemError("price_in_posted_time", [error], effective_from=rfc3339(effective_from), posted=rfc3339(posted))
