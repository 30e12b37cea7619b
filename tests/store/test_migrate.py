"""Migrations bring an empty database to exactly the declared schema, and the database refuses to change what is append-only."""

import json
from collections.abc import Iterator
from pathlib import Path
from threading import Thread

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import delete, text, update
from sqlalchemy.exc import DBAPIError

from scheduler.billing.journal import GENESIS, Head, canonical, hash_of, verify_rows
from scheduler.billing.pricebook import Tariff
from scheduler.domain.reasons import Reason
from scheduler.service.journal import stored
from scheduler.service.lifecycle import record
from scheduler.service.prices import price_point
from scheduler.store.budget_tables import BudgetRow
from scheduler.store.database import CITY, Database
from scheduler.store.migrate import ForeignSchemaError, Schema, config, migrate, schema_of
from scheduler.store.tables import (
    APPEND_ONLY,
    Base,
    CostContextRow,
    CostRecordRow,
    ExpenseRow,
    JobCostRow,
    PriceRow,
    ReversalRow,
    SettlementRow,
    SilenceRow,
)
from tests.builders import NOW, add_attempt, add_city, add_job, add_participants, after, contract, contract_row
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


def test_how_a_schema_stands_is_told_without_touching_it(empty: Database) -> None:
    assert schema_of(empty) is Schema.BEHIND
    with empty.writer.begin() as connection:
        command.upgrade(config(connection), "0001")
    assert schema_of(empty) is Schema.BEHIND
    assert migrate(empty) is Schema.CURRENT
    assert schema_of(empty) is Schema.CURRENT


def test_a_later_release_s_schema_is_left_as_it_is_and_a_stranger_s_refused(empty: Database) -> None:
    migrate(empty)
    put_revision(empty, "9999")
    assert (schema_of(empty), migrate(empty)) == (Schema.LATER, Schema.LATER)
    put_revision(empty, "1a2b3c4d5e6f")
    with pytest.raises(ForeignSchemaError, match="1a2b3c4d5e6f"):
        migrate(empty)
    assert differences(empty) == []


def put_revision(database: Database, revision: str) -> None:
    with database.write(CITY) as session:
        session.execute(text("UPDATE alembic_version SET version_num = :revision"), {"revision": revision})


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
        silence = SilenceRow(attempt_id=add_attempt(session, job).id, since=NOW, until=after(minutes=1))
        budget = BudgetRow(name="b", tenant_id="acme", body={}, created_at=NOW)
        session.add_all([cost_record(job.id), CostContextRow(sha256="0", body="{}"), silence, budget])
        session.flush()
        session.add(ExpenseRow(record_sequence=1, tenant_id="acme", contract_id="C-1", id="exp-1", body={}, created_at=NOW))
        decided = {"programme": "p", "revision": 1, "amount_micros": 1, "use_change_micros": 0, "received_at": NOW, "body": "{}"}
        session.add(SettlementRow(sequence=1, id="s-1", tenant_id="acme", record_sequence=1, **decided))
        session.add(ReversalRow(sequence=1, by_sequence=2))
    column = Base.metadata.tables[table].columns.keys()[-1]
    with pytest.raises(DBAPIError, match=f"{table} is append-only"), database.write(CITY) as session:
        session.execute(text(statement.format(table=table, column=column)))


def test_the_refusal_holds_for_statements_of_the_orm_too(database: Database) -> None:
    with database.write(CITY) as session:
        add_city(session)
        session.add(cost_record(add_job(session).id))
    for statement in (update(CostRecordRow).values(payload="{}"), delete(CostRecordRow)):
        with pytest.raises(DBAPIError, match="cost_records is append-only"), database.write(CITY) as session:
            session.execute(statement)
    with database.read(CITY) as session:
        assert session.get_one(CostRecordRow, 1).payload == "{ }"


def test_records_posted_before_keep_their_hashes(empty: Database) -> None:
    """As version 0008 had them: the hash inside the text, the amounts beside it."""
    upgrade_to(empty, "0008")
    job = "job-old"
    with empty.write(CITY) as session:
        add_participants(session)  # and no price: that table has grown since
        session.add(contract_row(contract()))
    insert_job = (
        "INSERT INTO jobs (id, tenant_id, state, spec, submitted_at, attempts, failures, losses, cancel_requested, reasons) "
        "VALUES (:job, 'acme', 'succeeded', '{}', 0, 1, 0, 0, false, '[]')"
    )
    record = {"id": "cost-old", "sequence": 1, "previous_hash": GENESIS, "tenant": "acme", "job": job, "contract": "C-1"}
    record["hash"] = hash_of(record)
    values = {"job": job, "payload": canonical(record), "hash": record["hash"]}
    insert = (
        "INSERT INTO cost_records (sequence, id, tenant_id, job_id, contract_id, unit_seconds, card_seconds, list_price_micros, "
        "contracted_price_micros, list_micros, contracted_micros, voucher_micros, programme, payload, hash) "
        "VALUES (1, 'cost-old', 'acme', :job, 'C-1', 8, 8, 12000001, 10000001, 26666, 22222, 11111, 'p', :payload, :hash)"
    )
    with empty.writer.begin() as connection:
        connection.execute(text(insert_job), {"job": job})
        connection.execute(text(insert), values)
    migrate(empty)
    assert differences(empty) == []
    with empty.read(CITY) as session:
        row, sums = session.get_one(CostRecordRow, 1), session.get_one(JobCostRow, job)
        assert verify_rows(Head(), [stored(row)]) == (Head(1, str(record["hash"])), None)
        assert json.loads(stored(row).served()) == record
        assert (sums.contracted_micros, sums.contracted_carried) == (22222, 8 * 10_000_001 - 22222 * 3600)


def upgrade_to(database: Database, revision: str) -> None:
    with database.writer.begin() as connection:
        command.upgrade(config(connection), revision)


def cost_record(job_id: str) -> CostRecordRow:
    return CostRecordRow(sequence=1, tenant_id="acme", job_id=job_id, payload="{ }", hash="0")


def test_prices_published_before_stay_as_they_were(empty: Database) -> None:
    """As version 0009 had them: two prices, the same at any time of the day and for everybody."""
    upgrade_to(empty, "0009")
    with empty.write(CITY) as session:
        add_participants(session)
    insert = (
        "INSERT INTO prices (version, cluster_id, item, model, list_micros, contracted_micros, effective_from, created_at) "
        "VALUES ('price-old', 'sz', 'accelerator', '910B3', 12000000, 10000007, 1735660800000000, 0)"
    )
    with empty.writer.begin() as connection:
        connection.execute(text(insert))
    migrate(empty)
    with empty.read(CITY) as session:
        sku, point = price_point(session.get_one(PriceRow, "price-old"))
    assert sku == ("sz", "accelerator", "910B3")
    assert (point.ordinary, point.off_peak, point.beside_cards) == (Tariff(12_000_000, 10_000_007), (), False)
    with pytest.raises(DBAPIError, match="prices is append-only"), empty.write(CITY) as session:
        session.execute(text("UPDATE prices SET off_peak = off_peak"))
