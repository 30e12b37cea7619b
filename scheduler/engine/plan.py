"""Work, widths and time: how fast a gang is on how many cards, what is free when, and the narrowest plan that meets a deadline.

A plan gives a job its cards over the time ahead: at every moment as many as are free, up to one width, the least that suffices (the
"minimum satisfactory share" of ElasticFlow: Gu et al., ASPLOS 2023). Narrow is cheap: a gang twice as wide is never twice as fast.
A plan begins as soon as there are cards, so that nothing idles that a later arrival will want, and counts every start and every
change of width with the time it costs.
"""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

import numpy as np

from scheduler.engine.fleet import Ints

MAX_WORK = 2**61
"""Units of work a job may have left: everything is added up in 64 bits."""


@dataclass(frozen=True, slots=True)
class Curve:
    """How fast a job is: at `widths` cards, ascending, it does `rates` units of work a microsecond, rising too.

    Widths where more cards do not help are left out by `of`. Raises ValueError for a curve that is none.
    """

    widths: tuple[int, ...]
    rates: tuple[int, ...]

    def __post_init__(self) -> None:
        for values in (self.widths, self.rates):
            if not values or values[0] < 1 or any(one >= other for one, other in pairwise(values)):
                raise ValueError(f"widths and rates must be positive and rise: {self.widths}, {self.rates}")
        if len(self.widths) != len(self.rates):
            raise ValueError(f"a rate for each width is needed: {self.widths}, {self.rates}")

    @classmethod
    def of(cls, points: Sequence[tuple[int, int]]) -> "Curve":
        """The curve of measured (width, rate), without the widths that are no faster than a narrower one."""
        kept: list[tuple[int, int]] = []
        for width, rate in sorted(points):
            if rate > (kept[-1][1] if kept else 0):
                kept.append((width, rate))
        return cls(tuple(width for width, _ in kept), tuple(rate for _, rate in kept))


@dataclass(frozen=True, slots=True)
class Restart:
    """What a start, another width or another place costs a gang: microseconds without progress."""

    base: int
    per_doubling: int = 0
    """Once for one card, twice for two, three times for four …"""

    def micros(self, width: int) -> int:
        return self.base + self.per_doubling * width.bit_length()


@dataclass(frozen=True, slots=True)
class Step:
    """From `start` to `end`, microseconds, on `width` cards."""

    start: int
    end: int
    width: int


Plan = tuple[Step, ...]
"""What a job is given, in order of time; between two steps it may have nothing."""


@dataclass(frozen=True, slots=True)
class Gang:
    """An elastic job at one moment: `work` units are left; it holds `width` cards and makes no progress before `ready_at`.

    An admitted job has a plan by which it ends before its `deadline`, and is `restartable` where that leaves it the time to be
    started twice more than planned. All times are microseconds. Raises ValueError for more than `MAX_WORK`.
    """

    id: str
    work: int
    curve: Curve
    deadline: int | None = None
    submitted_at: int = 0
    width: int = 0
    ready_at: int = 0
    plan: Plan = ()
    restartable: bool = False

    def __post_init__(self) -> None:
        if not 0 < self.work <= MAX_WORK:
            raise ValueError(f"{self.id}: from 1 to {MAX_WORK} units of work are allowed, not {self.work}")

    def rate(self) -> int:
        """Units of work a microsecond at the width it has; 0 without cards."""
        return self.curve.rates[bisect_left(self.curve.widths, self.width)] if self.width else 0


@dataclass(frozen=True, slots=True)
class _Table:
    """A curve in arrays, with no cards as its first width; `level` is the widest that fits into so many free cards."""

    widths: Ints
    rates: Ints
    restarts: Ints
    level: Ints


@lru_cache(maxsize=4096)
def _table(curve: Curve, restart: Restart, cards: int) -> _Table:
    widths = np.array((0, *curve.widths), dtype=np.int64)
    return _Table(
        widths=widths,
        rates=np.array((0, *curve.rates), dtype=np.int64),
        restarts=np.array([0, *(restart.micros(width) for width in curve.widths)], dtype=np.int64),
        level=np.searchsorted(widths, np.arange(cards + 1), side="right") - 1,
    )


class Timeline:
    """How many of some cards are free from each moment on. The last span lasts for ever."""

    def __init__(self, now: int, cards: int, restart: Restart) -> None:
        self.now, self.cards, self.restart = now, cards, restart
        self._starts = [now]
        self._free = [cards]

    def copy(self) -> "Timeline":
        other = Timeline(self.now, self.cards, self.restart)
        other._starts, other._free = self._starts.copy(), self._free.copy()
        return other

    def take(self, plan: Plan) -> None:
        """Deduct what is still ahead of a plan. Raises ValueError where it is not free."""
        for step in plan:
            if step.end > self.now:
                first, last = self._split(max(step.start, self.now)), self._split(step.end)
                self._free[first:last] = [free - step.width for free in self._free[first:last]]
                if min(self._free[first:last]) < 0:
                    raise ValueError(f"{step} takes more cards than there are")

    def narrowest(self, gang: Gang) -> tuple[Plan, bool] | None:
        """The plan of least width by which a job ends before its deadline; None where none does.

        Where that width leaves the time to make it as wide as can be and then as planned again, that is reserved too
        (`restartable`).
        """
        level = level_needed(self.now, self.restart, gang)
        if level is None or gang.deadline is None:
            return None
        return self._steady(gang, gang.deadline, level) or self._varying(gang, gang.deadline, level)

    def _steady(self, gang: Gang, deadline: int, level: int) -> tuple[Plan, bool] | None:
        """The plan at one width from now on, if that is free all the time: most plans are."""
        width, rate = gang.curve.widths[level], gang.curve.rates[level]
        begins = self.now + stall(self.now, self.restart, gang, width)
        ends = begins - (-gang.work // rate)
        allowance = self._allowance(gang, width)
        restartable = ends + allowance <= deadline
        ends += allowance if restartable else 0
        spans = bisect_left(self._starts, ends)
        return ((Step(self.now, ends, width),), restartable) if min(self._free[:spans]) >= width else None

    def _varying(self, gang: Gang, deadline: int, level: int) -> tuple[Plan, bool] | None:
        """The plan at one width where that is free, and at what is free elsewhere."""
        table = _table(gang.curve, self.restart, self.cards)
        deadline = min(deadline, self.now + 2 * MAX_WORK // gang.curve.rates[-1])  # what is added up stays in 64 bits
        spans = bisect_left(self._starts, deadline)
        starts = np.array([*self._starts[:spans], deadline], dtype=np.int64)
        lengths = starts[1:] - starts[:-1]
        # one row for each width that may do, one column for each span
        levels = np.minimum(table.level[self._free[:spans]], np.arange(level + 1, len(table.widths))[:, np.newaxis])
        stalls = table.restarts[levels]
        stalls[:, 1:][levels[:, 1:] == levels[:, :-1]] = 0
        going_on = table.widths[levels[:, 0]] == gang.width
        stalls[going_on, 0] = max(0, gang.ready_at - self.now) if gang.width else 0
        # a span shorter than its stall counts as less than nothing: what is left of the stall falls into the next
        done = (table.rates[levels] * (lengths - stalls)).cumsum(axis=1)
        most = done.max(axis=1)  # what is done sinks where a stall outlasts its span, but a job that had ended by then has ended
        enough = np.flatnonzero(most >= gang.work)
        if not enough.size:
            return None
        row = int(enough[0])
        with_allowance = gang.work + self._allowance(gang, gang.curve.widths[level + row]) * gang.curve.rates[level + row]
        restartable = bool(most[row] >= with_allowance)
        work = with_allowance if restartable else gang.work
        last = int((done[row] >= work).argmax())
        over = (int(done[row, last]) - work) // int(table.rates[levels[row, last]])
        ends = [*starts[1 : last + 1].tolist(), int(starts[last + 1]) - over]
        return _steps(self._starts, ends, table.widths[levels[row, : last + 1]].tolist()), restartable

    def _allowance(self, gang: Gang, width: int) -> int:
        """The time it takes to be started at the widest and then again as planned: so much a job is behind that was widened and
        then made narrow again at once."""
        return self.restart.micros(gang.curve.widths[-1]) + self.restart.micros(width)

    def _split(self, at: int) -> int:
        """The number of the span that begins at a moment from now on, which begins one if none does."""
        position = bisect_left(self._starts, at)
        if position == len(self._starts) or self._starts[position] != at:
            self._starts.insert(position, at)
            self._free.insert(position, self._free[position - 1])
        return position


def stall(now: int, restart: Restart, gang: Gang, width: int) -> int:
    """How long a job makes no progress if it has a width from now on: to be started, or until it is."""
    return max(0, gang.ready_at - now) if width == gang.width else restart.micros(width)


def level_needed(now: int, restart: Restart, gang: Gang) -> int | None:
    """The first level of its curve at which a job ends before its deadline, if it has it from now on; None where there is none."""
    if gang.deadline is None:
        return None
    for level, (width, rate) in enumerate(zip(gang.curve.widths, gang.curve.rates, strict=True)):
        if (gang.deadline - now - stall(now, restart, gang, width)) * rate >= gang.work:
            return level
    return None


def _steps(starts: Sequence[int], ends: Sequence[int], widths: Sequence[int]) -> Plan:
    """Spans as steps, without those of no cards or no time; those that go on at one width are one."""
    steps: list[Step] = []
    begun = 0
    for number, (end, width) in enumerate(zip(ends, widths, strict=True)):
        if number + 1 == len(widths) or widths[number + 1] != width:
            if width and end > starts[begun]:
                steps.append(Step(starts[begun], end, width))
            begun = number + 1
    return tuple(steps)
