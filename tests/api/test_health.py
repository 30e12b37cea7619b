"""The probes: they ask for no token, and say which store is missing."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from redis import Redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from sqlalchemy import text

from api.app import create_app
from scheduler.store.database import CITY
from tests.api.conftest import make_city
from tests.api.world import Clock, TestClient, World

NOWHERE = Redis(host="127.0.0.1", port=1, retry=Retry(NoBackoff(), 0))


@pytest.fixture
def alone(tmp_path: Path) -> Iterator[TestClient]:
    """A city whose stores are both missing."""
    city = make_city(tmp_path / "no-such-folder" / "city.db", NOWHERE, Clock())
    with TestClient(create_app(city), raise_server_exceptions=False) as client:
        yield client
    city.database.close()


def test_a_city_with_its_stores_is_live_and_ready(world: World) -> None:
    assert world.get("/livez", who=None) == {"status": "live"}
    assert world.get("/readyz", who=None) == {"sql": "ready", "redis": "ready"}


@pytest.mark.parametrize(
    ("revision", "status", "said"), [("0001", 503, "behind"), ("9999", 200, "later"), ("deadbeef", 503, "foreign")]
)
def test_it_has_started_once_the_schema_is_its_own_or_a_later_one(world: World, revision: str, status: int, said: str) -> None:
    assert world.get("/startupz", who=None) == {"schema": "current"}
    with world.city.database.write(CITY) as session:
        session.execute(text("UPDATE alembic_version SET version_num = :revision"), {"revision": revision})
    found = world.call("GET", "/startupz", None)
    assert (found.status_code, found.json()) == (status, {"schema": said})


def test_without_its_stores_it_is_live_and_not_ready(alone: TestClient) -> None:
    assert alone.get("/livez").status_code == 200
    started = alone.get("/startupz")
    assert (started.status_code, started.json()) == (503, {"schema": "unavailable"})
    ready = alone.get("/readyz")
    assert (ready.status_code, ready.json()) == (503, {"sql": "unavailable", "redis": "unavailable"})


def test_without_redis_the_rest_still_answers(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(world.city.live, "_redis", NOWHERE)
    ready = world.call("GET", "/readyz", None)
    assert (ready.status_code, ready.json()) == (503, {"sql": "ready", "redis": "unavailable"})
    assert world.submit()["state"] == "queued"
