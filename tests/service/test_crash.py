"""Dispatchers die at one write transaction after the other, just before and just after it commits, and others go on.

Whatever the moment: every job finishes exactly once, the chain is unbroken, every second that ran is charged exactly once, and of
what was kept back for each attempt that much is posted and the rest void.
"""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import select

from scheduler.billing.metering import whole_seconds
from scheduler.domain.states import JOB_FINAL, AttemptState, JobState
from scheduler.service.audit import audit
from scheduler.service.dispatcher import Pace
from scheduler.store.budget_tables import CommitmentRow, ReservationRow
from scheduler.store.database import CITY
from scheduler.store.live import Live
from scheduler.store.tables import AttemptRow, JobEventRow, SubsidyUseRow
from tests.builders import city_database
from tests.service.town import Crash, Faulty, Town, books
from tests.store.databases import fresh_database, in_a_hurry, valkey

pytestmark = pytest.mark.processes
MAX_TICKS = 60
EVERY = 5
ENDS = {"succeeded", "cancelled", "retries_exhausted"}


def play(town: Town, on_crash: Callable[[], None]) -> dict[str, JobState]:
    """One job fails, is retried and succeeds; one is preempted by another; one is cancelled while it runs."""
    retried = town.submit(hardware={"models": ["910B3"], "per_node": 3}, retries={"failed": 1})
    yielding = town.submit(hardware={"models": ["H800"], "per_node": 8}, priority="low", preemptible=True)
    cancelled = town.submit(hardware={"models": ["910B3"], "per_node": 5})
    jobs = [retried, yielding, cancelled]
    for number in range(MAX_TICKS):
        try:
            town.tick(7)
        except Crash:
            on_crash()
        if number == 3:
            jobs.append(town.submit(hardware={"models": ["H800"], "per_node": 8}, priority="high"))
        if number == 4:
            town.cancel(cancelled)
        states = {job: town.state(job) for job in jobs}
        if number > 4:
            for job, state in states.items():
                if state == JobState.RUNNING and job != cancelled and not _asked_to_stop(town, job):
                    town.finish(job, exit_code=1 if job == retried and len(town.attempts(job)) == 1 else 0)
        if len(jobs) == 4 and set(states.values()) <= JOB_FINAL and _all_metered(town):
            return states
    raise AssertionError(f"not done after {MAX_TICKS} ticks: {states}")


def _asked_to_stop(town: Town, job: str) -> bool:
    return town.attempts(job)[-1].stop_as is not None


def _all_metered(town: Town) -> bool:
    with town.database.read(CITY) as session:
        return all(session.scalars(select(AttemptRow.metered)))


def check(town: Town, states: dict[str, JobState]) -> None:
    expected = [JobState.SUCCEEDED, JobState.SUCCEEDED, JobState.CANCELLED, JobState.SUCCEEDED]
    assert list(states.values()) == expected
    ledger = books(town.database)
    assert all(ledger.identities().values())
    with town.database.read(CITY) as session:
        attempts = session.scalars(select(AttemptRow)).all()
        ends = [(row.job_id, row.reason["code"]) for row in session.scalars(select(JobEventRow)) if row.reason["code"] in ENDS]
        used = sum(session.scalars(select(SubsidyUseRow.used_micros)))
        kept_back = set(session.scalars(select(ReservationRow.attempt_id)))
        reserved = sum(session.scalars(select(CommitmentRow.reserved_micros)))
        posted = sum(session.scalars(select(CommitmentRow.posted_micros)))
    assert sorted(job for job, _ in ends) == sorted(states)
    assert [attempt.state for attempt in attempts].count(AttemptState.SUCCEEDED) == 3
    assert len({attempt.fencing_token for attempt in attempts}) == len(attempts)
    assert used == sum(job.voucher_micros for job in ledger.jobs.values())
    found = audit(town.database, 1)
    assert found.first_break is None, found.first_break
    assert kept_back == {attempt.id for attempt in attempts}
    assert (reserved, posted) == (0, sum(job.contracted_micros for job in ledger.jobs.values()))
    for job in states:
        ran = sum(
            attempt.cards * whole_seconds(attempt.started_at, attempt.finished_at)
            for attempt in attempts
            if attempt.job_id == job and attempt.started_at and attempt.finished_at
        )
        assert ledger.jobs[job].card_seconds == ran


@pytest.mark.parametrize("committed", [False, True], ids=["before-commit", "after-commit"])
@pytest.mark.parametrize("first", range(1, EVERY + 1))
def test_crashes_at_any_write_are_survived(tmp_path: Path, first: int, committed: bool) -> None:
    """The first dispatcher dies at its write number `first`, each one after it at its write number `EVERY`."""
    valkey().flushall()
    with fresh_database("sqlite", tmp_path) as database:
        town = Town(city_database(database), Live(valkey()), Pace(meter=timedelta(seconds=5)))
        processes: list[Faulty] = []

        def start(at: int) -> None:
            processes.append(Faulty(database.url, at, committed=committed))
            in_a_hurry(processes[-1])
            town.dispatcher = town.new_dispatcher(processes[-1])

        def restart() -> None:
            town.now += timedelta(seconds=11)
            start(at=EVERY)

        start(at=first)
        check(town, play(town, restart))
        assert len(processes) > 3
        for process in processes:
            process.close()
