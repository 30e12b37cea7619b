"""Every change of a job's or an attempt's state, each inside the caller's transaction.

A job's row is locked before its attempts are touched, so the API and the dispatcher cannot interleave on one job. Ending an
attempt decides at once what becomes of its job: `after_attempt` is that decision, pure.
"""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from scheduler.contract.job import JobSpec, Retries
from scheduler.domain.reasons import Reason
from scheduler.domain.states import ATTEMPT_FINAL, JOB_FINAL, JOB_WAITING, AttemptState, JobState, may_follow
from scheduler.store.tables import AttemptRow, JobEventRow, JobRow, Json

SUBMITTED = Reason("waiting_for_round")


@dataclass(frozen=True, slots=True)
class Next:
    """What becomes of a job when an attempt of it has ended."""

    state: JobState
    reason: Reason
    failures: int
    losses: int


def as_json(reason: Reason) -> Json:
    return {"code": reason.code, "numbers": dict(reason.numbers)}


def from_json(stored: Json) -> Reason:
    return Reason(stored["code"], stored["numbers"])


def lock_job(session: Session, job_id: str) -> JobRow:
    """The job's row as it is now, locked until the transaction ends. The caller has made sure that it exists."""
    query = select(JobRow).where(JobRow.id == job_id).with_for_update().execution_options(populate_existing=True)
    return session.scalars(query).one()


def record(session: Session, job: JobRow, reason: Reason, now: datetime, attempt: int | None = None) -> None:
    """Append to the job's history."""
    session.add(
        JobEventRow(job_id=job.id, tenant_id=job.tenant_id, at=now, state=job.state, attempt=attempt, reason=as_json(reason))
    )


def submit(session: Session, job_id: str, tenant: str, spec: JobSpec, now: datetime) -> JobRow:
    """Store a new job in the queue."""
    job = JobRow(
        id=job_id,
        tenant_id=tenant,
        state=JobState.QUEUED,
        spec=spec.model_dump(mode="json", by_alias=True, exclude_defaults=True),
        submitted_at=now,
        attempts=0,
        failures=0,
        losses=0,
        cancel_requested=False,
        reasons=[as_json(SUBMITTED)],
    )
    session.add(job)
    session.flush()
    record(session, job, Reason("submitted"), now)
    return job


def request_cancel(session: Session, job: JobRow, now: datetime) -> None:
    """Cancel a waiting job at once; ask a running one to stop. A finished job stays as it is."""
    if job.state in JOB_FINAL or job.cancel_requested:
        return
    job.cancel_requested = True
    record(session, job, Reason("cancel_requested"), now)
    if job.state in JOB_WAITING:
        _conclude(session, job, JobState.CANCELLED, Reason("cancelled"), now)
    else:
        ask_to_stop(current_attempt(session, job), AttemptState.CANCELLED, Reason("cancelled"))


def give_up(session: Session, job: JobRow, reason: Reason, now: datetime) -> None:
    """End a waiting job that can never start."""
    if job.state in JOB_WAITING:
        _conclude(session, job, JobState.FAILED, reason, now)


def current_attempt(session: Session, job: JobRow) -> AttemptRow:
    """The latest attempt of a job that has one."""
    return session.scalars(select(AttemptRow).where(AttemptRow.job_id == job.id, AttemptRow.number == job.attempts)).one()


def ask_to_stop(attempt: AttemptRow, end: AttemptState, reason: Reason) -> None:
    """From the next sync on the attempt is not desired; it keeps its cards until its cluster no longer runs it.

    The first request stands, except that a cancellation overrides any other.
    """
    if attempt.stop_as is None or end is AttemptState.CANCELLED:
        attempt.stop_as = end
        attempt.reason = as_json(reason)


def advance_attempt(session: Session, job: JobRow, attempt: AttemptRow, state: AttemptState, reason: Reason, now: datetime) -> None:
    """Move an attempt that goes on, and its job with it. A step that may not follow is ignored: it is an old message."""
    if may_follow(AttemptState(attempt.state), state):
        attempt.state = state
        job.state = JobState(state)
        record(session, job, reason, now, attempt.number)


def end_attempt(
    session: Session,
    job: JobRow,
    attempt: AttemptRow,
    end: AttemptState,
    reason: Reason,
    finished_at: datetime,
    now: datetime,
) -> None:
    """End an attempt, release its cards, and requeue or conclude its job."""
    if attempt.state in ATTEMPT_FINAL:
        return
    attempt.state = end
    attempt.reason = as_json(reason)
    if attempt.started_at is not None:
        attempt.finished_at = max(finished_at, attempt.metered_until or attempt.started_at)
    else:
        attempt.finished_at = now
        attempt.metered = True  # it never ran: there is nothing to charge
    if job.attempts != attempt.number or job.state in JOB_FINAL:
        return
    retries = JobSpec.model_validate(job.spec).retries
    following = after_attempt(end, reason, retries, job.failures, job.losses, cancelled=job.cancel_requested)
    job.failures, job.losses = following.failures, following.losses
    job.state = JobState(end) if end in (AttemptState.SUCCEEDED, AttemptState.CANCELLED) else JobState.FAILED
    if following.state is JobState.QUEUED:
        job.state = JobState.QUEUED
        job.verdict, job.reasons = None, [as_json(following.reason)]
        record(session, job, reason, now, attempt.number)
        record(session, job, following.reason, now)
    else:
        if following.reason != reason:
            record(session, job, reason, now, attempt.number)
        _conclude(session, job, following.state, following.reason, now)


def after_attempt(end: AttemptState, reason: Reason, retries: Retries, failures: int, losses: int, *, cancelled: bool) -> Next:
    """Requeue or conclude: whole gangs are retried, as often as `retries` allows for that kind of end.

    A preemption, and a grant its cluster never took up, cost no retry. Success counts even when cancellation was on its way.
    """
    match end:
        case AttemptState.SUCCEEDED:
            return Next(JobState.SUCCEEDED, reason, failures, losses)
        case _ if cancelled or end is AttemptState.CANCELLED:
            return Next(JobState.CANCELLED, Reason("cancelled"), failures, losses)
        case AttemptState.PREEMPTED:
            return Next(JobState.QUEUED, Reason("waiting_for_round"), failures, losses)
        case AttemptState.LOST if reason.code == "grant_expired":
            return Next(JobState.QUEUED, Reason("waiting_for_round"), failures, losses)
        case AttemptState.LOST:
            return _retry(reason, losses, retries.node_lost, failures, losses + 1)
        case _ if reason.code == "max_runtime_exceeded":
            return Next(JobState.FAILED, reason, failures, losses)
        case _:
            return _retry(reason, failures, retries.failed, failures + 1, losses)


def _retry(cause: Reason, used: int, allowed: int, failures: int, losses: int) -> Next:
    if used < allowed:
        return Next(
            JobState.QUEUED, Reason("retrying", {"retry": used + 1, "allowed": allowed, "cause": cause.code}), failures, losses
        )
    if allowed == 0:
        return Next(JobState.FAILED, cause, failures, losses)
    return Next(JobState.FAILED, Reason("retries_exhausted", {"allowed": allowed, "cause": cause.code}), failures, losses)


def _conclude(session: Session, job: JobRow, state: JobState, reason: Reason, now: datetime) -> None:
    job.state = state
    job.finished_at = now
    job.verdict, job.reasons = None, [as_json(reason)]
    record(session, job, reason, now, job.attempts or None)
