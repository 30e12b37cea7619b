"""Preemption as re-scheduling: runs that may be stopped are put back beside the queue, all are served anew, and what is carried out
is the difference.

1. *Who.* Everybody is served on the network as it would be without the runs put back: by priority, urgency and share like any
   queue, and among the jobs of a tenant by `precedence`. Nothing is promised to anybody, as whoever starts can be stopped again.
2. *Where.* A run that was chosen again stays where it is. The newly chosen go to what is free, then to what those leave who were
   not chosen. Only where that is not enough, because what is free lies about in pieces, runs are moved together that lose nothing
   by it.
3. *The difference.* Whoever has lost the place is stopped, unless nobody has come to need it.

A run stands by what it would have left if it were stopped, less twice what stopping it would lose: once because that is done if it
stays, and once because it would have to be done again. So nobody is stopped for a gain smaller than the loss, and nobody for having
done work that is not yet safe.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from scheduler.domain.reasons import Reason
from scheduler.engine.cycle import cycle
from scheduler.engine.fleet import Free
from scheduler.engine.offers import best_offer, grant_of
from scheduler.engine.order import QueuedJob, cards_asked, held, in_order
from scheduler.engine.place import Place
from scheduler.engine.precedence import PATIENCE, precedence
from scheduler.engine.round import begin
from scheduler.engine.snapshot import ActiveRun, Decisions, Grant, Preemption, Snapshot, Verdict

MAX_MOVE_SEARCHES = 16
"""For how many jobs of a plan it is tried to move runs together."""


@dataclass(frozen=True)
class Plan:
    """What to do: stop `stops`; once they are gone all of `starts` fit where they say, together.

    A run that is moved is among both."""

    stops: tuple[Preemption, ...] = ()
    starts: tuple[Grant, ...] = ()


def reschedule(snapshot: Snapshot, back: Mapping[str, QueuedJob], patience: int = PATIENCE) -> Decisions:
    """One round in which some runs may be stopped. `back`: by attempt, the job of each as it would wait again.

    A job whose place is not free yet waits until it is; a run that is moved queues again in between.
    """
    made, filling = _plan(snapshot, back, patience)
    places = {grant.job: grant for grant in made.starts}
    rest = [job for job in snapshot.queue if job.id not in places]
    verdicts = dict(cycle(replace(filling.moment(), queue=rest)).verdicts)
    free, grants = snapshot.free.copy(), []
    for grant in (places[job.id] for job in snapshot.queue if job.id in places):
        if _holds(free, grant.place):
            grants.append(grant)
            free.take(grant.place.allocations)
        else:
            cluster = snapshot.fleet.clusters[grant.place.cluster]
            verdicts[grant.job] = Verdict("wait", (Reason("waiting_for_release", {"cluster": cluster, "runs": len(made.stops)}),))
    return Decisions(tuple(grants), made.stops, verdicts)


def plan(snapshot: Snapshot, back: Mapping[str, QueuedJob], patience: int = PATIENCE) -> Plan:
    """The difference. What attempts hold that have been asked to stop already counts as free."""
    return _plan(snapshot, back, patience)[0]


def _plan(snapshot: Snapshot, back: Mapping[str, QueuedJob], patience: int) -> "tuple[Plan, _Filling]":
    waiting = [job for job in snapshot.queue if job.hold is None]
    releasing = {run.attempt: run for run in snapshot.runs if run.releasing}
    for leaving in (releasing, {}) if releasing else ({},):
        filling = _Filling(_put_back(snapshot, ()))
        filling.seat(leaving)
        if all(filling.place(job) is not None for job in sorted(waiting, key=_largest_first)):
            return Plan(starts=tuple(filling.starts.values())), filling  # beside everybody who runs: nobody has to be put back
    free_to_stop = (run for run in snapshot.runs if run.attempt in back and run.protected_until <= snapshot.now)
    returned = {back[run.attempt].id: run for run in free_to_stop if not run.releasing}
    without = _put_back(snapshot, returned.values())
    jobs = [*waiting, *(back[run.attempt] for run in returned.values())]
    credit = {id_: 2 * run.lost_card_seconds(snapshot.now) for id_, run in returned.items()}
    cards = int(snapshot.fleet.cards_of.sum())
    standing = precedence(jobs, snapshot.order, cards, snapshot.now, patience, credit)
    chosen, who = _Filling(without), {}
    for job in in_order(jobs, chosen.round.usage, snapshot.weights, snapshot.now, standing):
        who[job.id] = job, chosen.place(job) is not None
    return _where(_Filling(without), returned, releasing, who)


def _put_back(snapshot: Snapshot, runs: Iterable[ActiveRun]) -> Snapshot:
    """The moment without some runs, and with what is being released given back."""
    free, usage, quotas = snapshot.free.copy(), snapshot.usage.copy(), snapshot.quotas.copy()
    for run in (*runs, *(run for run in snapshot.runs if run.releasing)):
        free.give(run.place.allocations)
        usage.add(run.tenant, run.place, sign=-1)
        quotas.use(run.queue, held(snapshot.fleet, run.place), sign=-1)
    return replace(snapshot, free=free, usage=usage, quotas=quotas, runs=(), queue=())


def _largest_first(job: QueuedJob) -> tuple[int, int, str]:
    return -cards_asked(job), job.submitted_at, job.id


Who = Mapping[str, tuple[QueuedJob, bool]]
"""By id and in the order they were served: every job, and whether it was chosen."""


def _where(
    filling: "_Filling", returned: Mapping[str, ActiveRun], releasing: Mapping[str, ActiveRun], who: Who
) -> "tuple[Plan, _Filling]":
    """Everybody a place, and the least of a difference to the places there are."""
    filling.seat(returned)
    filling.seat(releasing)
    lost = [id_ for id_ in returned if not who[id_][1]]
    new = sorted((job for job, chosen in who.values() if chosen and job.id not in returned), key=_largest_first)
    unplaced = [job for job in new if filling.place(job) is None]
    filling.unseat([*lost, *releasing])
    unplaced = [job for job in unplaced if filling.place(job) is None]
    for job in unplaced[:MAX_MOVE_SEARCHES]:
        filling.make_room(job, {id_: who[id_][0] for id_ in filling.seated})
    filling.seat({id_: returned[id_] for id_ in who if id_ in lost and filling.can_stay(returned[id_])})
    for job, _ in who.values():
        if job.id not in filling.seated and job.id not in filling.starts:
            filling.place(job)
    stopped = [run for id_, run in returned.items() if id_ not in filling.seated]
    return Plan(tuple(_stops(stopped, filling.starts, who)), tuple(filling.starts.values())), filling


class _Filling:
    """A network being filled: `seated` runs stay where they are, `starts` begin somewhere."""

    def __init__(self, snapshot: Snapshot) -> None:
        self.round = begin(snapshot)
        self.seated: dict[str, ActiveRun] = {}
        self.starts: dict[str, Grant] = {}
        self._hopeless: set[object] = set()

    def moment(self) -> Snapshot:
        """The network as it is filled so far, nobody waiting and nobody to be stopped."""
        round_ = self.round
        return replace(round_.snapshot, free=round_.now.free, usage=round_.usage, quotas=round_.quotas)

    def place(self, job: QueuedJob) -> Grant | None:
        """Start a job at the best place there is for it; None where there is none."""
        likeness = self.round.likeness(job)
        if likeness in self._hopeless:
            return None
        room = self.round.view(self.round.bounds(job))
        for alternative, shape in enumerate(job.shapes):
            best, places = best_offer(self.round, room, self.round.quotas, job, shape)
            if best is not None:
                self._count(job.tenant, job.queue, best.place, 1)
                self.starts[job.id] = grant_of(job, alternative, best, places)
                return self.starts[job.id]
        self._hopeless.add(likeness)
        return None

    def seat(self, runs: Mapping[str, ActiveRun]) -> None:
        for id_, run in runs.items():
            self._count(run.tenant, run.queue, run.place, 1)
            self.seated[id_] = run

    def unseat(self, ids: Iterable[str]) -> None:
        self._hopeless.clear()
        for id_ in ids:
            run = self.seated.pop(id_)
            self._count(run.tenant, run.queue, run.place, -1)

    def can_stay(self, run: ActiveRun) -> bool:
        """Whether a run that has been put back could go on where it is."""
        return (
            _holds(self.round.now.free, run.place)
            and self.round.quotas.shortfall(run.queue, held(self.round.snapshot.fleet, run.place)) is None
        )

    def make_room(self, job: QueuedJob, jobs: Mapping[str, QueuedJob]) -> None:
        """Start a job where runs that lose nothing by it make room and all find another place; else leave everything as it is.

        They are tried twice as many at a time, those on the emptiest nodes first."""
        free_milli = self.round.now.free.card_milli.sum(axis=1)
        now = self.round.snapshot.now
        movable = sorted(
            (id_ for id_, run in self.seated.items() if run.lost_card_seconds(now) == 0),
            key=lambda id_: (
                -max(free_milli[part.node] for part in self.seated[id_].place.allocations),
                cards_asked(jobs[id_]),
                id_,
            ),
        )
        count = 1
        while movable and not self._move(job, [jobs[id_] for id_ in movable[:count]]) and count < len(movable):
            count *= 2

    def _move(self, job: QueuedJob, moved: Sequence[QueuedJob]) -> bool:
        runs = {each.id: self.seated[each.id] for each in moved}
        self.unseat(runs)
        fits = self.place(job) is not None
        for each in sorted(moved, key=_largest_first) if fits else ():
            if self.can_stay(runs[each.id]):
                self.seat({each.id: runs[each.id]})
            elif self.place(each) is None:
                fits = False
                break
        if not fits:
            for each in (job, *moved):
                self._undo(each)
            self._hopeless.clear()
            self.seat(runs)
        return fits

    def _undo(self, job: QueuedJob) -> None:
        start = self.starts.pop(job.id, None)
        if start is not None:
            self._count(job.tenant, job.queue, start.place, -1)
        elif job.id in self.seated:
            self.unseat([job.id])

    def _count(self, tenant: str, queue: str, place: Place, sign: int) -> None:
        round_ = self.round
        (round_.now.take if sign > 0 else round_.now.give)(place.allocations)
        round_.changed(place)
        round_.usage.add(tenant, place, sign)
        if round_.quotas.knows(queue):
            round_.quotas.use(queue, held(round_.snapshot.fleet, place), sign)


def _holds(free: Free, place: Place) -> bool:
    """Whether all that a place takes is free."""
    return all(
        free.cpu_milli[part.node] >= part.cpu_milli
        and free.memory_bytes[part.node] >= part.memory_bytes
        and bool((free.card_milli[part.node, list(part.slots)] >= part.card_milli).all())
        for part in place.allocations
    )


def _stops(stopped: Sequence[ActiveRun], starts: Mapping[str, Grant], who: Who) -> Iterable[Preemption]:
    """Each with the first of those that come to where the run was: to its cards, or else to its nodes."""
    turn = {id_: number for number, id_ in enumerate(who)}
    for run in stopped:
        nodes = {part.node for part in run.place.allocations}
        cards = {(part.node, slot) for part in run.place.allocations for slot in part.slots}
        near = [grant for grant in starts.values() if any(part.node in nodes for part in grant.place.allocations)]
        onto = [
            grant for grant in near if any((part.node, slot) in cards for part in grant.place.allocations for slot in part.slots)
        ]
        by = min((grant.job for grant in onto or near), key=lambda id_: turn[id_])
        yield Preemption(run.attempt, by, who[by][0].priority)
