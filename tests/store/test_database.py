"""Sessions: one transaction each, a read is one consistent view, and what is raised leaves nothing behind."""

from datetime import UTC, datetime
from threading import Thread

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import func, select
from sqlalchemy.dialects import sqlite
from sqlalchemy.orm import Session

from scheduler.domain.clock import CHINA
from scheduler.store.database import CITY, Database, UtcMicros
from scheduler.store.tables import CounterRow, TenantRow
from tests.builders import NOW, tenant, tenant_row


def count(session: Session) -> int:
    return session.scalar(select(func.count()).select_from(TenantRow)) or 0


def test_a_block_that_raises_leaves_nothing(database: Database) -> None:
    with pytest.raises(RuntimeError), database.write(CITY) as session:
        session.add(tenant_row(tenant()))
        session.flush()
        raise RuntimeError
    with database.read(CITY) as session:
        assert count(session) == 0


def test_a_read_is_one_view_whatever_others_commit_meanwhile(database: Database) -> None:
    with database.read(CITY) as reading:
        assert count(reading) == 0
        with database.write(CITY) as session:
            session.add(tenant_row(tenant()))
        assert count(reading) == 0
    with database.read(CITY) as session:
        assert count(session) == 1


def test_a_read_leaves_nothing_behind(database: Database) -> None:
    with database.read(CITY) as session:
        session.add(tenant_row(tenant()))
        session.flush()
    with database.read(CITY) as session:
        assert count(session) == 0


def test_writers_wait_for_each_other(database: Database) -> None:
    with database.write(CITY) as session:
        session.add(CounterRow(name="n", value=0))

    def add_ten() -> None:
        for _ in range(10):
            with database.write(CITY) as session:
                session.get_one(CounterRow, "n", with_for_update=True).value += 1

    threads = [Thread(target=add_ten) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with database.read(CITY) as session:
        assert session.get_one(CounterRow, "n").value == 30


def test_a_time_comes_back_in_utc_to_the_microsecond(database: Database) -> None:
    moment = datetime(2026, 1, 1, 0, 0, 0, 1, tzinfo=CHINA)
    with database.write(CITY) as session:
        row = tenant_row(tenant())
        row.created_at = moment
        session.add(row)
    with database.read(CITY) as session:
        found = session.get_one(TenantRow, "acme").created_at
    assert found == moment
    assert found.tzinfo is UTC


@given(st.datetimes(datetime(2000, 1, 1), datetime(9998, 1, 1), timezones=st.just(CHINA)))  # noqa: DTZ001
def test_every_moment_is_kept_exactly(moment: datetime) -> None:
    kind, dialect = UtcMicros(), sqlite.dialect()
    assert kind.process_result_value(kind.process_bind_param(moment, dialect), dialect) == moment


def test_a_naive_time_is_not_stored() -> None:
    with pytest.raises(ValueError, match="without a zone"):
        UtcMicros().process_bind_param(NOW.replace(tzinfo=None), sqlite.dialect())


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+psycopg"])
def test_postgresql_is_spoken_to_by_the_one_driver_however_it_is_called(scheme: str) -> None:
    database = Database(f"{scheme}://city:p%40ss@db.example:5432/city?sslmode=verify-full")
    assert database.url == "postgresql+psycopg://city:p%40ss@db.example:5432/city?sslmode=verify-full"
    assert database.engine.driver == "psycopg"
