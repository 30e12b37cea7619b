"""Which clusters did not start a job when it was granted to them, and for how long it is kept from there."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from scheduler.domain.clock import MICROS_PER_SECOND, to_micros
from scheduler.domain.states import JOB_WAITING, AttemptState
from scheduler.engine.intake import back_off_seconds
from scheduler.engine.order import BackOff
from scheduler.store.tables import AttemptRow, JobRow

REFUSALS = frozenset({"launch_failed", "grant_expired"})
"""How an attempt ends that its cluster did not start."""


def load_back_offs(session: Session, jobs: Sequence[str], now: datetime) -> Mapping[str, tuple[BackOff, ...]]:
    """For every one of some waiting jobs that is kept from somewhere: the clusters, by name. An attempt that did start there ends
    the row."""
    attempts = session.scalars(
        select(AttemptRow)
        .join(JobRow)
        .where(JobRow.id.in_(jobs), JobRow.state.in_(JOB_WAITING), AttemptRow.state.in_((AttemptState.FAILED, AttemptState.LOST)))
        .order_by(AttemptRow.job_id, AttemptRow.number)
    )
    in_a_row: defaultdict[tuple[str, str], list[datetime]] = defaultdict(list)
    for attempt in attempts:
        ends = in_a_row[attempt.job_id, attempt.cluster_id]
        if attempt.reason is not None and attempt.reason["code"] in REFUSALS:
            ends.append(attempt.finished_at or attempt.granted_at)
        else:
            ends.clear()
    kept: defaultdict[str, list[BackOff]] = defaultdict(list)
    for (job, cluster), ends in sorted(in_a_row.items()):
        until = to_micros(ends[-1]) + back_off_seconds(len(ends)) * MICROS_PER_SECOND if ends else 0
        if until > to_micros(now):
            kept[job].append(BackOff(cluster, until))
    return {job: tuple(each) for job, each in kept.items()}
