"""Budgets hold jobs rather than be overrun: what a run may cost is kept back from its grant to its end."""

from datetime import date, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from scheduler.contract.budget import BudgetSpec
from scheduler.domain.money import parse_cny
from scheduler.domain.states import JobState
from scheduler.service import dispatcher as dispatcher_module
from scheduler.service.audit import audit
from scheduler.service.budgets import Ask, budget_view
from scheduler.service.dispatcher import Pace
from scheduler.service.registry import declared_budgets
from scheduler.store.budget_tables import BudgetRow, ReservationRow
from scheduler.store.database import CITY
from scheduler.store.live import Live
from tests.builders import city_database, price_row
from tests.service.town import Town
from tests.store.databases import fresh_database, in_a_hurry, valkey

pytestmark = pytest.mark.processes
J = JobState
HOUR: dict[str, Any] = {"hardware": {"models": ["910B3"], "per_node": 8}, "max_runtime": "1h"}
COST = 80_000_057
"""Eight cards for an hour at 10.000007 CNY, and a micro-CNY for what rounding may add."""


def declare(town: Town, amount: str, name: str = "2026", **changes: Any) -> None:
    terms = {"tenant": "acme", "start": date(2026, 1, 1), "end": date(2026, 12, 31), **changes}
    budget = BudgetSpec(name=name, amount=amount, **terms)
    with town.database.write(CITY) as session:
        session.add(BudgetRow(name=name, tenant_id="acme", body=budget.model_dump(mode="json"), created_at=town.now))


def standing(town: Town, name: str = "2026") -> tuple[int, int, int]:
    """What is posted, reserved and left of a budget, micro-CNY."""
    with town.database.read(CITY) as session:
        [budget] = [each for each in declared_budgets(session) if each.name == name]
        view = budget_view(session, budget)
    return parse_cny(view.posted), parse_cny(view.reserved), parse_cny(view.left)


def grants(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The jobs that are granted from now on, whether or not it comes to that."""
    asked: list[str] = []
    grant = dispatcher_module._grant

    def granting(*args: Any) -> bool:
        asked.append(args[3].job)
        return grant(*args)

    monkeypatch.setattr(dispatcher_module, "_grant", granting)
    return asked


def run(town: Town, job: str) -> None:
    for _ in range(4):
        if town.state(job) != J.RUNNING:
            town.tick()
    assert town.state(job) == J.RUNNING


def test_what_a_run_may_cost_is_reserved_then_posted_and_the_rest_is_void(town: Town) -> None:
    declare(town, "100")
    job = town.submit(**HOUR)
    town.tick()
    assert standing(town) == (0, COST, 100_000_000 - COST)
    run(town, job)
    town.finish(job)
    town.tick()
    posted, reserved, left = standing(town)
    assert (reserved, left) == (0, 100_000_000 - posted)
    assert 0 < posted < COST // 100
    with town.database.read(CITY) as session:
        row = session.scalars(select(ReservationRow)).one()
    assert row.reserved_micros == COST == row.posted_micros + (row.voided_micros or 0)
    assert all(audit(town.database, 1).identities().values())


def test_a_job_that_does_not_fit_is_held_with_its_numbers_and_starts_by_itself(town: Town) -> None:
    declare(town, "100")
    first, second = town.submit(**HOUR), town.submit(**HOUR)
    town.tick()
    assert (town.state(first), town.state(second), town.job(second).verdict) == (J.GRANTED, J.HELD, "wait")
    assert town.job(second).reasons[0] == {
        "code": "waiting_for_budget",
        "numbers": {"budget": "2026", "asked": "80.000057", "left": "19.999943"},
    }
    run(town, first)
    assert town.state(second) == J.HELD
    town.finish(first)
    town.tick()
    town.tick()
    assert town.state(second) == J.GRANTED
    assert town.events(second) == ["submitted", "waiting_for_budget", "granted"]


def test_a_held_job_is_neither_granted_again_nor_offered_in_later_rounds(town: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    declare(town, "100")
    first, second = town.submit(**HOUR), town.submit(**HOUR)
    town.tick()
    asked = grants(monkeypatch)
    for _ in range(5):
        served = town.tick(20)
        assert served is not None
        assert second not in served.of_job
    assert (asked, town.state(second)) == ([], J.HELD)
    assert town.state(first) == J.RUNNING


def test_who_can_pay_nowhere_makes_nobody_room(town: Town) -> None:
    """A job that could stop another for its cards, if it only had the means."""
    running = town.submit("uni", hardware={"models": ["910B3"], "nodes": 2, "per_node": 8}, priority="low", preemptible=True)
    run(town, running)
    declare(town, "1")
    job = town.submit(**HOUR, priority="high")
    for _ in range(3):
        town.tick()
    assert (town.state(job), town.reason(job)) == (J.HELD, "waiting_for_budget")
    assert (town.state(running), town.attempts(running)[0].stop_as) == (J.RUNNING, None)


def test_a_larger_declaration_lets_it_start_and_a_smaller_stops_nobody(town: Town) -> None:
    declare(town, "50")
    job = town.submit(**HOUR)
    town.tick()
    assert town.state(job) == J.HELD
    declare(town, "81")
    town.tick()
    assert town.state(job) == J.GRANTED
    declare(town, "10")
    run(town, job)
    assert standing(town)[2] < 0


def test_a_budget_of_other_days_or_another_tenant_holds_nobody(town: Town) -> None:
    declare(town, "0", "last", start=date(2025, 1, 1), end=date(2025, 12, 31))
    declare(town, "0", "contract", contract="C-9")
    job, other = town.submit(**HOUR), town.submit("uni", **HOUR)
    declare(town, "0", start=date(2027, 1, 1), end=date(2027, 12, 31))
    town.tick()
    assert (town.state(job), town.state(other)) == (J.GRANTED, J.GRANTED)


@pytest.mark.parametrize("named", [None, "C-1"], ids=["found with its place", "named"])
def test_a_contracts_budget_binds_whoever_falls_under_it(town: Town, named: str | None) -> None:
    declare(town, "100", contract="C-1")
    first, second = town.submit(**HOUR, contract=named), town.submit(**HOUR, contract=named)
    elsewhere = town.submit(hardware={"models": ["H800"], "per_node": 8}, max_runtime="1h")
    town.tick()
    assert [town.state(job) for job in (first, second, elsewhere)] == [J.GRANTED, J.HELD, J.GRANTED]
    town.tick()
    assert town.state(second) == J.HELD
    declare(town, "161", contract="C-1")
    town.tick()
    town.tick()
    assert town.state(second) == J.GRANTED


def test_a_budget_that_just_fits_is_enough_to_the_micro(town: Town) -> None:
    declare(town, "80.000056")
    job = town.submit(**HOUR)
    town.tick()
    assert town.state(job) == J.HELD
    declare(town, "80.000057")
    town.tick()
    assert town.state(job) == J.GRANTED


def test_nobody_is_charged_beyond_what_was_reserved_however_late_it_is_stopped(town: Town) -> None:
    declare(town, "80.000057")
    job = town.submit(**HOUR)
    run(town, job)
    town.tick(3700)
    for _ in range(4):
        town.tick(30)
    assert town.state(job) == J.FAILED
    posted, reserved, left = standing(town)
    assert (reserved, posted + left) == (0, COST)
    assert posted == 80_000_056, "an hour to the second"


def test_a_price_raised_while_it_runs_raises_what_is_kept_back(town: Town) -> None:
    declare(town, "1000")
    job = town.submit(**HOUR)
    run(town, job)
    with town.database.write(CITY) as session:
        session.add(price_row("sz", "910B3", "20", town.now + timedelta(seconds=1)))
    town.pace = Pace(meter=timedelta(seconds=10))
    town.dispatcher = town.new_dispatcher()
    town.tick(12)
    town.tick(12)
    posted, reserved, _ = standing(town)
    assert 159_000_000 < posted + reserved < 161_000_000


def test_as_many_held_jobs_are_taken_up_as_fit_together(town: Town) -> None:
    """Nine cards' worth of hours is left: of three that ask for four each, two."""
    declare(town, "1")
    asking: dict[str, Any] = {"hardware": {"models": ["910B3"], "per_node": 4}, "max_runtime": "1h"}
    jobs = [town.submit(**asking) for _ in range(3)]
    town.tick()
    assert {town.state(job) for job in jobs} == {J.HELD}
    declare(town, "90")
    town.tick()
    assert [town.state(job) for job in jobs] == [J.GRANTED, J.GRANTED, J.HELD]
    assert [town.events(job).count("waiting_for_budget") for job in jobs] == [1, 1, 1]


def test_who_needs_more_where_it_goes_than_elsewhere_is_refused_once(town: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    """Cards of H800 would do as well and cost twice as much: there is just enough for the others, which are taken."""
    either = {"models": ["910B3", "H800"], "per_node": 8}
    taken = [town.submit("uni", hardware={"models": ["910B3"], "per_node": 8}) for _ in range(2)]
    for _ in range(4):
        town.tick()
    declare(town, "100")
    job = town.submit(hardware=either, max_runtime="1h")
    asked = grants(monkeypatch)
    for _ in range(4):
        town.tick(30)
    assert (asked, town.state(job), town.job(job).reasons[0]["numbers"]["asked"]) == ([job], J.HELD, "164.000001")
    assert [town.state(each) for each in taken] == [J.RUNNING, J.RUNNING]


def test_a_budget_that_ended_holds_nobody_any_more() -> None:
    wish = Ask(5, ("gone", "there"), (0, 0, "a"))
    assert wish.hold({"there": 5}) is None
    reason = wish.hold({"there": 4})
    assert reason is not None
    assert "there" in reason.text("en")
    assert "预算 there" in reason.text("zh")


happenings = st.lists(
    st.tuples(st.sampled_from(["submit", "finish", "fail", "silence", "declare", "wait"]), st.integers(1, 8)), max_size=14
)


@settings(max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(happenings=happenings)
def test_a_budget_is_never_overrun_whatever_happens(
    tmp_path_factory: pytest.TempPathFactory, happenings: list[tuple[str, int]]
) -> None:
    valkey().flushall()
    with fresh_database("sqlite", tmp_path_factory.mktemp("city")) as database:
        town = Town(city_database(in_a_hurry(database)), Live(valkey()), Pace(meter=timedelta(minutes=10)))
        declare(town, "200")
        amount = 200_000_000
        jobs: list[str] = []
        for what, size in happenings:
            running = [job for job in jobs if town.state(job) == J.RUNNING]
            if what == "submit":
                hardware = {"models": ["910B3"], "per_node": size}
                jobs.append(town.submit(hardware=hardware, max_runtime=f"{size * 20}m", retries={"node_lost": 1, "failed": 1}))
            elif what in ("finish", "fail") and running:
                town.finish(running[0], exit_code=int(what == "fail"))
            elif what == "declare":
                amount += size * 10_000_000
                declare(town, f"{amount // 1_000_000}")
            town.silent = {"sz"} if what == "silence" else set()
            for _ in range(3):
                town.tick(700 if what == "silence" else size * 60)
                posted, reserved, left = standing(town)
                assert posted + reserved + left == amount
                assert left >= 0, (posted, reserved)
        found = audit(town.database, 1)
        assert found.first_break is None, found.first_break
