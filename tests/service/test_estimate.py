"""What a run would cost is what it is charged: the estimate and the meter agree to the micro-CNY."""

from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import select

from scheduler.billing.metering import holdings
from scheduler.contract.cost import CostRecord
from scheduler.domain.clock import CHINA
from scheduler.domain.hardware import HardwareClass
from scheduler.domain.money import parse_cny
from scheduler.domain.reasons import Reason
from scheduler.domain.states import AttemptState
from scheduler.service.estimate import Estimate, Run, estimate
from scheduler.service.journal import stored
from scheduler.service.lifecycle import end_attempt
from scheduler.service.meter import post_due
from scheduler.service.registry import load_registry
from scheduler.service.tags import Terms
from scheduler.store.database import CITY, Database
from scheduler.store.tables import CostRecordRow, SubsidyUseRow
from tests.builders import add_attempt, add_job, price_row, spec

NIGHT = {"from": "22:00", "until": "08:00", "contracted_price": "5", "sme_price": "4.123457"}
PLACEMENT = {"node": "s1", "devices": [f"s1/{slot}" for slot in range(8)], "cpus": 64, "host_memory_gib": 512}


def would_cost(city: Database, begin: datetime, end: datetime, **changes: Any) -> Estimate:
    with city.read(CITY) as session:
        registry = load_registry(session)
    held = holdings("sz", "910B3", 8_000, 64_000, 512_000)
    return estimate(registry, Run(Terms.of("acme", spec(**changes)), "p-sz", HardwareClass.DOMESTIC, held, begin, end))


def is_charged(city: Database, begin: datetime, end: datetime) -> list[CostRecord]:
    """The lines of the same run, posted by the meter."""
    with city.write(CITY) as session:
        job = add_job(session, max_runtime="7d")
        attempt = add_attempt(session, job, granted_at=begin, placements=[PLACEMENT], cores=64)
        end_attempt(session, job, attempt, AttemptState.SUCCEEDED, Reason("succeeded"), end, end)
    posted = 1
    while posted:
        with city.write(CITY) as session:
            posted = post_due(session, timedelta(hours=1), end, "test")
    with city.read(CITY) as session:
        rows = session.scalars(select(CostRecordRow).order_by(CostRecordRow.sequence)).all()
    return [CostRecord.model_validate_json(stored(row).served()) for row in rows]


def publish(city: Database) -> None:
    with city.write(CITY) as session:
        session.add(price_row("sz", "910B3", "10.000007", list_price="12", sme_price="9.1", off_peak=[NIGHT]))
        session.add(price_row("sz", None, "0.100001", beside_cards=True))
        session.add(price_row("sz", "910B3", "3.333333", datetime(2026, 3, 3, 12, tzinfo=CHINA)))


@pytest.mark.parametrize("hours", [1, 13, 50])
def test_an_estimate_is_what_is_charged_over_nights_and_a_change_of_price(city: Database, hours: int) -> None:
    publish(city)
    begin = datetime(2026, 3, 2, 21, 17, 3, tzinfo=CHINA)
    end = begin + timedelta(hours=hours, seconds=7)
    before = would_cost(city, begin, end)
    lines = is_charged(city, begin, end)
    assert before.list_micros == sum(parse_cny(line.list_amount) for line in lines)
    assert before.contracted_micros == sum(parse_cny(line.contracted_amount) for line in lines)
    assert sum(share.contracted_micros for share in before.shares) == before.contracted_micros
    assert sum(share.unit_seconds for share in before.shares) == sum(line.unit_seconds for line in lines)
    posted = sum(parse_cny(tag.capped) for line in lines for tag in line.eligibility if tag.selected and tag.status == "eligible")
    assert 0 <= before.saved_micros - posted <= len(lines), (
        "a line's voucher is rounded down, so a sum may be a micro-CNY a line less"
    )


def test_shares_say_at_which_tier_and_when(city: Database) -> None:
    publish(city)
    begin = datetime(2026, 3, 2, 21, 0, tzinfo=CHINA)
    shares = would_cost(city, begin, begin + timedelta(hours=2)).shares
    assert [(share.item, share.rate.tier, share.rate.off_peak, share.unit_seconds) for share in shares] == [
        ("accelerator", "sme", False, 8 * 3600),
        ("accelerator", "sme", True, 8 * 3600),
        ("cpu", "contracted", False, 64 * 7200),
    ]


def test_every_stretch_takes_from_what_the_ones_before_it_have_left(city: Database) -> None:
    """Two Chinese years have two caps; within one, cards and cores share it."""
    with city.write(CITY) as session:
        session.add(SubsidyUseRow(programme="shenzhen-training", year=2026, tenant_id="acme", used_micros=10**13 - 10**7))
    begin = datetime(2026, 6, 1, tzinfo=CHINA)
    found = would_cost(city, begin, begin + timedelta(days=2))
    assert found.saved_micros == 10_000_000
    assert found.voucher_micros == 10_000_000
    assert found.tag is not None
    assert "cap_reached" in found.tag.reason_codes


def test_a_declined_voucher_saves_nothing(city: Database) -> None:
    begin = datetime(2026, 6, 1, tzinfo=CHINA)
    assert would_cost(city, begin, begin + timedelta(hours=1), voucher={"programme": "none"}).saved_micros == 0
