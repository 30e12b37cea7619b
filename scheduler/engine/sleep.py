"""Which lines of the queue need not be served in a round, because nothing has changed that could help them.

A line that got nothing sleeps. What wakes it:

- capacity given back: for every cluster in which that happened, a small table says how many nodes have at least so many free cards
  of each kind, and how much CPU and memory the roomiest of them has; all sleeping lines are compared with it at once. For those
  that could stop others, what these hold counts as free. A moved run that has started again counts as given back: its place was
  kept from everybody;
- quota given back in its cohort, or kept in the last round for a job that then did without, or anybody awake there: who starts may
  leave it short of quota, and the first that waits for quota keeps some;
- a promise or a kept place that has moved or gone, for those behind it;
- time, for lines that wait for a cluster to take up its grants, or to be offered a job again: they are served in every round;
- a pool of cards in which nobody has a promise (yet) in this round: the first that waits there is to have one. So heads with a
  promise are served in every round, as are jobs that wait for a release: what is theirs stays theirs;
- where runs may be moved, a pool of cards in which nobody has been blocked (yet) in this round: the first that is may have some
  moved, as soon as they have saved what they did;
- a window that is new, opens or ends, for everybody.

The comparison may wake too many, never too few: the decisions of a round are those that serving every line would have taken.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from scheduler.contract.job import Profile
from scheduler.domain.hardware import HardwareClass
from scheduler.engine.backlog import NOBODY, Backlog, Shares
from scheduler.engine.cycle import Served
from scheduler.engine.decide import BEHIND, LIMITED, OVER_QUOTA, may_be_promised
from scheduler.engine.fleet import NO_KIND, Bools, Fleet, Free, Ints
from scheduler.engine.intake import IN_FLIGHT, REFUSED
from scheduler.engine.order import QueuedJob, held, needs
from scheduler.engine.place import Place
from scheduler.engine.quota import Quotas
from scheduler.engine.reserve import Promise
from scheduler.engine.round import Round
from scheduler.engine.shape import WHOLE_CARD_MILLI
from scheduler.engine.snapshot import Backfill, Verdict


@dataclass(slots=True)
class _Needs:
    """What lines ask, one row for each line × shape × kind of card it accepts."""

    line: Ints
    kind: Ints
    per_node: Ints
    min_nodes: Ints
    cpu_milli: Ints
    memory_bytes: Ints


@dataclass(slots=True)
class _Lines:
    """What is remembered of every line, by its number."""

    over_quota: Bools
    """It waits for quota."""
    lenders: Bools
    """It waits for quota of its own that others have borrowed, and may take it back."""
    behind: Bools
    """It would fit but for a promise."""
    hopes: Bools
    """It could be promised something."""
    for_room: Bools
    """Room might help it: it is not only quota that it waits for."""
    cohort: Ints
    pools: Bools
    """Lines × kinds of card (the last is none): which they accept."""

    @classmethod
    def none(cls, kinds: int) -> "_Lines":
        nobody = np.zeros(0, dtype=np.bool_)
        cohort, pools = np.zeros(0, dtype=np.int64), np.zeros((0, kinds), dtype=np.bool_)
        return cls(nobody, nobody, nobody, nobody, nobody, cohort, pools)

    def grow(self, cohorts: Sequence[int]) -> None:
        """There are more lines, of these cohorts."""
        for name in ("over_quota", "lenders", "behind", "hopes", "for_room"):
            setattr(self, name, np.append(getattr(self, name), np.zeros(len(cohorts), dtype=np.bool_)))
        self.cohort = np.append(self.cohort, np.array(cohorts, dtype=np.int64))
        self.pools = np.append(self.pools, np.zeros((len(cohorts), self.pools.shape[1]), dtype=np.bool_), axis=0)

    def forget(self, number: int) -> None:
        for flags in (self.over_quota, self.lenders, self.behind, self.hopes, self.for_room):
            flags[number] = False


@dataclass
class _Pass:
    """One round as far as it has come: what was decided, and whether a promise is no longer what it was."""

    decided: int = 0
    started: int = 0
    stopping: int = 0
    moved: bool = False
    behind: bool = False
    """Whether anybody would fit but for a promise: known from the round before."""
    changed: set[int] = field(default_factory=set)
    """Clusters in which something was given back and has not been looked at, or not since a run started there or was stopped."""
    possible: dict[int, Bools] = field(default_factory=dict)
    """By cluster in which something was given back: the lines that might fit there."""
    woken: Bools | None = None
    wakings: int = 0
    """How often `woken` has been found anew."""
    seen: object = None
    """What `found` depends on, as it was then."""
    found: Bools = field(default_factory=lambda: np.zeros(0, dtype=np.bool_))


class Sleep:
    """The sleeping lines of a backlog, and what has happened since the last round that could help them."""

    def __init__(self, fleet: Fleet, backlog: Backlog) -> None:
        self._fleet = fleet
        self._backlog = backlog
        self._awake: set[int] = set()
        self._touched: set[int] = set()
        self._cohorts: dict[str | None, int] = {None: 0}
        """The cohorts of which there are lines, numbered from 1; 0 stands for none."""
        self._cohorts_touched: set[str] = set()
        self._verdicts: dict[int, Verdict] = {}
        self._lines = _Lines.none(len(fleet.kinds) + 1)
        self._for_a_moment: set[int] = set()
        """The lines that only wait for a cluster to take something again."""
        self._promised: dict[str, tuple[int, Promise]] = {}
        self._kept: dict[str, tuple[str, Place]] = {}
        self._gone = False
        """Whether a job with a promise has left since the last round."""
        self._needs = _Needs(*(np.zeros(0, dtype=np.int64) for _ in range(6)))
        self._pass = _Pass()
        self.reclaimable = fleet.all_free()
        """What is free and what preemptible runs hold."""
        self.lowest_preemptible: int | None = None
        """The lowest priority of a preemptible run; None without one."""

    @property
    def kept(self) -> dict[str, tuple[str, Place]]:
        """By job that waits for a release: its queue and the place kept for it."""
        return self._kept

    def verdict(self, number: int) -> Verdict | None:
        """Why a line got nothing when it was last served; None if it has not been, or gets something."""
        return self._verdicts.get(number)

    def begin(self, numbers: Iterable[int], quotas: Quotas) -> None:
        """Somebody stands in lines in which nobody had stood."""
        self._learn(quotas)
        for number in numbers:
            self._forget(number)
            self._awake.add(number)

    def wake_all(self, quotas: Quotas) -> None:
        """Something has changed that may help anybody."""
        self._learn(quotas)
        self._awake.update(range(len(self._backlog.lines)))

    def touch(self, cluster: int) -> None:
        """Something was given back there."""
        self._touched.add(cluster)
        self._pass.changed.add(cluster)

    def touch_cohort(self, root: str) -> None:
        """Quota was given back there."""
        self._cohorts_touched.add(root)

    def leave(self, number: int, job: str, root: str | None) -> None:
        """A job of some cohort has left its line: what was promised to it, or kept for it, is for others."""
        if root is not None and (self._lines.over_quota[number] or job in self._kept):
            self._cohorts_touched.add(root)
        if job in self._kept:
            self.touch(self._kept.pop(job)[1].cluster)
        if self._promised.pop(job, None) is not None:
            self._gone = True

    def candidates(self, round_: Round, shares: Shares, decided: Sequence[tuple[int, str]]) -> Bools:
        """The lines to serve, as it looks after what the round has decided."""
        progress, lines = self._pass, self._lines
        if progress.woken is None:
            progress.moved, progress.behind = self._gone, bool(lines.behind.any())
        self._notice(round_, decided)
        if progress.woken is None or progress.changed:
            progress.woken = self._woken(round_)
            progress.wakings += 1
        moves = round_.snapshot.restart_seconds is not None
        promising = round_.foresees and round_.promise_searches_left > 0
        hopes = (moves or promising) and bool(lines.hopes.any())
        # a grant moves a share, and so whose turn comes before a promise
        promises = len(round_.promises), len(round_.headed), promising, len(round_.grants)
        seen = progress.wakings, hopes and promises, progress.behind and (progress.moved or promises)
        if seen == progress.seen:
            return progress.found
        found = progress.woken
        if progress.behind:
            found = found | (lines.behind if progress.moved else self._before_promised(round_, shares))
        if hopes and promising:
            easy = round_.snapshot.backfill is Backfill.EASY
            covered = list(round_.promised) if easy else []
            found = found | lines.hopes & ~lines.pools[:, covered].any(axis=1)
        if hopes and moves:
            found = found | lines.hopes & ~lines.pools[:, list(round_.headed)].any(axis=1)
        progress.seen, progress.found = seen, found
        return found

    def settle(self, served: Served) -> None:
        """The round is over: remember why who sleeps sleeps, and who is served in the next round whatever happens."""
        line_of = {job: number for number, job in served.decided}
        for number, verdict in served.of_line.items():
            self._forget(number)
            self._remember(number, verdict, served.quotas)
        self._promised = {each.job: (line_of[each.job], each) for each in served.promises}
        self._awake = {number for number, _ in self._promised.values()} | {line_of[job] for job in served.of_job}
        self._awake |= self._for_a_moment
        if served.started:  # they could not be taken back from in the round that they started in
            self._awake.update(np.flatnonzero(self._lines.lenders).tolist())
        # whoever was not searched for is next time, when those before it sleep
        self._awake |= {
            number for number, verdict in served.of_line.items() if any(each.code == LIMITED for each in verdict.reasons)
        }
        self._touched.clear()
        self._cohorts_touched = {root for queue in self._given_up(served) if (root := served.quotas.cohort(queue)) is not None}
        queue_of = {job: self._backlog.lines[line_of[job]].example.queue for job in served.kept if job in line_of}
        self._kept = {job: (queue, served.kept[job]) for job, queue in queue_of.items()}
        self._gone = False
        self._pass = _Pass()

    def _given_up(self, served: Served) -> Iterator[str]:
        """The queues of which something was kept for a job up to its turn that it does not need any more: whoever was served before
        it could not have that."""
        needed = {**{grant.job: grant.place for grant in served.grants}, **served.kept}
        for job, (queue, place) in self._kept.items():
            if job not in needed or held(self._fleet, needed[job]) != held(self._fleet, place):
                yield queue

    def _notice(self, round_: Round, decided: Sequence[tuple[int, str]]) -> None:
        """What has just been decided may set free what was promised, or kept, before; and it takes what is free;
        beside who moved others there may be room."""
        progress = self._pass
        asked_to_stop = zip(round_.preemptions[progress.stopping :], round_.stopping[progress.stopping :], strict=True)
        for run in [run for preemption, run in asked_to_stop if preemption.move is not None]:
            self.touch(run.place.cluster)
        for _, job in decided[progress.decided :]:
            if job in self._kept and round_.kept.get(job) != self._kept[job][1]:
                self.touch(self._kept[job][1].cluster)
            if job in self._promised and not self._promised[job][1].same(_promise_of(round_, job)):
                progress.moved = True
        progress.decided = len(decided)
        if progress.possible:
            decided_on = (*round_.started[progress.started :], *round_.stopping[progress.stopping :])
            progress.changed |= {run.place.cluster for run in decided_on} & self._touched
        progress.started, progress.stopping = len(round_.started), len(round_.stopping)

    def _before_promised(self, round_: Round, shares: Shares) -> Bools:
        """Lines that waited behind a promise but whose turn now comes before that head's."""
        served = {each.job for each in round_.promises}
        urgencies = self._backlog.urgencies(round_.snapshot.now)
        behind = self._lines.behind
        before = np.zeros_like(behind)
        for job, (number, _) in self._promised.items():
            if job not in served:
                before |= self._backlog.before(number, shares, urgencies)
        return behind & before

    def _woken(self, round_: Round) -> Bools:
        lines, progress = self._lines, self._pass
        woken = np.zeros(len(self._backlog.lines), dtype=np.bool_)
        woken[list(self._awake)] = True
        if self._touched:
            woken |= lines.lenders
            if self._somebody_waits_for_room():
                for cluster in sorted(progress.changed):
                    progress.possible[cluster] = self._possible(round_.soon.free, cluster)
                for possible in progress.possible.values():
                    woken |= possible
        progress.changed.clear()
        roots = np.zeros(len(self._cohorts), dtype=np.bool_)
        roots[lines.cohort[woken]] = True
        roots[[self._cohorts[root] for root in self._cohorts_touched if root in self._cohorts]] = True
        roots[self._cohorts[None]] = False
        if roots.any():
            woken |= (lines.over_quota | lines.for_room) & roots[lines.cohort]
        return woken

    def _somebody_waits_for_room(self) -> bool:
        return bool((self._lines.for_room & (self._backlog.head_at != NOBODY)).any())

    def _forget(self, number: int) -> None:
        if self._verdicts.pop(number, None) is not None:
            self._lines.forget(number)
            self._for_a_moment.discard(number)

    def _remember(self, number: int, verdict: Verdict, quotas: Quotas) -> None:
        self._verdicts[number] = verdict
        lines = self._lines
        codes = [reason.code for reason in verdict.reasons]
        lines.for_room[number] = codes[0] != OVER_QUOTA
        lines.behind[number] = BEHIND in codes
        lines.hopes[number] = may_be_promised(verdict)
        if not {IN_FLIGHT, REFUSED}.isdisjoint(codes):
            self._for_a_moment.add(number)
        if OVER_QUOTA in codes:
            lines.over_quota[number] = True
            lines.lenders[number] = self._lends(self._backlog.lines[number].example, quotas)

    def _lends(self, job: QueuedJob, quotas: Quotas) -> bool:
        """Whether a job that waits for quota asks for no more than its queue's own, and may take that back."""
        if not quotas.reclaims(job.queue):
            return False
        least = (needs(self._fleet, each, kind, each.min_nodes) for each in job.shapes for kind in self._fleet.kinds_for(each))
        short = (need for need in least if quotas.shortfall(job.queue, need) is not None)
        return any(not quotas.would_borrow(job.queue, need) for need in short)

    def _learn(self, quotas: Quotas) -> None:
        """Rows for the lines that are new since the last time."""
        known, lines = len(self._lines.behind), self._backlog.lines
        if known == len(lines):
            return
        new = [
            (
                number,
                kind,
                shape.per_node if shape.card_milli == WHOLE_CARD_MILLI else 0,
                shape.min_nodes,
                shape.cpu_milli,
                shape.memory_bytes,
            )
            for number in range(known, len(lines))
            for shape in lines[number].example.shapes
            if shape.per_node <= self._fleet.card_kind.shape[1]  # else no node could ever hold a member
            for kind in self._fleet.kinds_for(shape)
        ]
        roots = [quotas.cohort(line.example.queue) for line in lines[known:]]
        self._lines.grow([self._cohorts.setdefault(root, len(self._cohorts)) for root in roots])
        if new:
            rows = np.array(new, dtype=np.int64).T
            self._lines.pools[rows[0], rows[1]] = True
            self._leave_out_foreign(rows[0])
            columns = (getattr(self._needs, name) for name in _Needs.__slots__)
            self._needs = _Needs(*(np.concatenate(pair) for pair in zip(columns, rows, strict=True)))

    def _leave_out_foreign(self, lines: Ints) -> None:
        """A promise of foreign cards says nothing to who takes domestic ones; no harm if it should take others after all."""
        classes = [kind.hardware_class for kind in self._fleet.kinds]
        foreign = np.array([*(each is not HardwareClass.DOMESTIC for each in classes), False], dtype=np.bool_)
        for number in set(lines.tolist()):
            if self._backlog.lines[number].example.profile is Profile.DOMESTIC_FIRST and self._lines.pools[number, ~foreign].any():
                self._lines.pools[number, foreign] = False

    def _possible(self, free: Free, cluster: int) -> Bools:
        """Which lines might fit into a cluster now: never fewer than do."""
        possible = self._fitting(free, cluster)
        if self.lowest_preemptible is not None:
            possible |= (self._backlog.priority > self.lowest_preemptible) & self._fitting(self.reclaimable, cluster)
        return possible

    def _fitting(self, free: Free, cluster: int) -> Bools:
        fitting = np.zeros(len(self._backlog.lines), dtype=np.bool_)
        needs = self._needs
        nodes, cpu_milli, memory_bytes = _roominess(self._fleet, free, cluster)
        fits = (
            (nodes[needs.kind, needs.per_node] >= needs.min_nodes)
            & (cpu_milli[needs.kind, needs.per_node] >= needs.cpu_milli)
            & (memory_bytes[needs.kind, needs.per_node] >= needs.memory_bytes)
        )
        fitting[needs.line[fits]] = True
        return fitting


def _promise_of(round_: Round, job: str) -> Promise | None:
    return next((each for each in round_.promises if each.job == job), None)


def _roominess(fleet: Fleet, free: Free, cluster: int) -> tuple[Ints, Ints, Ints]:
    """By kind (the last row is `NO_KIND`) and number of cards: the live nodes of a cluster with at least so many whole free cards
    (0: that have the kind at all), and the most free CPU and memory among them."""
    start, end = fleet.span(NO_KIND, cluster)
    rows = np.arange(start, end)[fleet.live[start:end]]
    slots = fleet.card_kind.shape[1]
    shape = (len(fleet.kinds) + 1, slots + 1)
    nodes, cpu_milli, memory_bytes = (np.zeros(shape, dtype=np.int64) for _ in range(3))
    whole = free.card_milli[rows] == WHOLE_CARD_MILLI
    for kind in (*np.unique(fleet.card_kind[rows]).tolist(), NO_KIND):
        of_kind = fleet.card_kind[rows] == kind
        has = of_kind.any(axis=1) if kind != NO_KIND else np.ones(len(rows), dtype=np.bool_)
        cards = (of_kind & whole).sum(axis=1) if kind != NO_KIND else np.zeros(len(rows), dtype=np.int64)
        for at_least in range(int(cards.max(initial=0)) + 1):
            enough = rows[has & (cards >= at_least)]
            if enough.size:
                nodes[kind, at_least] = enough.size
                cpu_milli[kind, at_least] = free.cpu_milli[enough].max()
                memory_bytes[kind, at_least] = free.memory_bytes[enough].max()
    return nodes, cpu_milli, memory_bytes
