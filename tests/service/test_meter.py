"""Running time into cost records: exact per job, chained, never twice, never past the last observation, never over a cap."""

from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from scheduler.contract.cost import CostRecord
from scheduler.domain.clock import CHINA
from scheduler.domain.money import SECONDS_PER_HOUR, format_cny, parse_cny
from scheduler.domain.reasons import Reason
from scheduler.domain.states import AttemptState
from scheduler.service.journal import stored
from scheduler.service.lifecycle import end_attempt, lock_job
from scheduler.service.meter import BATCH, post_due
from scheduler.store.database import CITY, Database
from scheduler.store.tables import AttemptRow, CostRecordRow, JobRow, PriceRow, SilenceRow, SubsidyUseRow, TenantRow
from tests.builders import (
    NOW,
    add_attempt,
    add_job,
    add_participants,
    after,
    contract,
    contract_row,
    price_row,
    programme_document,
    programme_row,
    tenant,
)
from tests.service.town import books

A = AttemptState
HOUR = timedelta(hours=1)
DONE = Reason("succeeded")
_numbers = count(1)


def post(database: Database, now: datetime, every: timedelta = HOUR) -> int:
    with database.write(CITY) as session:
        return post_due(session, every, now, f"n{next(_numbers)}")


def records(database: Database) -> list[CostRecord]:
    with database.read(CITY) as session:
        rows = session.scalars(select(CostRecordRow).order_by(CostRecordRow.sequence)).all()
    return [CostRecord.model_validate_json(stored(row).served()) for row in rows]


def running(database: Database, **changes: object) -> AttemptRow:
    """A running attempt of a new job, on eight cards of sz."""
    with database.write(CITY) as session:
        return add_attempt(session, add_job(session), **changes)  # type: ignore[arg-type]


def observe_at(database: Database, attempt: AttemptRow, moment: datetime) -> None:
    with database.write(CITY) as session:
        session.get_one(AttemptRow, attempt.id).observed_at = moment


def end(database: Database, attempt: AttemptRow, moment: datetime, how: AttemptState = A.SUCCEEDED) -> None:
    with database.write(CITY) as session:
        job = lock_job(session, attempt.job_id)
        end_attempt(session, job, session.get_one(AttemptRow, attempt.id), how, DONE, moment, moment)


def again(database: Database, attempt: AttemptRow, start: datetime, **changes: object) -> AttemptRow:
    with database.write(CITY) as session:
        job = session.get_one(JobRow, attempt.job_id)
        return add_attempt(session, job, granted_at=start, **changes)  # type: ignore[arg-type]


def test_an_ended_attempt_is_charged_once_and_exactly(city: Database) -> None:
    attempt = running(city)
    end(city, attempt, after(seconds=3601, microseconds=5))
    assert post(city, after(hours=2)) == 1
    assert post(city, after(hours=3)) == 0
    [line] = records(city)
    assert (line.unit_seconds, line.card_seconds) == (8 * 3601, 8 * 3601)
    assert line.contracted_amount == format_cny(8 * 3601 * 10_000_007 // 3600)
    assert (line.period_start, line.period_end) == (NOW, after(seconds=3601, microseconds=5))
    assert (line.tenant, line.provider, line.contract, line.cluster, line.recorded) == ("acme", "p-sz", "C-1", "sz", True)
    assert (line.nodes, len(line.devices), line.model, line.hardware_class) == (["s1"], 8, "910B3", "domestic")
    assert all(books(city).identities().values())


def test_a_running_attempt_is_charged_after_the_interval_up_to_its_last_observation(city: Database) -> None:
    attempt = running(city)
    observe_at(city, attempt, after(minutes=59))
    assert post(city, after(minutes=59)) == 0
    assert post(city, after(hours=1)) == 1
    assert records(city)[0].period_end == after(minutes=59)
    assert post(city, after(hours=1)) == 0
    observe_at(city, attempt, after(hours=3))
    assert post(city, after(hours=3)) == 1
    assert [line.period_start for line in records(city)] == [NOW, after(minutes=59)]


def test_nothing_is_accounted_for_after_the_last_observation_of_a_lost_attempt(city: Database) -> None:
    attempt = running(city)
    observe_at(city, attempt, after(hours=1))
    post(city, after(hours=1))
    observe_at(city, attempt, after(hours=1, seconds=30))
    end(city, attempt, after(hours=1, seconds=30), A.LOST)
    post(city, after(days=2))
    assert sum(line.card_seconds for line in records(city)) == 8 * 3630
    assert books(city).jobs[attempt.job_id].card_seconds == 0


def test_attempts_that_cannot_be_charged_now_do_not_keep_others_from_being(city: Database) -> None:
    with city.write(CITY) as session:
        job = add_job(session)
        for _ in range(BATCH):
            add_attempt(session, job, A.UNREACHABLE, started_at=NOW, metered_until=NOW, placements=[])
    attempt = running(city)
    observe_at(city, attempt, after(hours=1))
    assert post(city, after(hours=2)) == 1


def test_an_attempt_that_never_ran_is_never_charged(city: Database) -> None:
    attempt = running(city, state=A.STARTING)
    assert post(city, after(minutes=59), timedelta(0)) == 0
    end(city, attempt, after(hours=1), A.FAILED)
    assert post(city, after(days=1)) == 1
    [line] = records(city)
    assert (line.kind, line.reason, line.card_seconds, line.contracted_amount) == ("unbilled", "starting", 8 * 3600, "0.000000")
    assert (line.eligibility, line.voucher_programme, line.price_version) == ([], None, None)


def test_time_before_the_start_and_after_max_runtime_is_held_and_not_charged(city: Database) -> None:
    with city.write(CITY) as session:
        attempt = add_attempt(session, add_job(session, max_runtime="1h"), started_at=after(seconds=40))
    end(city, attempt, after(seconds=3660))
    assert post(city, after(hours=2)) == 3
    assert [(line.kind, line.reason, line.card_seconds) for line in records(city)] == [
        ("unbilled", "starting", 8 * 40),
        ("usage", None, 8 * 3600),
        ("unbilled", "overtime", 8 * 20),
    ]
    assert [line.period_start for line in records(city)] == [NOW, after(seconds=40), after(seconds=3640)]


def test_silences_are_counted_in_the_lines_they_fall_in_and_charged(city: Database) -> None:
    attempt = running(city)
    with city.write(CITY) as session:
        session.add(SilenceRow(attempt_id=attempt.id, since=after(minutes=50), until=after(minutes=70)))
        session.add(SilenceRow(attempt_id=attempt.id, since=after(minutes=80), until=after(minutes=95)))
    observe_at(city, attempt, after(hours=1))
    post(city, after(hours=1))
    end(city, attempt, after(minutes=90))
    post(city, after(hours=2))
    assert [(line.gap_seconds, line.card_seconds) for line in records(city)] == [(600, 8 * 3600), (600 + 600, 8 * 1800)]


def test_a_stretch_without_a_price_is_free_and_done_with(database: Database) -> None:
    with database.write(CITY) as session:
        add_participants(session)
        session.add(contract_row(contract()))
        session.add(price_row("sz", "910B3", "10", after(hours=1)))
    attempt = running(database)
    end(database, attempt, after(hours=2))
    assert post(database, after(hours=3)) == 2
    assert {(line.period_start, line.reason, line.card_seconds, line.contracted_amount) for line in records(database)} == {
        (NOW, "no_price", 8 * 3600, "0.000000"),
        (after(hours=1), None, 8 * 3600, "80.000000"),
    }


def test_a_job_without_cards_is_charged_by_the_core(city: Database) -> None:
    placement = {"node": "s1", "devices": [], "cpus": 16}
    attempt = running(city, cards=0, cores=16, model=None, vendor=None, hardware_class=None, placements=[placement])
    end(city, attempt, after(hours=1))
    post(city, after(hours=1))
    [line] = records(city)
    assert (line.item, line.unit_seconds, line.card_seconds) == ("cpu", 16 * 3600, 0)
    assert line.contracted_amount == format_cny(16 * 100_001)


@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.lists(st.tuples(st.integers(0, 20_000), st.booleans()), min_size=1, max_size=5))
def test_lines_of_a_job_sum_exactly_over_attempts_postings_and_prices(city: Database, steps: list[tuple[int, bool]]) -> None:
    """Each step a while passes; then the attempt ends and another starts, or it goes on. Prices change in between."""
    with city.write(CITY) as session:
        session.add(price_row("sz", "910B3", "7.777777", after(seconds=1800)))
    attempt, now = running(city), NOW
    for seconds, ends in steps:
        now += timedelta(seconds=seconds, microseconds=333_333)
        observe_at(city, attempt, now)
        if ends:
            end(city, attempt, now, A.FAILED)
            attempt = again(city, attempt, now)
        post(city, now, timedelta(seconds=0))
    end(city, attempt, now + HOUR)
    post(city, now + HOUR)
    assert post(city, now + HOUR) == 0
    mine = [line for line in records(city) if line.job == attempt.job_id]
    product = sum(line.unit_seconds * parse_cny(line.contracted_price) for line in mine)
    assert sum(parse_cny(line.contracted_amount) for line in mine) == product // SECONDS_PER_HOUR
    assert sum(line.unit_seconds for line in mine) == 8 * int((now + HOUR).timestamp() - NOW.timestamp())
    assert all(books(city).identities().values())


def test_the_chain_goes_on_from_posting_to_posting(city: Database) -> None:
    for hours in (1, 2, 3):
        end(city, running(city), after(hours=hours))
        post(city, after(hours=hours))
    lines = records(city)
    assert [line.sequence for line in lines] == [1, 2, 3]
    assert [line.previous_hash for line in lines[1:]] == [line.hash for line in lines[:-1]]
    assert books(city).first_break is None


def test_what_was_preempted_and_what_was_retried_is_said(city: Database) -> None:
    first = running(city)
    end(city, first, after(seconds=100), A.PREEMPTED)
    second = again(city, first, after(seconds=200))
    end(city, second, after(seconds=250))
    post(city, after(hours=1))
    assert [(line.attempt_number, line.preempted_seconds, line.retried_seconds) for line in records(city)] == [
        (1, 100, 0),
        (2, 0, 50),
    ]


def capped(database: Database, cap: str, pool: str = "500000000.00") -> None:
    """The city, with a voucher whose cap or pool is soon used up."""
    document = programme_document()
    document["cap"]["amount"], document["pool"]["amount"] = cap, pool
    with database.write(CITY) as session:
        add_participants(session)
        session.add_all([price_row("sz", "910B3", "10"), contract_row(contract()), programme_row(document)])


@pytest.mark.parametrize(
    ("cap", "pool", "code"), [("100.000001", "500000000", "cap_reached"), ("500", "100.000001", "pool_reached")]
)
def test_a_limit_is_used_to_the_micro_and_never_overdrawn(database: Database, cap: str, pool: str, code: str) -> None:
    capped(database, cap, pool)
    for hours in (1, 2, 3, 4):
        for _ in range(2):
            end(database, running(database, granted_at=after(hours=hours - 1)), after(hours=hours))
        post(database, after(hours=hours))
    tags = [line.eligibility[0] for line in records(database)]
    assert [tag.capped for tag in tags] == ["40.000000", "40.000000", "20.000001", *["0.000000"] * 5]
    assert code in tags[2].reason_codes
    with database.read(CITY) as session:
        assert session.get_one(SubsidyUseRow, ("shenzhen-training", 2026, "acme")).used_micros == 100_000_001


def test_a_new_year_has_a_new_cap_and_a_line_of_its_own(database: Database) -> None:
    capped(database, "60")
    new_year = datetime(2026, 1, 1, tzinfo=CHINA)
    with database.write(CITY) as session:
        session.add(contract_row(contract("C-0", start=datetime(2025, 1, 1, tzinfo=CHINA).date())))
    attempt = running(database, granted_at=new_year - 2 * HOUR, contract_id="C-0")
    end(database, attempt, new_year + 2 * HOUR)
    post(database, new_year + 3 * HOUR)
    lines = records(database)
    assert [line.period_end for line in lines] == [new_year.astimezone(UTC), (new_year + 2 * HOUR).astimezone(UTC)]
    assert [line.eligibility[0].capped for line in lines] == ["60.000000", "60.000000"]
    with database.read(CITY) as session:
        assert {row.year: row.used_micros for row in session.scalars(select(SubsidyUseRow))} == {2025: 60_000_000, 2026: 60_000_000}


def test_a_contract_is_not_subsidised_beyond_its_amount(database: Database) -> None:
    capped(database, "1000000")
    with database.write(CITY) as session:
        session.add(contract_row(contract("C-small", amount="100")))
    for hours in (1, 2):
        end(database, running(database, granted_at=after(hours=hours - 1), contract_id="C-small"), after(hours=hours))
        post(database, after(hours=hours))
    assert [line.eligibility[0].base for line in records(database)] == ["80.000000", "20.000000"]


def test_no_line_crosses_the_day_a_policy_ends(city: Database) -> None:
    last = datetime(2026, 12, 18, tzinfo=CHINA)
    attempt = running(city, granted_at=last - HOUR)
    end(city, attempt, last + HOUR)
    post(city, last + HOUR)
    lines = records(city)
    assert [line.eligibility[0].status for line in lines] == ["eligible", "ineligible"]
    assert lines[1].eligibility[0].reason_codes == ["policy_not_in_force"]


def test_instances_of_mig_are_charged_as_their_part_of_a_card(city: Database) -> None:
    """Posted in the middle of a card-second, and still the whole card-seconds of the whole attempt."""
    placement = {"node": "s1", "devices": ["MIG-0", "MIG-1"], "card_milli": 428, "mig": "3g.40gb"}
    attempt = running(city, placements=[placement], cards=2)
    observe_at(city, attempt, after(seconds=3_601))
    assert post(city, after(seconds=3_601)) == 1
    end(city, attempt, after(seconds=7_003))
    assert post(city, after(hours=3)) == 1
    first, second = records(city)
    assert first.card_seconds == first.unit_seconds == 3_601 * 856 // 1000
    assert first.card_seconds + second.card_seconds == 7_003 * 856 // 1000
    price, total = parse_cny(first.contracted_price), parse_cny(first.contracted_amount) + parse_cny(second.contracted_amount)
    assert total == 7_003 * 856 // 1000 * price // SECONDS_PER_HOUR
    books(city)


def priced(database: Database, *rows: PriceRow, **facts: Any) -> None:
    """The participants with some prices; `facts` are of acme, or of its contract."""
    of_contract = {name: facts.pop(name) for name in ("preferential_price",) if name in facts}
    with database.write(CITY) as session:
        add_participants(session)
        session.get_one(TenantRow, "acme").body = tenant(**facts).model_dump(mode="json")
        session.add_all([contract_row(contract(**of_contract)), *rows])


def test_a_price_change_affects_only_time_after_it(city: Database) -> None:
    attempt = running(city)
    observe_at(city, attempt, after(hours=1))
    post(city, after(hours=1))
    with city.write(CITY) as session:
        session.add(price_row("sz", "910B3", "1", after(hours=1, minutes=30)))
    end(city, attempt, after(hours=2))
    post(city, after(hours=2))
    assert [(line.period_end, line.contracted_price) for line in records(city)] == [
        (after(hours=1), "10.000007"),
        (after(hours=1, minutes=30), "10.000007"),
        (after(hours=2), "1.000000"),
    ]
    assert all(books(city).identities().values())


NIGHT = {"from": "22:00", "until": "08:00", "contracted_price": "5", "sme_price": "4"}


@pytest.mark.parametrize(
    ("facts", "prices"),
    [
        ({"sme": False}, ["10.000000", "5.000000", "10.000000"]),
        ({"sme": None}, ["10.000000", "5.000000", "10.000000"]),
        ({"sme": True}, ["9.000000", "4.000000", "9.000000"]),
        ({"sme": True, "preferential_price": True}, ["8.000000", "4.000000", "8.000000"]),
    ],
)
def test_a_run_over_a_night_is_charged_at_the_tier_that_is_established(
    database: Database, facts: dict[str, Any], prices: list[str]
) -> None:
    tiers: dict[str, Any] = {"preferential_price": "8", "sme_price": "9", "off_peak": [NIGHT]}
    priced(database, price_row("sz", "910B3", "10", list_price="12", **tiers), **facts)
    begin = datetime(2026, 3, 2, 21, 30, tzinfo=CHINA)
    end(database, running(database, granted_at=begin), begin + 11 * HOUR)
    post(database, begin + 11 * HOUR)
    lines = records(database)
    assert [line.contracted_price for line in lines] == prices
    assert {line.list_price for line in lines} == {"12.000000"}
    assert [line.unit_seconds for line in lines] == [8 * 1800, 8 * 36_000, 8 * 1800]
    assert all(books(database).identities().values())


def test_a_long_late_span_is_posted_a_day_at_a_time_and_comes_out_the_same(database: Database) -> None:
    priced(database, price_row("sz", "910B3", "10", off_peak=[{**NIGHT, "sme_price": "5"}]))
    with database.write(CITY) as session:
        attempt = add_attempt(session, add_job(session, max_runtime="31d"))
    last = NOW + timedelta(days=30, seconds=1)
    end(database, attempt, last)
    counts = []
    while posted := post(database, last):
        counts.append(posted)
    assert len(counts) == 31
    assert max(counts) <= 4, "by day, by night, by day again, and a month that begins"
    lines = records(database)
    assert sum(line.unit_seconds for line in lines) == 8 * (30 * 86_400 + 1)
    night = sum(line.unit_seconds for line in lines if line.contracted_price == "5.000000")
    assert night == 8 * 30 * 36_000
    total = sum(parse_cny(line.contracted_amount) for line in lines)
    assert total == (night * 5_000_000 + (8 * (30 * 86_400 + 1) - night) * 10_000_000) // SECONDS_PER_HOUR
    assert all(books(database).identities().values())


@pytest.mark.parametrize("beside", [False, True])
def test_cores_and_memory_beside_cards_are_charged_where_their_price_says_so(database: Database, beside: bool) -> None:
    memory = price_row("sz", None, "0.010001", item="memory", beside_cards=beside)
    priced(database, price_row("sz", "910B3", "10"), price_row("sz", None, "0.100001", beside_cards=beside), memory)
    placement = {"node": "s1", "devices": [f"s1/{slot}" for slot in range(8)], "cpus": 64, "host_memory_gib": 512}
    attempt = running(database, cores=64, placements=[placement])
    observe_at(database, attempt, after(seconds=3_607))
    post(database, after(seconds=3_607))
    end(database, attempt, after(seconds=7_211))
    post(database, after(hours=3))
    lines = records(database)
    sums = {item: sum(line.unit_seconds for line in lines if line.item == item) for item in {line.item for line in lines}}
    expected = {"accelerator": 8 * 7_211, "cpu": 64 * 7_211, "memory": 512 * 7_211}
    assert sums == (expected if beside else {"accelerator": 8 * 7_211})
    assert sum(line.card_seconds for line in lines) == 8 * 7_211
    assert all(books(database).identities().values())


def test_memory_of_a_job_without_cards_is_charged_where_it_has_a_price(database: Database) -> None:
    priced(database, price_row("sz", None, "0.1"), price_row("sz", None, "0.01", item="memory"))
    placement = {"node": "s1", "devices": [], "cpus": 16, "host_memory_gib": 32}
    attempt = running(database, cards=0, cores=16, model=None, vendor=None, hardware_class=None, placements=[placement])
    end(database, attempt, after(hours=1))
    post(database, after(hours=1))
    assert [(line.item, line.contracted_amount) for line in records(database)] == [("cpu", "1.600000"), ("memory", "0.320000")]
