"""Migrations bring an empty database to exactly the declared schema, and the database refuses to change what is append-only."""

from collections.abc import Iterator
from pathlib import Path
from threading import Thread

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import delete, text, update
from sqlalchemy.exc import DBAPIError

from scheduler.domain.reasons import Reason
from scheduler.service.lifecycle import record
from scheduler.store.database import CITY, Database
from scheduler.store.migrate import migrate
from scheduler.store.tables import APPEND_ONLY, Base, CostRecordRow
from tests.builders import NOW, add_city, add_job
from tests.store.databases import BOTH, empty_database


@pytest.fixture(params=BOTH)
def empty(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    with empty_database(request.param, tmp_path) as database:
        yield database


def differences(database: Database) -> list[object]:
    with database.engine.connect() as connection:
        return list(compare_metadata(MigrationContext.configure(connection), Base.metadata))


def test_an_empty_database_becomes_exactly_the_schema_and_twice_is_harmless(empty: Database) -> None:
    assert differences(empty)
    migrate(empty)
    assert differences(empty) == []
    with empty.write(CITY) as session:
        add_city(session)
    migrate(empty)
    assert differences(empty) == []


def test_several_processes_may_migrate_at_once(empty: Database) -> None:
    failures: list[Exception] = []

    def start() -> None:
        try:
            migrate(empty)
        except Exception as error:
            failures.append(error)

    starts = [Thread(target=start) for _ in range(3)]
    for each in starts:
        each.start()
    for each in starts:
        each.join()
    assert failures == []
    assert differences(empty) == []


@pytest.mark.parametrize("table", APPEND_ONLY)
@pytest.mark.parametrize("statement", ["UPDATE {table} SET {column} = {column}", "DELETE FROM {table}"])
def test_what_is_append_only_can_be_neither_changed_nor_deleted(database: Database, table: str, statement: str) -> None:
    with database.write(CITY) as session:
        add_city(session)
        job = add_job(session)
        record(session, job, Reason("succeeded"), NOW)
        session.add(cost_record(job.id))
    column = Base.metadata.tables[table].columns.keys()[-1]
    with pytest.raises(DBAPIError, match=f"{table} is append-only"), database.write(CITY) as session:
        session.execute(text(statement.format(table=table, column=column)))


def test_the_refusal_holds_for_statements_of_the_orm_too(database: Database) -> None:
    with database.write(CITY) as session:
        add_city(session)
        session.add(cost_record(add_job(session).id))
    for statement in (update(CostRecordRow).values(list_micros=0), delete(CostRecordRow)):
        with pytest.raises(DBAPIError, match="cost_records is append-only"), database.write(CITY) as session:
            session.execute(statement)
    with database.read(CITY) as session:
        assert session.get_one(CostRecordRow, 1).list_micros == 1


def cost_record(job_id: str) -> CostRecordRow:
    amounts = dict.fromkeys(
        ("list_price_micros", "contracted_price_micros", "list_micros", "contracted_micros", "voucher_micros"), 1
    )
    return CostRecordRow(
        sequence=1, id="cost-1", tenant_id="acme", job_id=job_id, unit_seconds=1, card_seconds=1, payload="{}", hash="0", **amounts
    )
