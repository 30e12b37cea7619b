"""Both systems of record, fresh for each test; and towns that live on virtual time with a real Valkey."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from scheduler.store.database import Database
from scheduler.store.live import Live
from tests.builders import city_database
from tests.service.town import Town
from tests.store.databases import BOTH, fresh_database, valkey


@pytest.fixture(params=BOTH)
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    with fresh_database(request.param, tmp_path) as database:
        yield database


@pytest.fixture
def city(database: Database) -> Database:
    """A database with the tiny city of `tests.builders` in it."""
    return city_database(database)


@pytest.fixture
def town(city: Database) -> Town:
    """A living city; tests that use it start a Valkey and are marked `processes`."""
    valkey().flushall()
    return Town(city, Live(valkey()))
