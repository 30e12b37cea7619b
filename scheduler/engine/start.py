"""When a job starts: a range, with the method that gave it.

`latest` is no oath. A promise is kept whatever those behind do; a simulation lets every job that runs or is queued today take its
whole `max_runtime`, with nothing new arriving and no capacity coming or going. Bounded by `MAX_EVENTS` and `MAX_DECIDED`.
"""

from dataclasses import dataclass, replace
from enum import StrEnum

from scheduler.engine.cycle import cycle
from scheduler.engine.explain import NOBODY_KNOWS
from scheduler.engine.order import QueuedJob
from scheduler.engine.quota import Quotas
from scheduler.engine.snapshot import FOREVER, Decisions, Snapshot
from scheduler.engine.state import State

MAX_EVENTS = 512
"""Ends of runs, and of windows, that a simulation goes through."""

MAX_DECIDED = 5_000
"""Decisions taken over all rounds of a simulation."""


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


def start_of(snapshot: Snapshot, state: State, decisions: Decisions, job: QueuedJob) -> Start:
    """The estimate for a job of the queue, given what a round has decided on `snapshot`; `state` has just had that round, and may
    be played forward."""
    if any(grant.job == job.id for grant in decisions.grants):
        return Start(snapshot.now, snapshot.now, Method.NOW)
    verdict = decisions.verdicts[job.id]
    if job.hold is not None or verdict.kind == "never" or all(reason.code in NOBODY_KNOWS for reason in verdict.reasons):
        return Start(None, None, Method.UNKNOWN)
    earliest = _alone(snapshot, job) if snapshot.windows else snapshot.now
    promised = decisions.promised_at.get(job.id)
    if promised is not None:
        return Start(earliest, promised, Method.PROMISED)
    latest = _simulated(state, snapshot.now, job)
    return Start(earliest, latest, Method.UNKNOWN if latest is None else Method.SIMULATED)


def _alone(snapshot: Snapshot, job: QueuedJob) -> int:
    """When the job could start if it had the network for itself."""
    empty = replace(snapshot, free=snapshot.fleet.all_free(), runs=(), queue=(job,), quotas=Quotas.of(()))
    return cycle(empty).promised_at.get(job.id, snapshot.now)


def _simulated(state: State, now: int, job: QueuedJob) -> int | None:
    """When rounds on virtual time grant the job, from a state that has just had its first round. Runs asked to stop are taken to
    hold their cards to the end all the same."""
    left = MAX_DECIDED
    state.in_flight = {}  # long taken up by then
    for _ in range(MAX_EVENTS):
        ends = [run.ends_at for run in state.runs] + [window.end for window in state.windows if window.end > now]
        first = min(ends, default=FOREVER)
        if first >= FOREVER or left < 0:
            return None
        now = max(now, first)
        for run in [run for run in state.runs if run.ends_at <= now]:
            state.end(run.job)
        served = state.round(now)
        left -= len(served.decided)
        if any(grant.job == job.id for grant in served.grants):
            return now
    return None
