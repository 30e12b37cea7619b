"""One leader: a lease on one row, an epoch that only grows, and a deposed leader that changes nothing."""

from datetime import datetime
from threading import Thread

import pytest

from scheduler.service.leadership import LEASE_SECONDS, DeposedError, Lease, acquire, confirm, resign
from scheduler.store.database import CITY, Database
from scheduler.store.tables import CounterRow, LeadershipRow
from tests.builders import NOW, after


def ask(database: Database, holder: str, now: datetime) -> Lease | None:
    with database.write(CITY) as session:
        return acquire(session, holder, now)


def test_the_first_to_ask_leads_and_others_do_not(database: Database) -> None:
    lease = ask(database, "a", NOW)
    assert lease == Lease("a", 1, after(seconds=LEASE_SECONDS))
    assert ask(database, "b", after(seconds=LEASE_SECONDS - 1)) is None


def test_renewing_keeps_the_epoch(database: Database) -> None:
    ask(database, "a", NOW)
    assert ask(database, "a", after(seconds=9)) == Lease("a", 1, after(seconds=9 + LEASE_SECONDS))
    assert ask(database, "b", after(seconds=15)) is None


def test_taking_over_after_the_lease_ran_out_raises_the_epoch(database: Database) -> None:
    ask(database, "a", NOW)
    assert ask(database, "b", after(seconds=LEASE_SECONDS)) == Lease("b", 2, after(seconds=2 * LEASE_SECONDS))
    assert ask(database, "a", after(seconds=LEASE_SECONDS + 1)) is None


def test_a_deposed_leader_finds_out_and_its_transaction_changes_nothing(database: Database) -> None:
    old = ask(database, "a", NOW)
    new = ask(database, "b", after(minutes=1))
    assert old is not None
    assert new is not None
    with pytest.raises(DeposedError, match="epoch 1 is over"), database.write(CITY) as session:
        session.add(CounterRow(name="written", value=1))
        confirm(session, old)
    with database.write(CITY) as session:
        confirm(session, new)
        assert session.get(CounterRow, "written") is None


def test_resigning_lets_a_successor_in_at_once_and_only_the_leader_can(database: Database) -> None:
    old = ask(database, "a", NOW)
    assert old is not None
    with database.write(CITY) as session:
        resign(session, old, after(seconds=1))
    new = ask(database, "b", after(seconds=1))
    assert new is not None
    with database.write(CITY) as session:
        resign(session, old, after(seconds=2))
    assert ask(database, "c", after(seconds=2)) is None


def test_who_leads_is_decided_once_when_several_start_together(database: Database) -> None:
    leases: list[Lease | None] = []
    failures: list[Exception] = []

    def start(holder: str) -> None:
        try:
            leases.append(ask(database, holder, NOW))
        except Exception as error:
            failures.append(error)

    with database.write(CITY) as session:  # the first has asked, and has not committed yet
        first = acquire(session, "a", NOW)
        session.flush()
        others = [Thread(target=start, args=(holder,)) for holder in ("b", "c")]
        for other in others:
            other.start()
        for other in others:
            other.join(timeout=0.2)
    for other in others:
        other.join()
    assert first is not None
    assert (leases, failures) == ([None, None], [])
    with database.read(CITY) as session:
        assert session.get_one(LeadershipRow, 1).holder == "a"
