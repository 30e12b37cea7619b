"""What was charged of time that turns out to be lost is taken back, and what stays due of it is charged anew."""

from datetime import datetime, timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from scheduler.contract.cost import CostRecord, RecordKind
from scheduler.domain.money import SECONDS_PER_HOUR, parse_cny
from scheduler.domain.states import AttemptState
from scheduler.store.database import CITY, Database
from scheduler.store.tables import AttemptRow, ContractUseRow, JobCostRow, SubsidyUseRow
from tests.builders import NOW, after
from tests.service.test_meter import HOUR, again, capped, end, observe_at, post, records, running
from tests.service.town import books

A = AttemptState


def save_at(database: Database, attempt: AttemptRow, moment: datetime) -> None:
    with database.write(CITY) as session:
        session.get_one(AttemptRow, attempt.id).checkpoint_at = moment


def run_hours(database: Database, attempt: AttemptRow, hours: int) -> None:
    for hour in range(1, hours + 1):
        observe_at(database, attempt, NOW + hour * HOUR)
        post(database, NOW + hour * HOUR)


def used(database: Database) -> tuple[int, int, int]:
    """Of the cap, of the contract, and what the job is charged, micro-CNY."""
    with database.read(CITY) as session:
        cap = sum(session.scalars(select(SubsidyUseRow.used_micros)))
        return (
            cap,
            sum(session.scalars(select(ContractUseRow.used_micros))),
            sum(session.scalars(select(JobCostRow.contracted_micros))),
        )


def test_time_lost_since_the_checkpoint_is_taken_back_and_the_rest_charged_again(city: Database) -> None:
    attempt = running(city)
    save_at(city, attempt, after(minutes=90))
    run_hours(city, attempt, 3)
    end(city, attempt, after(hours=3, minutes=20), A.LOST)
    post(city, after(hours=4))
    found = records(city)
    _, second, third = found[:3]
    assert [(line.kind, line.reason, line.card_seconds, line.reverses, line.replaces) for line in found[3:]] == [
        ("reversal", None, -8 * 3600, second.id, None),
        ("reversal", None, -8 * 3600, third.id, None),
        ("usage", None, 8 * 1800, None, second.id),
        ("unbilled", "node_lost", 8 * 1800, None, second.id),
        ("unbilled", "node_lost", 8 * 3600, None, third.id),
        ("unbilled", "node_lost", 8 * 1200, None, None),
    ]
    due = found[5]
    assert (due.period_start, due.period_end, due.price_version) == (after(hours=1), after(minutes=90), second.price_version)
    assert used(city)[2] == 8 * 5400 * 10_000_007 // 3600
    assert used(city)[1] == used(city)[2]
    assert all(books(city).identities().values())


def test_a_reversal_has_every_number_negated_and_is_decided_by_the_same_facts(city: Database) -> None:
    attempt = running(city)
    run_hours(city, attempt, 1)
    end(city, attempt, after(hours=1), A.LOST)
    post(city, after(hours=2))
    charged, taken_back, _ = records(city)
    same = {
        "tenant",
        "job",
        "attempt",
        "list_price",
        "contracted_price",
        "price_version",
        "context",
        "period_start",
        "period_end",
        "devices",
    }
    assert taken_back.model_dump(include=same) == charged.model_dump(include=same)
    for name in ("list_amount", "contracted_amount", "voucher_estimate"):
        assert parse_cny(getattr(taken_back, name)) == -parse_cny(getattr(charged, name)) != 0
    (tag,), (original,) = taken_back.eligibility, charged.eligibility
    assert tag == original.model_copy(update={key: "-" + getattr(original, key) for key in ("base", "uncapped", "capped")})
    assert used(city) == (0, 0, 0)


def test_a_cap_gets_back_what_was_taken_back_before_the_rest_draws_on_it(database: Database) -> None:
    capped(database, "100.000001")
    attempt = running(database)
    save_at(database, attempt, after(minutes=210))
    run_hours(database, attempt, 4)  # 40 CNY an hour could be paid: the third hour gets 20.000001, the fourth nothing
    assert used(database)[0] == 100_000_001
    end(database, attempt, after(hours=4), A.LOST)
    save_at(database, attempt, after(minutes=150))
    post(database, after(hours=5))
    assert used(database) == (100_000_000, 200_000_000, 200_000_000)
    again_due = [line for line in records(database) if line.replaces and line.kind is RecordKind.USAGE]
    assert [line.eligibility[0].capped for line in again_due] == ["20.000000"]


@pytest.mark.parametrize("how", [A.FAILED, A.CANCELLED, A.PREEMPTED, A.SUCCEEDED])
def test_nothing_is_taken_back_from_whoever_ends_otherwise(city: Database, how: AttemptState) -> None:
    attempt = running(city)
    run_hours(city, attempt, 2)
    end(city, attempt, after(hours=2, minutes=30), how)
    post(city, after(hours=3))
    assert {line.kind for line in records(city)} == {RecordKind.USAGE}
    assert used(city)[2] == 8 * 9000 * 10_000_007 // 3600


def test_a_long_attempt_that_is_lost_is_corrected_once(city: Database) -> None:
    """What is not posted yet is more than one posting takes: the correction comes with the first of them."""
    attempt = running(city)
    run_hours(city, attempt, 1)
    end(city, attempt, after(days=2), A.LOST)
    while post(city, after(days=3)):
        pass
    kinds = [line.kind for line in records(city)]
    assert kinds.count(RecordKind.REVERSAL) == 1
    assert sum(line.card_seconds for line in records(city)) == 8 * 2 * 86_400
    assert used(city) == (0, 0, 0)


def test_cores_of_a_job_without_cards_are_taken_back_too(city: Database) -> None:
    placement = {"node": "s1", "devices": [], "cpus": 16}
    attempt = running(city, cards=0, cores=16, model=None, vendor=None, hardware_class=None, placements=[placement])
    run_hours(city, attempt, 1)
    end(city, attempt, after(hours=1), A.LOST)
    post(city, after(hours=2))
    assert [(line.kind, line.item, line.unit_seconds, line.card_seconds) for line in records(city)] == [
        ("usage", "cpu", 16 * 3600, 0),
        ("reversal", "cpu", -16 * 3600, 0),
        ("unbilled", "cpu", 16 * 3600, 0),
    ]


what_happens = st.sampled_from(["goes on", "saves", "is lost", "fails", "is stopped"])
steps = st.lists(st.tuples(st.integers(1, 9_000), what_happens), min_size=1, max_size=7)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(steps=steps, ends=st.lists(st.booleans(), min_size=7, max_size=7))
def test_parts_sum_to_the_whole_under_any_interleaving(city: Database, steps: list[tuple[int, str]], ends: list[bool]) -> None:
    """Observations, checkpoints, losses and other ends in any order, posted at once or later: what is charged is what was not lost,
    caps and contracts have been drawn on by exactly that, and no second is missing."""
    before, attempt, now = used(city), running(city), NOW
    charged, since, saved = 0, NOW, NOW
    for (seconds, what), posts in zip(steps, ends, strict=False):
        now += timedelta(seconds=seconds, microseconds=250_000)
        observe_at(city, attempt, now)
        if what == "saves":
            save_at(city, attempt, now)
            saved = now
        elif what != "goes on":
            lost = what == "is lost"
            end(city, attempt, now, {"is lost": A.LOST, "fails": A.FAILED, "is stopped": A.PREEMPTED}[what])
            charged += seconds_of(since, saved if lost else now)
            if posts:
                post(city, now)
            attempt, since, saved = again(city, attempt, now), now, now
        if posts:
            post(city, now, timedelta(0))
    end(city, attempt, now + HOUR)
    charged += seconds_of(since, now + HOUR)
    while post(city, now + HOUR):
        pass
    mine = [line for line in records(city) if line.job == attempt.job_id]
    assert sum(line.unit_seconds for line in mine) == 8 * seconds_of(NOW, now + HOUR)
    assert books(city).jobs[attempt.job_id].card_seconds == 8 * charged
    product = sum(line.unit_seconds * parse_cny(line.contracted_price) for line in mine)
    amount, voucher = total(mine, "contracted_amount"), total(mine, "voucher_estimate")
    reversals = sum(line.kind is RecordKind.REVERSAL for line in mine)
    assert abs(amount - product // SECONDS_PER_HOUR) <= reversals
    cap, contracted, _ = used(city)
    assert (cap - before[0], contracted - before[1]) == (voucher, amount)
    assert all(books(city).identities().values())


def seconds_of(start: datetime, end: datetime) -> int:
    return int(end.timestamp()) - int(start.timestamp())


def total(lines: list[CostRecord], name: str) -> int:
    return sum(parse_cny(getattr(line, name)) for line in lines)
