"""Everything there is to say about one job, queued or only thought of: the engine asked, never a second opinion.

`answer(snapshot, job)` runs the round the dispatcher would run, with the job in its queue, and reads from it where the job could
go, what it would cost there, why not elsewhere, how many are served before it, when it starts (`start`) and what change would
help (`what_if`). Nothing in an answer names another job or tenant.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from scheduler.domain.clock import MICROS_PER_SECOND
from scheduler.domain.reasons import Reason
from scheduler.domain.tasks import task_after
from scheduler.engine.cycle import decisions_of
from scheduler.engine.deadline import prospect
from scheduler.engine.explain import explain
from scheduler.engine.fleet import NO_KIND
from scheduler.engine.offers import Offer, offers
from scheduler.engine.order import QueuedJob, by_service, in_order, resource_name
from scheduler.engine.room import Room
from scheduler.engine.snapshot import Decisions, Snapshot
from scheduler.engine.staging import Staging, staging
from scheduler.engine.start import Start, start_of
from scheduler.engine.state import State
from scheduler.engine.what_if import Change, Rounds, Variation, changes, granted, offer_of, remedies

MAX_OPTIONS = 16
MAX_CLUSTERS = 64
"""Clusters of which an answer says why the job cannot go there now."""


@dataclass(frozen=True, slots=True)
class Option:
    """A place for the job: one of its alternatives in one cluster on one kind of card.

    `now`: it would be granted at once, if the job could go nowhere else; otherwise it would do once others have left. `starts_at`:
    the latest start there, in microseconds; None where nothing tells. `staging`: what it takes to bring the job's data there.
    """

    alternative: int
    offer: Offer
    now: bool
    starts_at: int | None
    staging: Staging


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why the job cannot start in one cluster now."""

    cluster: str
    reasons: tuple[Reason, ...]


@dataclass(frozen=True, slots=True)
class PastUse:
    """What its tenant has used before, and how many of the jobs ahead are there for that alone: `unit_hours` of `resource` (cards
    of a class, or `cpu` in core-hours), what is one half-life old counting half."""

    jobs: int
    resource: str
    unit_hours: int
    half_life_seconds: int


@dataclass(frozen=True, slots=True)
class Position:
    """How many jobs are served before it, and how many of them want cards it could take."""

    ahead: int
    competing: int
    past_use: PastUse | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """What is to be said of a job. `options` are in the order the engine would choose; those of now come first if it can start.
    `limited`: the queue ahead is so long that not everything was tried."""

    verdict: Literal["fit", "wait", "never"]
    reasons: tuple[Reason, ...]
    position: Position
    start: Start
    options: tuple[Option, ...]
    refusals: tuple[Refusal, ...]
    changes: tuple[Change, ...]
    limited: bool
    deadline: Reason | None = None
    """Whether the job's deadline can be kept, where it has one."""
    remedies: tuple[Reason, ...] = ()
    """What would make it be kept where that is not sure."""


def answer(snapshot: Snapshot, job: QueuedJob, others: Sequence[Variation] = ()) -> Answer:
    """The answer for a job, in place of its namesake in the queue if there is one. `others` are changes to try beside the
    engine's own, such as another contract."""
    whole = replace(snapshot, queue=[*(each for each in snapshot.queue if each.id != job.id), job])
    state = State.of(whole)
    decisions = decisions_of(whole, state.backlog, state.round(whole.now))
    ahead = served_before(whole, decisions, job)
    rounds = _behind(snapshot, ahead, decisions)
    grant = granted(decisions, job)
    verdict = None if grant else decisions.verdicts[job.id]
    options = _options(rounds, job, decisions)
    start = start_of(whole, state, decisions, job)
    refusals = tuple(_refusals(rounds, job, options))
    helpful = () if grant else tuple(changes(rounds, job, decisions, others))
    started_now_by = [change.reason for change in helpful if change.offer is not None]
    return Answer(
        verdict=verdict.kind if verdict else "fit",
        reasons=verdict.reasons if verdict else grant.reasons if grant else (),
        position=Position(
            _counted(ahead),
            _counted([each for each in ahead if _compete(snapshot, each, job)]),
            _past_use(whole, decisions, job, _counted(ahead)),
        ),
        start=start,
        options=(*options, *_later(rounds, job, options)),
        refusals=refusals,
        changes=helpful,
        limited=rounds.limited,
        deadline=prospect(job, snapshot.now, start.latest),
        remedies=tuple(remedies(job, snapshot.now, start.latest, started_now_by)),
    )


def served_before(snapshot: Snapshot, decisions: Decisions, job: QueuedJob) -> list[QueuedJob]:
    """The jobs whose turn came before, in the order of their turns. The round's grants are counted again as it went along: they
    decide whose turn is next; of an array each task that was granted had a turn of its own, and the first that was not the last."""
    places = {grant.job: grant.place for grant in decisions.grants}
    usage = snapshot.usage.copy()
    ahead, queue = [], list(_turns(snapshot.queue, places.keys()))
    for each in in_order(queue, usage, snapshot.weights, snapshot.now, by_service(snapshot.order)):
        if each.id == job.id:
            break
        ahead.append(each)
        if each.id in places:
            usage.add(each.tenant, places[each.id])
    return ahead


def _turns(queue: Sequence[QueuedJob], granted_ones: Collection[str]) -> Iterator[QueuedJob]:
    for job in queue:
        left = job
        while left.tasks > 1 and left.id in granted_ones:
            yield replace(left, tasks=1)
            left = replace(left, id=task_after(left.id), tasks=left.tasks - 1)
        yield left


def _counted(jobs: Sequence[QueuedJob]) -> int:
    """How many jobs, each task of an array being one."""
    return sum(job.tasks for job in jobs)


def _past_use(snapshot: Snapshot, decisions: Decisions, job: QueuedJob, ahead: int) -> PastUse | None:
    """None where the past of nobody counts, or does not set the job back."""
    usage = snapshot.usage
    if usage.past is None or job.tenant not in usage.past.held:
        return None
    otherwise = served_before(replace(snapshot, usage=usage.without_past()), decisions, job)
    if _counted(otherwise) >= ahead:
        return None
    resource = usage.dominant_resource(job.tenant)
    return PastUse(
        jobs=ahead - _counted(otherwise),
        resource=resource_name(resource),
        unit_hours=usage.past.unit_hours(job.tenant, resource),
        half_life_seconds=usage.past.half_life // MICROS_PER_SECOND,
    )


def _behind(snapshot: Snapshot, ahead: Sequence[QueuedJob], decisions: Decisions) -> Rounds:
    names = {each.id for each in ahead}
    free = snapshot.free.copy()
    for grant in decisions.grants:
        if grant.job in names:
            free.take(grant.place.allocations)
    return Rounds(replace(snapshot, queue=tuple(ahead)), free)


def _compete(snapshot: Snapshot, one: QueuedJob, other: QueuedJob) -> bool:
    """Whether a job that may start wants cards (or, without cards, cores) the other could take."""
    pools = [{kind for shape in job.shapes for kind in snapshot.fleet.kinds_for(shape)} for job in (one, other)]
    apart = one.clusters is not None and other.clusters is not None and not one.clusters & other.clusters
    return one.hold is None and not apart and bool(pools[0] & pools[1])


def _options(rounds: Rounds, job: QueuedJob, decisions: Decisions) -> list[Option]:
    """Every place the round would have granted, had it been the only one: each is asked of the engine. None if it granted none."""
    snapshot = rounds.ahead
    grant = granted(decisions, job)
    if grant is None:
        return []
    found = [_option_now(snapshot, job, grant.alternative, offer_of(snapshot, job, grant))]
    candidates = [
        (alternative, offer)
        for alternative, shape in enumerate(job.shapes)
        for offer in offers(snapshot, rounds.free, job, shape)
        if (alternative, offer.place.cluster, offer.place.kind) != (grant.alternative, grant.place.cluster, grant.place.kind)
    ]
    for alternative, offer in candidates[: MAX_OPTIONS - 1]:
        only = _only(snapshot, job, alternative, offer)
        instead = granted(rounds.decide(only), only)
        if instead is not None:
            found.append(_option_now(snapshot, job, alternative, offer_of(snapshot, only, instead)))
    rounds.limited |= len(candidates) > MAX_OPTIONS - 1
    return found


def _only(snapshot: Snapshot, job: QueuedJob, alternative: int, offer: Offer) -> QueuedJob:
    """The job with no choice but one alternative in one cluster on one kind of card."""
    shape = job.shapes[alternative]
    if offer.place.kind != NO_KIND:
        kind = snapshot.fleet.kinds[offer.place.kind]
        shape = replace(shape, vendors=frozenset({kind.vendor}), models=frozenset({kind.model}))
    return replace(job, shapes=(shape,), clusters=frozenset({snapshot.fleet.clusters[offer.place.cluster]}))


def _option_now(snapshot: Snapshot, job: QueuedJob, alternative: int, offer: Offer) -> Option:
    return Option(alternative, offer, True, snapshot.now, _brought(snapshot, job, offer))


def _brought(snapshot: Snapshot, job: QueuedJob, offer: Offer) -> Staging:
    return staging(snapshot.links, job.data, snapshot.fleet.clusters[offer.place.cluster])


def _later(rounds: Rounds, job: QueuedJob, options: Sequence[Option]) -> list[Option]:
    """Where it would fit if nothing ran there, beside where it can start now: what waiting for a place would cost."""
    snapshot = rounds.ahead
    known = {(option.alternative, option.offer.place.cluster, option.offer.place.kind) for option in options}
    found = [
        (alternative, offer)
        for alternative, shape in enumerate(job.shapes)
        for offer in offers(snapshot, snapshot.fleet.empty, job, shape)
        if (alternative, offer.place.cluster, offer.place.kind) not in known
    ]
    return [_option_later(rounds, job, *each) for each in found[: max(0, MAX_OPTIONS - len(options))]]


def _option_later(rounds: Rounds, job: QueuedJob, alternative: int, offer: Offer) -> Option:
    """A place with the start it would be promised there, as long as work is left for such questions."""
    snapshot, only = rounds.ahead, _only(rounds.ahead, job, alternative, offer)
    decisions = rounds.decide(only) if rounds.affordable() else None
    instead = granted(decisions, job)
    if instead is not None:  # it has room, and the job waits for one it likes better
        return _option_now(snapshot, job, alternative, offer_of(snapshot, only, instead))
    starts_at = decisions.promised_at.get(job.id) if decisions else None
    return Option(alternative, offer, False, starts_at, _brought(snapshot, job, offer))


def _refusals(rounds: Rounds, job: QueuedJob, options: Sequence[Option]) -> list[Refusal]:
    """Why not there: for each cluster without a place now, with the numbers of that cluster."""
    if job.hold is not None:
        return []
    clusters = rounds.ahead.fleet.clusters
    possible = {option.offer.place.cluster for option in options}
    fitting = {offer.place.cluster for offer in rounds.offers(job)}
    refused = [number for number in range(len(clusters)) if number not in possible]
    rounds.limited |= len(refused) > MAX_CLUSTERS
    return [Refusal(clusters[number], _why_not(rounds, job, number, number in fitting)) for number in refused[:MAX_CLUSTERS]]


def _why_not(rounds: Rounds, job: QueuedJob, number: int, fits: bool) -> tuple[Reason, ...]:
    cluster = rounds.ahead.fleet.clusters[number]
    if job.clusters is not None and cluster not in job.clusters:
        return (Reason("place_other_provider"),)
    there = replace(job, clusters=frozenset({cluster}))
    if fits:  # only a promise, or a place kept for somebody ahead, can be in the way
        decisions = rounds.decide(there)
        if granted(decisions, there) is not None:
            return (Reason("place_not_preferred", {"profile": job.profile.value}),)
        return decisions.verdicts[job.id].reasons if decisions else ()
    return tuple(map(_said_of_one, explain(rounds.ahead, Room(rounds.ahead.fleet, rounds.free), there).reasons))


def _said_of_one(reason: Reason) -> Reason:
    """The engine's reasons name the best of all clusters; of one cluster the same numbers are said plainly."""
    match reason.code:
        case "waiting_for_cards":
            return Reason("place_busy", reason.numbers)
        case "waiting_for_domain":
            return Reason("place_domain_busy", reason.numbers)
        case "never_larger_than_cluster":
            return Reason("place_too_small", reason.numbers)
        case "never_larger_than_domain":
            return Reason("place_domain_too_small", reason.numbers)
        case "never_no_such_hardware":
            return Reason("place_no_such_hardware", reason.numbers)
        case "waiting_for_cluster":
            return Reason("place_silent")
        case "waiting_for_price":
            return Reason("place_unpriced", reason.numbers)
        case _:
            return reason
