"""Whose turn it is among the jobs of a tenant when everybody can be stopped again: the least service left, with two exceptions.

Serving the least service left first makes the mean time to completion short and leaves the long jobs to the end, where they run one
beside another on a network that is no longer full, or wait for ever while shorter ones keep coming. So, with `drain` for the time
in which all the work known would keep every card busy:

- *critical*: a job that needs as long as the drain takes must run from now on, or it alone will be running at the end. The longest
  first. On equal machines this is what makes the least possible makespan (McNaughton, "Scheduling with Deadlines and Loss
  Functions", Management Science 1959), and it delays the others only by what the makespan gains. For declared durations only: an
  expectation is the same for many jobs, and so says nothing of the longest.
- *overdue*: a job that will be older than `patience`, in percent of the drain, by the time it can end goes by age, as long as those
  before it have not filled `CARDS_BY_AGE_PERCENT` of the cards. So nobody waits for ever, and how long is the operator's to say: a
  low patience shortens the longest waits, a high one the mean.
"""

from collections.abc import Callable, Mapping, Sequence

from scheduler.domain.clock import MICROS_PER_SECOND
from scheduler.engine.order import Order, QueuedJob, Standing, cards_asked, seconds_left, service

PATIENCE = 1600
"""After how much of a drain a job is overdue, in percent, where the operator does not say."""

CARDS_BY_AGE_PERCENT = 75
"""The share of the cards that overdue jobs may take out of turn; the rest goes on as before."""

_CRITICAL, _OVERDUE, _IN_TURN = range(3)


def precedence(
    jobs: Sequence[QueuedJob], order: Order, cards: int, now: int, patience: int, credit: Mapping[str, int]
) -> Callable[[QueuedJob], Standing]:
    """What each of some jobs stands by on a network of so many cards; the lower goes first.

    `credit`: by job, the card-seconds it counts as ahead of what it has left.
    """
    if order is not Order.SHORTEST:
        return lambda job: (_IN_TURN, service(job, order))
    left = {job.id: (seconds_left(job) or 0) for job in jobs}
    drain = sum(left[job.id] * cards_asked(job) for job in jobs) // max(cards, 1)
    overdue = set(_overdue(jobs, left, cards, now, patience * drain // 100))

    def standing(job: QueuedJob) -> Standing:
        if job.expected_seconds is None and job.max_runtime_seconds is not None and left[job.id] >= drain:
            return _CRITICAL, -left[job.id]
        if job.id in overdue:
            return _OVERDUE, 0
        return _IN_TURN, max(0, service(job, order) - credit.get(job.id, 0))

    return standing


def _overdue(jobs: Sequence[QueuedJob], left: Mapping[str, int], cards: int, now: int, limit_seconds: int) -> Sequence[str]:
    """The oldest jobs that together fill no more than the cards set aside for them, as far as they are overdue."""
    found, ahead = [], 0
    for job in sorted(jobs, key=lambda job: (job.submitted_at, job.id)):
        if ahead * 100 >= CARDS_BY_AGE_PERCENT * cards:
            break
        ahead += cards_asked(job)
        if (now - job.submitted_at) // MICROS_PER_SECOND + left[job.id] > limit_seconds:
            found.append(job.id)
    return found
