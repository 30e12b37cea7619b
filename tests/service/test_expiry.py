"""What time alone changes; and when everybody is silent, nothing: the blind one is us."""

from datetime import datetime, timedelta

import pytest
from sqlalchemy import Select, event
from sqlalchemy.orm import ORMExecuteState

from scheduler.contract.sync import RunState
from scheduler.domain.states import AttemptState, JobState
from scheduler.service.expiry import Patience, expire
from scheduler.store.database import CITY, Database
from scheduler.store.tables import ClusterRow
from tests.builders import NOW, add_attempt, add_job, after
from tests.service.test_sync import placed, run, seen
from tests.service.town import exchange

A, J = AttemptState, JobState
PATIENCE = Patience(grant=timedelta(seconds=120), silence=timedelta(seconds=600))


def pass_time(city: Database, now: datetime, heard: dict[str, datetime | None]) -> None:
    """Expiry at `now`, with each cluster last heard when `heard` says."""
    with city.write(CITY) as session:
        for cluster, moment in heard.items():
            session.get_one(ClusterRow, cluster).heard_at = moment
    with city.write(CITY) as session:
        expire(session, PATIENCE, now)


def both(now: datetime) -> dict[str, datetime | None]:
    return {"sz": now, "hz": now}


@pytest.mark.parametrize(("seconds", "expected"), [(120, A.GRANTED), (121, A.LOST)])
def test_a_grant_nobody_took_up_expires_and_costs_no_retry(city: Database, seconds: int, expected: AttemptState) -> None:
    attempt = placed(city, A.GRANTED)
    pass_time(city, after(seconds=seconds), both(after(seconds=seconds)))
    found, job = seen(city, attempt)
    assert found.state == expected
    assert job.state == (J.QUEUED if expected == A.LOST else J.GRANTED)
    assert job.losses == 0


def test_what_is_starting_does_not_expire_as_a_grant(city: Database) -> None:
    attempt = placed(city, A.STARTING)
    pass_time(city, after(hours=1), both(after(hours=1)))
    assert seen(city, attempt)[0].state == A.STARTING


@pytest.mark.parametrize("state", [A.GRANTED, A.STARTING, A.RUNNING])
@pytest.mark.parametrize(("silence", "expected"), [(30, None), (31, A.UNREACHABLE), (600, A.UNREACHABLE), (601, A.LOST)])
def test_a_silent_cluster_is_unreachable_and_only_later_lost(
    city: Database, state: AttemptState, silence: int, expected: AttemptState | None
) -> None:
    attempt = placed(city, state, granted_at=NOW)
    now = after(seconds=silence)
    pass_time(city, now, {"sz": NOW, "hz": now})
    found, job = seen(city, attempt)
    assert found.state == (expected or state)
    assert job.state == (J.QUEUED if expected is A.LOST else J(expected or state))


def test_a_lost_attempt_is_charged_to_its_last_observation(city: Database) -> None:
    attempt = placed(city, observed_at=after(seconds=20))
    pass_time(city, after(seconds=700), {"sz": after(seconds=22), "hz": after(seconds=700)})
    found, job = seen(city, attempt)
    assert (found.state, found.finished_at, job.losses) == (A.LOST, after(seconds=20), 1)


def test_when_every_cluster_is_silent_nothing_expires(city: Database) -> None:
    running, granted = placed(city), placed(city, A.GRANTED, placements=[])
    pass_time(city, after(days=2), both(NOW))
    assert [seen(city, attempt)[0].state for attempt in (running, granted)] == [A.RUNNING, A.GRANTED]
    assert seen(city, running)[0].stop_as is None


def test_a_cluster_that_speaks_again_has_its_runs_back(city: Database) -> None:
    attempt = placed(city)
    pass_time(city, after(seconds=60), {"sz": NOW, "hz": after(seconds=60)})
    assert seen(city, attempt)[1].state == J.UNREACHABLE
    exchange(city, "sz", [run(attempt, RunState.RUNNING)], after(seconds=61))
    pass_time(city, after(seconds=62), {})
    found, job = seen(city, attempt)
    assert (found.state, job.state, job.losses) == (A.RUNNING, J.RUNNING, 0)


def test_a_run_returning_after_it_was_fenced_off_is_not_desired_and_does_not_count(city: Database) -> None:
    attempt = placed(city)
    pass_time(city, after(seconds=700), {"sz": NOW, "hz": after(seconds=700)})
    assert exchange(city, "sz", [run(attempt, RunState.SUCCEEDED)], after(seconds=701)) == []
    assert seen(city, attempt)[1].state == J.QUEUED


def test_a_cluster_never_heard_counts_from_the_grant(city: Database) -> None:
    attempt = placed(city, A.GRANTED, granted_at=after(seconds=100))
    pass_time(city, after(seconds=125), {"sz": None, "hz": after(seconds=125)})
    assert seen(city, attempt)[0].state == A.GRANTED


@pytest.mark.parametrize(("seconds", "stop"), [(3600, None), (3601, A.FAILED)])
def test_a_run_past_its_max_runtime_is_asked_to_stop_and_fails(city: Database, seconds: int, stop: AttemptState | None) -> None:
    with city.write(CITY) as session:
        job = add_job(session, max_runtime="1h", retries={"failed": 3})
        attempt = add_attempt(session, job)
    now = after(seconds=seconds)
    pass_time(city, now, both(now))
    assert seen(city, attempt)[0].stop_as == stop
    if stop is not None:
        exchange(city, "sz", [run(attempt, RunState.STOPPED)], now)
        found, owner = seen(city, attempt)
        assert (found.state, owner.state, owner.reasons[0]["code"]) == (A.FAILED, J.FAILED, "max_runtime_exceeded")


def test_expiry_sees_what_the_api_did_while_it_waited_for_the_job(city: Database) -> None:
    """Between reading the attempts and locking a job, a sync may have moved the attempt on: that must not be undone."""
    attempt, now = placed(city, A.GRANTED), after(seconds=121)
    if city.engine.dialect.name == "sqlite":
        pytest.skip("SQLite has one writer: nothing comes between")
    with city.write(CITY) as session:
        for cluster in ("sz", "hz"):
            session.get_one(ClusterRow, cluster).heard_at = now
    synced: list[object] = []

    def sync_before_the_lock(state: ORMExecuteState) -> None:
        if isinstance(state.statement, Select) and state.statement._for_update_arg is not None and not synced:
            synced.append(exchange(city, "sz", [run(attempt, started_at=after(seconds=120))], now))

    with city.write(CITY) as session:
        event.listen(session, "do_orm_execute", sync_before_the_lock)
        expire(session, PATIENCE, now)
    found, job = seen(city, attempt)
    assert (len(synced), found.state, job.state, found.metered) == (1, A.RUNNING, J.RUNNING, False)
