"""Moves under way, as the store keeps them: on the attempt that was asked to stop, until its job has a new one."""

from collections.abc import Callable, Iterator, Sequence

from sqlalchemy import and_, or_, select
from sqlalchemy.orm import Session

from scheduler.contract.job import JobSpec
from scheduler.contract.sync import Placement
from scheduler.domain.states import ATTEMPT_ACTIVE, AttemptState, JobState
from scheduler.engine.fleet import Fleet
from scheduler.engine.order import QueuedJob
from scheduler.engine.snapshot import Move
from scheduler.service.snapshot import place_of
from scheduler.service.tasks import run_name
from scheduler.store.tables import AttemptRow, JobRow, Json, TaskRow


def moves_to(move: Move, placements: Sequence[Placement]) -> Json:
    """A move as an attempt keeps it."""
    kept = [placement.model_dump(mode="json") for placement in placements]
    return {"placements": kept, "by": move.by, "lost_card_seconds": move.lost_card_seconds}


def _moving(session: Session) -> Sequence[AttemptRow]:
    """The attempts that are stopping to be moved, and those that have, of jobs that are queued since."""
    row = AttemptRow
    stopping = and_(row.state.in_(ATTEMPT_ACTIVE), row.stop_as == AttemptState.PREEMPTED)
    waits = or_(
        and_(row.task.is_(None), JobRow.state == JobState.QUEUED, row.number == JobRow.attempts),
        and_(TaskRow.state == JobState.QUEUED, row.number == TaskRow.attempt),
    )
    queued = and_(row.state == AttemptState.PREEMPTED, waits)
    tasks = and_(TaskRow.job_id == row.job_id, TaskRow.index == row.task)
    moving = select(row).join(JobRow).outerjoin(TaskRow, tasks).where(row.moves_to.is_not(None), or_(stopping, queued))
    return session.scalars(moving.order_by(row.job_id, row.number)).all()


def may_be_moved(attempt: AttemptRow, spec: JobSpec) -> bool:
    """Whoever may be stopped and has saved something since it started: so nobody is moved in circles."""
    saved = attempt.started_at is not None and attempt.checkpoint_at is not None and attempt.checkpoint_at > attempt.started_at
    return spec.preemptible and spec.checkpoint is not None and saved


def stored_moves(session: Session, fleet: Fleet, job_of: Callable[[str], QueuedJob | None]) -> Iterator[Move]:
    """The moves under way, but for those of which not every card of the kept place is there any more. `job_of`: a job, or a
    task of an array, by its name."""
    for attempt in _moving(session):
        job, stored = job_of(run_name(attempt)), attempt.moves_to or {}
        place = place_of(fleet, attempt, stored["placements"])
        kept = [len(placement["devices"]) for placement in stored["placements"]]
        if job is not None and kept == [len(part.slots) for part in place.allocations]:
            yield Move(job, place, stored["by"], stored["lost_card_seconds"])
