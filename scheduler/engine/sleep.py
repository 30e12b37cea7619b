"""Which lines of the queue need not be served in a round, because nothing has changed that could help them.

A line that got nothing sleeps. What wakes it:

- capacity given back: for every cluster in which that happened, a small table says how many nodes have at least so many free cards
  of each kind, and how much CPU and memory the roomiest of them has; all sleeping lines are compared with it at once. For those
  that could stop others, what these hold counts as free;
- quota given back in its cohort, or anybody awake there, since the first that waits for quota keeps some;
- a promise or a kept place that has moved or gone, for those behind it;
- time, for lines that wait for a cluster to take up its grants, or to be offered a job again: they are served in every round;
- a pool of cards in which nobody has a promise (yet) in this round: the first that waits there is to have one. So heads with a
  promise are served in every round, as are jobs that wait for a release: what is theirs stays theirs;
- where runs may be moved, a pool of cards in which nobody has been blocked (yet) in this round: the first that is may have some
  moved, as soon as they have saved what they did;
- a window that is new, opens or ends, for everybody.

The comparison may wake too many, never too few: the decisions of a round are those that serving every line would have taken.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from scheduler.contract.job import Profile
from scheduler.domain.hardware import HardwareClass
from scheduler.engine.backlog import NOBODY, Backlog, Shares
from scheduler.engine.cycle import BEHIND, LIMITED, OVER_QUOTA, Served, may_be_promised
from scheduler.engine.fleet import NO_KIND, Bools, Fleet, Free, Ints
from scheduler.engine.intake import IN_FLIGHT, REFUSED
from scheduler.engine.order import needs
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


@dataclass
class _Pass:
    """One round as far as it has come: what was decided, and whether a promise is no longer what it was."""

    decided: int = 0
    moved: bool = False
    seen: tuple[int, int, int] | None = None
    woken: Bools = field(default_factory=lambda: np.zeros(0, dtype=np.bool_))


class Sleep:
    """The sleeping lines of a backlog, and what has happened since the last round that could help them."""

    def __init__(self, fleet: Fleet, backlog: Backlog) -> None:
        self._fleet = fleet
        self._backlog = backlog
        self._awake: set[int] = set()
        self._touched: set[int] = set()
        self._cohorts_touched: set[str] = set()
        self._verdicts: dict[int, Verdict] = {}
        self._over_quota: dict[str, set[int]] = defaultdict(set)
        """By cohort: the lines that wait for quota."""
        self._lenders: set[int] = set()
        """Those of them that ask for no more than their own, which others have borrowed."""
        self._for_a_moment: set[int] = set()
        """The lines that only wait for a cluster to take something again."""
        self._behind: Bools = np.zeros(0, dtype=np.bool_)
        """The lines that would fit but for a promise."""
        self._hopes: Bools = np.zeros(0, dtype=np.bool_)
        """The lines that could be promised something."""
        self._pools: Bools = np.zeros((0, len(fleet.kinds) + 1), dtype=np.bool_)
        """Lines × kinds of card (the last is none): which they accept."""
        self._promised: dict[str, tuple[int, Promise]] = {}
        self._kept: dict[str, Place] = {}
        self._gone = False
        """Whether a job with a promise has left since the last round."""
        self._needs = _Needs(*(np.zeros(0, dtype=np.int64) for _ in range(6)))
        self._known_lines = 0
        self._pass = _Pass()
        self.reclaimable = fleet.all_free()
        """What is free and what preemptible runs hold."""
        self.lowest_preemptible: int | None = None
        """The lowest priority of a preemptible run; None without one."""

    def verdict(self, number: int) -> Verdict | None:
        """Why a line got nothing when it was last served; None if it has not been, or gets something."""
        return self._verdicts.get(number)

    def begin(self, numbers: Iterable[int]) -> None:
        """Somebody stands in lines in which nobody had stood."""
        for number in numbers:
            self._forget(number)
            self._awake.add(number)
        self._learn()

    def wake_all(self) -> None:
        """Something has changed that may help anybody."""
        self._learn()
        self._awake.update(range(len(self._backlog.lines)))

    def touch(self, cluster: int) -> None:
        """Something was given back there."""
        self._touched.add(cluster)

    def touch_cohort(self, root: str) -> None:
        """Quota was given back there."""
        self._cohorts_touched.add(root)

    def leave(self, number: int, job: str) -> None:
        """A job has left its line: what was promised to it, or kept for it, is for others."""
        self._cohorts_touched.update(root for root, lines in self._over_quota.items() if number in lines)
        if job in self._kept:
            self._touched.add(self._kept.pop(job).cluster)
        if self._promised.pop(job, None) is not None:
            self._gone = True

    def candidates(self, round_: Round, shares: Shares, decided: Sequence[tuple[int, str]]) -> Bools:
        """The lines to serve, as it looks after what the round has decided."""
        progress = self._pass
        if progress.seen is None:
            progress.moved = self._gone
        self._notice(round_, decided)
        seen = len(round_.grants), len(round_.preemptions), len(self._touched)
        if seen != progress.seen:
            progress.seen, progress.woken = seen, self._woken(round_)
        found = progress.woken
        if self._behind.any():
            found = found | (self._behind if progress.moved else self._before_promised(round_, shares))
        if round_.promise_searches_left and round_.foresees:
            easy = round_.snapshot.backfill is Backfill.EASY
            covered = list(round_.promised) if easy else []
            found = found | self._hopes & ~self._pools[:, covered].any(axis=1)
        if round_.snapshot.restart_seconds is not None:
            found = found | self._hopes & ~self._pools[:, list(round_.headed)].any(axis=1)
        return found

    def settle(self, served: Served, quotas: Quotas) -> None:
        """The round is over: remember why who sleeps sleeps, and who is served in the next round whatever happens."""
        line_of = {job: number for number, job in served.decided}
        for number, verdict in served.of_line.items():
            self._forget(number)
            self._remember(number, verdict, quotas)
        self._promised = {each.job: (line_of[each.job], each) for each in served.promises}
        self._kept = dict(served.kept)
        self._awake = {number for number, _ in self._promised.values()} | {line_of[job] for job in served.of_job}
        self._awake |= self._for_a_moment
        if served.started:  # they could not be taken back from in the round that they started in
            self._awake |= self._lenders
        # whoever was not searched for is next time, when those before it sleep
        self._awake |= {
            number for number, verdict in served.of_line.items() if any(each.code == LIMITED for each in verdict.reasons)
        }
        self._touched.clear()
        self._cohorts_touched.clear()
        self._gone = False
        self._pass = _Pass()

    def _notice(self, round_: Round, decided: Sequence[tuple[int, str]]) -> None:
        """What has just been decided may set free what was promised, or kept, before; beside who moved others there may be room."""
        for preemption, run in zip(round_.preemptions, round_.stopping, strict=True):
            if preemption.move is not None:
                self._touched.add(run.place.cluster)
        promises = {each.job: each for each in round_.promises}
        for _, job in decided[self._pass.decided :]:
            if job in self._kept and round_.kept.get(job) != self._kept[job]:
                self._touched.add(self._kept[job].cluster)
            if job in self._promised and not self._promised[job][1].same(promises.get(job)):
                self._pass.moved = True
        self._pass.decided = len(decided)

    def _before_promised(self, round_: Round, shares: Shares) -> Bools:
        """Lines that waited behind a promise but whose turn now comes before that head's."""
        served = {each.job for each in round_.promises}
        urgencies = self._backlog.urgencies(round_.snapshot.now)
        before = np.zeros_like(self._behind)
        for job, (number, _) in self._promised.items():
            if job not in served:
                before |= self._backlog.before(number, shares, urgencies)
        return self._behind & before

    def _woken(self, round_: Round) -> Bools:
        woken = np.zeros(len(self._backlog.lines), dtype=np.bool_)
        woken[list(self._awake)] = True
        if self._touched and self._somebody_sleeps():
            touched = sorted(self._touched)
            woken |= self._possible(round_.soon.free, touched)
            if self.lowest_preemptible is not None:
                higher = self._backlog.priority > self.lowest_preemptible
                woken |= higher & self._possible(self.reclaimable, touched)
            woken[list(self._lenders)] = True
        if self._over_quota:
            for root in self._cohorts_touched | self._cohorts_of(round_.quotas, woken):
                woken[list(self._over_quota.get(root, ()))] = True
        return woken

    def _cohorts_of(self, quotas: Quotas, lines: Bools) -> set[str]:
        roots = {quotas.cohort(self._backlog.lines[number].example.queue) for number in np.flatnonzero(lines).tolist()}
        return {root for root in roots if root is not None}

    def _somebody_sleeps(self) -> bool:
        return bool((self._backlog.head_at[list(self._verdicts)] != NOBODY).any())

    def _forget(self, number: int) -> None:
        if self._verdicts.pop(number, None) is not None:
            for lines in self._over_quota.values():
                lines.discard(number)
            self._lenders.discard(number)
            self._for_a_moment.discard(number)
            self._behind[number] = self._hopes[number] = False

    def _remember(self, number: int, verdict: Verdict, quotas: Quotas) -> None:
        self._verdicts[number] = verdict
        codes = {reason.code for reason in verdict.reasons}
        self._behind[number] = BEHIND in codes
        self._hopes[number] = may_be_promised(verdict)
        if codes & {IN_FLIGHT, REFUSED}:
            self._for_a_moment.add(number)
        example = self._backlog.lines[number].example
        root = quotas.cohort(example.queue)
        if OVER_QUOTA in codes and root is not None:
            self._over_quota[root].add(number)
            least = (
                needs(self._fleet, each, kind, each.min_nodes) for each in example.shapes for kind in self._fleet.kinds_for(each)
            )
            short = (need for need in least if quotas.shortfall(example.queue, need) is not None)
            if any(not quotas.would_borrow(example.queue, need) for need in short):
                self._lenders.add(number)

    def _learn(self) -> None:
        """Rows for the lines that are new since the last time."""
        new = [
            (
                number,
                kind,
                shape.per_node if shape.card_milli == WHOLE_CARD_MILLI else 0,
                shape.min_nodes,
                shape.cpu_milli,
                shape.memory_bytes,
            )
            for number in range(self._known_lines, len(self._backlog.lines))
            for shape in self._backlog.lines[number].example.shapes
            if shape.per_node <= self._fleet.card_kind.shape[1]  # else no node could ever hold a member
            for kind in self._fleet.kinds_for(shape)
        ]
        more = len(self._backlog.lines) - self._known_lines
        self._known_lines += more
        self._behind = np.append(self._behind, np.zeros(more, dtype=np.bool_))
        self._hopes = np.append(self._hopes, np.zeros(more, dtype=np.bool_))
        self._pools = np.append(self._pools, np.zeros((more, self._pools.shape[1]), dtype=np.bool_), axis=0)
        if new:
            rows = np.array(new, dtype=np.int64).T
            self._pools[rows[0], rows[1]] = True
            self._leave_out_foreign(rows[0])
            columns = (getattr(self._needs, name) for name in _Needs.__slots__)
            self._needs = _Needs(*(np.concatenate(pair) for pair in zip(columns, rows, strict=True)))

    def _leave_out_foreign(self, lines: Ints) -> None:
        """A promise of foreign cards says nothing to who takes domestic ones; no harm if it should take others after all."""
        classes = [kind.hardware_class for kind in self._fleet.kinds]
        foreign = np.array([*(each is not HardwareClass.DOMESTIC for each in classes), False], dtype=np.bool_)
        for number in set(lines.tolist()):
            if self._backlog.lines[number].example.profile is Profile.DOMESTIC_FIRST and self._pools[number, ~foreign].any():
                self._pools[number, foreign] = False

    def _possible(self, free: Free, clusters: Iterable[int]) -> Bools:
        """Which lines might fit into one of some clusters now: never fewer than do."""
        possible = np.zeros(len(self._backlog.lines), dtype=np.bool_)
        needs = self._needs
        for cluster in clusters:
            nodes, cpu_milli, memory_bytes = _roominess(self._fleet, free, cluster)
            fits = (
                (nodes[needs.kind, needs.per_node] >= needs.min_nodes)
                & (cpu_milli[needs.kind, needs.per_node] >= needs.cpu_milli)
                & (memory_bytes[needs.kind, needs.per_node] >= needs.memory_bytes)
            )
            possible[needs.line[fits]] = True
        return possible


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
