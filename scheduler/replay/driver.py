"""A trace through the real engine on virtual time: `replay(trace) -> Outcome`, deterministic whatever the order of the rows.

At one moment the jobs that end leave first, then the new ones arrive, then one round decides; a job that stays for no time
leaves after that round. What is free and who holds what is kept as it changes, never rebuilt.

The network is an `engine.state.State`: jobs that got nothing sleep in it until something is given back that could help them.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby

import numpy as np

from scheduler.engine.fleet import Fleet, Free
from scheduler.engine.order import QueuedJob
from scheduler.engine.packing import Packing
from scheduler.engine.place import Place
from scheduler.engine.shape import Shape
from scheduler.engine.state import State
from scheduler.replay.trace import Trace, TraceJob

Progress = Callable[[int], None]
"""Told, now and then, how many jobs have left so far."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of every job, and how full the network was. Times and durations in microseconds, cards in milli-cards."""

    jobs: int
    placed: int
    waiting: int
    never: int
    reasons: Counter[str]
    decisions: int
    cards: int
    most_card_milli: int
    card_milli_micros: int
    span: int
    makespan: int
    waits: Sequence[int]
    completions: Sequence[int]
    levels: Sequence[int]
    """The milli-cards allocated after each moment at which something changed."""
    preemptions: int = 0
    lost_card_seconds: int = 0
    delays: Sequence[int] = ()
    """Of jobs that may be stopped: how much longer each was there than it takes, in the order of `completions`."""


def replay(trace: Trace, progress: Progress | None = None, by_demand: bool = False) -> Outcome:
    """Every job of a trace from its arrival to its departure. The trace has at least one job.

    `by_demand`: nodes are chosen by what has been asked for up to then (`engine.packing`), not by how full they are.
    """
    replay_ = _Replay.begin(trace, by_demand)
    for now, changes in _moments(trace.jobs):
        replay_.at(now, changes)
        if progress is not None:
            progress(replay_.left)
    return replay_.outcome(trace)


@dataclass(frozen=True, slots=True)
class _Change:
    """A job arrives or leaves. Sorted, changes are in the order they happen in."""

    at: int
    after_round: bool
    arrives: bool
    id: str
    job: TraceJob

    def order(self) -> tuple[int, bool, bool, str]:
        return self.at, self.after_round, self.arrives, self.id


def _moments(jobs: Iterable[TraceJob]) -> Iterator[tuple[int, list[_Change]]]:
    """What changes together before one round, in order of time."""
    changes = []
    for entry in jobs:
        arrival, no_time = entry.job.submitted_at, entry.leaves_at == entry.job.submitted_at
        changes.append(_Change(arrival, False, True, entry.job.id, entry))
        changes.append(_Change(entry.leaves_at, no_time, False, entry.job.id, entry))
    changes.sort(key=_Change.order)
    for (now, _), together in groupby(changes, key=lambda change: (change.at, change.after_round)):
        yield now, list(together)


@dataclass
class _Demand:
    """What has been asked for so far: the first wish of every job that has arrived. Looked at anew whenever it has doubled."""

    fleet: Fleet
    asked: Counter[Shape] = field(default_factory=Counter)
    known: int = 0
    packing: Packing | None = None

    def ask(self, jobs: Iterable[QueuedJob]) -> None:
        self.asked.update(job.shapes[0] for job in jobs)
        total = self.asked.total()
        if total and total >= 2 * self.known:
            self.known = total
            self.packing = Packing.of(self.fleet, self.asked)


@dataclass
class _Replay:
    """The network and the queue at one moment of virtual time, and what has been counted up to it."""

    state: State
    demand: "_Demand | None"
    start: int
    now: int
    last_placed_departure: int
    jobs: dict[str, QueuedJob] = field(default_factory=dict)
    placed: dict[str, Place] = field(default_factory=dict)
    reasons: Counter[str] = field(default_factory=Counter)
    waits: list[int] = field(default_factory=list)
    completions: list[int] = field(default_factory=list)
    left: int = 0
    waiting: int = 0
    never: int = 0
    decisions: int = 0
    card_milli: int = 0
    most_card_milli: int = 0
    card_milli_micros: int = 0
    levels: list[int] = field(default_factory=list)

    @classmethod
    def begin(cls, trace: Trace, by_demand: bool) -> "_Replay":
        state = State(Fleet.of(trace.nodes))
        start = min(entry.job.submitted_at for entry in trace.jobs)
        demand = _Demand(state.fleet) if by_demand else None
        return cls(state, demand, start, now=start, last_placed_departure=start)

    def at(self, now: int, changes: Sequence[_Change]) -> None:
        """Everything that happens at one moment: departures, arrivals, and the round they call for."""
        self.card_milli_micros += self.card_milli * (now - self.now)
        self.now = now
        for change in changes:
            if not change.arrives:
                self._leave(change.job.job)
        new = [change.job.job for change in changes if change.arrives]
        if self.demand is not None:
            self.demand.ask(new)
            self.state.packing = self.demand.packing
        self.jobs.update((job.id, job) for job in new)
        self.state.submit(new)
        self._round()
        self.levels.append(self.card_milli)
        self.most_card_milli = max(self.most_card_milli, self.card_milli)

    def _leave(self, job: QueuedJob) -> None:
        """A job gives back its place; one that never had any leaves the queue with the last reason."""
        self.left += 1
        del self.jobs[job.id]
        place = self.placed.pop(job.id, None)
        if place is not None:
            self.state.end(job.id)
            self.card_milli -= place.card_milli()
            self.completions.append(self.now - job.submitted_at)
            self.last_placed_departure = self.now
            return
        verdict = self.state.withdraw(job)
        if verdict is None:
            raise RuntimeError(f"replay never decided about {job.id}")
        self.reasons[verdict.reasons[0].code] += 1
        self.never += verdict.kind == "never"
        self.waiting += verdict.kind == "wait"

    def _round(self) -> None:
        served = self.state.round(self.now)
        self.decisions += len(served.grants) + len(served.of_line)
        for grant in served.grants:
            self.placed[grant.job] = grant.place
            self.card_milli += grant.place.card_milli()
            self.reasons[grant.reason.code] += 1
            self.waits.append(self.now - self.jobs[grant.job].submitted_at)

    def outcome(self, trace: Trace) -> Outcome:
        """The counts, once every job has left. Raises RuntimeError where they do not add up: that is a bug of ours."""
        placed = len(self.waits)
        if not placed + self.waiting + self.never == self.reasons.total() == self.left == len(trace.jobs):
            raise RuntimeError(f"replay lost a job: {placed} + {self.waiting} + {self.never} of {len(trace.jobs)}")
        free, empty = self.state.free, self.state.fleet.empty
        if not all(np.array_equal(getattr(free, name), getattr(empty, name)) for name in Free.__slots__):
            raise RuntimeError("replay lost cards: all jobs have left and the network is not empty")
        return Outcome(
            jobs=len(trace.jobs),
            placed=placed,
            waiting=self.waiting,
            never=self.never,
            reasons=self.reasons,
            decisions=self.decisions,
            cards=sum(card.kind is not None for node in trace.nodes for card in node.cards),
            most_card_milli=self.most_card_milli,
            card_milli_micros=self.card_milli_micros,
            span=self.now - self.start,
            makespan=self.last_placed_departure - self.start,
            waits=self.waits,
            completions=self.completions,
            levels=self.levels,
        )
