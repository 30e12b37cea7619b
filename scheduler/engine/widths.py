"""Elastic gangs with deadlines on one pool of cards: whose deadline is promised, and how wide everybody runs now.

`decide(now, cards, restart, gangs)` is pure and knows nothing of the future. In this order:

1. whoever was admitted before stays so: all are planned anew, the soonest deadline first, or keep the plans they have where that
   does not work out;
2. whoever is not, and could still be in time, is admitted if a plan fits beside those of the others, the cheapest in card-seconds
   first: cards are best spent on many deadlines;
3. what the plans leave idle now goes where a card speeds up the work most, measured against what the job's own plan needs; jobs
   without a deadline, or past keeping it, have their share of that and only of that.

Admission control and marginal return are ElasticFlow's (Gu et al., ASPLOS 2023). Unlike there, jobs that arrive together are asked
one by one, whoever is not admitted is asked again, and no promise is lost to a decision of our own: a job is made wider than
planned only if it has the time to be started again.
"""

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from heapq import heapify, heappop, heappush

from scheduler.engine.plan import Gang, Plan, Restart, Timeline, level_needed

MAX_REPLANS = 8
"""Jobs a round for whose sake all plans are made anew, where theirs does not fit beside them."""

NEVER = 2**62
"""Stands for the deadline of a job that has none."""


def decide(now: int, cards: int, restart: Restart, gangs: Iterable[Gang]) -> list[Gang]:
    """The same jobs, by id, with the plans and widths they have from now on. Whoever changes its width is ready later.

    The widths add up to at most `cards`.
    """
    ordered = sorted(gangs, key=lambda gang: gang.id)
    plans = _Plans(Timeline(now, cards, restart))
    plans.keep([gang for gang in ordered if gang.plan])
    for gang in _hopeful(now, restart, [gang for gang in ordered if gang.id not in plans.found]):
        plans.admit(gang)
    planned = []
    for gang in ordered:
        plan, restartable = plans.found.get(gang.id, ((), False))
        same = (plan, restartable) == (gang.plan, gang.restartable)
        planned.append(gang if same else replace(gang, plan=plan, restartable=restartable))
    widths = _widths(now, cards, restart, planned)
    return [_resized(gang, widths[gang.id], now, restart) for gang in planned]


def next_step(now: int, gangs: Iterable[Gang]) -> int | None:
    """When a plan next asks for another width: a round is due then. None where no plan ever does."""
    return min((at for gang in gangs for step in gang.plan for at in (step.start, step.end) if at > now), default=None)


def _resized(gang: Gang, width: int, now: int, restart: Restart) -> Gang:
    if width == gang.width:
        return gang
    return replace(gang, width=width, ready_at=now + restart.micros(width) if width else now)


def _hopeful(now: int, restart: Restart, gangs: Iterable[Gang]) -> list[Gang]:
    """Those that could keep their deadline if they had all cards to themselves, the cheapest in card-time first."""
    costs = [(cost, gang) for gang in gangs if (cost := _cost(now, restart, gang)) is not None]
    return [gang for _, gang in sorted(costs, key=lambda each: (each[0], each[1].id))]


def _cost(now: int, restart: Restart, gang: Gang) -> int | None:
    """The card-time of the narrowest constant width that suffices from now on; None where none does."""
    level = level_needed(now, restart, gang)
    return None if level is None else gang.curve.widths[level] * gang.work // gang.curve.rates[level]


class _Plans:
    """Plans made one after the other; `_before[n]` is what was free before the n-th."""

    def __init__(self, timeline: Timeline) -> None:
        self.found: dict[str, tuple[Plan, bool]] = {}
        self._order: list[Gang] = []
        self._before = [timeline]
        self._replans_left = MAX_REPLANS

    def keep(self, admitted: Sequence[Gang]) -> None:
        """Plan those admitted before anew; where that does not work out they keep what they have, as far as it is there and can
        still be in time."""
        if self._plan(sorted(admitted, key=_by_deadline)):
            return
        now, restart = self._before[0].now, self._before[0].restart
        for gang in admitted:
            if level_needed(now, restart, gang) is None:
                continue
            timeline = self._before[-1].copy()
            try:
                timeline.take(gang.plan)
            except ValueError:
                continue  # cards were lost
            self._add(gang, (gang.plan, False), timeline)

    def admit(self, gang: Gang) -> bool:
        """Whether a job could be planned: beside the plans there are, or with all of them made anew."""
        timeline = self._before[-1].copy()
        found = timeline.narrowest(gang)
        if found is not None:
            timeline.take(found[0])
            self._add(gang, found, timeline)
            return True
        if not self._replans_left:
            return False
        self._replans_left -= 1
        return self._plan(sorted([*self._order, gang], key=_by_deadline))

    def _plan(self, order: list[Gang]) -> bool:
        """Plan in this order instead, from where it differs from the one there is; all or nothing."""
        same = next(
            (n for n, (one, other) in enumerate(zip(order, self._order, strict=False)) if one is not other), len(self._order)
        )
        trial = _Plans(self._before[same])
        for gang in order[same:]:
            timeline = trial._before[-1].copy()
            found = timeline.narrowest(gang)
            if found is None:
                return False
            timeline.take(found[0])
            trial._add(gang, found, timeline)
        self.found = {gang.id: self.found[gang.id] for gang in order[:same]} | trial.found
        self._before = self._before[:same] + trial._before
        self._order = order
        return True

    def _add(self, gang: Gang, found: tuple[Plan, bool], timeline: Timeline) -> None:
        self.found[gang.id] = found
        self._order.append(gang)
        self._before.append(timeline)


def _by_deadline(gang: Gang) -> tuple[int, str]:
    return NEVER if gang.deadline is None else gang.deadline, gang.id


@dataclass(slots=True)
class _Width:
    """A job's level on its curve while idle cards are given out (-1: no cards), between its plan's and the most it may have."""

    gang: Gang
    level: int
    most: int
    needed: int
    """The level its deadline needs: what a card more is measured against."""

    def width(self, level: int | None = None) -> int:
        level = self.level if level is None else level
        return self.gang.curve.widths[level] if level >= 0 else 0

    def rate(self, level: int) -> int:
        return self.gang.curve.rates[level] if level >= 0 else 0

    def step(self) -> int:
        """How many cards the next level takes."""
        return self.width(self.level + 1) - self.width()

    def gain(self) -> float:
        """What a card of the next step adds to the rate, as a part of what one adds at the level that is needed."""
        return self._return(self.level + 1) / self._return(self.needed)

    def _return(self, level: int) -> float:
        return (self.rate(level) - self.rate(level - 1)) / (self.width(level) - self.width(level - 1))


def _widths(now: int, cards: int, restart: Restart, gangs: Sequence[Gang]) -> dict[str, int]:
    """How wide everybody runs now: as planned, and the idle cards one step after the other to whoever gains most by it."""
    each = [_planned_width(now, restart, gang) for gang in sorted(gangs, key=_by_deadline)]
    planned = [one.level for one in each]
    free = cards - sum(one.width() for one in each)
    for one in each:
        if _in_a_hurry(one.gang) and one.gang.ready_at <= now:
            free -= _keep_width(one, free)
    free = _widen(each, free)
    for one, level in zip(each, planned, strict=True):
        free += _undo_if_in_vain(one, level, restart)
    for one in each:
        if not _in_a_hurry(one.gang):
            free -= _keep_width(one, free)
    return {one.gang.id: one.width() for one in each}


def _widen(each: Sequence[_Width], free: int) -> int:
    """Give out idle cards, a step at a time. Returns how many are left."""
    heap = [(-one.gain(), number) for number, one in enumerate(each) if one.level < one.most]
    heapify(heap)
    while heap and free:
        _, number = heappop(heap)
        one = each[number]
        if one.step() <= free:
            free -= one.step()
            one.level += 1
            if one.level < one.most:
                heappush(heap, (-one.gain(), number))
    return free


def _in_a_hurry(gang: Gang) -> bool:
    """Whether it was promised its deadline and has no time to be started once more than planned."""
    return bool(gang.plan) and not gang.restartable


def _planned_width(now: int, restart: Restart, gang: Gang) -> _Width:
    """What a job has for certain, and how far it may be widened."""
    planned = next((step.width for step in gang.plan if step.start <= now < step.end), 0)
    level = bisect_right(gang.curve.widths, planned) - 1
    most = level if _in_a_hurry(gang) else len(gang.curve.widths) - 1
    if gang.plan:
        widest = max(step.width for step in gang.plan)
        return _Width(gang, level, most, bisect_right(gang.curve.widths, widest) - 1)
    return _Width(gang, level, most, level_needed(now, restart, gang) or 0)


def _keep_width(one: _Width, free: int) -> int:
    """Leave a job the cards it has where nobody needs them: it would be narrowed for nothing. Returns how many that takes."""
    spared = one.gang.width - one.width()
    if not 0 < spared <= free:
        return 0
    one.level = _level_of(one.gang)
    return spared


def _level_of(gang: Gang) -> int:
    return bisect_right(gang.curve.widths, gang.width) - 1


def _undo_if_in_vain(one: _Width, planned: int, restart: Restart) -> int:
    """Back to the width it has, if a wider one costs more time than it saves. Returns the cards that frees."""
    gang, held = one.gang, _level_of(one.gang)
    if held < max(planned, 0) or one.level <= held:
        return 0
    if gang.work // one.rate(one.level) + restart.micros(one.width()) < gang.work // one.rate(held):
        return 0
    freed = one.width() - one.width(held)
    one.level = held
    return freed
