"""Which jobs, and tasks of arrays, have changed since one last looked, read from their history by its ids."""

from collections import deque
from datetime import datetime, timedelta

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from scheduler.domain.tasks import task_name
from scheduler.store.tables import JobEventRow

LATE = timedelta(seconds=60)
"""How long after its id was drawn an event may still be committed and be seen: far longer than a transaction may take."""

MAX_LATE_IDS = 10_000
"""How many ids before the latest may still be missing when one begins to look."""


class Feed:
    """A reader of job events that misses none, though they may be committed in another order than their ids were drawn in: what
    came in the last minute is looked at again each time. Begin one in the transaction that reads the jobs themselves."""

    def __init__(self, session: Session, now: datetime) -> None:
        latest = session.scalar(select(func.max(JobEventRow.id))) or 0
        self._low = max(0, latest - MAX_LATE_IDS)
        self._seen: set[int] = set(session.scalars(select(JobEventRow.id).where(JobEventRow.id > self._low)))
        self._marks: deque[tuple[datetime, int]] = deque([(now, latest)])
        """When which id was the latest."""

    def changed(self, session: Session, now: datetime) -> set[str]:
        """The jobs and tasks with an event that has not been seen before, by name."""
        row = JobEventRow
        rows = session.execute(select(row.id, row.job_id, row.task).where(row.id > self._low)).all()
        new = [(id_, job if task is None else task_name(job, task)) for id_, job, task in rows if id_ not in self._seen]
        self._seen.update(id_ for id_, _ in new)
        self._marks.append((now, max((id_ for id_, _, _ in rows), default=self._low)))
        while now - self._marks[0][0] > LATE:
            self._low = max(self._low, self._marks.popleft()[1])
        self._seen = {id_ for id_ in self._seen if id_ > self._low}
        return {job for _, job in new}
