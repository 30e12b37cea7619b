"""The city's half of the sync protocol: level-triggered, deaf to old fencing tokens, and never tricked about time."""

from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select
from sqlalchemy.orm import Session

from scheduler.contract.sync import Cause, ObservedRun, RunState, SyncRequest
from scheduler.domain.reasons import Reason
from scheduler.domain.states import AttemptState, JobState
from scheduler.service.lifecycle import ask_to_stop, end_attempt, lock_job, request_cancel
from scheduler.service.sync import ClusterTakenError, desired, observe, revision_of, revisions
from scheduler.store.database import CITY, Database
from scheduler.store.tables import AttemptRow, ClusterRow, JobEventRow, JobRow, SilenceRow
from tests.builders import NOW, add_attempt, add_job, after
from tests.service.town import exchange

A, J, R = AttemptState, JobState, RunState
LATER = after(seconds=60)


def placed(city: Database, state: AttemptState = A.RUNNING, cancelled: bool = False, **changes: Any) -> AttemptRow:
    """A job with one attempt in `state`, asked to stop where its job was cancelled."""
    spec_changes = {name: changes.pop(name) for name in ("retries", "name") if name in changes}
    with city.write(CITY) as session:
        job = add_job(session, **spec_changes)
        attempt = add_attempt(session, job, state, **changes)
        if cancelled:
            request_cancel(session, job, NOW)
    return attempt


def run(attempt: AttemptRow, state: RunState = R.RUNNING, **changes: Any) -> ObservedRun:
    return ObservedRun.model_validate(
        {"attempt": attempt.id, "fencing_token": attempt.fencing_token, "state": state, "started_at": NOW, **changes}
    )


def seen(city: Database, attempt: AttemptRow) -> tuple[AttemptRow, JobRow]:
    with city.read(CITY) as session:
        return session.get_one(AttemptRow, attempt.id), session.get_one(JobRow, attempt.job_id)


def everything(session: Session, attempt: AttemptRow) -> list[dict[str, Any]]:
    rows = (session.get_one(AttemptRow, attempt.id), session.get_one(JobRow, attempt.job_id))
    return [{column.key: getattr(row, column.key) for column in row.__table__.columns} for row in rows]


@pytest.mark.parametrize(
    ("before", "state", "after_", "job"),
    [
        (A.GRANTED, R.STARTING, A.STARTING, J.STARTING),
        (A.GRANTED, R.RUNNING, A.RUNNING, J.RUNNING),
        (A.STARTING, R.RUNNING, A.RUNNING, J.RUNNING),
        (A.RUNNING, R.STARTING, A.RUNNING, J.RUNNING),
        (A.UNREACHABLE, R.RUNNING, A.RUNNING, J.RUNNING),
        (A.UNREACHABLE, R.STARTING, A.STARTING, J.STARTING),
        (A.GRANTED, R.SUCCEEDED, A.SUCCEEDED, J.SUCCEEDED),
        (A.UNREACHABLE, R.SUCCEEDED, A.SUCCEEDED, J.SUCCEEDED),
        (A.RUNNING, R.FAILED, A.FAILED, J.FAILED),
        (A.RUNNING, R.STOPPED, A.FAILED, J.FAILED),
    ],
)
def test_what_is_observed_becomes_state(
    city: Database, before: AttemptState, state: RunState, after_: AttemptState, job: JobState
) -> None:
    attempt = placed(city, before)
    exchange(city, "sz", [run(attempt, state)], LATER)
    found, owner = seen(city, attempt)
    assert (found.state, owner.state) == (after_, job)


@pytest.mark.parametrize("state", list(R))
@pytest.mark.parametrize("before", [A.GRANTED, A.RUNNING, A.UNREACHABLE])
def test_the_same_observation_twice_is_the_same_as_once(city: Database, before: AttemptState, state: RunState) -> None:
    attempt = placed(city, before, retries={"failed": 1})
    observed = [run(attempt, state, exit_code=0 if state is R.SUCCEEDED else 1)]
    exchange(city, "sz", observed, LATER)
    with city.read(CITY) as session:
        once = everything(session, attempt)
    exchange(city, "sz", observed, LATER)
    with city.read(CITY) as session:
        assert everything(session, attempt) == once


def test_lost_messages_change_nothing_in_the_end(city: Database) -> None:
    attempt = placed(city, A.GRANTED)
    exchange(city, "sz", [run(attempt, R.SUCCEEDED, started_at=after(seconds=5), finished_at=after(seconds=30))], LATER)
    found, owner = seen(city, attempt)
    assert (found.started_at, found.finished_at, owner.state) == (after(seconds=5), after(seconds=30), J.SUCCEEDED)


@pytest.mark.parametrize("state", list(R))
def test_an_old_fencing_token_never_counts(city: Database, state: RunState) -> None:
    attempt = placed(city, A.GRANTED)
    exchange(city, "sz", [run(attempt, state, fencing_token=attempt.fencing_token - 1)], LATER)
    found, _ = seen(city, attempt)
    assert (found.state, found.started_at, found.observed_at) == (A.GRANTED, None, None)


@pytest.mark.parametrize("other", [-1, 1])
def test_a_run_of_another_token_hides_none(city: Database, other: int) -> None:
    """Whoever may write into a cluster may name a run after an attempt there: that does not make the attempt's own gone."""
    attempt = placed(city)
    exchange(city, "sz", [run(attempt), run(attempt, R.FAILED, fencing_token=attempt.fencing_token + other)], LATER)
    assert seen(city, attempt)[0].state == A.RUNNING


def test_a_run_of_another_cluster_is_not_believed(city: Database) -> None:
    attempt = placed(city)
    exchange(city, "hz", [run(attempt, R.FAILED)], LATER)
    assert seen(city, attempt)[0].state == A.RUNNING


def test_a_run_that_vanished_is_lost_and_its_job_queued_again(city: Database) -> None:
    attempt = placed(city, observed_at=after(seconds=30))
    exchange(city, "sz", [], LATER)
    found, owner = seen(city, attempt)
    assert (found.state, found.finished_at, owner.state, owner.losses) == (A.LOST, after(seconds=30), J.QUEUED, 1)


def test_a_fresh_grant_is_simply_still_to_be_launched(city: Database) -> None:
    attempt = placed(city, A.GRANTED)
    assert [each.attempt for each in exchange(city, "sz", [], LATER)] == [attempt.id]
    assert seen(city, attempt)[0].state == A.GRANTED


def test_a_grant_that_never_arrived_because_its_cluster_was_silent_is_not_lost(city: Database) -> None:
    attempt = placed(city, A.UNREACHABLE, started_at=None, observed_at=None)
    assert [each.attempt for each in exchange(city, "sz", [], LATER)] == [attempt.id]
    found, owner = seen(city, attempt)
    assert (found.state, owner.state, owner.losses) == (A.GRANTED, J.GRANTED, 0)


def test_a_cluster_that_is_back_is_said_to_be_back(city: Database) -> None:
    attempt = placed(city, A.UNREACHABLE)
    exchange(city, "sz", [run(attempt)], LATER)
    with city.read(CITY) as session:
        events = session.scalars(select(JobEventRow).where(JobEventRow.job_id == attempt.job_id).order_by(JobEventRow.id)).all()
    assert events[-1].reason["code"] == "cluster_back"


@pytest.mark.parametrize("before", [A.GRANTED, A.STARTING, A.RUNNING, A.UNREACHABLE])
@pytest.mark.parametrize("how", ["absent", "stopped", "failed"])
def test_what_was_asked_to_stop_ends_as_asked(city: Database, before: AttemptState, how: str) -> None:
    attempt = placed(city, before, cancelled=True)
    exchange(city, "sz", [] if how == "absent" else [run(attempt, R(how), exit_code=137)], LATER)
    found, owner = seen(city, attempt)
    assert (found.state, owner.state) == (A.CANCELLED, J.CANCELLED)


def test_success_counts_even_when_cancellation_was_on_its_way(city: Database) -> None:
    attempt = placed(city, cancelled=True)
    exchange(city, "sz", [run(attempt, R.SUCCEEDED)], LATER)
    assert seen(city, attempt)[1].state == J.SUCCEEDED


def test_what_was_asked_to_stop_is_not_desired_but_keeps_its_cards_until_it_has(city: Database) -> None:
    attempt = placed(city, cancelled=True)
    assert exchange(city, "sz", [run(attempt)], LATER) == []
    assert seen(city, attempt)[0].state == A.RUNNING


@pytest.mark.parametrize(
    ("started_at", "expected"),
    [
        (after(days=-1), LATER),  # a clock that says nothing
        (after(seconds=-5), NOW),
        (after(days=1), LATER),
        (after(seconds=7), after(seconds=7)),
    ],
)
def test_a_start_lies_between_the_grant_and_now(city: Database, started_at: datetime, expected: datetime) -> None:
    attempt = placed(city, A.GRANTED)
    exchange(city, "sz", [run(attempt, started_at=started_at)], LATER)
    exchange(city, "sz", [run(attempt, started_at=after(seconds=1))], LATER)
    assert seen(city, attempt)[0].started_at == expected


@pytest.mark.parametrize(
    ("finished_at", "expected"),
    [(after(days=-1), NOW), (after(days=1), LATER), (None, LATER), (after(seconds=9), after(seconds=9))],
)
def test_an_end_lies_between_the_start_and_now(city: Database, finished_at: datetime | None, expected: datetime) -> None:
    attempt = placed(city)
    exchange(city, "sz", [run(attempt, R.SUCCEEDED, finished_at=finished_at)], LATER)
    assert seen(city, attempt)[0].finished_at == expected


@pytest.mark.parametrize("ahead", [timedelta(hours=2), timedelta(seconds=55)])
def test_a_run_told_of_late_by_a_clock_that_is_ahead_took_no_longer_than_it_did(city: Database, ahead: timedelta) -> None:
    attempt = placed(city, A.GRANTED)
    began = after(seconds=10) + ahead
    exchange(city, "sz", [run(attempt, started_at=began)], after(seconds=10))
    exchange(city, "sz", [run(attempt, R.SUCCEEDED, started_at=began, finished_at=began + timedelta(seconds=7))], LATER)
    found, _ = seen(city, attempt)
    assert found.started_at == after(seconds=10)
    assert found.finished_at == after(seconds=17)


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"exit_code": 3}, "exit_code"),
        ({"exit_code": 3, "ranks": 2, "detail": "rank 1 on gpu-07 exited with code 3"}, "rank_failed"),
        ({"exit_code": 3, "ranks": 2}, "exit_code"),
        ({"detail": "out of memory"}, "failed_elsewhere"),
        ({"cause": Cause.LAUNCH_REFUSED, "detail": "no such image"}, "launch_failed"),
        ({"cause": Cause.OUT_OF_MEMORY, "exit_code": 137}, "out_of_memory"),
        ({}, "failed_elsewhere"),
    ],
)
def test_a_failure_says_why(city: Database, changes: dict[str, Any], code: str) -> None:
    attempt = placed(city)
    exchange(city, "sz", [run(attempt, R.FAILED, **changes)], LATER)
    assert seen(city, attempt)[1].reasons[0]["code"] == code


def test_a_quiet_sync_writes_seldom(city: Database) -> None:
    attempt = placed(city)
    for seconds, expected in ((3, 0), (4, 4), (7, 4), (8, 8)):
        exchange(city, "sz", [run(attempt)], after(seconds=seconds))
        with city.read(CITY) as session:
            assert session.get_one(ClusterRow, "sz").heard_at == after(seconds=expected)
            assert session.get_one(AttemptRow, attempt.id).observed_at == after(seconds=expected)


def test_a_checkpoint_is_remembered(city: Database) -> None:
    attempt = placed(city)
    exchange(city, "sz", [run(attempt, checkpoint_at=after(seconds=30))], LATER)
    exchange(city, "sz", [run(attempt)], after(seconds=90))
    assert seen(city, attempt)[0].checkpoint_at == after(seconds=30)


def test_what_is_desired_has_all_a_launcher_needs(city: Database) -> None:
    attempt = placed(city, A.GRANTED, name="qwen-sft")
    [wanted] = exchange(city, "sz", [], LATER)
    assert (wanted.attempt, wanted.fencing_token, wanted.name, wanted.tenant) == (
        attempt.id,
        attempt.fencing_token,
        "qwen-sft",
        "acme",
    )
    assert (wanted.per_node, wanted.placements[0].node, wanted.max_runtime_seconds) == (8, "s1", 86_400)
    assert exchange(city, "hz", [], LATER) == []


def test_a_job_cancelled_while_its_end_is_reported_ends_once(city: Database) -> None:
    attempt = placed(city)
    exchange(city, "sz", [run(attempt, R.SUCCEEDED)], LATER)
    with city.write(CITY) as session:
        request_cancel(session, lock_job(session, attempt.job_id), LATER)
    assert seen(city, attempt)[1].state == J.SUCCEEDED


Step = tuple[str, int]


@given(st.lists(st.tuples(st.sampled_from(("grant", "stop", "end", "cancel")), st.integers(0, 5)), max_size=14))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_revision_names_the_set_of_what_is_desired(city: Database, steps: list[Step]) -> None:
    """Two moments have one revision if and only if the same runs are desired in both, and the query tells it as the list does."""
    seen_sets: dict[str, frozenset[str]] = {}
    with city.write(CITY) as session:
        attempts: list[AttemptRow] = []
        cluster = session.get_one(ClusterRow, "sz")
        for what, which in steps:
            if what == "grant" or not attempts:
                attempts.append(add_attempt(session, add_job(session), A.GRANTED))
            else:
                attempt = attempts[which % len(attempts)]
                job = lock_job(session, attempt.job_id)
                if what == "stop":
                    ask_to_stop(attempt, A.PREEMPTED, Reason("preempted", {"job": "x", "cluster": "sz"}))
                elif what == "end":
                    end_attempt(session, job, attempt, A.LOST, Reason("cluster_lost", {"cluster": "sz", "seconds": 1}), NOW, NOW)
                else:
                    request_cancel(session, job, NOW)
            session.flush()
            runs = desired(session, cluster)
            revision = revision_of(runs)
            assert revisions(session, ["sz", "hz"]) == {"sz": revision, "hz": "0-0"}
            now = frozenset(run.attempt for run in runs)
            assert seen_sets.setdefault(revision, now) == now
        assert len(set(seen_sets.values())) == len(seen_sets)
        session.rollback()


def test_what_others_have_been_heard_of_is_alive_and_its_silence_is_kept(city: Database) -> None:
    attempt = placed(city, observed_at=NOW)
    with city.write(CITY) as session:
        request = SyncRequest(agent="test", others=[attempt.fencing_token])
        observe(session, session.get_one(ClusterRow, "sz"), request, after(seconds=100))
    found, job = seen(city, attempt)
    assert (found.state, found.observed_at, job.state) == (A.RUNNING, after(seconds=100), J.RUNNING)
    with city.read(CITY) as session:
        [silence] = session.scalars(select(SilenceRow)).all()
    assert (silence.since, silence.until) == (NOW, after(seconds=100))


def test_of_two_agents_the_second_changes_nothing_until_the_first_is_silent(city: Database) -> None:
    attempt = placed(city)
    exchange(city, "sz", [run(attempt)], NOW)
    for seconds, left in ((1, 14), (14, 1)):
        with pytest.raises(ClusterTakenError) as taken, city.write(CITY) as session:
            observe(session, session.get_one(ClusterRow, "sz"), SyncRequest(agent="second"), after(seconds=seconds))
        assert (taken.value.agent, taken.value.seconds) == ("test", left)
        assert seen(city, attempt)[0].state == A.RUNNING
    with city.write(CITY) as session:
        observe(session, session.get_one(ClusterRow, "sz"), SyncRequest(agent="second"), after(seconds=15))
    assert seen(city, attempt)[0].state == A.LOST


def test_of_two_agents_that_speak_at_once_one_is_taken(city: Database) -> None:
    """The second has read when the cluster was last heard of before the first has spoken."""
    if city.engine.dialect.name == "sqlite":
        pytest.skip("SQLite has one writer: nothing comes between")
    with pytest.raises(ClusterTakenError), city.write(CITY) as session:
        cluster = session.get_one(ClusterRow, "sz")
        assert cluster.heard_at == NOW
        exchange(city, "sz", [], after(seconds=100))
        observe(session, cluster, SyncRequest(agent="second"), after(seconds=100))
