"""The registry: one picture of who takes part, and which contract a cost falls under."""

from datetime import date

import pytest
from sqlalchemy import select

from scheduler.service.registry import load_registry
from scheduler.store.database import CITY, Database
from scheduler.store.tables import ProgrammeRow
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
