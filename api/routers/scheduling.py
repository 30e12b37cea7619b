"""How the city schedules: what its operator has chosen, kept with every earlier choice."""

from fastapi import APIRouter
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from sqlalchemy.orm import Session

from api.auth import OperatorOnly, Staff
from api.city import TheCity
from api.idempotency import Keyed, once
from scheduler.contract.scheduling import SchedulingPolicy
from scheduler.service.registry import declared_scheduling
from scheduler.store.tables import SchedulingPolicyRow

router = APIRouter(prefix="/v1/scheduling", tags=["scheduling"])


@router.post("", status_code=201, response_model=SchedulingPolicy)
def declare_scheduling(body: SchedulingPolicy, city: TheCity, principal: OperatorOnly, keyed: Keyed) -> JSONResponse:
    """Choose how the city schedules, as a whole: it holds from the next round on, in quotes and explanations too."""

    def effect(session: Session) -> tuple[int, BaseModel]:
        if declared_scheduling(session) != body:
            session.add(SchedulingPolicyRow(body=body.model_dump(mode="json"), created_at=city.clock()))
        return 201, body

    return once(city, principal, keyed, effect)


@router.get("")
def get_scheduling(city: TheCity, principal: Staff) -> SchedulingPolicy:
    """How the city schedules."""
    with city.database.read(principal.scope) as session:
        return declared_scheduling(session)
