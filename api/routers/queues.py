"""Queues: who may use how much, who borrows from whom, and what of it is in use."""

from fastapi import APIRouter
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from sqlalchemy.orm import Session

from api.auth import OperatorOnly, Staff
from api.city import TheCity
from api.idempotency import Keyed, once
from api.problems import ProblemError
from scheduler.contract.problem import FieldError
from scheduler.contract.registry import QueueSpec, QueueView
from scheduler.engine.quota import Quotas
from scheduler.engine.shape import WHOLE_CARD_MILLI
from scheduler.service.registry import declared_queues, engine_queue
from scheduler.service.tasks import pending
from scheduler.store.tables import QueueRow

router = APIRouter(prefix="/v1/queues", tags=["queues"])


@router.post("", status_code=201, response_model=QueueSpec)
def declare_queue(body: QueueSpec, city: TheCity, principal: OperatorOnly, keyed: Keyed) -> JSONResponse:
    """Declare a queue's quota, or declare it anew: the latest declaration holds from the next round on. What runs goes on."""

    def effect(session: Session) -> tuple[int, BaseModel]:
        declared = {queue.name: queue for queue in declared_queues(session)}
        _check_tree([*{**declared, body.name: body}.values()])
        if declared.get(body.name) != body:
            session.add(QueueRow(name=body.name, body=body.model_dump(mode="json"), created_at=city.clock()))
        return 201, body

    return once(city, principal, keyed, effect)


@router.get("")
def list_queues(city: TheCity, principal: Staff) -> list[QueueView]:
    """Every queue with what runs in it and what it borrows."""
    now, heard_at = city.clock(), city.live.heard_at()
    quotas = city.moments.look(city.database, heard_at, now).snapshot.quotas
    with city.database.read(principal.scope) as session:
        waiting = pending(session)
        return [_view(queue, quotas, waiting[queue.name]) for queue in declared_queues(session)]


def _view(queue: QueueSpec, quotas: Quotas, waiting: int) -> QueueView:
    resources = sorted({*queue.nominal, *queue.borrowing_limit, *queue.lending_limit})
    return QueueView(
        **queue.model_dump(),
        used={resource: quotas.used(queue.name, resource) // WHOLE_CARD_MILLI for resource in resources},
        borrowed={resource: quotas.borrowed(queue.name, resource) // WHOLE_CARD_MILLI for resource in resources},
        running=quotas.running(queue.name),
        pending=waiting,
    )


def _check_tree(queues: list[QueueSpec]) -> None:
    """The declared queues must form trees."""
    try:
        Quotas.of(engine_queue(queue) for queue in queues)
    except ValueError as error:
        fault = FieldError(field="parent", message=str(error), message_zh="parent 须为已声明的队列,且不得成环")
        raise ProblemError("invalid_request", [fault], count=1) from error
