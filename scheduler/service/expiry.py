"""What time alone changes: grants nobody took up, runs past their limit, clusters that fell silent.

Unreachable is not dead. A silent cluster's attempts become `unreachable`, and only after a grace are they fenced off and their
jobs queued again. If every cluster is silent the blind one is us, and nothing expires.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum, auto

from sqlalchemy import select
from sqlalchemy.orm import Session

from scheduler.contract.job import JobSpec
from scheduler.domain.reasons import Reason
from scheduler.domain.states import ATTEMPT_ACTIVE, ATTEMPT_FINAL, AttemptState
from scheduler.service.lifecycle import advance_attempt, ask_to_stop, end_attempt, lock_job, record
from scheduler.service.snapshot import is_silent
from scheduler.service.tasks import task_of
from scheduler.store.tables import AttemptRow, ClusterRow, JobRow


@dataclass(frozen=True, slots=True)
class Patience:
    """How long to wait for what."""

    grant: timedelta = timedelta(seconds=120)
    """For a live cluster to start what it was granted."""
    silence: timedelta = timedelta(seconds=600)
    """For a silent cluster to come back before its attempts are lost."""


class _Due(Enum):
    LOSS = auto()
    SILENCE = auto()
    GRANT = auto()
    RUNTIME = auto()


def expire(session: Session, patience: Patience, now: datetime) -> None:
    """Apply every expiry that is due. Whatever it does to a job is in the job's history."""
    clusters = {cluster.id: cluster.heard_at for cluster in session.scalars(select(ClusterRow))}
    if clusters and all(is_silent(heard_at, now) for heard_at in clusters.values()):
        return
    rows = session.execute(
        select(AttemptRow, JobRow.spec).join(JobRow).where(AttemptRow.state.in_(ATTEMPT_ACTIVE)).order_by(JobRow.id)
    )
    for attempt, document in rows.all():
        spec, heard = JobSpec.model_validate(document), clusters[attempt.cluster_id] or attempt.granted_at
        due = _due(attempt, spec, heard, patience, now)
        if due is None:
            continue
        job = lock_job(session, attempt.job_id)
        session.refresh(attempt)
        if _due(attempt, spec, heard, patience, now) is due:
            _apply(session, job, attempt, due, spec, heard, patience, now)


def _due(attempt: AttemptRow, spec: JobSpec, heard: datetime, patience: Patience, now: datetime) -> _Due | None:
    if attempt.state in ATTEMPT_FINAL:
        return None
    if now - heard > patience.silence:
        return _Due.LOSS
    if is_silent(heard, now):
        return _Due.SILENCE if attempt.state != AttemptState.UNREACHABLE else None
    if attempt.state == AttemptState.GRANTED:
        return _Due.GRANT if now - attempt.granted_at > patience.grant else None
    overdue = attempt.started_at is not None and now - attempt.started_at > timedelta(seconds=spec.max_runtime_seconds)
    return _Due.RUNTIME if overdue and attempt.stop_as is None else None


def _apply(
    session: Session,
    job: JobRow,
    attempt: AttemptRow,
    due: _Due,
    spec: JobSpec,
    heard: datetime,
    patience: Patience,
    now: datetime,
) -> None:
    where: dict[str, str | int] = {"cluster": attempt.cluster_id}
    match due:
        case _Due.LOSS:
            lost = Reason("cluster_lost", {**where, "seconds": int(patience.silence.total_seconds())})
            end_attempt(session, job, attempt, AttemptState.LOST, lost, attempt.observed_at or heard, now)
        case _Due.SILENCE:
            silent = Reason("cluster_silent", {**where, "seconds": int((now - heard).total_seconds())})
            advance_attempt(session, job, attempt, AttemptState.UNREACHABLE, silent, now)
        case _Due.GRANT:
            expired = Reason("grant_expired", {**where, "seconds": int(patience.grant.total_seconds())})
            end_attempt(session, job, attempt, AttemptState.LOST, expired, now, now)
        case _Due.RUNTIME:
            limit: dict[str, str | int] = {"max_runtime": spec.max_runtime}
            ask_to_stop(attempt, AttemptState.FAILED, Reason("max_runtime_exceeded", limit))
            record(session, job, Reason("stop_overdue", limit), now, attempt.number, task_of(session, attempt))
