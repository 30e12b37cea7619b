"""Posting: one line for everybody who posts, and sums that move with the records."""

import json
from datetime import timedelta
from threading import Thread

import pytest
from sqlalchemy import select

from scheduler.billing.journal import Head
from scheduler.domain.money import parse_cny
from scheduler.service import meter
from scheduler.service.journal import Journal
from scheduler.store.database import CITY, Database
from scheduler.store.tables import ContractUseRow, CostContextRow, CostRecordRow, SubsidyUseRow
from tests.builders import NOW, after
from tests.service.test_meter import capped, end, post, records, running
from tests.service.town import books


def test_two_that_post_at_once_neither_overdraw_a_cap_nor_post_twice(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(meter, "BATCH", 1)
    capped(database, "100.000001")
    for _ in range(8):
        end(database, running(database), after(hours=1))  # 80 CNY each, of which 40 could be paid

    def posting(nonce: str) -> None:
        while True:
            with database.write(CITY) as session:
                if not meter.post_due(session, timedelta(hours=1), after(hours=1), nonce):
                    return

    threads = [Thread(target=posting, args=(nonce,)) for nonce in ("one", "two", "three")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    lines = records(database)
    assert len({line.attempt for line in lines}) == len(lines) == 8
    assert sorted(line.eligibility[0].capped for line in lines) == [*["0.000000"] * 5, "20.000001", "40.000000", "40.000000"]
    with database.read(CITY) as session:
        assert session.scalars(select(SubsidyUseRow.used_micros)).one() == 100_000_001
        assert session.scalars(select(ContractUseRow.used_micros)).one() == sum(parse_cny(line.contracted_amount) for line in lines)
    assert all(books(database).identities().values())


def test_what_is_posted_in_a_transaction_that_fails_is_as_if_it_never_was(city: Database) -> None:
    end(city, running(city), after(hours=1))
    with pytest.raises(ZeroDivisionError), city.write(CITY) as session:
        meter.post_due(session, timedelta(hours=1), after(hours=1), "first")
        raise ZeroDivisionError
    assert records(city) == []
    assert post(city, after(hours=1)) == 1
    assert [line.sequence for line in records(city)] == [1]


def test_the_facts_behind_many_records_are_kept_once(city: Database) -> None:
    for hours in (1, 2, 3):
        end(city, running(city, granted_at=after(hours=hours - 1)), after(hours=hours))
        post(city, after(hours=hours))
    with city.read(CITY) as session:
        known = set(session.scalars(select(CostContextRow.sha256)))
    assert len(known) == 1
    assert {line.context for line in records(city)} == known


def test_ids_say_the_place_and_differ_where_a_place_is_given_anew(city: Database) -> None:
    ids = []
    end(city, running(city), after(hours=1))
    for nonce in ("before", "after"):
        with pytest.raises(ZeroDivisionError), city.write(CITY) as session:
            meter.post_due(session, timedelta(hours=1), after(hours=1), nonce)
            record = json.loads(session.scalars(select(CostRecordRow.payload)).one())
            ids.append(record["id"])
            raise ZeroDivisionError  # as if the database had been put back
    assert ids == ["cost-000000000001-before", "cost-000000000001-after"]


def test_nothing_posted_leaves_the_head_where_it_was(city: Database) -> None:
    with city.write(CITY) as session:
        journal = Journal.locked(session, NOW, "n")
        assert journal.close() == 0
    assert books(city).head == Head()
