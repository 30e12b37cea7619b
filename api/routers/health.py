"""For probes: `livez` says the process turns, `readyz` that its stores answer."""

from fastapi import APIRouter, Response
from redis import RedisError
from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from api.city import TheCity
from scheduler.store.database import CITY

router = APIRouter(tags=["health"])


@router.get("/livez")
def live() -> dict[str, str]:
    return {"status": "live"}


@router.get("/readyz", responses={503: {"description": "A store does not answer; the answer says which"}})
def ready(city: TheCity, response: Response) -> dict[str, str]:
    """503 until both stores answer, naming each."""
    found = {"sql": "ready", "redis": "ready"}
    try:
        with city.database.read(CITY) as session:
            session.execute(text("SELECT 1"))
    except OperationalError:
        found["sql"] = "unavailable"
    try:
        city.live.ping()
    except RedisError:
        found["redis"] = "unavailable"
    if "unavailable" in found.values():
        response.status_code = 503
    return found
