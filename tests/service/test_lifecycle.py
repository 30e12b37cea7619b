"""What becomes of a job when it is submitted, cancelled, and when an attempt of it ends."""

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from scheduler.contract.job import Retries
from scheduler.domain.reasons import Reason
from scheduler.domain.states import ATTEMPT_FINAL, AttemptState, JobState
from scheduler.service.lifecycle import advance_attempt, after_attempt, ask_to_stop, end_attempt, from_json, request_cancel
from scheduler.store.database import CITY, Database
from scheduler.store.tables import JobEventRow, JobRow
from tests.builders import NOW, add_attempt, add_job, after

A, J = AttemptState, JobState
FAILED = Reason("exit_code", {"exit_code": 1})
VANISHED = Reason("run_vanished", {"cluster": "sz"})
EXPIRED = Reason("grant_expired", {"cluster": "sz", "seconds": 120})
PREEMPTED = Reason("preempted", {"priority": 75})
TOO_LONG = Reason("max_runtime_exceeded", {"max_runtime": "1h"})
DONE, CANCELLED = Reason("succeeded"), Reason("cancelled")


@pytest.mark.parametrize(
    ("end", "reason", "failures", "losses", "cancelled", "state", "code", "counted"),
    [
        (A.SUCCEEDED, DONE, 0, 0, False, J.SUCCEEDED, "succeeded", (0, 0)),
        (A.SUCCEEDED, DONE, 0, 0, True, J.SUCCEEDED, "succeeded", (0, 0)),
        (A.CANCELLED, CANCELLED, 0, 0, True, J.CANCELLED, "cancelled", (0, 0)),
        (A.CANCELLED, CANCELLED, 0, 0, False, J.CANCELLED, "cancelled", (0, 0)),
        (A.FAILED, FAILED, 0, 0, True, J.CANCELLED, "cancelled", (0, 0)),
        (A.LOST, VANISHED, 0, 0, True, J.CANCELLED, "cancelled", (0, 0)),
        (A.PREEMPTED, PREEMPTED, 0, 0, True, J.CANCELLED, "cancelled", (0, 0)),
        (A.PREEMPTED, PREEMPTED, 1, 2, False, J.QUEUED, "waiting_for_round", (1, 2)),
        (A.LOST, EXPIRED, 1, 2, False, J.QUEUED, "waiting_for_round", (1, 2)),
        (A.LOST, VANISHED, 1, 1, False, J.QUEUED, "retrying", (1, 2)),
        (A.LOST, VANISHED, 1, 2, False, J.FAILED, "retries_exhausted", (1, 3)),
        (A.FAILED, FAILED, 0, 2, False, J.QUEUED, "retrying", (1, 2)),
        (A.FAILED, FAILED, 1, 2, False, J.FAILED, "retries_exhausted", (2, 2)),
        (A.FAILED, TOO_LONG, 0, 0, False, J.FAILED, "max_runtime_exceeded", (0, 0)),
    ],
)
def test_an_end_requeues_or_concludes(
    end: AttemptState,
    reason: Reason,
    failures: int,
    losses: int,
    cancelled: bool,
    state: JobState,
    code: str,
    counted: tuple[int, int],
) -> None:
    following = after_attempt(end, reason, Retries(node_lost=2, failed=1), failures, losses, cancelled=cancelled)
    assert (following.state, following.reason.code) == (state, code)
    if state in (J.QUEUED, J.SUCCEEDED):
        assert (following.failures, following.losses) == counted


@pytest.mark.parametrize(("end", "reason"), [(A.FAILED, FAILED), (A.LOST, VANISHED)])
def test_without_any_retry_the_cause_itself_is_the_reason(end: AttemptState, reason: Reason) -> None:
    assert after_attempt(end, reason, Retries(node_lost=0, failed=0), 0, 0, cancelled=False).reason == reason


def test_a_submitted_job_waits_and_says_why(city: Database) -> None:
    with city.write(CITY) as session:
        job = add_job(session)
        assert (job.state, job.attempts, job.reasons[0]["code"]) == (J.QUEUED, 0, "waiting_for_round")
        assert events(session, job) == [("queued", None, "submitted")]


@pytest.mark.parametrize("waiting", [J.QUEUED, J.HELD])
def test_cancelling_a_waiting_job_ends_it_at_once(city: Database, waiting: JobState) -> None:
    with city.write(CITY) as session:
        job = add_job(session)
        job.state = waiting
        request_cancel(session, job, after(seconds=1))
        request_cancel(session, job, after(seconds=2))
        assert (job.state, job.finished_at) == (J.CANCELLED, after(seconds=1))
        assert [code for *_, code in events(session, job)] == ["submitted", "cancel_requested", "cancelled"]


def test_cancelling_a_running_job_asks_its_attempt_to_stop(city: Database) -> None:
    with city.write(CITY) as session:
        job = add_job(session)
        attempt = add_attempt(session, job)
        request_cancel(session, job, after(seconds=1))
        assert (job.state, job.finished_at, attempt.stop_as, attempt.state) == (J.RUNNING, None, A.CANCELLED, A.RUNNING)


@pytest.mark.parametrize("final", [J.SUCCEEDED, J.FAILED, J.CANCELLED])
def test_a_finished_job_cannot_be_cancelled(city: Database, final: JobState) -> None:
    with city.write(CITY) as session:
        job = add_job(session)
        job.state = final
        request_cancel(session, job, NOW)
        assert (job.state, job.cancel_requested) == (final, False)


def test_the_first_request_to_stop_stands_except_that_cancelling_overrides(city: Database) -> None:
    with city.write(CITY) as session:
        attempt = add_attempt(session, add_job(session))
        ask_to_stop(attempt, A.PREEMPTED, PREEMPTED)
        ask_to_stop(attempt, A.FAILED, TOO_LONG)
        assert (attempt.stop_as, from_json(attempt.reason or {})) == (A.PREEMPTED, PREEMPTED)
        ask_to_stop(attempt, A.CANCELLED, CANCELLED)
        ask_to_stop(attempt, A.PREEMPTED, PREEMPTED)
        assert attempt.stop_as == A.CANCELLED


def test_an_attempt_that_ends_badly_returns_its_job_to_the_queue(city: Database) -> None:
    with city.write(CITY) as session:
        job = add_job(session, retries={"failed": 1})
        attempt = add_attempt(session, job)
        end_attempt(session, job, attempt, A.FAILED, FAILED, after(seconds=60), after(seconds=61))
        assert (attempt.state, attempt.finished_at, attempt.metered) == (A.FAILED, after(seconds=60), False)
        assert (job.state, job.failures, job.finished_at, job.reasons[0]["code"]) == (J.QUEUED, 1, None, "retrying")
        assert events(session, job)[-2:] == [("queued", 1, "exit_code"), ("queued", None, "retrying")]


def test_a_job_that_is_out_of_retries_says_both_why(city: Database) -> None:
    with city.write(CITY) as session:
        job = add_job(session, retries={"failed": 1})
        job.failures = 1
        end_attempt(session, job, add_attempt(session, job), A.FAILED, FAILED, NOW, after(seconds=61))
        assert (job.state, job.finished_at) == (J.FAILED, after(seconds=61))
        assert events(session, job)[-2:] == [("failed", 1, "exit_code"), ("failed", 1, "retries_exhausted")]


@pytest.mark.parametrize("end", sorted(ATTEMPT_FINAL))
def test_an_end_is_final(city: Database, end: AttemptState) -> None:
    with city.write(CITY) as session:
        job = add_job(session)
        attempt = add_attempt(session, job)
        end_attempt(session, job, attempt, end, DONE, after(seconds=1), after(seconds=1))
        before = (attempt.state, attempt.finished_at, job.state, job.losses, events(session, job))
        end_attempt(session, job, attempt, A.LOST, VANISHED, after(seconds=9), after(seconds=9))
        advance_attempt(session, job, attempt, A.RUNNING, Reason("started", {"cluster": "sz"}), after(seconds=9))
        assert (attempt.state, attempt.finished_at, job.state, job.losses, events(session, job)) == before


def test_an_attempt_that_never_ran_ends_now_and_is_still_to_be_accounted_for(city: Database) -> None:
    with city.write(CITY) as session:
        job = add_job(session)
        attempt = add_attempt(session, job, A.STARTING)
        end_attempt(session, job, attempt, A.FAILED, Reason("launch_failed", {"detail": "no image"}), NOW, NOW)
        assert (attempt.finished_at, attempt.metered) == (NOW, False)


def test_an_attempt_does_not_end_before_what_has_been_charged(city: Database) -> None:
    with city.write(CITY) as session:
        job = add_job(session)
        attempt = add_attempt(session, job, metered_until=after(hours=1))
        end_attempt(session, job, attempt, A.SUCCEEDED, DONE, after(minutes=5), after(hours=1))
        assert attempt.finished_at == after(hours=1)


def test_an_old_attempt_that_ends_late_leaves_the_job_alone(city: Database) -> None:
    with city.write(CITY) as session:
        job = add_job(session)
        old = add_attempt(session, job)
        add_attempt(session, job, placements=[])
        end_attempt(session, job, old, A.SUCCEEDED, DONE, NOW, NOW)
        assert (job.state, job.finished_at) == (J.RUNNING, None)


def events(session: Session, job: JobRow) -> list[tuple[str, int | None, str]]:
    rows = session.scalars(select(JobEventRow).where(JobEventRow.job_id == job.id).order_by(JobEventRow.id))
    return [(row.state, row.attempt, row.reason["code"]) for row in rows]
