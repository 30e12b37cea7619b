"""A session sees and changes only what its scope allows, for every table that belongs to a tenant or a cluster."""

from typing import Any

import pytest
from sqlalchemy import delete, func, inspect, select, update
from sqlalchemy.orm import Session, aliased

from scheduler.store.agent_tables import LogPieceRow, LogRow
from scheduler.store.budget_tables import BudgetRow, CommitmentRow, ReservationRow
from scheduler.store.database import CITY, Database, Scope
from scheduler.store.tables import (
    Base,
    ClusterOwned,
    CostRecordRow,
    DeviceRow,
    ExpenseRow,
    JobCostRow,
    JobEventRow,
    JobRow,
    SettlementRow,
    SettlementUseRow,
    SubsidyUseRow,
    TaskRow,
    TenantOwned,
    WindowRow,
)
from tests.builders import NOW, add_attempt, add_city, add_job, contract, contract_row

ROWS: dict[str, type[Any]] = {mapper.class_.__name__: mapper.class_ for mapper in Base.registry.mappers}
TENANT_TABLES = sorted(name for name, row in ROWS.items() if issubclass(row, TenantOwned))
CLUSTER_TABLES = sorted(name for name, row in ROWS.items() if issubclass(row, ClusterOwned))
OWNERS = {"tenant_id": ("acme", "uni"), "cluster_id": ("sz", "hz")}
CASES = [(name, "tenant_id") for name in TENANT_TABLES] + [(name, "cluster_id") for name in CLUSTER_TABLES]
UNCHANGEABLE = ("JobEventRow", "CostRecordRow", "ExpenseRow", "SettlementRow", "BudgetRow")
CHANGEABLE = [(name, owner) for name, owner in CASES if name not in UNCHANGEABLE]


@pytest.fixture(autouse=True)
def _rows_of_two_owners(database: Database) -> None:
    with database.write(CITY) as session:
        add_city(session)
        session.add(contract_row(contract("C-2", tenant="uni")))
        for number, (tenant, cluster) in enumerate((("acme", "sz"), ("uni", "hz")), start=1):
            add_rows(session, number, tenant, cluster)


def add_rows(session: Session, number: int, tenant: str, cluster: str) -> None:
    job = add_job(session, tenant)
    attempt = add_attempt(session, job, cluster_id=cluster)
    session.add(WindowRow(id=f"win-{number}", cluster_id=cluster, starts_at=NOW, ends_at=NOW, body={}, created_at=NOW))
    session.add(DeviceRow(uuid=f"GPU-{number}", cluster_id=cluster, hostname="n1"))
    session.add(LogRow(attempt_id=attempt.id, tenant_id=tenant, rank=0, end_offset=1, complete=False))
    session.add(LogPieceRow(attempt_id=attempt.id, tenant_id=tenant, rank=0, start=0, size=1, text="x"))
    session.add(SubsidyUseRow(programme="shenzhen-training", year=2026, tenant_id=tenant, used_micros=1))
    session.add(CostRecordRow(sequence=number, tenant_id=tenant, job_id=job.id, payload="{}", hash="0"))
    session.flush()
    decided = {"programme": "shenzhen-training", "revision": 1, "amount_micros": 1, "use_change_micros": 0, "received_at": NOW}
    session.add(SettlementRow(sequence=number, id=f"s-{number}", tenant_id=tenant, record_sequence=number, body="{}", **decided))
    session.add(SettlementUseRow(programme="shenzhen-training", year=2026, tenant_id=tenant, change_micros=1))
    session.add(JobCostRow(job_id=job.id, tenant_id=tenant))
    amounts = {"contract": "", "day": "2026-03-02", "reserved_micros": 1, "posted_micros": 0}
    session.add(ReservationRow(attempt_id=attempt.id, tenant_id=tenant, **amounts))
    session.add(CommitmentRow(tenant_id=tenant, **amounts))
    session.add(BudgetRow(name=f"b-{number}", tenant_id=tenant, body={}, created_at=NOW))
    session.add(TaskRow(job_id=job.id, tenant_id=tenant, index=0, state="queued"))
    session.flush()
    contract_id, id_ = ("C-1", "exp-1") if tenant == "acme" else ("C-2", "exp-2")
    session.add(ExpenseRow(record_sequence=number, tenant_id=tenant, contract_id=contract_id, id=id_, body={}, created_at=NOW))


def scope_of(owner: str, whose: str) -> Scope:
    return Scope(tenant=whose) if owner == "tenant_id" else Scope(cluster=whose)


def owners_of(session: Session, row: type[Any], owner: str) -> set[str]:
    return set(session.scalars(select(getattr(row, owner))))


def test_every_owned_table_is_covered() -> None:
    assert len(TENANT_TABLES) >= 7
    assert CLUSTER_TABLES == ["AttemptRow", "DeviceRow", "NodeRow", "WindowRow"]


@pytest.mark.parametrize(("name", "owner"), CASES)
def test_two_owners_in_turn_see_only_their_own(database: Database, name: str, owner: str) -> None:
    row = ROWS[name]
    for whose in (*OWNERS[owner], *OWNERS[owner]):
        with database.read(scope_of(owner, whose)) as session:
            assert {getattr(each, owner) for each in session.scalars(select(row))} == {whose}
            assert owners_of(session, row, owner) == {whose}
            other = aliased(row)
            assert {getattr(each, owner) for each in session.scalars(select(other))} == {whose}
            assert session.scalar(select(func.count()).select_from(row)) == len(session.scalars(select(row)).all())
    with database.read(CITY) as session:
        assert owners_of(session, row, owner) == set(OWNERS[owner])


@pytest.mark.parametrize(("name", "owner"), CASES)
def test_a_row_of_another_cannot_be_had_by_its_key(database: Database, name: str, owner: str) -> None:
    row = ROWS[name]
    mine, theirs = OWNERS[owner]
    with database.read(CITY) as session:
        found = session.scalars(select(row).where(getattr(row, owner) == theirs)).first()
        key = inspect(found).identity
    for _ in range(2):
        with database.read(scope_of(owner, theirs)) as session:
            assert session.get(row, key) is not None
        with database.read(scope_of(owner, mine)) as session:
            assert session.get(row, key) is None


@pytest.mark.parametrize(("name", "owner"), CHANGEABLE)
def test_two_owners_in_turn_change_and_delete_only_their_own(database: Database, name: str, owner: str) -> None:
    row = ROWS[name]
    mine, theirs = OWNERS[owner]
    column = getattr(row, owner)
    for whose in (mine, theirs, mine):
        with database.write(scope_of(owner, whose)) as session:
            touched = session.execute(update(row).values({owner: column}).returning(column)).scalars().all()
            assert set(touched) == {whose}
    if name in ("LogRow", "LogPieceRow", "NodeRow", "SubsidyUseRow", "SettlementUseRow"):  # nothing refers to these
        with database.write(scope_of(owner, mine)) as session:
            session.execute(delete(row))
        with database.read(CITY) as session:
            assert owners_of(session, row, owner) == {theirs}


def test_a_join_is_scoped_on_both_sides(database: Database) -> None:
    with database.read(Scope(tenant="acme")) as session:
        rows = session.execute(select(JobRow, JobEventRow).join(JobEventRow, JobEventRow.job_id == JobRow.id)).all()
        assert {(job.tenant_id, event.tenant_id) for job, event in rows} == {("acme", "acme")}


def test_a_session_without_a_scope_cannot_ask() -> None:
    with Session() as session, pytest.raises(KeyError):
        session.execute(select(JobRow))
