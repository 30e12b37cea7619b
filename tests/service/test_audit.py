"""Whatever is changed anywhere is found, and what was not changed is not accused."""

import json
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Table, select, text

from scheduler.billing.journal import Head
from scheduler.contract.cost import RecordKind
from scheduler.domain.states import AttemptState
from scheduler.service import audit as audit_module
from scheduler.service.audit import Audit, audit
from scheduler.service.settlements import settle
from scheduler.store.database import CITY, Database
from scheduler.store.tables import AttemptRow, Base, JournalHeadRow
from tests.builders import NOW, add_attempt, add_job, after
from tests.service.test_account import run_hours, save_at
from tests.service.test_meter import HOUR, again, end, post, records, running
from tests.service.test_settlements import settlement

A = AttemptState

WATCHED = {
    "cost_records": None,
    "cost_contexts": None,
    "job_costs": None,
    "contract_uses": None,
    "subsidy_uses": None,
    "journal_heads": None,
    "claim_uses": None,
    "settlement_uses": None,
    "settlements": ("id", "tenant_id", "record_sequence", "programme", "revision", "amount_micros"),
    "attempts": ("id", "job_id", "tenant_id", "cluster_id", "granted_at", "metered_until"),
}
"""Every column (None) or those of a table that say what was held."""


def check(database: Database) -> Audit:
    return audit(database, processes=1)


@pytest.fixture
def posted(city: Database) -> Database:
    """Records of every kind: charged, free for several reasons, taken back and charged again; of jobs with and without a contract,
    with cards and without."""
    lost = running(city)
    save_at(city, lost, after(minutes=90))
    run_hours(city, lost, 2)
    end(city, lost, after(hours=2, minutes=10), A.LOST)
    retried = again(city, lost, after(hours=3), started_at=after(hours=3, seconds=30))
    end(city, retried, after(hours=4))
    with city.write(CITY) as session:
        other = add_attempt(session, add_job(session, "uni", max_runtime="1h"), started_at=after(seconds=9))
        placement = {"node": "s1", "devices": [], "cpus": 16}
        no_cards: dict[str, Any] = {
            "cards": 0,
            "cores": 16,
            "model": None,
            "vendor": None,
            "hardware_class": None,
            "placements": [placement],
        }
        cores = add_attempt(session, add_job(session), **no_cards)
    end(city, other, after(hours=2))
    end(city, cores, after(minutes=20))
    running(city)
    while post(city, after(hours=5), timedelta(0)):
        pass
    charged = [record for record in records(city) if record.kind is RecordKind.USAGE and record.voucher_programme]
    for revision, record in enumerate((charged[0], charged[0], charged[-1]), start=1):  # the first was taken back
        with city.write(CITY) as session:
            settle(session, settlement(record.sequence, record=record.id, amount="0.01", revision=revision), after(hours=6))
    return city


def test_what_is_as_it_was_posted_holds(posted: Database) -> None:
    found = check(posted)
    assert found.breaks == dict.fromkeys(found.breaks)
    assert (found.head.sequence, found.first_break) == (12, None)
    with posted.read(CITY) as session:
        assert found.head == Head(*session.execute(select(JournalHeadRow.sequence, JournalHeadRow.hash)).one())


def test_an_empty_city_holds(city: Database) -> None:
    assert all(check(city).identities().values())


@pytest.mark.parametrize("table", WATCHED)
def test_a_character_changed_in_any_column_of_any_row_is_found(posted: Database, table: str) -> None:
    """With every trigger and key out of the way, as whoever owns the database could."""
    rows = Base.metadata.tables[table]
    columns = WATCHED[table] or tuple(column.name for column in rows.columns)
    key = [column.name for column in rows.primary_key]
    with posted.read(CITY) as session:
        stored = [dict(row) for row in session.execute(text(f"SELECT * FROM {table}")).mappings()]
    stored = [row for row in stored if row.get("metered_until", NOW)]  # of who has no record yet nothing is said
    assert stored
    for number, row in enumerate(stored):
        for column in columns:
            changed = changed_value(row[column], 7 * number)
            with changed_to(posted, rows, {name: row[name] for name in key}, column, row[column], changed):
                found = check(posted).first_break
            assert found is not None, f"{table}.{column}: {row[column]!r} became {changed!r}, unseen"
            if table == "cost_records" and column != "sequence":
                assert found.sequence == row["sequence"]
            if table == "cost_records" and column not in ("sequence", "payload"):
                assert found.id == json.loads(row["payload"])["id"]
            assert found.id or found.sequence
    assert all(check(posted).identities().values()), "put back as it was"


def test_a_card_fewer_in_what_an_attempt_held_is_found(posted: Database) -> None:
    with posted.write(CITY) as session:
        attempt = session.scalars(select(AttemptRow).where(AttemptRow.cards == 8).order_by(AttemptRow.id)).first()
        assert attempt is not None
        attempt.placements = [{**attempt.placements[0], "devices": attempt.placements[0]["devices"][1:]}]
        name = attempt.id
    found = check(posted).first_break
    assert found is not None
    assert found.id == name
    assert found.what.startswith(f"{7 * 7800} accelerator-seconds were held by this attempt, and accounted for are 43200 billed")


def changed_value(value: Any, at: int) -> Any:
    """A value with one character changed; a number with a digit, or its sign; something for nothing."""
    if value is None:
        return "x"
    if isinstance(value, int):
        return value + 10**9 if at % 2 else -value - 1
    at %= len(value)
    return value[:at] + ("x" if value[at] != "x" else "y") + value[at + 1 :]  # no digit: another row may have that name


@contextmanager
def changed_to(database: Database, table: Table, key: dict[str, Any], column: str, value: Any, changed: Any) -> Iterator[None]:
    """The row with one column changed, and put back afterwards."""
    now = {**key, column: changed} if column in key else key
    set_column(database, table, key, column, changed)
    try:
        yield
    finally:
        set_column(database, table, now, column, value)


def set_column(database: Database, table: Table, key: dict[str, Any], column: str, value: Any) -> None:
    where = " AND ".join(f"{name} = :key_{name}" for name in key)
    cast = f"CAST(:value AS {table.columns[column].type.compile()})" if database.engine.dialect.name != "sqlite" else ":value"
    with defenceless(database) as execute:
        keys = {f"key_{name}": each for name, each in key.items()}
        assert execute(f"UPDATE {table.name} SET {column} = {cast} WHERE {where}", value=value, **keys).rowcount == 1


@contextmanager
def defenceless(database: Database) -> Iterator[Callable[..., Any]]:
    """Statements of somebody who may do everything: no trigger fires and no key is checked."""
    if database.engine.dialect.name == "sqlite":
        connection = sqlite3.connect(str(database.engine.url.database))
        connection.execute("PRAGMA synchronous = OFF")
        triggers = connection.execute("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'").fetchall()
        for name, _ in triggers:
            connection.execute(f"DROP TRIGGER {name}")
        yield lambda statement, **values: connection.execute(statement, values)
        for _, made in triggers:
            connection.execute(made)
        connection.commit()
        connection.close()
    else:
        with database.engine.begin() as owner:
            owner.execute(text("SET LOCAL session_replication_role = replica"))
            yield lambda statement, **values: owner.execute(text(statement), values)


@pytest.mark.parametrize("cut", [1, 2, 11, 12])
def test_a_record_that_is_gone_is_missed(posted: Database, cut: int) -> None:
    with defenceless(posted) as execute:
        execute("DELETE FROM cost_records WHERE sequence = :cut", cut=cut)
    found = check(posted)
    assert found.first_break is not None
    assert found.first_break.sequence == cut + (cut < 12)
    assert not found.identities()["chain_unbroken"]


def test_a_head_that_was_put_back_shows_what_lies_beyond_it(posted: Database) -> None:
    with defenceless(posted) as execute:
        execute("UPDATE journal_heads SET sequence = 11, hash = (SELECT hash FROM cost_records WHERE sequence = 11)")
    found = check(posted)
    assert found.first_break is not None
    assert (found.first_break.sequence, found.identities()["chain_unbroken"]) == (12, False)


def test_an_attempt_nobody_accounted_for_is_named(posted: Database) -> None:
    with posted.write(CITY) as session:
        attempt = session.scalars(select(AttemptRow).where(AttemptRow.metered)).first()
        assert attempt is not None
        attempt.finished_at = attempt.metered_until = NOW + 9 * HOUR
        name = attempt.id
    found = check(posted)
    assert found.first_break is not None
    assert found.first_break.id == name
    broken = {identity for identity, held in found.identities().items() if not held}
    assert broken == {f"{of}_seconds_conserved" for of in ("attempt", "job", "tenant", "cluster")}


@pytest.mark.processes
def test_ranges_in_processes_find_the_same_as_one_walk(posted: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    alone = check(posted)
    monkeypatch.setattr(audit_module, "ALONE", 3)
    told: list[tuple[int, int]] = []
    shared = audit(posted, 2, lambda done, of: told.append((done, of)))
    assert (shared.breaks, shared.head, shared.sums) == (alone.breaks, alone.head, alone.sums)
    assert told == [(6, 12), (12, 12)]


@pytest.mark.parametrize("sequence", [5, 6, 7])
def test_a_break_at_the_seam_of_two_ranges_is_named(posted: Database, monkeypatch: pytest.MonkeyPatch, sequence: int) -> None:
    monkeypatch.setattr(audit_module, "ALONE", 3)
    monkeypatch.setattr(audit_module, "ProcessPoolExecutor", InThisProcess)
    with defenceless(posted) as execute:
        execute(
            "UPDATE cost_records SET hash = replace(hash, substr(hash, 1, 4), '0000') WHERE sequence = :sequence", sequence=sequence
        )
    found = audit(posted, 2)
    assert found.first_break is not None
    assert found.first_break.sequence == sequence


class InThisProcess:
    """Stands in for a pool where what is asked is how ranges are put together."""

    def __init__(self, *_: Any, **__: Any) -> None: ...

    def __enter__(self) -> "InThisProcess":
        return self

    def __exit__(self, *_: object) -> None: ...

    def map(self, *arguments: Any) -> Iterator[Any]:
        return map(*arguments)
