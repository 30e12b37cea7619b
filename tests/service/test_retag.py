"""Tags computed again from what is stored are the tags that were posted; another version changes what its words change, no more."""

import json
from datetime import date
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from scheduler.contract.cost import TagStatus
from scheduler.domain.money import parse_cny
from scheduler.service.registry import load_registry
from scheduler.store.database import CITY, Database
from scheduler.store.tables import CostContextRow
from scheduler.subsidy.programme import PolicyVersion, parse_policy
from scheduler.subsidy.replay import Context, Difference, Replay, tags_again
from tests.builders import (
    add_attempt,
    add_job,
    add_participants,
    after,
    contract,
    contract_row,
    price_row,
    programme_document,
    programme_row,
)
from tests.service.test_meter import capped, end, post, records

EVER = (date(2025, 1, 1), date(2027, 1, 1))


def contexts(database: Database) -> dict[str, Context]:
    with database.read(CITY) as session:
        return {row.sha256: Context.parse(json.loads(row.body)) for row in session.scalars(select(CostContextRow))}


def policies(database: Database) -> dict[tuple[str, str], PolicyVersion]:
    with database.read(CITY) as session:
        return {(each.programme, each.version): each for each in load_registry(session).policies}


def run(database: Database, hour: int, tenant: str = "acme", hours: int = 1, **changes: Any) -> None:
    """A job that runs from an hour after the beginning on, and is posted."""
    with database.write(CITY) as session:
        under = {"contract_id": changes["contract"]} if "contract" in changes else {}
        attempt = add_attempt(session, add_job(session, tenant, **changes), granted_at=after(hours=hour), **under)
    end(database, attempt, after(hours=hour + hours))
    post(database, after(hours=hour + hours))


def replayed(
    database: Database, policy: PolicyVersion, start: date = EVER[0], stop: date = EVER[1]
) -> tuple[Replay, list[Difference]]:
    replay, known = Replay(policy, start, stop), contexts(database)
    found = [replay.take(record, known[record.context]) for record in records(database)]
    return replay, [each for each in found if each is not None]


def version(rate: str = "0.50", cap: str = "100.000001", pool: str = "500000000.00") -> PolicyVersion:
    document = programme_document() | {"version": "draft"}
    document["cap"]["amount"], document["pool"]["amount"] = cap, pool
    document["rates"][-1]["rate"] = rate
    return parse_policy(document)


JOBS = st.tuples(
    st.sampled_from(["acme", "uni"]),
    st.sampled_from(["pretrain", "inference"]),
    st.sampled_from([None, {"programme": "none"}, {"programme": "shenzhen-training"}]),
    st.integers(1, 30),
)


@settings(max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.lists(JOBS, min_size=1, max_size=4))
def test_what_is_stored_is_enough_to_tag_again(database: Database, jobs: list[tuple[str, str, Any, int]]) -> None:
    """Whatever was left of caps, pools and contracts, whoever applied or declined, across the end of a policy's validity."""
    with database.read(CITY) as session:
        fresh = session.scalars(select(CostContextRow)).first() is None
    if fresh:
        capped(database, "150.000003", "200.000001")
        with database.write(CITY) as session:
            session.add(contract_row(contract("C-uni", tenant="uni", amount="123.456789")))
            session.add(programme_row(programme_document("hangzhou-compute")))
    for hour, (tenant, activity, voucher, hours) in enumerate(jobs):
        run(database, hour * 40, tenant, hours, activity=activity, voucher=voucher)
    known, versions = contexts(database), policies(database)
    lines = records(database)
    assert [tags_again(line, known[line.context], versions) for line in lines] == [line.eligibility for line in lines]
    for policy in versions.values():
        replay, differences = replayed(database, policy)
        assert (differences, replay.changed, replay.records) == ([], 0, len(lines))


def test_a_higher_rate_pays_more_until_the_cap(database: Database) -> None:
    capped(database, "100.000001")
    for hour in range(4):
        run(database, hour)  # 80 CNY each: 40, 40, 20.000001 and nothing at 50 %
    replay, differences = replayed(database, version("0.60"))
    assert [(each.before.paid, each.after.paid) for each in differences] == [
        (40_000_000, 48_000_000),
        (40_000_000, 48_000_000),
        (20_000_001, 4_000_001),
        (0, 0),  # at another rate all the same
    ]
    sums = replay.tenants["acme"]
    assert (replay.records, replay.changed, sums.before, sums.after) == (4, 4, 100_000_001, 100_000_001)


def test_what_was_used_before_the_first_day_is_used(database: Database) -> None:
    capped(database, "100.000001")
    for hour in (0, 1, 24 * 30, 24 * 30 + 1):
        run(database, hour)
    replay, differences = replayed(database, version(cap="110.000000"), date(2026, 3, 15))
    assert (replay.records, [each.after.paid for each in differences]) == (2, [30_000_000])


def test_days_after_the_last_are_left_alone(database: Database) -> None:
    capped(database, "1000")
    run(database, 0)
    run(database, 24 * 30)
    replay, differences = replayed(database, version("0.10", "1000"), stop=date(2026, 3, 15))
    assert (replay.records, [each.after.paid for each in differences]) == (1, [8_000_000])


def test_a_line_another_programme_would_pay_less_for_goes_to_it_when_this_one_stops_paying(database: Database) -> None:
    """Two programmes that could pay: the higher estimate is selected, and with less from one it is the other's."""
    with database.write(CITY) as session:
        add_participants(session)
        session.add_all([price_row("sz", "910B3", "10"), contract_row(contract()), programme_row()])
        other = programme_document(programme="shenzhen-training") | {"programme": "district-top-up"}
        other["rates"][-1]["rate"], other["requires"] = (
            "0.20",
            [each for each in other["requires"] if "registered" not in each["code"]],
        )
        other["requires"] = [
            each for each in other["requires"] if each["code"] not in ("provider_not_registered", "provider_listed_late")
        ]
        session.add(programme_row(other))
    run(database, 0)
    replay, [difference] = replayed(database, version("0.10", "10000000.00"))
    assert (difference.before.paid, difference.before.paid_by_others) == (40_000_000, 0)
    assert (difference.after.paid, difference.after.paid_by_others) == (0, 16_000_000)
    assert replay.tenants["acme"].others_after == parse_cny("16.00")
    assert replay.statuses == {("eligible", "eligible"): 1}


def test_a_version_that_no_longer_covers_them_says_why(database: Database) -> None:
    capped(database, "1000")
    run(database, 0)
    document = programme_document() | {"version": "draft", "valid_until": "2026-01-31"}
    _, [difference] = replayed(database, parse_policy(document))
    assert (difference.after.status, difference.after.reason_codes) == (TagStatus.INELIGIBLE, ("policy_not_in_force",))
