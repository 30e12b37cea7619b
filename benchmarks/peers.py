"""Peers' policies on traces of interruptible jobs, simulated as their authors mean them: whoever goes first by a rank is served,
everybody may be stopped at any moment at no cost, and a gang fits wherever as many cards are free. That is kinder to them than any
real cluster.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from scheduler.engine.order import cards_asked
from scheduler.replay.service import WorkTrace
from scheduler.replay.trace import SECOND

Floats = NDArray[np.float64]
Rank = Callable[[Floats, Floats, Floats], Floats]
"""From cards, seconds left and seconds attained of each job to what the lowest of goes first."""

QUEUES = np.array([3250.0, 104_000.0])
"""Card-seconds of service at which Tiresias, as Muri's simulator runs it, moves a job to the next of its three queues."""

RANKS: dict[str, Rank] = {
    "SRTF": lambda _cards, left, _attained: left,
    "SRSF": lambda cards, left, _attained: cards * left,
    "LAS, three queues": lambda cards, _left, attained: np.searchsorted(QUEUES, cards * attained).astype(np.float64),
}


def simulate(trace: WorkTrace, cards: int, rank: Rank) -> tuple[list[int], int]:
    """How long every job took from arrival to end, and the makespan; microseconds."""
    works = sorted(trace.works, key=lambda work: (work.job.submitted_at, work.job.id))
    width = np.array([cards_asked(work.job) for work in works], dtype=np.float64)
    arrives = np.array([work.job.submitted_at for work in works]) / SECOND
    left = np.array([work.takes for work in works]) / SECOND
    attained, ended = np.zeros(len(works)), np.zeros(len(works))
    present: list[int] = []
    now, coming = float(arrives[0]), 0
    while present or coming < len(works):
        if not present:
            now = max(now, float(arrives[coming]))
        while coming < len(works) and arrives[coming] <= now:
            present.append(coming)
            coming += 1
        here = np.array(present)
        order = here[np.lexsort((here, rank(width[here], left[here], attained[here])))]
        running = _served(order, width, cards)
        step = left[running].min()
        if coming < len(works):
            step = min(step, arrives[coming] - now)
        left[running] -= step
        attained[running] += step
        now += step
        gone = {int(job) for job in running[left[running] <= 1e-6]}
        ended[list(gone)] = now
        present = [job for job in present if job not in gone]
    return [round(took * SECOND) for took in ended - arrives], round((ended.max() - arrives[0]) * SECOND)


def _served(order: NDArray[np.int64], width: Floats, cards: int) -> NDArray[np.int64]:
    free, served = float(cards), []
    for job in order.tolist():
        if width[job] <= free:
            served.append(job)
            free -= width[job]
    return np.array(served)
