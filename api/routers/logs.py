"""Logs of jobs: any part of what any rank printed, while it runs and after, and what comes next as soon as it is there."""

from typing import Annotated

from fastapi import APIRouter, Query, Request
from sqlalchemy import select
from sqlalchemy.orm import Session
from starlette.concurrency import run_in_threadpool

from api.auth import TenantOrStaff
from api.city import TheCity
from api.problems import ProblemError
from api.routers.jobs import MAX_ATTEMPTS, Task, find_job
from scheduler.contract.job import MAX_NODES
from scheduler.contract.sync import MAX_LOG_READ_BYTES, MAX_WATCH_SECONDS, LogView
from scheduler.domain.states import AttemptState
from scheduler.service.logs import Stretch, gaps, mark, read, share_of
from scheduler.store.tables import AttemptRow

router = APIRouter(prefix="/v1/jobs", tags=["jobs"])

MAX_OFFSET = 2**50
LEAST_READ_BYTES = 4
"""The longest character: an answer of fewer bytes might hold none."""

Attempt = Annotated[int | None, Query(ge=1, le=MAX_ATTEMPTS, description="Its number; by default the latest.")]
Rank = Annotated[int, Query(ge=0, lt=MAX_NODES, description="Which node of the gang, in the order placed.")]
Offset = Annotated[
    int, Query(ge=-MAX_OFFSET, le=MAX_OFFSET, description="From which byte on; a negative one counts back from the end.")
]
LimitBytes = Annotated[int, Query(ge=LEAST_READ_BYTES, le=MAX_LOG_READ_BYTES, description="The most bytes of text to answer.")]
WaitSeconds = Annotated[
    int, Query(ge=0, le=MAX_WATCH_SECONDS, description="How long to wait where there is nothing to read at this offset yet.")
]


@router.get("/{job_id}/logs")
async def get_log(
    job_id: str,
    request: Request,
    city: TheCity,
    principal: TenantOrStaff,
    attempt: Attempt = None,
    task: Task = None,
    rank: Rank = 0,
    offset: Offset = 0,
    limit: LimitBytes = MAX_LOG_READ_BYTES,
    wait_seconds: WaitSeconds = 0,
) -> LogView:
    """A stretch of the log of one rank of an attempt, by default of the first node of the latest, of the job or of one task of it.

    To follow, ask again with `offset` as the `next_offset` of the answer before, and `wait_seconds`.
    """

    def look() -> LogView:
        with city.database.read(principal.scope) as session:
            return _view(session, _attempt(session, job_id, attempt, task), rank, offset, limit)

    view = await run_in_threadpool(look)
    if not view.text and not view.complete and wait_seconds > 0:
        known = (view.state, view.end, view.complete)
        await city.logs.until_changed(request, city.database, principal.token, (view.attempt, rank), known, wait_seconds)
        view = await run_in_threadpool(look)
    return view


def _attempt(session: Session, job_id: str, number: int | None, task: int | None) -> AttemptRow:
    query = select(AttemptRow).where(AttemptRow.job_id == job_id).order_by(AttemptRow.number.desc()).limit(1)
    if number is not None:
        query = query.where(AttemptRow.number == number)
    if task is not None:
        query = query.where(AttemptRow.task == task)
    find_job(session, job_id)
    row = session.scalars(query).one_or_none()
    if row is None:
        raise ProblemError("not_found", noun="attempt of job", id=job_id)
    return row


def _view(session: Session, attempt: AttemptRow, rank: int, offset: int, limit: int) -> LogView:
    key, ranks = (attempt.id, rank), len(attempt.placements)
    if rank >= ranks:
        raise ProblemError("not_found", noun="rank", id=f"{rank} (of {ranks})")
    state, end, complete = mark(session, key)
    stretch = read(session, key, min(offset, end) if offset >= 0 else max(0, end + offset), limit)
    if not stretch.data:
        stretch = Stretch(end, b"")  # where the end itself is lost, there is nothing to read before what comes next
    return LogView(
        attempt=attempt.id,
        number=attempt.number,
        task=attempt.task,
        state=AttemptState(state or attempt.state),
        rank=rank,
        ranks=ranks,
        kept=share_of(rank, ranks) is not None,
        start=stretch.start,
        text=stretch.data.decode(),
        next_offset=stretch.end,
        end=end,
        gaps=gaps(session, key, end),
        complete=complete,
    )
