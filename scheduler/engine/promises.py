"""Who is promised a place in a round: a blocked job, if the policy gives it one, and one that is done sooner where it must wait."""

from dataclasses import replace
from functools import partial

from scheduler.domain.clock import MICROS_PER_SECOND
from scheduler.domain.reasons import Reason
from scheduler.engine.choice import lag, least_lag_seconds
from scheduler.engine.order import QueuedJob
from scheduler.engine.place import Place
from scheduler.engine.reserve import MAX_PROMISES, Outlook, Promise, promise
from scheduler.engine.round import Round
from scheduler.engine.shape import Shape
from scheduler.engine.snapshot import Backfill, Verdict

FASTER = "waiting_for_faster"


def sooner_elsewhere(round_: Round, job: QueuedJob, shape: Shape, place: Place) -> Verdict | None:
    """For a job that wants to be done early: a promise of a place where it is done sooner than in the best that is free now.

    Nothing that is not known is compared, and without a promise it does not wait: a promised start can only come earlier.
    """
    unknown_gib, seconds = lag(round_, job, shape, place.kind, place.cluster)
    if unknown_gib or seconds <= least_lag_seconds(round_, job):
        return None
    done = round_.snapshot.now + seconds * MICROS_PER_SECOND
    found = _find_promise(round_, job, [])
    if found is None or found.done() >= (0, done):
        return None
    _keep_promise(round_, job, found)
    clusters = round_.snapshot.fleet.clusters
    ahead: dict[str, str | int] = {
        "cluster": clusters[found.place.cluster],
        "free": clusters[place.cluster],
        "seconds": (found.at - round_.snapshot.now) // MICROS_PER_SECOND,
        "sooner": (done - found.done()[1]) // MICROS_PER_SECOND,
    }
    return Verdict("wait", (Reason(FASTER, ahead),))


def promise_place(round_: Round, job: QueuedJob, notes: list[Reason]) -> None:
    """Promise a blocked job its place, if the policy gives it one and the ends of running jobs tell when."""
    found = _find_promise(round_, job, notes)
    if found is not None:
        _keep_promise(round_, job, found)


def _find_promise(round_: Round, job: QueuedJob, notes: list[Reason]) -> Promise | None:
    promised = round_.snapshot.backfill is Backfill.EASY and bool(_pool(round_, job) & round_.promised)
    if promised or not round_.foresees:
        return None
    if round_.promise_searches_left == 0:
        round_.cut_short = replace(round_.cut_short, promises=round_.cut_short.promises + 1)
        notes.append(Reason("search_limited", {"what": "reservation", "limit": MAX_PROMISES}))
        return None
    round_.promise_searches_left -= 1
    outlook = Outlook(round_.soon.free, round_.runs, round_.promises)
    return promise(round_.snapshot, outlook, job, partial(lag, round_, job))


def _keep_promise(round_: Round, job: QueuedJob, found: Promise) -> None:
    """What is promised is taken from what earlier promises leave when they are due."""
    for each in round_.promises:
        if found.at <= each.at < found.until:
            each.left.take(found.place.allocations)
    round_.changed(found.place)
    round_.promises.append(found)
    round_.promised |= _pool(round_, job)


def _pool(round_: Round, job: QueuedJob) -> frozenset[int]:
    return frozenset(kind for shape in job.shapes for kind in round_.snapshot.fleet.kinds_for(shape))


def promised_start(round_: Round, id_: str) -> int | None:
    return next((each.at for each in round_.promises if each.job == id_), None)
