"""A mirror that is kept up shows what one that has just been made would show, whatever has happened in between."""

from datetime import timedelta
from random import Random
from typing import Any

import numpy as np
import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from scheduler.domain.states import JobState
from scheduler.engine.fleet import Allocation
from scheduler.engine.order import QueuedJob
from scheduler.engine.place import Place
from scheduler.engine.snapshot import ActiveRun, Quote
from scheduler.service.feed import LATE, Feed
from scheduler.service.mirror import FRESH, Mirror, look
from scheduler.store.database import CITY, Database
from scheduler.store.tables import JobEventRow, JobRow, NodeRow
from tests.builders import NOW, USCCS, add_job, after, contract, contract_row, price_row, tenant, tenant_row
from tests.engine.arrays import apart, everybody
from tests.service.town import Town

MODELS = ("910B3", "H800")


def picture(mirror: Mirror, town: Town) -> dict[str, Any]:
    """Everything a round would look at."""
    moment = mirror.snapshot(town.now)
    queue: list[QueuedJob] = apart(moment.queue)
    runs: list[ActiveRun] = sorted(moment.runs, key=lambda run: run.attempt)
    return {
        "queue": queue,
        "stands": everybody(mirror.state.backlog),
        "runs": [(run.attempt, run.releasing, run.safe_at, run.ends_at, run.place.cluster, run.place.allocations) for run in runs],
        "free": [part.tolist() for part in (moment.free.card_milli, moment.free.cpu_milli, moment.free.memory_bytes)],
        "held": {name: held.tolist() for name, held in sorted(moment.usage.held.items()) if np.any(held)},
        "prices": moment.prices,
        "nodes": moment.fleet.nodes,
    }


def agree(mirror: Mirror, town: Town) -> None:
    heard_at = town.live.heard_at()
    with town.database.read(CITY) as session:
        mirror.refresh(session, heard_at, town.now)
        afresh = look(session, heard_at, town.now)
    kept, new = picture(mirror, town), picture(afresh, town)
    terms = {job.terms for job in afresh.snapshot(town.now).queue}
    for each in (kept, new):  # of jobs that have gone prices may still be known
        each["prices"] = {key: quote for key, quote in each["prices"].items() if key[0] in terms}
    assert kept == new


@pytest.mark.processes
@pytest.mark.parametrize("seed", range(3))
def test_whatever_happens_the_mirror_keeps_up(town: Town, seed: int) -> None:
    random, mirror, jobs = Random(seed), Mirror(), list[str]()
    for _ in range(30):
        match random.choice(["submit", "submit", "cancel", "finish", "silence", "node", "pass"]):
            case "submit":
                jobs.append(town.submit(**_spec(random, jobs)))
            case "cancel" if jobs:
                town.cancel(random.choice(jobs))
            case "finish":
                running = [(job, task) for job in jobs for task in town.running(job)]
                if running:
                    job, task = random.choice(running)
                    town.finish(job, exit_code=random.choice([0, 1]), task=task)
            case "silence":
                town.silent ^= {random.choice(["sz", "hz"])}
            case "node":
                with town.database.write(CITY) as session:
                    node = session.get_one(NodeRow, ("sz", "s2"))
                    node.capacity = {**node.capacity, "cpu_cores": random.randint(32, 64)}
                    node.changed_at = town.now
            case _:
                pass
        town.tick(seconds=random.choice([1, 7, 31]))
        agree(mirror, town)
    agree(town.dispatcher._mirror, town)


@pytest.mark.processes
@pytest.mark.parametrize("seed", range(3))
def test_whatever_happens_to_arrays_the_mirror_keeps_up(town: Town, seed: int) -> None:
    """More tasks than cards, of which some end, fail and are tried again, are stopped for others, or are cancelled with all."""
    random, mirror = Random(seed), Mirror()
    jobs = [town.submit(array={"size": 40}, hardware={"models": ["910B3"], "per_node": 1}, preemptible=True, retries={"failed": 1})]
    for _ in range(25):
        what = random.choice(["submit", "end", "end", "end", "urgent", "silence", "cancel", "pass"])
        running = [(job, task) for job in jobs for task in town.running(job)]
        if what == "submit":
            array = {"size": random.choice([1, 7, 40]), "parallelism": random.choice([None, 2, 5])}
            hardware = {"models": ["910B3"], "per_node": random.choice([1, 3])}
            jobs.append(town.submit(array=array, hardware=hardware, preemptible=True, retries={"failed": 1}))
        elif what == "end" and running:
            for job, task in random.sample(running, random.randint(1, min(4, len(running)))):
                town.finish(job, exit_code=random.choice([0, 0, 1]), task=task)
        elif what == "urgent":
            town.submit(hardware={"models": ["910B3"], "per_node": 8}, priority="high", max_runtime="20s")
        elif what == "cancel" and random.random() < 0.3:
            town.cancel(random.choice(jobs))
        town.silent = {"sz"} if what == "silence" else set()
        town.tick(seconds=40 if what == "silence" else random.choice([1, 1, 7]))
        agree(mirror, town)
    agree(town.dispatcher._mirror, town)
    assert town.job(jobs[0]).tasks_begun > 10


@pytest.mark.processes
def test_who_depends_on_a_job_that_was_stopped_and_ran_again_is_not_forgotten(town: Town) -> None:
    """Between its submission and its end the first job is granted, preempted and queued again."""
    big: dict[str, Any] = {"hardware": {"models": ["910B3"], "nodes": 2, "per_node": 8}}
    first = town.submit(priority="low", preemptible=True, **big)
    second = town.submit(hardware={"per_node": 1}, depends_on=[first])
    observer = Mirror()
    for _ in range(4):
        town.tick()
        agree(observer, town)
    urgent = town.submit(priority="high", **big)
    for _ in range(6):
        town.tick()
    town.finish(urgent)
    for _ in range(4):
        town.tick()
    town.finish(first)
    town.tick()
    town.tick()
    agree(observer, town)
    assert (len(town.attempts(first)), town.state(first)) == (2, JobState.SUCCEEDED)
    assert town.state(second) != JobState.HELD


def _spec(random: Random, jobs: list[str]) -> dict[str, Any]:
    return {
        "hardware": {
            "models": [random.choice(["910B3", "H800"])],
            "nodes": random.choice([1, 2]),
            "per_node": random.choice([2, 8]),
        },
        "priority": random.choice(["low", "normal", "high"]),
        "preemptible": random.random() < 0.5,
        "contract": random.choice([None, "C-1"]),
        "max_runtime": random.choice(["60s", "1h"]),
        "depends_on": [random.choice(jobs)] if jobs and random.random() < 0.3 else [],
        "retries": {"failed": random.choice([0, 1])},
        "array": {"size": random.choice([2, 30])} if random.random() < 0.2 else None,
    }


def refresh(mirror: Mirror, city: Database, seconds: int = 0) -> Mirror:
    now = after(seconds=seconds)
    with city.read(CITY) as session:
        mirror.refresh(session, {("sz", "s1"): now, ("sz", "s2"): now, ("hz", "h1"): now}, now)
    return mirror


def test_a_new_tenant_and_contract_and_price_are_seen_without_reading_the_queue_again(city: Database) -> None:
    with city.write(CITY) as session:
        add_job(session)
    mirror = refresh(Mirror(), city)
    job = mirror.snapshot(NOW).queue[0]
    with city.write(CITY) as session:
        session.add(tenant_row(tenant("late", uscc=USCCS[0])))
        session.flush()
        session.add(contract_row(contract("C-late", tenant="late")))
        session.add(price_row("sz", "910B3", "1", since=after(seconds=-1)))
    refresh(mirror, city, seconds=1)
    assert "C-late" in mirror.registry.contracts
    assert mirror.snapshot(NOW).queue[0].shapes is job.shapes
    prices = mirror.state.prices
    assert prices is not None
    assert {quote.contracted_price for (_, cluster, model), quote in prices.items() if (cluster, model) == ("sz", "910B3")} == {
        10**6
    }


def test_only_the_first_of_a_long_line_are_told_every_number(city: Database) -> None:
    """That the reasons are others is told to all."""
    with city.write(CITY) as session:
        blocker = add_job(session, hardware={"models": ["910B3"], "nodes": 2, "per_node": 4}).id
        for _ in range(FRESH + 50):
            add_job(session, at=after(seconds=1), hardware={"models": ["910B3"], "nodes": 2, "per_node": 8})
    mirror = refresh(Mirror(), city)
    served = mirror.state.round(1)
    assert [grant.job for grant in served.grants] == [blocker]
    told = mirror.unnoted(served)
    assert len(told) == FRESH + 50
    mirror.noted(told)
    mirror.state.end(blocker)
    mirror.state.hold(_one_node(mirror))
    mirror.state.reprice({**(mirror.state.prices or {}), ("other", "sz", "910B3"): Quote(1, 1, 1)})
    again = mirror.unnoted(mirror.state.round(2))
    assert len(again) == FRESH
    assert {verdict.reasons[0].numbers["free"] for verdict in again.values()} == {1}


def _one_node(mirror: Mirror) -> ActiveRun:
    fleet = mirror.state.fleet
    row = fleet.index["sz", "s1"]
    place = Place(fleet.clusters.index("sz"), int(fleet.card_kind[row, 0]), (Allocation(row, (0,), 1000, 0, 0),), 0.0)
    return ActiveRun("other", "other", "uni", 50, False, place)


def _event(session: Session, id_: int, job: str) -> None:
    session.add(
        JobEventRow(id=id_, job_id=job, tenant_id="acme", at=NOW, state="queued", reason={"code": "submitted", "numbers": {}})
    )
    session.flush()


def test_an_event_committed_after_one_with_a_higher_id_is_not_missed(city: Database) -> None:
    with city.write(CITY) as session:
        early, late = add_job(session).id, add_job(session).id
    with city.read(CITY) as session:
        feed = Feed(session, NOW)
    with city.write(CITY) as session:
        _event(session, 1000, late)
    with city.read(CITY) as session:
        assert feed.changed(session, after(seconds=1)) == {late}
    with city.write(CITY) as session:
        _event(session, 999, early)
    with city.read(CITY) as session:
        assert feed.changed(session, after(seconds=30)) == {early}
        assert feed.changed(session, after(seconds=31)) == set()


def test_a_feed_does_not_remember_for_ever(city: Database) -> None:
    with city.write(CITY) as session:
        job = add_job(session).id
    with city.read(CITY) as session:
        feed = Feed(session, NOW)
        for number in range(5):
            feed.changed(session, NOW + number * (LATE + timedelta(seconds=1)))
        assert feed._seen == set()
        assert session.scalars(select(JobRow.id)).all() == [job]
