"""Every change of a job's or an attempt's state, each inside the caller's transaction.

A job's row is locked before its attempts are touched, so the API and the dispatcher cannot interleave on one job. Ending an
attempt decides at once what becomes of its job, or of its task where the job is an array: `after_attempt` is that decision, pure.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from scheduler.contract.job import JobSpec, Retries
from scheduler.domain.reasons import Reason
from scheduler.domain.states import ATTEMPT_ACTIVE, ATTEMPT_FINAL, JOB_FINAL, JOB_WAITING, AttemptState, JobState, may_follow
from scheduler.service.causes import COSTLESS
from scheduler.service.tasks import active_tasks, begin, change, end_waiting, outcome, task_of, waiting_tasks, waits
from scheduler.store.tables import AttemptRow, JobEventRow, JobRow, Json, TaskRow

SUBMITTED = Reason("waiting_for_round")


class NotWaitingError(Exception):
    """A job, or a task of an array, that was to start does not wait any more."""


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


def record(
    session: Session, job: JobRow, reason: Reason, now: datetime, attempt: int | None = None, task: TaskRow | None = None
) -> None:
    """Append to the job's history, or to what happened to a task of it."""
    index, state = (None, job.state) if task is None else (task.index, task.state)
    session.add(
        JobEventRow(
            job_id=job.id, tenant_id=job.tenant_id, at=now, state=state, attempt=attempt, task=index, reason=as_json(reason)
        )
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
        tasks=None if spec.array is None else {JobState.QUEUED: spec.array.size},
        tasks_begun=0,
    )
    session.add(job)
    session.flush()
    record(session, job, Reason("submitted"), now)
    return job


def request_cancel(session: Session, job: JobRow, now: datetime) -> None:
    """Cancel a waiting job at once; ask a running one to stop, and of an array all that run. A finished job stays as it is."""
    if job.state in JOB_FINAL or job.cancel_requested:
        return
    job.cancel_requested = True
    record(session, job, Reason("cancel_requested"), now)
    if job.tasks is not None:
        end_waiting(session, job, JobState.CANCELLED)
    if job.state in JOB_WAITING and not active_tasks(job):
        _conclude(session, job, JobState.CANCELLED, Reason("cancelled"), now)
        return
    for attempt in _current_attempts(session, job):
        ask_to_stop(attempt, AttemptState.CANCELLED, Reason("cancelled"))
        if attempt.task is not None:
            record(session, job, Reason("cancel_requested"), now, attempt.number, task_of(session, attempt))


def give_up(session: Session, job: JobRow, reason: Reason, now: datetime) -> None:
    """End a waiting job that can never start."""
    if job.state in JOB_WAITING:
        if job.tasks is not None:
            end_waiting(session, job, JobState.FAILED)
        _conclude(session, job, JobState.FAILED, reason, now)


def hold(session: Session, job: JobRow, reason: Reason, now: datetime) -> None:
    """Keep a waiting job, or what waits of an array, from being granted until what holds it is over."""
    before, job.verdict, job.reasons = job.reasons, "wait", [as_json(reason)]
    if not active_tasks(job):
        job.state = JobState.HELD
    if job.reasons != before:
        record(session, job, reason, now)


def start_attempt(session: Session, job: JobRow, index: int | None, reasons: Sequence[Reason]) -> TaskRow | None:
    """A waiting job, or a task of an array, is granted its next attempt, number `job.attempts` from now on. Returns the task.

    Raises NotWaitingError, with nothing changed, where it has left the queue meanwhile.
    """
    if index is None:
        if not waits(job) or job.tasks is not None:
            raise NotWaitingError(job.id)
        job.attempts += 1
        job.state, job.verdict, job.reasons = JobState.GRANTED, "fit", [as_json(reason) for reason in reasons]
        return None
    task = begin(session, job, index)
    if task is None:
        raise NotWaitingError(f"{job.id} task {index}")
    job.attempts += 1
    task.attempt, task.tries = job.attempts, task.tries + 1
    change(job, task, JobState.GRANTED)
    if not waiting_tasks(job):  # else it says why the others wait
        job.verdict, job.reasons = "fit", [as_json(reason) for reason in reasons]
    return task


def _current_attempts(session: Session, job: JobRow) -> Sequence[AttemptRow]:
    """The attempts that hold cards: one of a job, or one of each task that runs."""
    holding = select(AttemptRow).where(AttemptRow.job_id == job.id, AttemptRow.state.in_(ATTEMPT_ACTIVE))
    return session.scalars(holding.order_by(AttemptRow.number)).all()


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
        task = task_of(session, attempt)
        _is_now(job, task, JobState(state))
        record(session, job, reason, now, attempt.number, task)


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
    task = task_of(session, attempt)
    tried, latest = (job, job.attempts) if task is None else (task, task.attempt)
    if latest != attempt.number or tried.state in JOB_FINAL:
        return
    retries = JobSpec.model_validate(job.spec).retries
    following = after_attempt(end, reason, retries, tried.failures, tried.losses, cancelled=job.cancel_requested)
    tried.failures, tried.losses = following.failures, following.losses
    if following.state is JobState.QUEUED:
        _is_now(job, task, JobState.QUEUED)
        if task is None:
            job.verdict, job.reasons = None, [as_json(following.reason)]
        record(session, job, reason, now, attempt.number, task)
        record(session, job, following.reason, now, task=task)
        return
    _is_now(job, task, JobState(end) if end in (AttemptState.SUCCEEDED, AttemptState.CANCELLED) else JobState.FAILED)
    if following.reason != reason:
        record(session, job, reason, now, attempt.number, task)
    if task is None:
        _conclude(session, job, following.state, following.reason, now)
    else:
        _conclude_task(session, job, task, following.state, following.reason, now)


def after_attempt(end: AttemptState, reason: Reason, retries: Retries, failures: int, losses: int, *, cancelled: bool) -> Next:
    """Requeue or conclude: whole gangs are retried, as often as `retries` allows for that kind of end.

    A preemption, and a grant that its cluster never took up or had no room for, cost no retry.
    Success counts even when cancellation was on its way.
    """
    match end:
        case AttemptState.SUCCEEDED:
            return Next(JobState.SUCCEEDED, reason, failures, losses)
        case _ if cancelled or end is AttemptState.CANCELLED:
            return Next(JobState.CANCELLED, Reason("cancelled"), failures, losses)
        case AttemptState.PREEMPTED:
            return Next(JobState.QUEUED, Reason("waiting_for_round"), failures, losses)
        case AttemptState.LOST if reason.code in COSTLESS:
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


def _is_now(job: JobRow, task: TaskRow | None, state: JobState) -> None:
    """A job, or a task of an array, is in another state."""
    if task is None:
        job.state = state
    else:
        change(job, task, state)


def _conclude_task(session: Session, job: JobRow, task: TaskRow, state: JobState, reason: Reason, now: datetime) -> None:
    """A task has ended, and with the last of them the array."""
    change(job, task, state)
    record(session, job, reason, now, task.attempt, task)
    if not waiting_tasks(job) and not active_tasks(job):
        _conclude(session, job, *outcome(job), now)


def _conclude(session: Session, job: JobRow, state: JobState, reason: Reason, now: datetime) -> None:
    job.state = state
    job.finished_at = now
    job.verdict, job.reasons = None, [as_json(reason)]
    record(session, job, reason, now, (job.attempts or None) if job.tasks is None else None)
