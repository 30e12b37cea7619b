"""What becomes of one job in a round: a place, a place kept or promised, room made by others, or the reason why not."""

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import product

from scheduler.domain.money import format_cny
from scheduler.domain.reasons import Reason
from scheduler.domain.topology import CLUSTER, LEVEL_NAMES
from scheduler.engine.bounds import Bounds
from scheduler.engine.choice import ground, narrowed
from scheduler.engine.consolidate import Rearrangement, loss_of_stops
from scheduler.engine.deadline import moment_after
from scheduler.engine.explain import NOBODY_KNOWS, could_ever_fit, explain
from scheduler.engine.fleet import Fleet
from scheduler.engine.intake import after_refusals, kept_from, refusing
from scheduler.engine.moves import MOVE, find_moves, in_flight, keep_place, waits_for_move
from scheduler.engine.offers import Offer, best_offer
from scheduler.engine.order import QueuedJob, held, needs
from scheduler.engine.place import Place, kinds_that_hold
from scheduler.engine.preempt import MAX_SEARCHES, MAX_VICTIMS, cheapest_victims
from scheduler.engine.preempt import Room as Victims
from scheduler.engine.promises import FASTER, promise_place, sooner_elsewhere
from scheduler.engine.quota import RUNNING, Quotas, Resource, Shortfall
from scheduler.engine.room import Room
from scheduler.engine.round import Round
from scheduler.engine.shape import Shape
from scheduler.engine.snapshot import FOREVER, ActiveRun, Grant, Move, Preemption, Verdict

BEHIND = "waiting_behind_reservation"
RELEASE = "waiting_for_release"
OF_ITS_OWN = frozenset({RELEASE, FASTER, MOVE})
"""A job that waits for a place of its own says nothing of those that ask for the same."""

OVER_QUOTA = "waiting_for_quota"
LIMITED = "search_limited"


def decide(round_: Round, job: QueuedJob) -> Verdict | None:
    """Grant the job and return None, or return why not."""
    wanted, alternatives = narrowed(round_, job)
    refused = refusing(job, round_.snapshot.now)
    if not refused:
        return _decide_on(round_, wanted, alternatives)
    verdict = _decide_on(round_, kept_from(round_.snapshot.fleet, wanted, refused), alternatives)
    if verdict is None or (verdict.kind == "never" and could_ever_fit(round_.snapshot, wanted) is not None):
        return verdict
    return after_refusals(verdict, refused, round_.snapshot.now)


def _decide_on(round_: Round, job: QueuedJob, alternatives: Sequence[int]) -> Verdict | None:
    """The same for a job of which only some `alternatives` are left, by their position among all."""
    notes: list[Reason] = []
    closed = [_closed_by_quota(round_, job, shape) for shape in job.shapes]
    if all(_nothing_else(round_, shape, lacks) for shape, lacks in zip(job.shapes, closed, strict=True)):
        return _reclaim(round_, job, notes) or _beside(_over_quota(round_, job, closed), notes)
    bounds, full = round_.bounds(job), round_.intake.full
    offered = kept_from(round_.snapshot.fleet, job, full) if full else job
    for alternative, shape in zip(alternatives, job.shapes, strict=True):
        for room, reserved in round_.rooms(job, bounds):
            best, places = best_offer(round_, room, round_.quotas, offered, shape)
            if best is not None:
                sooner = None if reserved else sooner_elsewhere(round_, job, shape, best.place)
                if sooner is None:
                    _grant(round_, job, alternative, shape, best, places, reserved=reserved)
                return sooner
    kept = _in_flight(round_, job, bounds) or _keep_place(round_, job) or _reclaim(round_, job, notes)
    kept = kept or _make_room(round_, job, notes)
    if kept is not None:
        return kept
    bound = _bound(round_, job, bounds) if bounds else None
    verdict = bound or explain(round_.snapshot, round_.now, job, [lacks.keys() for lacks in closed])
    if verdict.kind == "never":
        return verdict
    if may_be_promised(verdict):
        promise_place(round_, job, notes)
    return _beside(verdict, [*(_least_short(lacks) for lacks in closed if lacks), *notes])


def _beside(verdict: Verdict, notes: Sequence[Reason]) -> Verdict:
    """A verdict with what else there is to say: what quota alone keeps from the job, who is protected, what was not tried."""
    return Verdict(verdict.kind, (*verdict.reasons, *notes)) if notes else verdict


def may_be_promised(verdict: Verdict) -> bool:
    """Whether what a job waits for comes with the ends of others."""
    no_end_changes = {*NOBODY_KNOWS, OVER_QUOTA}
    return any(reason.code.startswith("waiting_") and reason.code not in no_end_changes for reason in verdict.reasons)


def _in_flight(round_: Round, job: QueuedJob, bounds: Bounds) -> Verdict | None:
    """Where the job would fit in a cluster that has yet to take up what it was granted: nobody has to stop for it."""
    if not round_.intake.full:
        return None
    for shape, (room, _) in product(job.shapes, round_.rooms(job, bounds)):
        found, _ = best_offer(round_, room, round_.quotas, job, shape)
        if found is not None:
            return Verdict("wait", (round_.intake.reason(round_.snapshot.fleet.clusters[found.place.cluster]),))
    return None


def _closed_by_quota(round_: Round, job: QueuedJob, shape: Shape) -> dict[int, Shortfall]:
    """The kinds of card that the job's queue has no quota for now, and what it lacks."""
    if not round_.soon_quotas.knows(job.queue):
        return {}
    fleet = round_.snapshot.fleet
    found = {kind: round_.soon_quotas.shortfall(job.queue, _least(fleet, shape, kind)) for kind in fleet.kinds_for(shape)}
    return {kind: lacks for kind, lacks in found.items() if lacks is not None}


def _least(fleet: Fleet, shape: Shape, kind: int) -> dict[Resource, int]:
    return needs(fleet, shape, kind, shape.min_nodes)


def _nothing_else(round_: Round, shape: Shape, closed: Mapping[int, Shortfall]) -> bool:
    """Whether quota closes every kind of card that could ever hold the gang, and there is one."""
    if not closed:
        return False
    could = kinds_that_hold(round_.snapshot.fleet, shape)
    return bool(could) and could <= closed.keys()


def _over_quota(round_: Round, job: QueuedJob, closed: Sequence[Mapping[int, Shortfall]]) -> Verdict:
    """Of what the job's queue is short, by how much. The first of a cohort to wait for quota keeps what it needs, where there are
    cards at all that it could ever take."""
    fleet, reasons, wanted = round_.snapshot.fleet, [], []
    for shape, lacks in zip(job.shapes, closed, strict=True):
        reasons.append(_least_short(lacks))
        wanted += [
            (each.needed - each.available, _least(fleet, shape, kind))
            for kind, each in lacks.items()
            if each.resource != RUNNING  # what a job has no turn for it must not keep from others
            and kind in kinds_that_hold(fleet, shape)
        ]
    for _, need in sorted(wanted, key=lambda each: each[0]):
        round_.quotas.keep(job.queue, need)
        round_.soon_quotas.keep(job.queue, need)
    return Verdict("wait", tuple(reasons))


def _least_short(lacks: Mapping[int, Shortfall]) -> Reason:
    return Reason(OVER_QUOTA, min(lacks.values(), key=lambda each: each.needed - each.available).in_units())


def _bound(round_: Round, job: QueuedJob, bounds: Bounds) -> Verdict | None:
    """Where the job would fit now but would still be there when a window opens, or could delay one that was promised its place."""
    outside = round_.view(Bounds(windows=bounds.windows))
    for shape in job.shapes:
        found, _ = best_offer(round_, round_.now, round_.quotas, job, shape)
        if found is not None:
            cluster = round_.snapshot.fleet.clusters[found.place.cluster]
            if best_offer(round_, outside, round_.quotas, job, shape)[0] is None:
                nodes = {part.node for part in found.place.allocations}
                return Verdict("wait", (next(each for each in bounds.windows if each.nodes & nodes).reason(cluster),))
            starts = [each.at for each in round_.promises if each.place.cluster == found.place.cluster]
            seconds = (min(starts, default=round_.snapshot.now) - round_.snapshot.now) // 1_000_000
            return Verdict("wait", (Reason(BEHIND, {"cluster": cluster, "seconds": seconds}),))
    return None


def _grant(round_: Round, job: QueuedJob, alternative: int, shape: Shape, best: Offer, places: int, *, reserved: bool) -> None:
    numbers: dict[str, str | int] = {"places": places, "net": format_cny(best.net_per_hour), "list": format_cny(best.list_per_hour)}
    reason = Reason("placed_reserved", numbers) if reserved else ground(round_, job, best.place, places, numbers)
    take(round_, job, alternative, shape, best.place, reason)


def take(round_: Round, job: QueuedJob, alternative: int, shape: Shape, place: Place, reason: Reason) -> None:
    """The job has the place from now on."""
    allocations = place.allocations
    spread: dict[str, str | int] = {"domains": place.spread, "level": LEVEL_NAMES[shape.near]}
    apart = None if shape.near == CLUSTER else Reason("placed_spread", spread)
    round_.grants.append(Grant(job.id, place, alternative, reason, apart))
    round_.now.take(allocations)
    round_.soon.take(allocations)
    round_.usage.add(job.tenant, place)
    round_.intake.add(round_.snapshot.fleet.clusters[place.cluster])
    if round_.quotas.knows(job.queue):
        round_.count(job.queue, held(round_.snapshot.fleet, place))
    run = ActiveRun(
        attempt=job.id,
        job=job.id,
        tenant=job.tenant,
        priority=job.priority,
        preemptible=job.preemptible,
        place=place,
        ends_at=round_.end_of(job),
        queue=job.queue,
        protected_until=round_.protection_of(job),
    )
    round_.started.append(run)
    round_.runs.add(run)
    round_.runs.fresh.add(run.attempt)
    round_.changed(place, run.ends_at)


def _soon(round_: Round, job: QueuedJob) -> Room:
    """What a job may take once asked-for stops have happened."""
    return round_.view(round_.bounds(job, soon=True), soon=True)


def _keep_place(round_: Round, job: QueuedJob) -> Verdict | None:
    """Where cards are being released already and the job will fit: keep the place for it."""
    if not round_.runs.releasing:
        return None
    soon = _soon(round_, job)
    for shape in job.shapes:
        found, _ = best_offer(round_, soon, round_.soon_quotas, job, shape)
        if found is not None:
            moves = in_flight(round_, job)
            verdict = _wait_for(round_, job, found.place, releasing_in(round_, found.place.cluster))
            return waits_for_move(round_, found.place.cluster, moves) if moves else verdict
    return None


def releasing_in(round_: Round, cluster: int) -> int:
    return sum(run.place.cluster == cluster for run in round_.runs.releasing.values())


def _make_room(round_: Round, job: QueuedJob, notes: list[Reason]) -> Verdict | None:
    """Move runs elsewhere, or ask lower-priority gangs to stop, whichever loses less of what makes the job fit."""
    moves, victims = find_moves(round_, job), _victims(round_, job, notes)
    if moves is not None and (victims is None or moves.lost_card_seconds <= loss_of_stops(round_.snapshot, victims.victims)):
        return _move(round_, job, moves)
    if victims is None:
        return None
    _stop(round_, job, victims.victims)
    return _wait_for(round_, job, victims.place, len(victims.victims))


def _victims(round_: Round, job: QueuedJob, notes: list[Reason]) -> Victims | None:
    """The lower-priority gangs whose stopping makes the job fit at the least loss."""
    lowest = round_.runs.lowest_preemptible()
    if lowest is None or lowest >= job.priority:
        return None
    if round_.searches_left == 0:
        _give_up(round_, notes, MAX_SEARCHES)
        return None
    round_.searches_left -= 1
    lefts = round_.bounds(job, soon=True).lefts(round_.snapshot.fleet)
    search = cheapest_victims(round_.snapshot, round_.soon.free, lefts, job, round_.runs)
    if search.room is None and search.given_up:
        _give_up(round_, notes, MAX_VICTIMS)
    elif search.room is None and round_.protects:
        later = cheapest_victims(round_.snapshot, round_.soon.free, lefts, job, round_.runs, protected_too=True).room
        if later is not None and later.victims:
            notes.append(_held(round_, later.place, later.victims))
    return search.room if search.room and search.room.victims else None  # where nobody need stop, only quota is in the way


def _move(round_: Round, job: QueuedJob, found: Rearrangement) -> Verdict:
    """Ask runs to stop that go on elsewhere: both the job's place and theirs are kept."""
    moves = []
    for move, run in found.moves(round_.snapshot, job):
        _stop(round_, job, [run], move)
        moves.append(move)
    _wait_for(round_, job, found.place, len(moves))
    for move in moves:
        keep_place(round_, move)
    return waits_for_move(round_, found.place.cluster, moves)


def _give_up(round_: Round, notes: list[Reason], limit: int) -> None:
    round_.cut_short = replace(round_.cut_short, preemptions=round_.cut_short.preemptions + 1)
    notes.append(Reason("search_limited", {"what": "preemption", "limit": limit}))


def _held(round_: Round, place: Place, victims: Sequence[ActiveRun]) -> Reason:
    """From when on those whose stopping would help are no longer protected."""
    until = max(run.protected_until for run in victims)
    cluster = round_.snapshot.fleet.clusters[place.cluster]
    return Reason("held_by_min_runtime", {"cluster": cluster, "runs": len(victims), "until": moment_after(until)})


def _reclaim(round_: Round, job: QueuedJob, notes: list[Reason]) -> Verdict | None:
    """A queue that is within its own quota takes back what it lent: gangs of queues that borrow stop, the least loss first.

    Who borrows has accepted that: neither priority nor `preemptible` protects a borrowed gang, only its minimum run time does, and
    none is stopped in part.
    """
    fleet = round_.snapshot.fleet
    for shape in job.shapes if round_.quotas.reclaims(job.queue) else ():
        for kind in fleet.kinds_for(shape):
            need = _least(fleet, shape, kind)
            short = round_.soon_quotas.shortfall(job.queue, need)
            if short is None or round_.soon_quotas.would_borrow(job.queue, need):
                continue
            taken_back = _taken_back(round_, job, shape, need, short.resource, protected_too=False)
            if taken_back is not None:
                place, victims = taken_back
                _stop(round_, job, victims)
                return _wait_for(round_, job, place, len(victims))
            later = _taken_back(round_, job, shape, need, short.resource, protected_too=True) if round_.protects else None
            if later is not None:
                notes.append(_held(round_, *later))
    return None


def _taken_back(
    round_: Round, job: QueuedJob, shape: Shape, need: Mapping[Resource, int], resource: Resource, *, protected_too: bool
) -> tuple[Place, list[ActiveRun]] | None:
    """Where the job would go, and who would have to stop for it."""
    for victims, quotas in _borrowers(round_, job, need, resource, protected_too=protected_too):
        for run in victims:
            round_.soon.give(run.place.allocations)
            round_.changed(run.place)
        found, _ = best_offer(round_, _soon(round_, job), quotas, job, shape)
        for run in victims:
            round_.soon.take(run.place.allocations)
            round_.changed(run.place)
        if found is not None:
            return found.place, victims
    return None


def _borrowers(
    round_: Round, job: QueuedJob, need: Mapping[Resource, int], resource: Resource, *, protected_too: bool
) -> Iterator[tuple[list[ActiveRun], Quotas]]:
    """Whose stopping brings the job within its quota, and the quotas then: those it cannot do without, then all that lose least."""
    if round_.borrowers is None:
        now = round_.snapshot.now
        by_loss = sorted(round_.runs.occupants(), key=lambda run: (run.lost_card_seconds(now), run.priority, run.attempt))
        round_.borrowers = deque(by_loss)
    while round_.borrowers and not round_.runs.holds(round_.borrowers[0]):
        round_.borrowers.popleft()
    cohort, trial, victims = round_.soon_quotas.cohort(job.queue), round_.soon_quotas.copy(), []
    until = FOREVER if protected_too else round_.snapshot.now
    for run in round_.borrowers:
        if (
            run.attempt in round_.runs.fresh
            or run.protected_until > until
            or not round_.runs.holds(run)
            or trial.cohort(run.queue) != cohort
            or not trial.borrowed(run.queue, resource)
        ):
            continue
        trial.use(run.queue, held(round_.snapshot.fleet, run.place), sign=-1)
        victims.append(run)
        if trial.shortfall(job.queue, need) is None:
            break
    else:
        return
    fewest, quotas = list(victims), trial.copy()
    for run in victims[-2::-1]:
        counted = held(round_.snapshot.fleet, run.place)
        quotas.use(run.queue, counted)
        if quotas.shortfall(job.queue, need) is None:
            fewest.remove(run)
        else:
            quotas.use(run.queue, counted, sign=-1)
    yield fewest, quotas
    if len(fewest) < len(victims):
        yield victims, trial


def _stop(round_: Round, job: QueuedJob, victims: Sequence[ActiveRun], move: Move | None = None) -> None:
    """Ask gangs to stop for a job: what they hold will be free soon."""
    for run in victims:
        round_.stop(run, Preemption(run.attempt, job.id, job.priority, move=move))


def _wait_for(round_: Round, job: QueuedJob, place: Place, runs: int) -> Verdict:
    nodes = [part.node for part in place.allocations]
    round_.kept[job.id] = place
    round_.soon.take(place.allocations)
    round_.soon_quotas.use(job.queue, held(round_.snapshot.fleet, place))
    round_.now.set_to_least([round_.now.free, round_.soon.free], nodes)
    round_.changed(place, round_.end_of(job, soon=True))
    return released(round_, place.cluster, runs)


def released(round_: Round, cluster: int, runs: int) -> Verdict:
    return Verdict("wait", (Reason(RELEASE, {"cluster": round_.snapshot.fleet.clusters[cluster], "runs": runs}),))
