"""Which clusters did not start a job when it was granted to them, and for how long it is kept from there."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from scheduler.domain.clock import MICROS_PER_SECOND, to_micros
from scheduler.domain.states import ATTEMPT_FINAL, JOB_WAITING, AttemptState
from scheduler.engine.intake import back_off_seconds
from scheduler.engine.order import BackOff
from scheduler.service.causes import REFUSALS
from scheduler.store.tables import AttemptRow, JobRow

MAX_ENDS = 100
"""Of an array, so many of its latest ends are looked at."""


def load_back_offs(session: Session, jobs: Sequence[str], now: datetime) -> Mapping[str, tuple[BackOff, ...]]:
    """For every one of some waiting jobs that is kept from somewhere: the clusters, by name. An attempt that did start there ends
    the row."""
    attempts = session.scalars(
        select(AttemptRow)
        .join(JobRow)
        .where(JobRow.id.in_(jobs), JobRow.state.in_(JOB_WAITING), AttemptRow.state.in_((AttemptState.FAILED, AttemptState.LOST)))
        .order_by(AttemptRow.job_id, AttemptRow.number)
    )
    by_job: defaultdict[str, list[AttemptRow]] = defaultdict(list)
    for attempt in attempts:
        by_job[attempt.job_id].append(attempt)
    return {job: kept for job, ends in by_job.items() if (kept := _back_offs(ends, now))}


def array_back_offs(session: Session, job: str, now: datetime) -> tuple[BackOff, ...]:
    """The clusters an array is kept from: what one of its tasks could not do there, the others are not sent to try."""
    ended = select(AttemptRow).where(AttemptRow.job_id == job, AttemptRow.state.in_(ATTEMPT_FINAL))
    latest = session.scalars(ended.order_by(AttemptRow.number.desc()).limit(MAX_ENDS)).all()
    return _back_offs(latest[::-1], now)


def _back_offs(attempts: Iterable[AttemptRow], now: datetime) -> tuple[BackOff, ...]:
    """From attempts of one job that have ended, in order."""
    in_a_row: defaultdict[str, list[datetime]] = defaultdict(list)
    for attempt in attempts:
        if attempt.reason is not None and attempt.reason["code"] in REFUSALS:
            in_a_row[attempt.cluster_id].append(attempt.finished_at or attempt.granted_at)
        else:
            in_a_row[attempt.cluster_id].clear()
    untils = {
        cluster: to_micros(ends[-1]) + back_off_seconds(len(ends)) * MICROS_PER_SECOND for cluster, ends in in_a_row.items() if ends
    }
    return tuple(BackOff(cluster, until) for cluster, until in sorted(untils.items()) if until > to_micros(now))
