"""For probes: `startupz` says the schema is the one it needs, `readyz` that its stores answer, `livez` that the process turns."""

from fastapi import APIRouter, Response
from redis import RedisError
from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from api.city import TheCity
from scheduler.store.database import CITY
from scheduler.store.migrate import ForeignSchemaError, Schema, schema_of

router = APIRouter(tags=["health"])


@router.get("/livez")
def live() -> dict[str, str]:
    return {"status": "live"}


@router.get("/startupz", responses={503: {"description": "The schema is behind, or the database silent; the answer says which"}})
def started(city: TheCity, response: Response) -> dict[str, str]:
    """503 until the database has this release's schema, or a later one."""
    try:
        found = str(schema_of(city.database))
    except OperationalError:
        found = "unavailable"
    except ForeignSchemaError:
        found = "foreign"
    if found not in (Schema.CURRENT, Schema.LATER):
        response.status_code = 503
    return {"schema": found}


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
