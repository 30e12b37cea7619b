"""Both systems of record, fresh for each test."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from scheduler.store.database import Database
from tests.store.databases import BOTH, fresh_database


@pytest.fixture(params=BOTH)
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    with fresh_database(request.param, tmp_path) as database:
        yield database
