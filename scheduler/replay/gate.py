"""Quota, applied in front of the engine. The one place that does: with `Snapshot.quotas` the engine looks itself, and this goes.

Jobs come here in the order they are served in (priority, then age), and pass if their queue has quota for them, borrowing if need
be. The first of each cohort that does not pass, though it would if nothing ran, keeps what it needs: those behind it may only have
what is left beside that, or large jobs would wait for ever behind small ones. Who stays within the quota of its own queue need
not stand back for one that waits to borrow.
"""

from collections.abc import Sequence

from scheduler.engine.quota import RUNNING, Queue, Quotas
from scheduler.replay.workload import Work


class Gate:
    """What each queue may still start."""

    def __init__(self, queues: Sequence[Queue]) -> None:
        self._quotas = Quotas.of(queues)
        self._empty = self._quotas.copy()
        self._kept_for: dict[str | None, Work] = {}

    def begin(self) -> None:
        """The jobs that wait are about to come anew, the first of them first: nothing is kept for any of them yet."""
        for work in self._kept_for.values():
            self._quotas.use(work.queue, work.need, -1)
        self._kept_for.clear()

    def passes(self, work: Work) -> bool:
        """Whether one more job of this kind may be shown to the engine; if so it counts from here on."""
        short = self._quotas.shortfall(work.queue, work.need)
        if short is None:
            self._quotas.use(work.queue, work.need)
            return True
        root = self._quotas.cohort(work.queue)
        if root in self._kept_for:
            return self._passes_by(work, self._kept_for[root])
        # a job its queue has no turn for, or could never have, must not keep from others what it cannot use
        if short.resource != RUNNING and self._empty.shortfall(work.queue, work.need) is None:
            self._kept_for[root] = work
            self._quotas.use(work.queue, work.need)
        return False

    def give_back(self, work: Work) -> None:
        """A job that passed has ended, or was not placed."""
        self._quotas.use(work.queue, work.need, -1)

    def _passes_by(self, work: Work, first: Work) -> bool:
        """Whether a job may start in front of the one that something is kept for, as it takes nothing but its own queue's."""
        self._quotas.use(first.queue, first.need, -1)
        passes = (
            work.queue != first.queue
            and self._quotas.would_borrow(first.queue, first.need)
            and not self._quotas.would_borrow(work.queue, work.need)
            and self._quotas.shortfall(work.queue, work.need) is None
        )
        if passes:
            self._quotas.use(work.queue, work.need)
        self._quotas.use(first.queue, first.need)
        return passes
