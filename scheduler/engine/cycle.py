"""One scheduling round: `cycle(snapshot) -> Decisions`, pure and deterministic.

Two pictures of what is free are kept: `now`, and `soon`, which adds the cards of attempts already asked to stop. A job that
fits only soon is not granted, but its place is kept for it: nobody behind it may take what it waits for. A job that fits only
once others have ended may be promised a place at that time (`reserve`), which those behind it must not delay.
"""

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from scheduler.domain.money import format_cny
from scheduler.domain.reasons import Reason
from scheduler.domain.topology import CLUSTER, LEVEL_NAMES
from scheduler.engine.backlog import Backlog
from scheduler.engine.deadline import noted
from scheduler.engine.explain import explain
from scheduler.engine.fleet import Bools
from scheduler.engine.offers import Offer, best_offer
from scheduler.engine.order import QueuedJob, Usage, held, needs
from scheduler.engine.place import Place
from scheduler.engine.preempt import cheapest_victims
from scheduler.engine.quota import RUNNING, Quotas, Resource, Shortfall
from scheduler.engine.reserve import Outlook, ends_at, promise
from scheduler.engine.room import Room
from scheduler.engine.round import Round, begin
from scheduler.engine.shape import WHOLE_CARD_MILLI
from scheduler.engine.snapshot import ActiveRun, Backfill, Decisions, Grant, Preemption, Snapshot, Verdict

RELEASE = "waiting_for_release"
OVER_QUOTA = "waiting_for_quota"


@dataclass(frozen=True)
class Served:
    """What became of a backlog in a round: grants, stops, and why the rest got nothing, by line and for single jobs."""

    grants: tuple[Grant, ...]
    preemptions: tuple[Preemption, ...]
    of_line: dict[int, Verdict]
    of_job: dict[str, Verdict]
    promised_at: dict[str, int]
    usage: Usage
    """What every tenant holds once the grants are taken."""
    quotas: Quotas
    """What every queue uses then."""


def cycle(snapshot: Snapshot) -> Decisions:
    """Decide one round. Every queued job gets a grant or a verdict; the snapshot is left as it was."""
    verdicts = {job.id: Verdict("wait", (job.hold,)) for job in snapshot.queue if job.hold is not None}
    backlog = Backlog(job for job in snapshot.queue if job.hold is None)
    served = serve(snapshot, backlog, np.ones(len(backlog.lines), dtype=np.bool_))
    for number, verdict in served.of_line.items():
        verdicts.update(dict.fromkeys(backlog.rest(number), verdict))
    return Decisions(served.grants, served.preemptions, {**verdicts, **served.of_job}, served.promised_at)


def serve(snapshot: Snapshot, backlog: Backlog, candidates: Bools, still: Callable[[Room], Bools] | None = None) -> Served:
    """Serve the `candidates` among the lines of a backlog, in order, taking out the jobs that are granted.

    `still`, where given, says after each grant which lines could still fit; it may err on the side of too many. Jobs that wait
    for a release are taken out as well: the caller puts them back.
    """
    round_ = begin(snapshot)
    shares = backlog.shares(round_.usage, snapshot.weights)
    hopeless: dict[object, Verdict] = {}
    of_line: dict[int, Verdict] = {}
    of_job: dict[str, Verdict] = {}
    candidates, urgencies = candidates.copy(), backlog.urgencies(snapshot.now)
    while (number := backlog.first(candidates, shares, urgencies)) is not None:
        example, (_, id_) = backlog.lines[number].example, backlog.next_of(number)
        likeness = (example.queue, example.shapes, example.terms, example.clusters, example.max_runtime_seconds)
        verdict = hopeless.get(likeness) or _decide(round_, replace(example, id=id_))
        if verdict is None:
            backlog.take(number)
            shares.refresh(example.tenant)
            if still is not None:
                candidates &= still(round_.now)
        elif verdict.reasons[0].code == RELEASE:
            backlog.take(number)
            of_job[id_] = noted(verdict, example, snapshot.now, None)
        else:
            hopeless[likeness] = verdict
            of_line[number] = noted(verdict, example, snapshot.now, _promised_start(round_, id_))
            candidates[number] = False
    promised_at = {each.job: each.at for each in round_.promises}
    return Served(tuple(round_.grants), tuple(round_.preemptions), of_line, of_job, promised_at, round_.usage, round_.quotas)


def _decide(round_: Round, job: QueuedJob) -> Verdict | None:
    """Grant the job and return None, or return why not."""
    end = ends_at(round_.snapshot.now, job.max_runtime_seconds)
    room = round_.view(end)
    for alternative, shape in enumerate(job.shapes):
        best, places = best_offer(round_, room, round_.quotas, job, shape)
        if best is not None:
            _grant(round_, job, alternative, best, places, end)
            return None
    kept = _keep_place(round_, job) or _reclaim(round_, job) or _over_quota(round_, job) or _make_room(round_, job)
    if kept is not None:
        return kept
    behind = _behind_promise(round_, job) if room is not round_.now else None
    _promise(round_, job)
    return behind or explain(round_.snapshot, round_.now, job)


def _over_quota(round_: Round, job: QueuedJob) -> Verdict | None:
    """Where no alternative is within the quota of the job's queue: what of is short, by how much."""
    if not round_.soon_quotas.knows(job.queue):
        return None
    fleet, reasons = round_.snapshot.fleet, []
    for shape in job.shapes:
        asked = [needs(fleet, shape, kind, shape.min_nodes) for kind in fleet.kinds_for(shape)]
        short = [round_.soon_quotas.shortfall(job.queue, need) for need in asked]
        if not short or None in short:
            return None
        least = min((each for each in short if each is not None), key=lambda each: each.needed - each.available)
        reasons.append(Reason(OVER_QUOTA, _in_units(least)))
    return Verdict("wait", tuple(reasons))


def _in_units(short: Shortfall) -> dict[str, str | int]:
    """A shortfall in cards, cores or jobs."""
    unit = 1 if short.resource == RUNNING else WHOLE_CARD_MILLI
    numbers = {name: f"{getattr(short, name) / unit:g}" for name in ("needed", "available", "nominal", "used")}
    return {"queue": short.queue, "resource": short.resource, **numbers}


def _behind_promise(round_: Round, job: QueuedJob) -> Verdict | None:
    """Where the job would fit now but could delay one that was promised its place."""
    for shape in job.shapes:
        found, _ = best_offer(round_, round_.now, round_.quotas, job, shape)
        if found is not None:
            cluster = round_.snapshot.fleet.clusters[found.place.cluster]
            starts = [each.at for each in round_.promises if each.place.cluster == found.place.cluster]
            seconds = (min(starts, default=round_.snapshot.now) - round_.snapshot.now) // 1_000_000
            return Verdict("wait", (Reason("waiting_behind_reservation", {"cluster": cluster, "seconds": seconds}),))
    return None


def _promise(round_: Round, job: QueuedJob) -> None:
    """Promise a blocked job its place, if the policy gives it one and the ends of running jobs tell when."""
    pool = frozenset(kind for shape in job.shapes for kind in round_.snapshot.fleet.kinds_for(shape))
    promised = round_.snapshot.backfill is Backfill.EASY and bool(pool & round_.promised)
    if promised or round_.promise_searches_left == 0:
        return
    round_.promise_searches_left -= 1
    found = promise(round_.snapshot, Outlook(round_.soon.free, round_.runs, round_.promises), job)
    if found is not None:
        round_.promises.append(found)
        round_.promised |= pool


def _promised_start(round_: Round, id_: str) -> int | None:
    return next((each.at for each in round_.promises if each.job == id_), None)


def _grant(round_: Round, job: QueuedJob, alternative: int, best: Offer, places: int, end: int) -> None:
    numbers: dict[str, str | int] = {
        "places": places,
        "net": format_cny(best.net_per_hour),
        "list": format_cny(best.list_per_hour),
    }
    reason = Reason("placed_cheapest_net" if places > 1 else "placed_only_fit", numbers)
    allocations = best.place.allocations
    near = job.shapes[alternative].near
    apart = None if near == CLUSTER else Reason("placed_spread", {"domains": best.place.spread, "level": LEVEL_NAMES[near]})
    round_.grants.append(Grant(job.id, best.place, alternative, reason, apart))
    round_.now.take(allocations)
    round_.soon.take(allocations)
    round_.usage.add(job.tenant, best.place)
    if round_.quotas.knows(job.queue):
        counted = held(round_.snapshot.fleet, best.place)
        round_.quotas.use(job.queue, counted)
        round_.soon_quotas.use(job.queue, counted)
    round_.runs.add(ActiveRun(job.id, job.id, job.tenant, job.priority, False, best.place, ends_at=end, queue=job.queue))
    round_.refresh_views([part.node for part in allocations])


def _keep_place(round_: Round, job: QueuedJob) -> Verdict | None:
    """Where cards are being released already and the job will fit: keep the place for it."""
    if not round_.runs.releasing:
        return None
    for shape in job.shapes:
        found, _ = best_offer(round_, round_.soon, round_.soon_quotas, job, shape)
        if found is not None:
            return _wait_for(round_, job, found.place, _releasing_in(round_, found.place.cluster))
    return None


def _releasing_in(round_: Round, cluster: int) -> int:
    return sum(run.place.cluster == cluster for run in round_.runs.releasing.values())


def _make_room(round_: Round, job: QueuedJob) -> Verdict | None:
    """Ask lower-priority gangs to stop where that makes the job fit at the least loss."""
    if round_.searches_left == 0 or not round_.runs.somebody_below(job.priority):
        return None
    round_.searches_left -= 1
    found = cheapest_victims(round_.snapshot, round_.soon.free, job, round_.runs)
    if found is None:
        return None
    _stop(round_, job, found.victims)
    return _wait_for(round_, job, found.place, len(found.victims))


def _reclaim(round_: Round, job: QueuedJob) -> Verdict | None:
    """A queue that is within its own quota takes back what it lent: gangs of queues that borrow stop, the least loss first.

    Who borrows has accepted that: neither priority nor `preemptible` protects a borrowed gang, and none is stopped in part.
    """
    fleet = round_.snapshot.fleet
    for shape in job.shapes:
        for kind in fleet.kinds_for(shape):
            need = needs(fleet, shape, kind, shape.min_nodes)
            short = round_.soon_quotas.shortfall(job.queue, need)
            if short is None or round_.soon_quotas.would_borrow(job.queue, need):
                continue
            victims, quotas = _borrowers(round_, job, need, short.resource)
            for run in victims:
                round_.soon.give(run.place.allocations)
            found, _ = best_offer(round_, round_.soon, quotas, job, shape) if victims else (None, 0)
            for run in victims:
                round_.soon.take(run.place.allocations)
            if found is not None:
                _stop(round_, job, victims)
                return _wait_for(round_, job, found.place, len(victims))
    return None


def _borrowers(round_: Round, job: QueuedJob, need: Mapping[Resource, int], resource: Resource) -> tuple[list[ActiveRun], Quotas]:
    """Whose stopping brings the job within its quota, and the quotas then; nobody where that cannot be done."""
    if round_.borrowers is None:
        now = round_.snapshot.now
        by_loss = sorted(round_.runs.occupants(), key=lambda run: (run.lost_card_seconds(now), run.priority, run.attempt))
        round_.borrowers = deque(by_loss)
    while round_.borrowers and not round_.runs.holds(round_.borrowers[0]):
        round_.borrowers.popleft()
    cohort, trial, victims = round_.soon_quotas.cohort(job.queue), round_.soon_quotas.copy(), []
    for run in round_.borrowers:
        if not round_.runs.holds(run) or trial.cohort(run.queue) != cohort or not trial.borrowed(run.queue, resource):
            continue
        trial.use(run.queue, held(round_.snapshot.fleet, run.place), sign=-1)
        victims.append(run)
        if trial.shortfall(job.queue, need) is None:
            return victims, trial
    return [], trial


def _stop(round_: Round, job: QueuedJob, victims: Sequence[ActiveRun]) -> None:
    """Ask gangs to stop for a job: what they hold will be free soon."""
    for run in victims:
        round_.preemptions.append(Preemption(run.attempt, job.id, job.priority))
        round_.runs.remove(run)
        round_.runs.add(replace(run, releasing=True))
        round_.soon.give(run.place.allocations)
        round_.soon_quotas.use(run.queue, held(round_.snapshot.fleet, run.place), sign=-1)


def _wait_for(round_: Round, job: QueuedJob, place: Place, runs: int) -> Verdict:
    nodes = [part.node for part in place.allocations]
    round_.soon.take(place.allocations)
    round_.soon_quotas.use(job.queue, held(round_.snapshot.fleet, place))
    round_.now.set_to_least([round_.now.free, round_.soon.free], nodes)
    round_.refresh_views(nodes)
    cluster = round_.snapshot.fleet.clusters[place.cluster]
    return Verdict("wait", (Reason(RELEASE, {"cluster": cluster, "runs": runs}),))
