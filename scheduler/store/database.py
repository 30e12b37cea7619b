"""Sessions on the system of record: SQLite or PostgreSQL by URL, one transaction each, scoped to who asks."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, Dialect, Engine, create_engine, event
from sqlalchemy.engine import Connection, make_url
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.orm import ORMExecuteState, Session, with_loader_criteria
from sqlalchemy.pool import ConnectionPoolEntry
from sqlalchemy.types import TypeDecorator

from scheduler.domain.clock import from_micros, to_micros

BUSY_TIMEOUT_MILLISECONDS = 10_000
POOL_SIZE = 20
_WRITES = "suanwang_writes"


class UtcMicros(TypeDecorator[datetime]):
    """An aware datetime as integer microseconds since the epoch: exact, and the same in every database."""

    impl = BigInteger
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> int | None:
        return None if value is None else to_micros(value)

    def process_result_value(self, value: int | None, dialect: Dialect) -> datetime | None:
        return None if value is None else from_micros(value)


@dataclass(frozen=True, slots=True)
class Scope:
    """Whose rows a session may see and change: of one tenant, of one cluster, or (both None) of the whole city."""

    tenant: str | None = None
    cluster: str | None = None


CITY = Scope()
"""For the dispatcher, operators, finance and the ledger."""


class Database:
    """One system of record. Sessions opened with `read` and `write` see only what their scope allows."""

    def __init__(self, url: str) -> None:
        self.url = url = _with_driver(url)
        self.engine = _engine(url)
        self.writer = self.engine.execution_options(**{_WRITES: True})
        self._reader = self.engine if _is_sqlite(url) else self.engine.execution_options(isolation_level="REPEATABLE READ")

    @contextmanager
    def read(self, scope: Scope) -> Iterator[Session]:
        """A consistent view that is rolled back at the end."""
        with Session(self._reader, expire_on_commit=False, info={"scope": scope}) as session:
            yield session

    @contextmanager
    def write(self, scope: Scope) -> Iterator[Session]:
        """One transaction: committed at the end, rolled back if the block raises. Never held across a network call."""
        with Session(self.writer, expire_on_commit=False, info={"scope": scope}) as session, session.begin():
            yield session

    def close(self) -> None:
        self.engine.dispose()


def _with_driver(url: str) -> str:
    """PostgreSQL by psycopg, the one driver we have: operators and hosting services say `postgres://` or `postgresql://`."""
    found = make_url(url)
    if found.drivername not in ("postgres", "postgresql"):
        return url
    return found.set(drivername="postgresql+psycopg").render_as_string(hide_password=False)


def _is_sqlite(url: str) -> bool:
    return make_url(url).get_backend_name() == "sqlite"


def _engine(url: str) -> Engine:
    if not _is_sqlite(url):
        return create_engine(url, pool_size=POOL_SIZE, pool_pre_ping=True)
    engine = create_engine(url, pool_size=POOL_SIZE)
    event.listen(engine, "connect", _prepare_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _prepare_sqlite(connection: DBAPIConnection, _: ConnectionPoolEntry) -> None:
    driver: Any = connection
    driver.isolation_level = None  # the driver's own implicit BEGIN would start read transactions too late to be consistent
    cursor = connection.cursor()
    # the page size is that of a database when it is made: half the pages to write for rows of more than a kilobyte
    for pragma in (
        "page_size=8192",
        "journal_mode=WAL",
        "synchronous=FULL",
        "foreign_keys=ON",
        f"busy_timeout={BUSY_TIMEOUT_MILLISECONDS}",
    ):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    """A writer takes the lock at once: two writers then wait for each other instead of failing half-way."""
    writes = connection.get_execution_options().get(_WRITES, False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


@event.listens_for(Session, "do_orm_execute")
def _apply_scope(state: ORMExecuteState) -> None:
    """Add the session's scope to every query on rows that have an owner: no handler can forget it."""
    from scheduler.store.tables import ClusterOwned, TenantOwned  # the tables import this module's types

    scope: Scope = state.session.info["scope"]
    if scope.tenant is not None:
        tenant = scope.tenant
        state.statement = state.statement.options(
            with_loader_criteria(TenantOwned, lambda table: table.tenant_id == tenant, include_aliases=True)
        )
    if scope.cluster is not None:
        cluster = scope.cluster
        state.statement = state.statement.options(
            with_loader_criteria(ClusterOwned, lambda table: table.cluster_id == cluster, include_aliases=True)
        )
