"""The registry: one picture of who takes part, and which contract a cost falls under."""

from datetime import date

import pytest
from sqlalchemy import select

from scheduler.contract.registry import QueueSpec
from scheduler.contract.scheduling import SchedulingPolicy
from scheduler.service.registry import load_registry
from scheduler.store.database import CITY, Database
from scheduler.store.tables import ProgrammeRow, QueueRow, SchedulingPolicyRow
from tests.builders import NOW, contract, contract_row


@pytest.mark.parametrize(
    ("tenant", "provider", "named", "day", "found"),
    [
        ("acme", "p-sz", None, date(2026, 5, 1), "C-early"),
        ("acme", "p-sz", None, date(2026, 7, 1), "C-1"),
        ("acme", "p-sz", None, date(2026, 12, 31), "C-1"),
        ("acme", "p-sz", None, date(2027, 1, 1), None),
        ("acme", "p-sz", "C-1", date(2026, 5, 1), "C-1"),
        ("acme", "p-hz", "C-1", date(2026, 5, 1), None),
        ("acme", "p-hz", None, date(2026, 5, 1), None),
        ("uni", "p-sz", None, date(2026, 5, 1), None),
        ("acme", "p-sz", "C-none", date(2026, 5, 1), None),
    ],
)
def test_which_contract_a_cost_falls_under(
    city: Database, tenant: str, provider: str, named: str | None, day: date, found: str | None
) -> None:
    with city.write(CITY) as session:
        session.add(contract_row(contract("C-early", end=date(2026, 6, 30))))
    with city.read(CITY) as session:
        chosen = load_registry(session).contract_for(tenant, provider, named, day)
    assert (chosen.id if chosen else None) == found


def test_a_stored_programme_reads_back_as_the_policy_it_was(city: Database) -> None:
    with city.read(CITY) as session:
        [policy] = load_registry(session).policies
        row = session.scalars(select(ProgrammeRow)).one()
    assert (policy.programme, policy.version) == (row.programme, row.version)
    assert policy.cap is not None
    assert policy.cap.amount == 10_000_000 * 10**6


def test_everything_registered_is_in_the_picture(city: Database) -> None:
    with city.read(CITY) as session:
        registry = load_registry(session)
    assert set(registry.clusters) == {"sz", "hz"}
    assert registry.heard_at == {"sz": NOW, "hz": NOW}
    assert set(registry.tenants) == {"acme", "uni"}
    assert (registry.uses, registry.contract_spent) == ({}, {})


@pytest.mark.parametrize(
    ("city_wide", "above", "own", "seconds"),
    [("0s", None, None, 0), ("5m", None, None, 300), ("5m", "10m", None, 600), ("5m", "10m", "1m", 60), ("5m", "10m", "0s", 0)],
)
def test_the_minimum_run_time_nearest_to_a_queue_holds(
    city: Database, city_wide: str, above: str | None, own: str | None, seconds: int
) -> None:
    with city.write(CITY) as session:
        body = SchedulingPolicy(min_runtime=city_wide).model_dump(mode="json")
        session.add(SchedulingPolicyRow(body=body, created_at=NOW))
        for queue in (QueueSpec(name="firms", min_runtime=above), QueueSpec(name="acme", parent="firms", min_runtime=own)):
            session.add(QueueRow(name=queue.name, body=queue.model_dump(mode="json"), created_at=NOW))
        session.flush()
        registry = load_registry(session)
    assert registry.min_runtime_seconds("acme") == seconds
    assert registry.min_runtime_seconds("uni") == (300 if city_wide == "5m" else 0), "it has no queue"
