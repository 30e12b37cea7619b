"""Elastic gangs with deadlines through `engine.widths` and `engine.blocks` on virtual time: `replay(jobs, nodes, charges)`.

A round is due when jobs arrive, when one ends and when a plan asks for another width. A job works at the rate of its width, except
while it is being started; it runs to its end even if its deadline cannot be kept. Everything is deterministic, whatever the order
of the jobs.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from operator import attrgetter

from scheduler.engine.blocks import Cards, Pool, place
from scheduler.engine.plan import Gang, Restart
from scheduler.engine.shape import WHOLE_CARD_MILLI
from scheduler.engine.widths import decide, next_step
from scheduler.replay.driver import Outcome
from scheduler.replay.itp import PER_NODE
from scheduler.replay.trace import SECOND, TraceError

Progress = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class Charges:
    """What decisions cost. The engine knows of `restart`: a start, another width or a move.

    `every_round` is lost by every job that goes on as it was, and no plan reckons with it; rounds are at least `spacing` apart. The
    two are there to charge what other simulators do. Microseconds.
    """

    restart: Restart
    every_round: int = 0
    spacing: int = 0


RESTART = Restart(54 * SECOND, 2 * SECOND)
"""The most that ElasticFlow's simulator charges a job at once, on 256 cards or more: 54 s + 2 s a doubling of its width."""


@dataclass(frozen=True, slots=True)
class Kept:
    """What became of the deadlines: of `wanted` ones `met` were kept. `promised` jobs were admitted, and `broken` ones were late
    all the same. Widths changed so often, starts included; `moves` gangs of unchanged width had to go to other cards, and
    `forced_moves` of them had no time for it: no promise is broken otherwise, if nothing is charged that plans do not know of."""

    wanted: int
    met: int
    promised: int
    broken: int
    width_changes: int
    moves: int
    forced_moves: int
    stops: int
    lost_card_micros: int


def replay(jobs: Sequence[Gang], nodes: Sequence[int], charges: Charges, progress: Progress | None = None) -> tuple[Outcome, Kept]:
    """Every job from its arrival to its end, on clusters of so many nodes that are one network. There is at least one job.

    Raises TraceError where the clusters cannot hold the widest jobs.
    """
    try:
        pool = Pool(PER_NODE, tuple(nodes), max(job.curve.widths[-1] for job in jobs))
    except ValueError as error:
        raise TraceError(str(error)) from error
    replay_ = _Replay(pool, charges, sorted(jobs, key=attrgetter("submitted_at", "id"), reverse=True))
    while replay_.arriving or replay_.gangs:
        replay_.round()
        if progress is not None:
            progress(len(replay_.completions))
    return replay_.outcome(len(jobs))


@dataclass
class _Replay:
    """The network at one moment of virtual time. `arriving` has the next to come last."""

    pool: Pool
    charges: Charges
    arriving: list[Gang]
    now: int = field(init=False)
    start: int = field(init=False)
    gangs: list[Gang] = field(default_factory=list)
    cards: dict[str, Cards] = field(default_factory=dict)
    waits: dict[str, int] = field(default_factory=dict)
    completions: list[int] = field(default_factory=list)
    promised: set[str] = field(default_factory=set)
    reasons: Counter[str] = field(default_factory=Counter)
    counts: Counter[str] = field(default_factory=Counter)
    most_cards: int = 0
    card_micros: int = 0
    lost_card_micros: int = 0
    decisions: int = 0

    def __post_init__(self) -> None:
        self.now = self.start = self.arriving[-1].submitted_at

    def round(self) -> None:
        """Decide at this moment, then let time pass until the next one at which something changes."""
        while self.arriving and self.arriving[-1].submitted_at <= self.now:
            self.gangs.append(self.arriving.pop())
        before = {gang.id: gang for gang in self.gangs}
        decided = decide(self.now, self.pool.cards, self.charges.restart, self.gangs)
        self.decisions += len(decided)
        self.gangs = [self._started(before[gang.id], gang) for gang in self._placed(before, decided)]
        used = sum(gang.width for gang in self.gangs)
        self.most_cards = max(self.most_cards, used)
        following = self._next()
        self.card_micros += used * (following - self.now)
        self._pass(following)

    def _placed(self, before: dict[str, Gang], decided: Sequence[Gang]) -> list[Gang]:
        """Everybody on cards; who kept its width and had to move is started again."""
        pinned = {gang.id for gang in decided if gang.plan and not gang.restartable}
        had, self.cards = self.cards, place(self.pool, self.cards, {gang.id: gang.width for gang in decided}, pinned)
        moved = {id_ for id_, cards in self.cards.items() if id_ in had and len(had[id_]) == len(cards) and had[id_] != cards}
        self.counts["moves"] += len(moved)
        self.counts["forced_moves"] += len(moved & pinned)
        restart = self.charges.restart
        return [replace(gang, ready_at=self.now + restart.micros(gang.width)) if gang.id in moved else gang for gang in decided]

    def _started(self, before: Gang, gang: Gang) -> Gang:
        """Note what happened to a job in this round, and charge it for that."""
        if gang.width != before.width:
            self.counts["width_changes"] += 1
            self.counts["stops"] += not gang.width
        if gang.plan:
            self.promised.add(gang.id)
        if gang.width:
            self.waits.setdefault(gang.id, self.now - gang.submitted_at)
            if self.charges.every_round and (gang.width, gang.ready_at) == (before.width, before.ready_at):
                gang = replace(gang, ready_at=max(gang.ready_at, self.now) + self.charges.every_round)
            if gang.ready_at != before.ready_at:
                self.lost_card_micros += gang.width * (
                    gang.ready_at - max(self.now, before.ready_at if gang.width == before.width else 0)
                )
        return gang

    def _next(self) -> int:
        """When the next round is due. Whoever works ends some time, and if nobody works somebody is due or still to come."""
        moments = [self._end(gang) for gang in self.gangs if gang.width]
        step = next_step(self.now, self.gangs)
        if step is not None:
            moments.append(step)
        if self.arriving:
            moments.append(self.arriving[-1].submitted_at)
        return max(min(moments), self.now + self.charges.spacing)

    def _end(self, gang: Gang) -> int:
        return max(self.now, gang.ready_at) - (-gang.work // gang.rate())

    def _pass(self, until: int) -> None:
        """Let everybody work; who has finished leaves."""
        remaining = []
        for gang in self.gangs:
            if gang.width and self._end(gang) <= until:
                self._finish(gang, self._end(gang))
            elif gang.width:
                done = max(0, until - max(self.now, gang.ready_at)) * gang.rate()
                remaining.append(replace(gang, work=gang.work - done))
            else:
                remaining.append(gang)
        self.gangs, self.now = remaining, until

    def _finish(self, gang: Gang, at: int) -> None:
        self.completions.append(at - gang.submitted_at)
        self.cards.pop(gang.id)
        if gang.deadline is None:
            return
        self.reasons["deadline_kept" if at <= gang.deadline else "deadline_missed"] += 1
        self.counts["broken"] += at > gang.deadline and gang.id in self.promised

    def outcome(self, jobs: int) -> tuple[Outcome, Kept]:
        """The counts, once every job has ended. Raises RuntimeError where one was lost: that is a bug of ours."""
        if not len(self.completions) == len(self.waits) == jobs or self.cards:
            raise RuntimeError(f"replay lost a job: {len(self.completions)} of {jobs} ended, {len(self.cards)} still hold cards")
        outcome = Outcome(
            jobs=jobs,
            placed=len(self.waits),
            waiting=0,
            never=0,
            reasons=self.reasons,
            decisions=self.decisions,
            cards=self.pool.cards,
            most_card_milli=self.most_cards * WHOLE_CARD_MILLI,
            card_milli_micros=self.card_micros * WHOLE_CARD_MILLI,
            span=self.now - self.start,
            makespan=self.now - self.start,
            waits=list(self.waits.values()),
            completions=self.completions,
            levels=(),
        )
        counts = self.counts
        return outcome, Kept(
            wanted=self.reasons.total(),
            met=self.reasons["deadline_kept"],
            promised=len(self.promised),
            broken=counts["broken"],
            width_changes=counts["width_changes"],
            moves=counts["moves"],
            forced_moves=counts["forced_moves"],
            stops=counts["stops"],
            lost_card_micros=self.lost_card_micros,
        )
