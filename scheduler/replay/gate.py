"""Quota, applied in front of the engine. The one place that does: with `Snapshot.quotas` the engine looks itself, and this goes.

Jobs come here in the order they are served in (priority, then age), and pass if their queue has quota for them, borrowing if need
be. Those behind a job that does not pass may still, as in Kueue's BestEffortFIFO.
"""

from collections.abc import Iterable

from scheduler.engine.quota import Queue, Quotas
from scheduler.replay.workload import Work


class Gate:
    """What each queue may still start."""

    def __init__(self, queues: Iterable[Queue]) -> None:
        self._quotas = Quotas.of(queues)

    def passes(self, work: Work) -> bool:
        """Whether one more job of this kind may be shown to the engine; if so it counts from here on."""
        if self._quotas.shortfall(work.queue, work.need) is not None:
            return False
        self._quotas.use(work.queue, work.need)
        return True

    def give_back(self, work: Work) -> None:
        """A job that passed has ended, or was not placed."""
        self._quotas.use(work.queue, work.need, -1)
