"""When a job starts: a range, with the method that gave it.

`latest` is no oath. A promise is kept whatever those behind do; a simulation lets every job that runs or is queued today take its
whole `max_runtime`, with nothing new arriving and no capacity coming or going. Bounded by `MAX_EVENTS` and `MAX_DECIDED`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from scheduler.engine.cycle import cycle
from scheduler.engine.explain import NOBODY_KNOWS
from scheduler.engine.order import QueuedJob
from scheduler.engine.quota import Quotas
from scheduler.engine.reserve import ends_at
from scheduler.engine.snapshot import FOREVER, ActiveRun, Decisions, Snapshot

MAX_EVENTS = 128
"""Ends of runs, and of windows, that a simulation goes through."""

MAX_DECIDED = 5_000
"""Jobs decided over all rounds of a simulation."""


class Method(StrEnum):
    """How a start was estimated."""

    NOW = "now"
    PROMISED = "promised"
    SIMULATED = "simulated to max_runtime"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Start:
    """Between `earliest` and `latest`, microseconds; None where nothing tells.

    `earliest` is now for everything that only waits for cards, since whoever holds them may end at any moment, and for what no
    window lets start sooner, when one does.
    """

    earliest: int | None
    latest: int | None
    method: Method


def start_of(snapshot: Snapshot, decisions: Decisions, job: QueuedJob) -> Start:
    """The estimate for a job of the queue, given what a round has decided on `snapshot`."""
    if any(grant.job == job.id for grant in decisions.grants):
        return Start(snapshot.now, snapshot.now, Method.NOW)
    verdict = decisions.verdicts[job.id]
    if job.hold is not None or verdict.kind == "never" or all(reason.code in NOBODY_KNOWS for reason in verdict.reasons):
        return Start(None, None, Method.UNKNOWN)
    earliest = _alone(snapshot, job) if snapshot.windows else snapshot.now
    promised = decisions.promised_at.get(job.id)
    if promised is not None:
        return Start(earliest, promised, Method.PROMISED)
    latest = _simulated(snapshot, decisions, job)
    return Start(earliest, latest, Method.UNKNOWN if latest is None else Method.SIMULATED)


def _alone(snapshot: Snapshot, job: QueuedJob) -> int:
    """When the job could start if it had the network for itself."""
    empty = replace(snapshot, free=snapshot.fleet.all_free(), runs=(), queue=(job,), quotas=Quotas.of(()))
    return cycle(empty).promised_at.get(job.id, snapshot.now)


def _simulated(snapshot: Snapshot, decisions: Decisions, job: QueuedJob) -> int | None:
    """When rounds on virtual time grant the job. Runs asked to stop are taken to hold their cards to the end all the same."""
    now, free, usage = snapshot.now, snapshot.free.copy(), snapshot.usage.copy()
    queue: Sequence[QueuedJob] = snapshot.queue
    runs: list[ActiveRun] = list(snapshot.runs)
    left = MAX_DECIDED
    for _ in range(MAX_EVENTS):
        queued = {each.id: each for each in queue}
        for grant in decisions.grants:
            begun = queued.pop(grant.job)
            free.take(grant.place.allocations)
            usage.add(begun.tenant, grant.place)
            until = ends_at(now, begun.max_runtime_seconds)
            runs.append(ActiveRun(begun.id, begun.id, begun.tenant, begun.priority, False, grant.place, ends_at=until))
        stopping = {each.attempt for each in decisions.preemptions}
        runs = [replace(run, releasing=True) if run.attempt in stopping else run for run in runs]
        queue = list(queued.values())
        left -= len(queue)
        ends = [run.ends_at for run in runs] + [window.end for window in snapshot.windows if window.end > now]
        first = min(ends, default=FOREVER)
        if first >= FOREVER or left < 0:
            return None
        now = max(now, first)
        for run in runs:
            if run.ends_at <= now:
                free.give(run.place.allocations)
                usage.add(run.tenant, run.place, sign=-1)
        runs = [run for run in runs if run.ends_at > now]
        decisions = cycle(replace(snapshot, now=now, free=free, usage=usage, queue=queue, runs=runs))
        if any(grant.job == job.id for grant in decisions.grants):
            return now
    return None
