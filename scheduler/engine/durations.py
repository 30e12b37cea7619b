"""How much longer a job takes of which nobody said so, learned from the jobs that have been seen to run.

A job that has run for a while and not ended says something as well: that it takes longer than that. So what is learned is a rate of
ending, for every stretch of running time: ends seen in it over time spent in it by all jobs, ended or not (the piecewise
exponential estimator; Aalen, Borgan and Gjessing, "Survival and Event History Analysis", 2008, chapter 5). Stretches double, since
durations of jobs spread over six orders of magnitude. Jobs of each width are learned about on their own, starting from what is
known of all of them.

What a job has left is expected to be what its Gittins index says (Gittins, "Bandit Processes and Dynamic Allocation Indices", JRSS
B 1979; for jobs of unknown length Aalto, Ayesta and Righter, Queueing Systems 2009): of all moments up to which one could let it
run, the one at which time spent over chance of having ended is the least. Among jobs that fit one by one, serving the least first
makes the mean time to completion the least that can be had without knowing more.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from scheduler.engine.cutting import Floats
from scheduler.engine.fleet import Ints

FIRST_STRETCH_SECONDS = 60
MAX_STRETCHES = 24
"""Up to 60 s × 2²³, sixteen years, and whatever is beyond in the last."""

GUESS = 0.5
"""Before anything is seen, a job is taken to end at this rate over the time it has run: a heavy tail, the more so the longer."""

WEIGHT_OF_GUESS = 2
"""How many ends the starting point counts for: the guess for all jobs, and all jobs for those of one width."""

_STARTS: Ints = np.concatenate([[0], FIRST_STRETCH_SECONDS * 2 ** np.arange(MAX_STRETCHES - 1)])
_LENGTHS = np.append(np.diff(_STARTS), _STARTS[-1]).astype(np.float64)


@dataclass(frozen=True, slots=True)
class Seen:
    """A job that has been seen to run on some cards for some time, at the end of which it had ended or not."""

    cards: int
    seconds: int
    ended: bool


@dataclass(frozen=True)
class Durations:
    """What is expected of jobs. `of_width`: by number of cards, for every stretch, seconds left at its start; `of_any` for the
    other widths."""

    of_any: Floats
    of_width: Mapping[int, Floats]

    @classmethod
    def of(cls, seen: Iterable[Seen]) -> "Durations":
        by_width: dict[int, list[Seen]] = {}
        everything: list[Seen] = []
        for each in seen:
            by_width.setdefault(each.cards, []).append(each)
            everything.append(each)
        guess = GUESS / np.append(_STARTS[1:], 2 * _STARTS[-1])
        rate = _rate(everything, guess)
        return cls(_left(rate), {cards: _left(_rate(jobs, rate)) for cards, jobs in by_width.items()})

    def seconds_left(self, cards: int, attained_seconds: int) -> int:
        """How much longer a job is expected to run that has run for so long: at least one second."""
        stretch = int(np.searchsorted(_STARTS, attained_seconds, side="right")) - 1
        return max(1, round(float(self.of_width.get(cards, self.of_any)[stretch])))


def _rate(seen: Sequence[Seen], start: Floats) -> Floats:
    """Ends per second in each stretch, beginning with `start`."""
    seconds = np.array([each.seconds for each in seen], dtype=np.int64)
    ended = np.array([each.ended for each in seen], dtype=np.bool_)
    spent = np.clip(seconds[:, np.newaxis] - _STARTS, 0, np.append(_LENGTHS[:-1], np.inf)).sum(axis=0)
    stretch = np.maximum(np.searchsorted(_STARTS, seconds[ended], side="left") - 1, 0)
    ends = np.bincount(stretch, minlength=MAX_STRETCHES)
    rate: Floats = (ends + WEIGHT_OF_GUESS) / (spent + WEIGHT_OF_GUESS / start)
    return rate


def _left(rate: Floats) -> Floats:
    """For the start of each stretch: the least, over the ends of later ones, of expected time spent over chance of having ended."""
    ends_within = -np.expm1(-rate * _LENGTHS)
    left = np.empty(MAX_STRETCHES)
    for first in range(MAX_STRETCHES):
        reached = np.concatenate([[1.0], np.cumprod(1 - ends_within[first:])])
        spent = np.cumsum(reached[:-1] * ends_within[first:] / rate[first:])
        left[first] = (spent / (1 - reached[1:])).min()
    return left
