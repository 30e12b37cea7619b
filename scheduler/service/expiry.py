"""What time alone changes: grants nobody took up, runs past their limit, clusters that fell silent.

Unreachable is not dead. A silent cluster's attempts become `unreachable`, and only after a grace are they fenced off and their
jobs queued again. If every cluster is silent the blind one is us, and nothing expires.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import select
from sqlalchemy.orm import Session

from scheduler.contract.job import JobSpec
from scheduler.domain.reasons import Reason
from scheduler.domain.states import ATTEMPT_ACTIVE, AttemptState
from scheduler.service.lifecycle import advance_attempt, ask_to_stop, end_attempt, lock_job
from scheduler.service.snapshot import is_silent
from scheduler.store.tables import AttemptRow, ClusterRow, JobRow


@dataclass(frozen=True, slots=True)
class Patience:
    """How long to wait for what."""

    grant: timedelta = timedelta(seconds=120)
    """For a live cluster to start what it was granted."""
    silence: timedelta = timedelta(seconds=600)
    """For a silent cluster to come back before its attempts are lost."""


def expire(session: Session, patience: Patience, now: datetime) -> None:
    """Apply every expiry that is due."""
    clusters = {cluster.id: cluster.heard_at for cluster in session.scalars(select(ClusterRow))}
    if clusters and all(is_silent(heard_at, now) for heard_at in clusters.values()):
        return
    rows = session.execute(
        select(AttemptRow, JobRow.spec).join(JobRow).where(AttemptRow.state.in_(ATTEMPT_ACTIVE)).order_by(JobRow.id)
    )
    for attempt, spec in rows.all():
        _expire_attempt(session, attempt, JobSpec.model_validate(spec), clusters, patience, now)


def _expire_attempt(
    session: Session,
    attempt: AttemptRow,
    spec: JobSpec,
    heard_at: Mapping[str, datetime | None],
    patience: Patience,
    now: datetime,
) -> None:
    heard = heard_at[attempt.cluster_id] or attempt.granted_at
    silence_seconds = int((now - heard).total_seconds())
    where: dict[str, str | int] = {"cluster": attempt.cluster_id}
    if now - heard > patience.silence:
        lost = Reason("cluster_lost", {**where, "seconds": int(patience.silence.total_seconds())})
        job = lock_job(session, attempt.job_id)
        end_attempt(session, job, attempt, AttemptState.LOST, lost, attempt.observed_at or heard, now)
    elif is_silent(heard, now):
        if attempt.state != AttemptState.UNREACHABLE:
            job = lock_job(session, attempt.job_id)
            silent = Reason("cluster_silent", {**where, "seconds": silence_seconds})
            advance_attempt(session, job, attempt, AttemptState.UNREACHABLE, silent, now)
    elif attempt.state == AttemptState.GRANTED and now - attempt.granted_at > patience.grant:
        job = lock_job(session, attempt.job_id)
        expired = Reason("grant_expired", {**where, "seconds": int(patience.grant.total_seconds())})
        end_attempt(session, job, attempt, AttemptState.LOST, expired, now, now)
    elif attempt.started_at and now - attempt.started_at > timedelta(seconds=spec.max_runtime_seconds):
        ask_to_stop(attempt, AttemptState.FAILED, Reason("max_runtime_exceeded", {"max_runtime": spec.max_runtime}))
