"""Settlements: what the ledger decided takes the place of the estimate, in whatever order it all arrives."""

import json
from collections import Counter
from collections.abc import Iterable
from datetime import date
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Thread
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import func, select
from sqlalchemy.exc import IntegrityError

from scheduler.contract.cost import Tag
from scheduler.contract.settlement import Decision, Settlement
from scheduler.domain.money import format_cny, parse_cny
from scheduler.service.audit import audit
from scheduler.service.journal import Context, Journal, stored
from scheduler.service.settlements import SettlementError, settle, settled_micros
from scheduler.service.uses import load_claims, load_uses
from scheduler.store.database import CITY, Database
from scheduler.store.tables import CostRecordRow, SettlementRow, SettlementUseRow, SubsidyUseRow
from tests.builders import NOW, after, city_database
from tests.service.postings import body, post_records, tag
from tests.service.test_meter import capped, end, post, records, running
from tests.store.databases import fresh_database, in_a_hurry

TRAINING, OTHER = "shenzhen-training", "shanghai-compute"
CLAIM = (TRAINING, 2026)
_ids = count(1)


def record_id(sequence: int) -> str:
    return f"cost-{sequence:012d}-n"


def settlement(sequence: int = 1, amount: str = "5", revision: int = 1, **changes: Any) -> Settlement:
    values = {
        "id": f"s-{next(_ids)}",
        "record": record_id(sequence),
        "programme": TRAINING,
        "revision": revision,
        "decision": Decision.APPROVED,
        "amount": amount,
        "settled_on": date(2026, 4, 1),
        **changes,
    }
    return Settlement.model_validate(values)


def take(database: Database, *settlements: Settlement) -> list[SettlementRow]:
    with database.write(CITY) as session:
        return [settle(session, each, NOW) for each in settlements]


def uses(database: Database) -> dict[tuple[str, int], dict[str, int]]:
    with database.read(CITY) as session:
        return dict(load_uses(session))


def used(database: Database, programme: str = TRAINING) -> int:
    return uses(database).get((programme, 2026), {}).get("acme", 0)


def take_back(database: Database, sequence: int) -> None:
    """Post the reversal of a record, as the meter does: every number of it negated."""
    with database.write(CITY) as session:
        record = json.loads(session.get_one(CostRecordRow, sequence).payload)
        journal = Journal.locked(session, NOW, "n")
        tags = [Tag.model_validate(each) for each in record["eligibility"]]
        negated = [each.model_copy(update={"capped": format_cny(-parse_cny(each.capped))}) for each in tags]
        amounts = {name: -parse_cny(record[name]) for name in ("list_amount", "contracted_amount")}
        journal.post(body(**amounts, kind="reversal", reverses=record["id"]), negated, Context.of({"facts": {}}))
        journal.close()


@pytest.fixture
def posted(city: Database) -> Database:
    """Two records of 12.345678 CNY, each estimated at 6 CNY under one programme, and answered by another."""
    post_records(city, 2, tags=(tag(TRAINING, "6.000000"), tag(OTHER, "3.000000", selected=False)))
    return city


def test_what_was_decided_takes_the_place_of_the_estimate(posted: Database) -> None:
    assert used(posted) == 12_000_000
    (row,) = take(posted, settlement(amount="5.5"))
    assert (row.sequence, row.use_change_micros, row.received_at) == (1, -500_000, NOW)
    assert used(posted) == 11_500_000
    take(posted, settlement(2, "7.000001"))
    assert used(posted) == 12_500_001


def claimed(database: Database, programme: str = TRAINING) -> int:
    with database.read(CITY) as session:
        return load_claims(session)["C-1"].get(programme, 0)


def test_what_is_claimed_of_a_contract_follows_what_was_decided_and_holds_when_a_record_is_taken_back(posted: Database) -> None:
    assert claimed(posted) == 12_000_000
    take(posted, settlement(amount="5.5"))
    assert claimed(posted) == 11_500_000
    take_back(posted, 1)
    assert claimed(posted) == 11_500_000, "settled: what was paid is paid until the ledger has it back"
    take_back(posted, 2)
    assert claimed(posted) == 5_500_000, "estimated only: the estimate is given back"
    assert audit(posted, processes=1).breaks["contract_claims_equal_records"] is None


@pytest.mark.parametrize("decision", [Decision.REJECTED, Decision.REVERSED])
def test_what_is_not_paid_gives_the_cap_back(posted: Database, decision: Decision) -> None:
    take(posted, settlement(amount="0", decision=decision))
    assert used(posted) == 6_000_000


def test_a_programme_that_was_not_selected_may_be_what_pays(posted: Database) -> None:
    take(posted, settlement(amount="3", programme=OTHER), settlement(amount="0", decision=Decision.REJECTED))
    assert (used(posted, OTHER), used(posted)) == (3_000_000, 6_000_000)


def test_the_highest_revision_holds_and_a_late_one_changes_nothing(posted: Database) -> None:
    rows = take(posted, settlement(revision=2, amount="4"), settlement(revision=1, amount="9"), settlement(revision=7, amount="2"))
    assert [row.use_change_micros for row in rows] == [-2_000_000, 0, -2_000_000]
    assert used(posted) == 8_000_000
    with posted.read(CITY) as session:
        assert session.scalar(select(func.count()).select_from(SettlementRow)) == 3, "the late one is kept"


def test_the_same_settlement_again_is_the_same_and_another_under_its_id_is_refused(posted: Database) -> None:
    first = settlement(amount="5.5")
    (row,), (again,) = take(posted, first), take(posted, first.model_copy(update={"amount": "5.500000"}))
    assert again.sequence == row.sequence == 1
    for changes in ({"amount": "5.000000"}, {"record": record_id(2)}, {"revision": 2}, {"invoice": "F-1"}):
        refused(posted, "settlement_id_reused", "id", first.model_copy(update=changes))


def refused(database: Database, code: str, field: str, each: Settlement) -> SettlementError:
    before = uses(database)
    with pytest.raises(SettlementError) as caught:
        take(database, each)
    assert (caught.value.code, caught.value.field) == (code, field)
    assert uses(database) == before
    return caught.value


def test_what_a_record_cannot_bear_is_refused(posted: Database) -> None:
    take_back(posted, 1)
    refused(posted, "settlement_of_unknown_record", "record", settlement(99))
    refused(posted, "settlement_of_unknown_record", "record", settlement(record=record_id(2) + "x"))
    refused(posted, "settlement_of_reversal", "record", settlement(3, "0"))
    error = refused(posted, "settlement_without_answer", "programme", settlement(programme="hangzhou-compute"))
    assert error.numbers["answered"] == f"{TRAINING}, {OTHER}"
    refused(posted, "settlement_beyond_record", "amount", settlement(2, "12.345679"))
    refused(posted, "settlement_pays_nothing", "amount", settlement(2, "0.000001", decision=Decision.REJECTED))
    take(posted, settlement(2, "12.345678", revision=3))
    refused(posted, "settlement_revision_taken", "revision", settlement(2, "12.345678", revision=3))


@pytest.mark.parametrize("first", ["settled", "taken back"])
def test_what_was_paid_for_a_record_that_is_taken_back_is_used_until_the_ledger_has_it_back(posted: Database, first: str) -> None:
    if first == "settled":
        take(posted, settlement(amount="5"))
        take_back(posted, 1)
    else:
        take_back(posted, 1)
        assert used(posted) == 6_000_000
        take(posted, settlement(amount="5"))
    assert used(posted) == 6_000_000 + 5_000_000
    take(posted, settlement(amount="0", revision=2, decision=Decision.REVERSED))
    assert used(posted) == 6_000_000


def test_what_is_posted_in_the_same_step_sees_what_a_reversal_gives_back(posted: Database) -> None:
    take(posted, settlement(amount="5"))
    with posted.write(CITY) as session:
        journal = Journal.locked(session, NOW, "n")
        back = tag(TRAINING, "-6.000000")
        for sequence in (1, 2):
            journal.post(body(kind="reversal", reverses=record_id(sequence)), [back], Context.of({"facts": {}}))
        assert journal.registry.uses[CLAIM]["acme"] == 5_000_000
        journal.close()
    assert used(posted) == 5_000_000


def test_no_record_is_taken_back_twice(posted: Database) -> None:
    take_back(posted, 1)
    with pytest.raises(IntegrityError):
        take_back(posted, 1)
    assert used(posted) == 6_000_000


def test_what_was_decided_leaves_room_for_the_lines_after_it(database: Database) -> None:
    capped(database, "50")
    for hours in (1, 2):
        end(database, running(database, granted_at=after(hours=hours - 1)), after(hours=hours))
        post(database, after(hours=hours))
    lines = records(database)
    assert [line.voucher_estimate for line in lines] == ["40.000000", "10.000000"]
    take(database, settlement(record=lines[0].id, amount="25"))
    end(database, running(database, granted_at=after(hours=2)), after(hours=3))
    post(database, after(hours=3))
    assert records(database)[-1].voucher_estimate == "15.000000"
    with database.read(CITY) as session:
        assert settled_micros(session, lines[0].job or "") == 25_000_000
        assert settled_micros(session, lines[1].job or "") is None


def test_posting_and_settling_at_once_add_up(posted: Database) -> None:
    def posting() -> None:
        for number in range(6):
            post_records(posted, 1, f"t{number}", (tag(TRAINING, "6.000000"),))

    def settling(sequence: int) -> None:
        for revision in range(1, 7):
            take(posted, settlement(sequence, str(revision), revision, id=f"{sequence}-{revision}"))

    threads = [Thread(target=posting), *(Thread(target=settling, args=(sequence,)) for sequence in (1, 2, 1))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert used(posted) == 6 * 6_000_000 + 2 * 6_000_000
    with posted.read(CITY) as session:
        assert list(session.scalars(select(SettlementRow.sequence).order_by(SettlementRow.sequence))) == list(range(1, 13))


RECORDS = 3
EVENTS = st.lists(
    st.tuples(
        st.integers(1, RECORDS),
        st.sampled_from([TRAINING, OTHER]),
        st.integers(1, 4),
        st.integers(0, 12),
        st.sampled_from(Decision),
    ),
    max_size=10,
    unique_by=lambda event: event[:3],
)


def _settlement(event: tuple[int, str, int, int, Decision]) -> Settlement:
    sequence, programme, revision, amount, decision = event
    paid = str(amount) if decision is Decision.APPROVED else "0"
    return settlement(sequence, paid, revision, programme=programme, decision=decision, id=f"{sequence}-{programme}-{revision}")


def by_the_rules(rows: Iterable[CostRecordRow], settlements: Iterable[Settlement]) -> dict[str, int]:
    """The sum over records of what was settled for them, or else estimated, written down plainly."""
    records = {record["id"]: record for record in (json.loads(stored(row).served()) for row in rows)}
    taken_back = {record["reverses"] for record in records.values()}
    holding = {(each.record, each.programme): each for each in sorted(settlements, key=lambda each: each.revision)}
    total: Counter[str] = Counter()
    for id_, record in records.items():
        for each in record["eligibility"] if record["reverses"] is None else ():
            held = holding.get((id_, each["programme"]))
            estimate = each["capped"] if each["selected"] and id_ not in taken_back else "0"
            total[each["programme"]] += parse_cny(held.amount if held is not None else estimate)
    return {programme: micros for programme, micros in total.items() if micros}


@settings(max_examples=40)
@given(EVENTS, st.sets(st.integers(1, RECORDS)), st.data())
def test_any_order_of_arrival_gives_the_same_uses(
    events: list[tuple[int, str, int, int, Decision]], taken_back: set[int], data: st.DataObject
) -> None:
    """Settlements, some sent twice, and reversals of records, in two orders; lines are posted in between."""
    settlements = [_settlement(event) for event in events]
    steps: list[Settlement | int] = [*settlements, *settlements[:3], *taken_back]
    results = []
    for _ in range(2):
        with TemporaryDirectory() as folder, fresh_database("sqlite", Path(folder)) as database:
            city_database(in_a_hurry(database))
            answers = (tag(TRAINING, "6.000000"), tag(OTHER, "3.000000", selected=False))
            post_records(database, RECORDS, tags=answers)
            for step in data.draw(st.permutations(steps)):
                if isinstance(step, Settlement):
                    take(database, step)
                else:
                    take_back(database, step)
            post_records(database, 1, tags=answers)
            with database.read(CITY) as session:
                rows = session.scalars(select(CostRecordRow)).all()
                estimates = sum(session.scalars(select(SubsidyUseRow.used_micros)))
                changes = sum(session.scalars(select(SettlementUseRow.change_micros)))
            found = {programme: of_year["acme"] for (programme, _), of_year in uses(database).items() if of_year["acme"]}
            assert found == by_the_rules(rows, settlements)
            assert estimates == sum(parse_cny(json.loads(row.payload)["voucher_estimate"]) for row in rows)
            assert estimates + changes == sum(found.values())
            results.append(found)
    assert results[0] == results[1]
