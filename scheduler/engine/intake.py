"""What clusters take: only so many grants at a time that they have not taken up yet, and not again at once what they refused.

A grant is in flight until its cluster says that it has the run. A cluster at its limit is offered to nobody in the round. A job
that a cluster did not start is kept from there for a while, twice as long each time it happens in a row.
"""

from collections.abc import Collection, Mapping
from dataclasses import replace

from scheduler.domain.clock import MICROS_PER_SECOND
from scheduler.domain.reasons import Reason
from scheduler.engine.fleet import Fleet
from scheduler.engine.order import BackOff, QueuedJob
from scheduler.engine.snapshot import InFlight, Verdict

IN_FLIGHT = "waiting_for_in_flight"
REFUSED = "waiting_after_refusal"

FIRST_BACK_OFF_SECONDS = 30
MAX_BACK_OFF_SECONDS = 900


def back_off_seconds(refusals: int) -> int:
    """How long a job is kept from a cluster that refused it so many times in a row, at least once."""
    return min(FIRST_BACK_OFF_SECONDS << min(refusals - 1, 10), MAX_BACK_OFF_SECONDS)


class Intake:
    """Grants in flight during a round. `full`: the clusters at their limit."""

    def __init__(self, in_flight: Mapping[str, InFlight]) -> None:
        self._in_flight = dict(in_flight)
        self.full = frozenset(cluster for cluster, each in in_flight.items() if each.grants >= each.limit)

    def add(self, cluster: str) -> None:
        """One more grant goes there."""
        before = self._in_flight.get(cluster)
        if before is not None:
            after = self._in_flight[cluster] = replace(before, grants=before.grants + 1)
            if after.grants >= after.limit:
                self.full |= {cluster}

    def reason(self, cluster: str) -> Reason:
        """Why a full cluster is not offered."""
        known = self._in_flight[cluster]
        return Reason(IN_FLIGHT, {"cluster": cluster, "in_flight": known.grants, "limit": known.limit})


def kept_from(fleet: Fleet, job: QueuedJob, clusters: Collection[str]) -> QueuedJob:
    """The job with some clusters out of its reach."""
    allowed = fleet.clusters if job.clusters is None else job.clusters
    return replace(job, clusters=frozenset(allowed).difference(clusters))


def refusing(job: QueuedJob, now: int) -> Mapping[str, BackOff]:
    """The clusters a job is kept from, by name."""
    return {each.cluster: each for each in job.back_off if each.until > now}


def after_refusals(verdict: Verdict, refused: Mapping[str, BackOff], now: int) -> Verdict:
    """A verdict reached without some clusters, one of which could run the job later: it waits, and is told for what as well."""
    waits = verdict.reasons if verdict.kind == "wait" else ()
    kept_away = [
        Reason(REFUSED, {"cluster": each.cluster, "seconds": -((now - each.until) // MICROS_PER_SECOND)})
        for each in sorted(refused.values(), key=lambda each: (each.until, each.cluster))
    ]
    return Verdict("wait", (*waits, *kept_away))
