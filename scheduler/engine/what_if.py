"""Which single change would let a blocked job start: each suggestion has been tried by the engine itself, on the changed job.

A change leaves everybody else as they are: the same jobs are served before it, get the same cards and keep the same promises.
Bounded: at most `MAX_VARIATIONS` changed jobs are tried, and no more rounds than the answer's work allows.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from scheduler.contract.job import Profile
from scheduler.domain.clock import MICROS_PER_SECOND, format_duration
from scheduler.domain.reasons import Reason
from scheduler.domain.topology import CLUSTER, LEVEL_NAMES, Level
from scheduler.engine.constraints import Constraint
from scheduler.engine.cycle import cycle
from scheduler.engine.deadline import moment_after
from scheduler.engine.fleet import Free
from scheduler.engine.offers import Offer, offers
from scheduler.engine.order import QueuedJob, latest_start
from scheduler.engine.shape import Shape
from scheduler.engine.snapshot import Decisions, Grant, Snapshot

MAX_VARIATIONS = 16
MAX_DECIDED = 5_000
"""Jobs decided for one answer, over all the rounds it runs: with a long queue ahead fewer things are tried."""

MAX_MODELS = 3
"""Other models that are suggested at once, cheapest first; and other profiles of MIG that are tried, smallest first."""

MAX_CONSTRAINTS = 4
"""Constraints on nodes that are dropped one at a time, the first ones."""

MIN_RUNTIME_SECONDS = 60
"""A shorter `max_runtime` than this is not worth suggesting."""

_PRIORITIES = (50, 75, 100)


@dataclass(frozen=True, slots=True)
class Variation:
    """The job with one thing changed, and what that is."""

    job: QueuedJob
    reason: Reason


@dataclass(frozen=True, slots=True)
class Change:
    """A change that helps: with `job` in place of the original the engine grants `offer` at once or, with `offer` of None, asks
    `stops` running jobs of lower priority to make room in `cluster`."""

    job: QueuedJob
    reason: Reason
    cluster: str
    offer: Offer | None
    stops: int = 0


@dataclass
class Rounds:
    """Rounds with the jobs served ahead and one job behind them, as long as work is left. `ahead.queue` is those ahead, exactly:
    what is served after the job cannot matter to it.

    `free` is what those ahead leave, before what they were promised.
    """

    ahead: Snapshot
    free: Free
    decided_left: int = MAX_DECIDED
    variations_left: int = MAX_VARIATIONS
    limited: bool = False

    def affordable(self) -> bool:
        """Whether work is left for one more round."""
        return len(self.ahead.queue) < self.decided_left

    def decide(self, job: QueuedJob) -> Decisions | None:
        """What a round makes of the job; None, noted as `limited`, when the work is used up."""
        cost = len(self.ahead.queue) + 1
        if cost > self.decided_left:
            self.limited = True
            return None
        self.decided_left -= cost
        return cycle(replace(self.ahead, queue=(*self.ahead.queue, job)))

    def vary(self, job: QueuedJob) -> Decisions | None:
        """The same for a changed job, of which only so many are tried."""
        if self.variations_left == 0:
            self.limited = True
            return None
        self.variations_left -= 1
        return self.decide(job)

    def offers(self, job: QueuedJob) -> list[Offer]:
        """Where a job would fit if nobody had been promised anything: no grant comes from anywhere else."""
        return [offer for shape in job.shapes for offer in offers(self.ahead, self.free, job, shape)]


def granted(decisions: Decisions | None, job: QueuedJob) -> Grant | None:
    """The grant a round gave to the job, if it did."""
    return next((grant for grant in decisions.grants if grant.job == job.id), None) if decisions else None


def offer_of(snapshot: Snapshot, job: QueuedJob, grant: Grant) -> Offer:
    """A grant as the offer it was: the place with its price."""
    shape, place = job.shapes[grant.alternative], grant.place
    alone = replace(job, clusters=frozenset({snapshot.fleet.clusters[place.cluster]}))
    like = next(each for each in offers(snapshot, snapshot.fleet.empty, alone, shape) if each.place.kind == place.kind)
    return replace(like, place=place, unit_milli=place.card_milli() or place.nodes * shape.cpu_milli)


def changes(rounds: Rounds, job: QueuedJob, decisions: Decisions, others: Sequence[Variation]) -> list[Change]:
    """Every change that was found to help, the least intrusive first. `others` are the caller's own ideas."""
    found: list[Change] = []
    if job.hold is None:
        found += _fewer_nodes(rounds, job)
        found += _other_models(rounds, job)
        found += _other_profile(rounds, job)
        found += _fewer_constraints(rounds, job)
        found += _wider(rounds, job)
        found += _by_price(rounds, job)
        found += _shorter_runtime(rounds, job, decisions)
    found += [change for each in others if (change := _tried(rounds, each)) is not None]
    if job.hold is None:
        found += _higher_priority(rounds, job, decisions)
    return found


def _tried(rounds: Rounds, variation: Variation) -> Change | None:
    """The change if the engine grants the changed job. What fits nowhere is not worth a round."""
    if not rounds.offers(variation.job):
        return None
    grant = granted(rounds.vary(variation.job), variation.job)
    if grant is None:
        return None
    offer = offer_of(rounds.ahead, variation.job, grant)
    return Change(variation.job, variation.reason, rounds.ahead.fleet.clusters[grant.place.cluster], offer)


def _fewer_nodes(rounds: Rounds, job: QueuedJob) -> Iterator[Change]:
    """The largest gang that would start, of the first alternative of which any would."""
    for position, shape in enumerate(job.shapes):
        if shape.min_nodes == 1:
            continue
        smaller = replace(shape, nodes=shape.min_nodes - 1, min_nodes=1)
        most = max((offer.place.nodes for offer in rounds.offers(replace(job, shapes=(smaller,)))), default=0)
        best: Change | None = None
        enough, too_many = 0, most + 1
        trial = most
        while too_many - enough > 1:  # more nodes never start more easily, so bisection finds the largest
            changed = replace(job, shapes=_with(job.shapes, position, replace(shape, nodes=trial, min_nodes=trial)))
            reason = Reason("change_fewer_nodes", {"nodes": trial, "asked": shape.min_nodes})
            change = _tried(rounds, Variation(changed, reason))
            if change is None:
                too_many = trial
            else:
                best, enough = change, trial
            trial = (enough + too_many) // 2
        if best is not None:
            yield best
            return


def _with(shapes: tuple[Shape, ...], position: int, shape: Shape) -> tuple[Shape, ...]:
    return (*shapes[:position], shape, *shapes[position + 1 :])


def _other_models(rounds: Rounds, job: QueuedJob) -> Iterator[Change]:
    """Cards it did not ask for, as one more alternative, in the shape of the first that fits; cheapest first."""
    candidates: dict[str, tuple[int, Variation]] = {}
    for shape in job.shapes:
        for kind in rounds.ahead.fleet.kinds if shape.per_node else ():
            if kind.model in candidates or any(kind.suits(each) for each in job.shapes):
                continue
            other = replace(shape, hardware_class=None, vendors=frozenset({kind.vendor}), models=frozenset({kind.model}))
            reason = Reason("change_other_model", {"model": kind.model, "class": kind.hardware_class.value})
            found = rounds.offers(replace(job, shapes=(other,)))
            if found:
                candidates[kind.model] = found[0].net_per_hour, Variation(replace(job, shapes=(*job.shapes, other)), reason)
    suggested = 0
    for _, (_, variation) in sorted(candidates.items(), key=lambda item: (item[1][0], item[0])):
        change = _tried(rounds, variation) if suggested < MAX_MODELS else None
        if change is not None:
            suggested += 1
            yield change


def _other_profile(rounds: Rounds, job: QueuedJob) -> Iterator[Change]:
    """The smallest larger instance, at last a whole card, in place of instances of the profile it asked for."""
    asked = next((shape.mig for shape in job.shapes if shape.mig), None)
    if asked is None:
        return
    kinds = rounds.ahead.fleet.kinds
    size = max((kind.card_milli for kind in kinds if kind.mig == asked), default=0)
    larger = sorted({(kind.card_milli, kind.mig) for kind in kinds if kind.mig != asked and kind.card_milli >= size})
    for _, profile in larger[:MAX_MODELS]:
        shapes = tuple(replace(shape, mig=profile) if shape.mig == asked else shape for shape in job.shapes)
        reason = Reason("change_other_profile", {"profile": profile or "whole-card", "asked": asked})
        change = _tried(rounds, Variation(replace(job, shapes=shapes), reason))
        if change is not None:
            yield change
            return


def _fewer_constraints(rounds: Rounds, job: QueuedJob) -> Iterator[Change]:
    """Each constraint on nodes without which it would start; where no single one is enough, all of them."""
    asked = list(dict.fromkeys(constraint for shape in job.shapes for constraint in shape.constraints))
    found = [change for each in asked[:MAX_CONSTRAINTS] if (change := _without(rounds, job, [each])) is not None]
    if not found and len(asked) > 1 and (change := _without(rounds, job, asked)) is not None:
        found = [change]
    yield from found


def _without(rounds: Rounds, job: QueuedJob, dropped: Sequence[Constraint]) -> Change | None:
    shapes = (replace(shape, constraints=tuple(each for each in shape.constraints if each not in dropped)) for shape in job.shapes)
    reason = Reason("change_drop_constraint", {"constraint": ", ".join(map(str, dropped))})
    return _tried(rounds, Variation(replace(job, shapes=tuple(shapes)), reason))


def _wider(rounds: Rounds, job: QueuedJob) -> Iterator[Change]:
    """The narrowest wider level that helps; at last the same level as a wish only."""
    asked = min(shape.within for shape in job.shapes)
    for level in range(asked + 1, CLUSTER + 1):
        shapes = tuple(_within(shape, level) for shape in job.shapes)
        reason = Reason("change_wider_topology", {"level": LEVEL_NAMES[asked], "to": LEVEL_NAMES[level]})
        if level == CLUSTER:
            reason = Reason("change_no_topology", {"level": LEVEL_NAMES[asked]})
        change = _tried(rounds, Variation(replace(job, shapes=shapes), reason))
        if change is not None:
            yield change
            return


def _within(shape: Shape, level: Level) -> Shape:
    """The shape with a wider level at least; what it asked for becomes a wish where nothing is required any more."""
    if shape.within >= level:
        return shape
    return replace(shape, within=level, near=shape.within if level == CLUSTER else shape.near)


def _by_price(rounds: Rounds, job: QueuedJob) -> Iterator[Change]:
    """A job that waits for domestic cards, or for a faster place, may start where it is cheapest."""
    if job.profile is not Profile.CHEAPEST_NET:
        reason = Reason("change_profile", {"profile": Profile.CHEAPEST_NET.value, "asked": job.profile.value})
        change = _tried(rounds, Variation(replace(job, profile=Profile.CHEAPEST_NET), reason))
        if change is not None:
            yield change


def _shorter_runtime(rounds: Rounds, job: QueuedJob, decisions: Decisions) -> Iterator[Change]:
    """The longest `max_runtime` with which it ends before somebody's promised start or a window's: it can then go in front."""
    starts = [*decisions.promised_at.values(), *(window.start for window in rounds.ahead.windows)]
    until = {(at - rounds.ahead.now) // MICROS_PER_SECOND for at in starts}
    asked = job.max_runtime_seconds
    for seconds in sorted(until, reverse=True):
        if seconds >= MIN_RUNTIME_SECONDS and (asked is None or seconds < asked):
            reason = Reason("change_shorter_runtime", {"max_runtime": format_duration(seconds)})
            change = _tried(rounds, Variation(replace(job, max_runtime_seconds=seconds), reason))
            if change is not None:
                yield change
                return


def _higher_priority(rounds: Rounds, job: QueuedJob, decisions: Decisions) -> Iterator[Change]:
    """The lowest priority at which it would start, or at which others would be asked to stop for it; never who they are."""
    if any(each.by == job.id for each in decisions.preemptions):
        return  # room is being made for it already
    for priority in _PRIORITIES:
        if priority <= job.priority:
            continue
        raised = replace(job, priority=priority)
        outcome = rounds.vary(raised)
        grant = granted(outcome, raised)
        if grant is not None:
            cluster = rounds.ahead.fleet.clusters[grant.place.cluster]
            reason = Reason("change_higher_priority", {"priority": priority})
            yield Change(raised, reason, cluster, offer_of(rounds.ahead, raised, grant))
            return
        stops = sum(each.by == job.id for each in outcome.preemptions) if outcome else 0
        if outcome is not None and stops:
            cluster = str(outcome.verdicts[job.id].reasons[0].numbers["cluster"])
            yield Change(raised, Reason("change_preempts", {"priority": priority, "stops": stops}), cluster, None, stops)
            return


def remedies(job: QueuedJob, now: int, starts_by: int | None, started_now_by: Iterable[Reason]) -> Iterator[Reason]:
    """What would make the deadline be kept where it is not sure to be: changes that start the job now, as far as that is in time,
    a shorter `max_runtime`, and a later deadline."""
    start_by = latest_start(job)
    if job.deadline is None or job.max_runtime_seconds is None or start_by is None:
        return
    if starts_by is not None and max(starts_by, now) <= start_by:
        return
    if now <= start_by:
        yield from started_now_by
    if starts_by is not None:
        seconds = (job.deadline - starts_by) // MICROS_PER_SECOND
        if seconds >= MIN_RUNTIME_SECONDS:
            yield Reason("change_runtime_for_deadline", {"max_runtime": format_duration(seconds)})
        late = starts_by + job.max_runtime_seconds * MICROS_PER_SECOND
        yield Reason("change_later_deadline", {"deadline": moment_after(late)})
