"""The tasks of an array: counted by state on its job's row, and rows of their own only once they have begun.

They begin in the order of their indices, so those that never have are all from `tasks_begun` on: a hundred thousand that wait are
one number. Whoever changes a task has locked its job's row.
"""

from collections import Counter
from collections.abc import Sequence
from itertools import islice

from sqlalchemy import ColumnElement, and_, func, or_, select, update
from sqlalchemy.orm import Session

from scheduler.contract.job import JobSpec
from scheduler.domain.reasons import Reason
from scheduler.domain.states import JOB_FINAL, JOB_WAITING, JobState
from scheduler.domain.tasks import task_name
from scheduler.store.tables import AttemptRow, JobRow, TaskRow

_LEADING = (JobState.RUNNING, JobState.STARTING, JobState.GRANTED, JobState.UNREACHABLE)
"""The states of tasks that hold cards: what an array is told to be, the first of them that any of its tasks is in."""


def run_name(attempt: AttemptRow) -> str:
    """Whose attempt it is, as the engine names jobs and tasks."""
    return attempt.job_id if attempt.task is None else task_name(attempt.job_id, attempt.task)


def task_of(session: Session, attempt: AttemptRow) -> TaskRow | None:
    """The task an attempt is of; None where its job is no array."""
    return None if attempt.task is None else session.get_one(TaskRow, (attempt.job_id, attempt.task))


def waiting_tasks(job: JobRow) -> int:
    """How many tasks of an array wait; 0 for a job that is none."""
    return int((job.tasks or {}).get(JobState.QUEUED, 0))


def active_tasks(job: JobRow) -> int:
    """How many tasks of an array hold cards."""
    return sum((job.tasks or {}).get(state, 0) for state in _LEADING)


def waits(job: JobRow) -> bool:
    """Whether a job waits, or any task of it."""
    return job.state in JOB_WAITING if job.tasks is None else waiting_tasks(job) > 0


def may_wait() -> ColumnElement[bool]:
    """The rows of which `waits` may be true."""
    return or_(JobRow.state.in_(JOB_WAITING), and_(JobRow.tasks.is_not(None), JobRow.state.not_in(JOB_FINAL)))


def pending(session: Session, *which: ColumnElement[bool]) -> Counter[str]:
    """How many jobs of each tenant wait, every task of an array being one."""
    row = JobRow
    jobs = (
        select(row.tenant_id, func.count()).where(row.tasks.is_(None), row.state.in_(JOB_WAITING), *which).group_by(row.tenant_id)
    )
    found = Counter({tenant: int(number) for tenant, number in session.execute(jobs)})
    for array in session.scalars(select(row).where(row.tasks.is_not(None), row.state.not_in(JOB_FINAL), *which)):
        found[array.tenant_id] += waiting_tasks(array)
    return found


def begin(session: Session, job: JobRow, index: int) -> TaskRow | None:
    """A task of an array that is to have an attempt now. None if it does not wait, or is not the next to begin."""
    if index < job.tasks_begun:
        task = session.get_one(TaskRow, (job.id, index))
        return task if task.state == JobState.QUEUED else None
    if index > job.tasks_begun or not waiting_tasks(job):
        return None
    job.tasks_begun += 1
    task = TaskRow(
        job_id=job.id, tenant_id=job.tenant_id, index=index, state=JobState.QUEUED, attempt=0, tries=0, failures=0, losses=0
    )
    session.add(task)
    return task


def change(job: JobRow, task: TaskRow, state: JobState) -> None:
    """A task is in another state, and perhaps its array."""
    _count(job, JobState(task.state), state, 1)
    task.state = state


def end_waiting(session: Session, job: JobRow, state: JobState) -> None:
    """No task of an array waits any more: those that did have ended, begun or not."""
    session.execute(update(TaskRow).where(TaskRow.job_id == job.id, TaskRow.state == JobState.QUEUED).values(state=state))
    _count(job, JobState.QUEUED, state, waiting_tasks(job))


def outcome(job: JobRow) -> tuple[JobState, Reason]:
    """What has become of an array of which every task has ended: it succeeded if all of them did."""
    counts = job.tasks or {}
    tasks, failed = sum(counts.values()), counts.get(JobState.FAILED, 0)
    if counts.get(JobState.CANCELLED, 0):
        return JobState.CANCELLED, Reason("cancelled")
    if failed:
        return JobState.FAILED, Reason("array_failed", {"failed": failed, "tasks": tasks})
    return JobState.SUCCEEDED, Reason("array_succeeded", {"tasks": tasks})


def offered(session: Session, job: JobRow, spec: JobSpec) -> list[range]:
    """The tasks of an array that wait and may start beside those that run, in order: first who has run before, and then as many as
    its `parallelism` leaves of those that have not."""
    if spec.array is None or not waiting_tasks(job):
        return []
    room = waiting_tasks(job) if spec.array.parallelism is None else max(0, spec.array.parallelism - active_tasks(job))
    again = select(TaskRow.index).where(TaskRow.job_id == job.id, TaskRow.state == JobState.QUEUED)
    returned = session.scalars(again.order_by(TaskRow.index).limit(room)).all()
    fresh = range(job.tasks_begun, min(spec.array.size, job.tasks_begun + room - len(returned)))
    return [*(range(index, index + 1) for index in returned), *([fresh] if fresh else [])]


def minus(ranges: Sequence[range], others: Sequence[range]) -> list[range]:
    """What some ranges hold that others do not, each part within one of them. Both ascend and do not overlap among themselves."""
    left, first = [], 0
    for each in ranges:
        begin = each.start
        while first < len(others) and others[first].stop <= begin:
            first += 1
        for other in islice(others, first, None):
            if other.start >= each.stop:
                break
            if other.start > begin:
                left.append(range(begin, other.start))
            begin = max(begin, other.stop)
        if begin < each.stop:
            left.append(range(begin, each.stop))
    return left


def _count(job: JobRow, before: JobState, after: JobState, tasks: int) -> None:
    counts = dict(job.tasks or {})
    counts[before] = counts.get(before, 0) - tasks
    counts[after] = counts.get(after, 0) + tasks
    job.tasks = {state: number for state, number in counts.items() if number}
    leading = next((state for state in _LEADING if job.tasks.get(state)), JobState.QUEUED)
    job.state = leading if leading in job.tasks else job.state
