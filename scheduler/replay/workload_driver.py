"""A workload through the real engine, on virtual or real time: `run(workload, clock, admissions) -> WorkloadOutcome`.

At one moment the jobs whose time is over leave, then the new ones arrive, then rounds decide until one starts nothing more. An
admission counts from when it is committed: a job's runtime starts there, and on real time it is later than the decision.

Waiting jobs stand in one line for each kind of work (`Work`), and only the front of a line is shown to the engine: as many as
quota lets pass and cores and cards could hold in sum. A line whose front the engine could not place sleeps until something is
given back on a node that could hold a member of it. Lines of a root queue where nothing arrived or ended are not looked at.
"""

from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from heapq import heapify, heappop, heappush, heapreplace

import numpy as np

from scheduler.engine.cycle import cycle
from scheduler.engine.fleet import NO_KIND, Fleet, Free, Ints
from scheduler.engine.order import Usage
from scheduler.engine.place import Place, node_fits
from scheduler.engine.reserve import ends_at
from scheduler.engine.shape import Shape
from scheduler.engine.snapshot import ActiveRun, Decisions, Snapshot, Verdict
from scheduler.replay.admissions import Admission, Admissions
from scheduler.replay.clock import Clock
from scheduler.replay.gate import Gate
from scheduler.replay.workload import Work, Workload, roots_of

MAX_SHOWN = 20_000
"""The most jobs one round is shown; those behind follow in the next round of the same moment."""

OVER_QUOTA = "waiting_for_quota"
"""The reason of jobs that the gate never let pass."""

Progress = Callable[[int], None]
"""Told, now and then, how many jobs have ended so far."""


@dataclass(frozen=True, slots=True)
class ClassOutcome:
    """The jobs of one class, and of those that were placed how long each waited for its first admission, in microseconds."""

    count: int
    waits: Sequence[int]


@dataclass(frozen=True, slots=True)
class WorkloadOutcome:
    """What became of every job. Times and durations in microseconds; `start` is the first arrival, `end` the last event.

    `used` is what ran in each queue of each resource, in thousandths × microseconds, counted until `end`.
    """

    jobs: int
    placed: int
    waiting: int
    never: int
    reasons: Counter[str]
    decisions: int
    rounds: int
    cards: int
    most_card_milli: int
    card_milli_micros: int
    start: int
    end: int
    classes: dict[str, ClassOutcome]
    completions: Sequence[int]
    used: dict[str, Counter[str]]
    preemptions: int
    lost_card_milli_micros: int


def run(
    workload: Workload, start: Callable[[], Clock], admissions: Admissions, progress: Progress | None = None
) -> WorkloadOutcome:
    """Every job of a workload from its arrival to its end, or until nothing happens any more. `start` starts the clock."""
    run_ = _Run.begin(workload, admissions)
    clock = start()
    while (moment := run_.next_event()) is not None:
        run_.end_due(clock.reach(moment))
        run_.arrive_due(clock.now())
        while run_.round(clock):
            pass
        if progress is not None:
            progress(len(run_.completions))
    return run_.outcome()


@dataclass(slots=True, eq=False)
class _Line:
    """Jobs of one kind that wait, oldest first, as (arrival, number). `verdict`: why the front got nothing, when last shown."""

    index: int
    work: Work
    root: str
    least_card_milli: int
    least_cpu_milli: int
    waiting: deque[tuple[int, int]] = field(default_factory=deque)
    verdict: Verdict | None = None
    waits: list[int] = field(default_factory=list)

    @classmethod
    def of(cls, index: int, work: Work, root: str) -> "_Line":
        cards = min(shape.min_nodes * shape.per_node * shape.card_milli for shape in work.shapes)
        return cls(index, work, root, cards, min(shape.min_nodes * shape.cpu_milli for shape in work.shapes))

    @property
    def hopeless(self) -> bool:
        return self.verdict is not None and self.verdict.kind == "never"

    def standing(self) -> tuple[int, int, int]:
        """Served first: high priority, then long waiting. Equals are told apart by the order they were declared in."""
        return -self.work.priority, self.waiting[0][0], self.index


@dataclass(frozen=True, slots=True)
class _Shown:
    """A job taken from the front of its line, for one round."""

    line: _Line
    number: int
    submitted_at: int


@dataclass(frozen=True, slots=True)
class _Active:
    """A job that holds its place since it was admitted, for the `attempt`-th time."""

    shown: _Shown
    place: Place
    since: int
    attempt: int


@dataclass
class _Run:
    """The network, the lines and what runs at one moment, and what has been counted up to it."""

    workload: Workload
    admissions: Admissions
    fleet: Fleet
    free: Free
    usage: Usage
    gate: Gate
    lines: list[_Line]
    by_root: dict[str, list[_Line]]
    arrivals: deque[tuple[int, int, int]]
    tells_runs: bool
    """Whether the engine is shown what runs: needed to stop some of it, and to foresee when it ends."""
    free_card_milli: int
    free_cpu_milli: int
    touched: set[str] = field(default_factory=set)
    asleep: dict[_Line, None] = field(default_factory=dict)
    ends: list[tuple[int, str, int]] = field(default_factory=list)
    active: dict[str, _Active] = field(default_factory=dict)
    stopped: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    completions: list[int] = field(default_factory=list)
    used: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    decisions: int = 0
    rounds: int = 0
    now: int = 0
    card_milli: int = 0
    most_card_milli: int = 0
    card_milli_micros: int = 0
    preemptions: int = 0
    lost_card_milli_micros: int = 0

    @classmethod
    def begin(cls, workload: Workload, admissions: Admissions) -> "_Run":
        fleet = Fleet.of(workload.nodes)
        free = fleet.all_free()
        roots = roots_of(workload.queues)
        lines = [_Line.of(n, stream.work, roots.get(stream.work.queue, "")) for n, stream in enumerate(workload.streams)]
        by_root: dict[str, list[_Line]] = defaultdict(list)
        for line in lines:
            by_root[line.root].append(line)
        arrivals = ((at, n, number) for n, stream in enumerate(workload.streams) for at, number in stream.arrivals())
        return cls(
            workload=workload,
            admissions=admissions,
            fleet=fleet,
            free=free,
            usage=Usage.none(fleet),
            gate=Gate(workload.queues),
            lines=lines,
            by_root=by_root,
            arrivals=deque(sorted(arrivals)),
            tells_runs=any(line.work.preemptible or line.work.max_runtime_seconds is not None for line in lines),
            free_card_milli=int(free.card_milli.sum()),
            free_cpu_milli=int(free.cpu_milli.sum()),
        )

    def next_event(self) -> int | None:
        """When the next job arrives or ends; None when none will."""
        moments = [queue[0][0] for queue in (self.arrivals, self.ends) if queue]
        return min(moments, default=None)

    def end_due(self, now: int) -> None:
        """Jobs whose runtime is over by now leave."""
        self._pass_time(now)
        if self.tells_runs:
            self._wake_all()
        freed = []
        while self.ends and self.ends[0][0] <= now:
            at, id_, attempt = heappop(self.ends)
            active = self.active.get(id_)
            if active is not None and active.attempt == attempt:
                freed.append(self._leave(id_, at).place)
                self.completions.append(at - active.shown.submitted_at)
        if freed:
            self._wake(freed)

    def arrive_due(self, now: int) -> None:
        """Jobs that have arrived by now stand at the end of their lines."""
        self._pass_time(now)
        while self.arrivals and self.arrivals[0][0] <= now:
            at, index, number = self.arrivals.popleft()
            line = self.lines[index]
            line.waiting.append((at, number))
            self.touched.add(line.root)

    def round(self, clock: Clock) -> bool:
        """One round of the engine; False where there is nothing to show it."""
        shown = self._show()
        if not shown:
            return False
        jobs = [each.line.work.job(each.number, each.submitted_at) for each in shown]
        decisions = cycle(
            Snapshot(
                now=clock.now(),
                fleet=self.fleet,
                free=self.free,
                usage=self.usage,
                queue=jobs,
                runs=self._runs() if self.tells_runs else (),
                prices=self.workload.prices,
                weights=self.workload.weights,
            )
        )
        self.rounds += 1
        self.decisions += len(decisions.grants) + len(decisions.verdicts)
        self._admit(decisions, {job.id: each for job, each in zip(jobs, shown, strict=True)}, clock)
        for job, each in reversed(list(zip(jobs, shown, strict=True))):
            if job.id in decisions.verdicts:
                self._refuse(each, decisions.verdicts[job.id])
        self._stop([preemption.attempt for preemption in decisions.preemptions])
        # those refused sleep and gave their quota back, so the next round is shown other jobs, or none
        return True

    def _show(self) -> list[_Shown]:
        """The fronts of the lines, in order, as far as quota lets pass and the sums of what is free could hold."""
        lines = [
            (*line.standing(), line)
            for root in self.touched
            for line in self.by_root[root]
            if line.waiting and line not in self.asleep and not line.hopeless
        ]
        heapify(lines)
        self.gate.begin()
        shown: list[_Shown] = []
        card_milli, cpu_milli = self.free_card_milli, self.free_cpu_milli
        while lines and len(shown) < MAX_SHOWN:
            line = lines[0][-1]
            if not self.gate.passes(line.work):
                heappop(lines)
                continue
            submitted_at, number = line.waiting.popleft()
            shown.append(_Shown(line, number, submitted_at))
            card_milli -= line.least_card_milli
            cpu_milli -= line.least_cpu_milli
            if line.waiting and card_milli >= 0 and cpu_milli >= 0:
                heapreplace(lines, (*line.standing(), line))
            else:
                heappop(lines)
        if not lines:
            self.touched.clear()
        return shown

    def _admit(self, decisions: Decisions, shown: Mapping[str, _Shown], clock: Clock) -> None:
        """Commit what was granted; from then on it runs."""
        if not decisions.grants:
            return
        decided_at = clock.now()
        self.admissions.commit(
            [
                Admission(
                    job=grant.job,
                    attempt=self.stopped[grant.job] + 1,
                    queue=shown[grant.job].line.work.queue,
                    cluster=self.fleet.clusters[grant.place.cluster],
                    nodes=grant.place.nodes,
                    decided_at=decided_at,
                )
                for grant in decisions.grants
            ]
        )
        now = clock.now()
        self._pass_time(now)
        for grant in decisions.grants:
            each, attempt = shown[grant.job], self.stopped[grant.job] + 1
            line = each.line
            self.active[grant.job] = _Active(each, grant.place, now, attempt)
            self._hold(line.work, grant.place, 1)
            line.verdict = None
            self.reasons[grant.reason.code] += 1
            if attempt == 1:
                line.waits.append(now - each.submitted_at)
            if line.work.runtime is not None:
                heappush(self.ends, (now + line.work.runtime, grant.job, attempt))
        self.most_card_milli = max(self.most_card_milli, self.card_milli)

    def _refuse(self, each: _Shown, verdict: Verdict) -> None:
        """Back to the front of its line, which sleeps; what it held of its queue's quota may help another."""
        line = each.line
        line.waiting.appendleft((each.submitted_at, each.number))
        line.verdict = verdict
        self.asleep[line] = None
        self.gate.give_back(line.work)
        self.touched.add(line.root)

    def _stop(self, ids: Sequence[str]) -> None:
        """Preempted jobs leave at once and wait again, at the front of their lines."""
        stopped = [(id_, self._leave(id_, self.now)) for id_ in ids]
        for id_, active in sorted(stopped, key=lambda pair: (pair[1].shown.submitted_at, pair[1].shown.number), reverse=True):
            self.preemptions += 1
            self.stopped[id_] += 1
            self.lost_card_milli_micros += active.place.card_milli() * (self.now - active.since)
            active.shown.line.waiting.appendleft((active.shown.submitted_at, active.shown.number))
        if stopped:
            self._wake([active.place for _, active in stopped])

    def _leave(self, id_: str, at: int) -> _Active:
        """A job gives back what it holds; it used it until `at`."""
        active = self.active.pop(id_)
        line = active.shown.line
        self._hold(line.work, active.place, -1)
        self.gate.give_back(line.work)
        self._count_use(active, at)
        self.touched.add(line.root)
        return active

    def _hold(self, work: Work, place: Place, sign: int) -> None:
        (self.free.take if sign > 0 else self.free.give)(place.allocations)
        self.usage.add(work.tenant, place, sign)
        self.free_card_milli -= sign * place.card_milli()
        self.free_cpu_milli -= sign * sum(part.cpu_milli for part in place.allocations)

        self.card_milli += sign * place.card_milli()

    def _wake(self, freed: Iterable[Place]) -> None:
        """Lines for which the nodes just given back could make a difference are looked at again."""
        if not self.asleep:
            return
        nodes = np.unique([part.node for place in freed for part in place.allocations])
        kinds = {NO_KIND, *self.fleet.card_kind[nodes].flat}
        for line in list(self.asleep):
            if any(self._holds_member(shape, nodes, kinds) for shape in line.work.shapes):
                del self.asleep[line]
                self.touched.add(line.root)

    def _wake_all(self) -> None:
        """An engine that is told what runs keeps places for those who wait in front: it must see them at every moment."""
        self.touched |= {line.root for line in self.asleep}
        self.asleep.clear()

    def _holds_member(self, shape: Shape, nodes: Ints, kinds: set[int]) -> bool:
        """Whether one of `nodes`, which have cards of `kinds`, has room for a member of the gang."""
        return any(
            node_fits(self.fleet, self.free, shape, kind, nodes).any() for kind in self.fleet.kinds_for(shape) if kind in kinds
        )

    def _runs(self) -> list[ActiveRun]:
        return [
            ActiveRun(
                attempt=id_,
                job=id_,
                tenant=work.tenant,
                priority=work.priority,
                preemptible=work.preemptible,
                place=active.place,
                safe_at=active.since,
                ends_at=ends_at(active.since, work.max_runtime_seconds),
            )
            for id_, active in self.active.items()
            for work in (active.shown.line.work,)
        ]

    def _count_use(self, active: _Active, until: int) -> None:
        work = active.shown.line.work
        used = self.used[work.queue]
        for resource, amount in work.need.items():
            used[resource] += amount * (until - active.since)

    def _pass_time(self, now: int) -> None:
        self.card_milli_micros += self.card_milli * (now - self.now)
        self.now = now

    def outcome(self) -> WorkloadOutcome:
        """The counts, once nothing happens any more. Raises RuntimeError where they do not add up: that is a bug of ours."""
        never = sum(len(line.waiting) for line in self.lines if line.hopeless)
        waiting = sum(len(line.waiting) for line in self.lines) - never
        placed = len(self.completions) + len(self.active)
        if placed + waiting + never != self.workload.jobs:
            raise RuntimeError(f"replay lost a job: {placed} + {waiting} + {never} of {self.workload.jobs}")
        for line in self.lines:
            if line.waiting:
                self.reasons[OVER_QUOTA if line.verdict is None else line.verdict.reasons[0].code] += len(line.waiting)
        for active in self.active.values():
            self._count_use(active, self.now)
        for id_ in list(self.active):
            self._hold(self.active[id_].shown.line.work, self.active[id_].place, -1)
        if not all(np.array_equal(getattr(self.free, name), getattr(self.fleet.empty, name)) for name in Free.__slots__):
            raise RuntimeError("replay lost cards: what runs has been given back and the network is not empty")
        classes: dict[str, ClassOutcome] = {}
        for line, stream in zip(self.lines, self.workload.streams, strict=True):
            known = classes.setdefault(line.work.class_name, ClassOutcome(0, []))
            classes[line.work.class_name] = ClassOutcome(known.count + stream.count, [*known.waits, *line.waits])
        return WorkloadOutcome(
            jobs=self.workload.jobs,
            placed=placed,
            waiting=waiting,
            never=never,
            reasons=self.reasons,
            decisions=self.decisions,
            rounds=self.rounds,
            cards=sum(card.kind is not None for node in self.workload.nodes for card in node.cards),
            most_card_milli=self.most_card_milli,
            card_milli_micros=self.card_milli_micros,
            start=min(stream.first for stream in self.workload.streams),
            end=self.now,
            classes=classes,
            completions=self.completions,
            used=dict(self.used),
            preemptions=self.preemptions,
            lost_card_milli_micros=self.lost_card_milli_micros,
        )
