"""The probes: they ask for no token, and say which store is missing."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from redis import Redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from api.app import create_app
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


def test_without_its_stores_it_is_live_and_not_ready(alone: TestClient) -> None:
    assert alone.get("/livez").status_code == 200
    ready = alone.get("/readyz")
    assert (ready.status_code, ready.json()) == (503, {"sql": "unavailable", "redis": "unavailable"})


def test_without_redis_the_rest_still_answers(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(world.city.live, "_redis", NOWHERE)
    ready = world.call("GET", "/readyz", None)
    assert (ready.status_code, ready.json()) == (503, {"sql": "ready", "redis": "unavailable"})
    assert world.submit()["state"] == "queued"
