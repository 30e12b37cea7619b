"""An expense is posted as every record is: counted once everywhere, and its tags come out the same from what is stored."""

from datetime import date
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from scheduler.contract.cost import CostRecord
from scheduler.contract.expense import Expense
from scheduler.service.expenses import left_of, post_expense
from scheduler.service.journal import Journal
from scheduler.service.registry import load_registry
from scheduler.store.database import CITY, Database
from scheduler.store.tables import SubsidyUseRow
from scheduler.subsidy.replay import tags_again
from tests.builders import NOW, add_attempt, add_city, add_job, after, programme_document, programme_row
from tests.service.test_meter import end, post, records
from tests.service.test_retag import contexts, policies
from tests.service.town import books

EXPENSE = {"contract": "C-1", "item": "corpus", "amount": "1000", "incurred_on": "2026-03-01", "description": "corpus"}


def corpus_city(database: Database, cap: str = "700.000001") -> None:
    """The city with a voucher for corpora beside the training voucher."""
    document = programme_document("shenzhen-corpus")
    document["cap"]["amount"] = cap
    with database.write(CITY) as session:
        add_city(session)
        session.add(programme_row(document))


def spend(database: Database, **changes: Any) -> CostRecord:
    expense = Expense.model_validate({**EXPENSE, **changes})
    with database.write(CITY) as session:
        journal = Journal.locked(session, NOW, "test")
        post_expense(journal, expense, journal.registry.contracts["C-1"], None)
        journal.close()
    return records(database)[-1]


def test_an_expense_draws_on_its_own_voucher_up_to_its_cap(database: Database) -> None:
    corpus_city(database)
    paid = [spend(database, amount="1000").voucher_estimate for _ in range(3)]
    assert paid == ["300.000000", "300.000000", "100.000001"]
    record = records(database)[0]
    assert (record.voucher_programme, record.period_start.astimezone().date() <= date(2026, 3, 1)) == ("shenzhen-corpus", True)
    with database.read(CITY) as session:
        assert session.get_one(SubsidyUseRow, ("shenzhen-corpus", 2026, "acme")).used_micros == 700_000_001
        registry = load_registry(session)
        assert left_of(registry, registry.contracts["C-1"]) == 10**13 - 3 * 10**9


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.sampled_from(["corpus", "model_service"]), st.integers(1, 10**9)), min_size=1, max_size=4))
def test_tags_of_expenses_come_out_the_same_and_everything_adds_up(database: Database, bought: list[tuple[str, int]]) -> None:
    with database.read(CITY) as session:
        empty = not load_registry(session).providers
    if empty:
        corpus_city(database)
    for item, micros in bought:
        spend(database, item=item, amount=f"{micros // 10**6}.{micros % 10**6:06d}")
    known, versions = contexts(database), policies(database)
    for record in records(database):
        assert tags_again(record, known[record.context], versions) == record.eligibility
    assert all(books(database).identities().values())


def test_a_job_s_lines_go_on_where_they_were_after_an_expense_of_it(city: Database) -> None:
    with city.write(CITY) as session:
        attempt = add_attempt(session, add_job(session))
    with city.write(CITY) as session:
        session.merge(attempt).observed_at = after(seconds=3_601)
    post(city, after(seconds=3_601))
    spend(city, job=attempt.job_id)
    end(city, attempt, after(seconds=7_205))
    post(city, after(hours=3))
    usage = [line for line in records(city) if line.kind == "usage"]
    assert len(usage) == 2
    total = sum(int(line.contracted_amount.replace(".", "")) for line in usage)
    assert total == 8 * 7_205 * 10_000_007 // 3600
    assert all(books(city).identities().values())
