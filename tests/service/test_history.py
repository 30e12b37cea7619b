"""The past of every tenant, from the attempts in the store."""

from datetime import timedelta

import pytest

from scheduler.contract.scheduling import SchedulingPolicy
from scheduler.domain.clock import to_micros
from scheduler.domain.states import AttemptState
from scheduler.engine.cycle import cycle
from scheduler.engine.history import FINENESS
from scheduler.engine.order import CPU, resource_name
from scheduler.service.history import load_history
from scheduler.service.mirror import look
from scheduler.store.database import CITY, Database
from scheduler.store.tables import SchedulingPolicyRow
from tests.builders import NOW, add_attempt, add_job, after

WEEK = timedelta(days=7)
HEARD = dict.fromkeys((("hz", "h1"), ("sz", "s1"), ("sz", "s2")), NOW)


def ran(city: Database, tenant: str, days_ago: float, days: float, **changes: object) -> None:
    """An attempt on eight cards that began so long ago and took so long."""
    with city.write(CITY) as session:
        started = NOW - timedelta(days=days_ago)
        job = add_job(session, tenant, started)
        times = {"granted_at": started, "finished_at": started + timedelta(days=days), **changes}
        add_attempt(session, job, AttemptState.SUCCEEDED, **times)


def past(city: Database, tenant: str, now: timedelta = timedelta(0)) -> dict[str, float]:
    """Cards (cores) held on average, of each resource of which there were any."""
    with city.read(CITY) as session:
        found = load_history(session, WEEK, NOW + now).past(to_micros(NOW + now)).held.get(tenant)
    amounts = {} if found is None else dict(enumerate(found.tolist()))
    return {resource_name(number): amount / (1000 * FINENESS) for number, amount in amounts.items() if amount}


def test_what_ended_a_half_life_ago_counts_half(city: Database) -> None:
    ran(city, "acme", days_ago=7, days=7)
    assert past(city, "acme") == pytest.approx({"domestic": 4.0}, abs=1e-5), "eight cards over the last half-life"
    assert past(city, "acme", WEEK) == pytest.approx({"domestic": 2.0}, abs=1e-5)
    assert past(city, "uni") == {}


def test_what_runs_counts_up_to_now_and_what_never_started_does_not(city: Database) -> None:
    with city.write(CITY) as session:
        add_attempt(session, add_job(session), granted_at=NOW - WEEK, started_at=NOW - WEEK)
        add_attempt(session, add_job(session, "uni"), AttemptState.GRANTED)
    assert past(city, "acme") == pytest.approx({"domestic": 4.0}, abs=1e-5)
    assert past(city, "uni") == {}


def test_cores_count_as_cores(city: Database) -> None:
    ran(city, "acme", days_ago=7, days=7, hardware_class=None, cards=0, cores=16)
    assert past(city, "acme") == pytest.approx({resource_name(CPU): 8.0}, abs=1e-5)


def test_instances_of_mig_count_as_their_part_of_a_card(city: Database) -> None:
    """As what they hold now does (`AttemptRow.card_milli`)."""
    sliced = {"node": "h1", "devices": ["m0", "m1"], "card_milli": 428, "mig": "3g.40gb"}
    gang = {"cluster_id": "hz", "hardware_class": "foreign", "model": "H800", "placements": [sliced, sliced], "cards": 4}
    ran(city, "uni", days_ago=7, days=7, **gang)
    assert past(city, "uni") == pytest.approx({"foreign": 4 * 0.428 / 2}, abs=1e-5)


def test_rows_of_long_ago_are_not_read(city: Database) -> None:
    ran(city, "acme", days_ago=200, days=100)
    assert past(city, "acme") == {}


@pytest.mark.parametrize(("half_life", "first"), [("7d", "uni"), (None, "acme")])
def test_who_used_more_before_is_served_after_unless_the_policy_forgets(city: Database, half_life: str | None, first: str) -> None:
    ran(city, "acme", days_ago=3, days=3)
    with city.write(CITY) as session:
        session.add(SchedulingPolicyRow(body=SchedulingPolicy(half_life=half_life).model_dump(mode="json"), created_at=NOW))
        jobs = {
            add_job(session, tenant, after(seconds=n), hardware={"models": ["910B3"], "nodes": 2, "per_node": 8}).id: tenant
            for n, tenant in enumerate(("acme", "uni"))
        }
    with city.read(CITY) as session:
        snapshot = look(session, HEARD, NOW).snapshot(NOW)
    assert [jobs[grant.job] for grant in cycle(snapshot).grants] == [first]
