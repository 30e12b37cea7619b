"""Jobs that need a time of service, however often they are interrupted, through `engine.reschedule` on virtual time.

Enter at `serve(trace, policy) -> Outcome`. At one moment the jobs that have had all their service leave, new ones arrive, and one
plan is carried out at once: runs stop, others start. A run that is stopped keeps what it has done up to its last checkpoint; the
rest is done again and counted as lost.

What the scheduler is told of a job's duration is the policy's choice: the truth, a multiple of it, what a user would ask for, or
nothing; of the jobs it has seen it may learn (`engine.durations`). Nothing else of the future is known to it.
"""

from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from heapq import heappop, heappush

import numpy as np

from scheduler.domain.hardware import HardwareClass
from scheduler.engine.cycle import cycle
from scheduler.engine.durations import Durations, Seen
from scheduler.engine.explain import could_ever_fit
from scheduler.engine.fleet import Card, Fleet, Free, Kind, Node
from scheduler.engine.order import Order, QueuedJob, Usage, by_service, cards_asked, in_order, seconds_left
from scheduler.engine.place import Place
from scheduler.engine.reschedule import plan
from scheduler.engine.reserve import ends_at
from scheduler.engine.shape import Shape
from scheduler.engine.snapshot import ActiveRun, Grant, Snapshot, Verdict
from scheduler.replay.driver import Outcome, Progress
from scheduler.replay.policy import Discipline, Policy, Told
from scheduler.replay.trace import SECOND

RETHINK_SECONDS = 36_000
"""While anybody waits, the plan is made anew at least so often: what was served of whom changes whose turn it is."""


@dataclass(frozen=True, slots=True)
class Work:
    """A job and the microseconds it takes where nothing interrupts it."""

    job: QueuedJob
    takes: int


@dataclass(frozen=True, slots=True)
class WorkTrace:
    """A network and the jobs that come to it, in any order. Names of nodes and ids of jobs are unique."""

    nodes: tuple[Node, ...]
    works: tuple[Work, ...]


def gang_of(cards: int, cards_per_node: int) -> Shape:
    """A job of so many cards, spread evenly over as few nodes as that can be done on."""
    nodes = next(nodes for nodes in range(-(-cards // cards_per_node), cards + 1) if cards % nodes == 0)
    return Shape(nodes=nodes, min_nodes=nodes, per_node=cards // nodes)


def alike_nodes(cluster: str, nodes: int, cards_per_node: int) -> tuple[Node, ...]:
    """The nodes of a cluster of which nothing is known but how many cards it has; CPU and memory are not asked for."""
    kind = Kind(vendor="undisclosed", model="undisclosed", hardware_class=HardwareClass.UNKNOWN, memory_bytes=0)
    names = (f"{cluster}-{number:05d}" for number in range(nodes))
    return tuple(Node(cluster, name, 0, 0, tuple(Card(f"{name}/{slot}", kind) for slot in range(cards_per_node))) for name in names)


def serve(trace: WorkTrace, policy: Policy, progress: Progress | None = None) -> Outcome:
    """Every job of a trace from its arrival to the end of its service. The trace has at least one job."""
    service = _Service(trace, policy)
    while service.step():
        if progress is not None:
            progress(service.left)
    return service.outcome()


@dataclass(slots=True)
class _Run:
    job: str
    place: Place
    started_at: int
    kept: int
    """What earlier runs have done for good, microseconds."""
    ends_at: int
    """At the latest, as far as the scheduler was told."""


@dataclass
class _Counts:
    reasons: Counter[str] = field(default_factory=Counter)
    waits: list[int] = field(default_factory=list)
    completions: list[int] = field(default_factory=list)
    delays: list[int] = field(default_factory=list)
    levels: list[int] = field(default_factory=list)
    decisions: int = 0
    card_milli: int = 0
    card_milli_micros: int = 0
    never: int = 0
    preemptions: int = 0
    lost_card_micros: int = 0


class _Service:
    """The network at one moment of virtual time."""

    def __init__(self, trace: WorkTrace, policy: Policy) -> None:
        self.policy = policy
        self.fleet = Fleet.of(trace.nodes)
        self.free, self.usage = self.fleet.all_free(), Usage.none(self.fleet)
        self.works = {work.job.id: work for work in trace.works}
        self.arrivals = deque(sorted(trace.works, key=lambda work: (work.job.submitted_at, work.job.id)))
        self.start = self.now = self.arrivals[0].job.submitted_at
        self.waiting: dict[str, int] = {}
        """By job, what its earlier runs have done for good, microseconds."""
        self.told: dict[str, QueuedJob] = {}
        """The jobs that wait, as the scheduler is told of them: until more has been learned."""
        self.runs: dict[str, _Run] = {}
        self.ends: list[tuple[int, int, str]] = []
        self.started: set[str] = set()
        self.seen: list[Seen] = []
        self.durations: Durations | None = None
        self.learned_at: int | None = None
        self.verdicts: dict[tuple[Shape, ...], Verdict | None] = {}
        self.counts = _Counts()

    @property
    def left(self) -> int:
        return len(self.counts.completions) + self.counts.never

    def step(self) -> bool:
        """Go to the next moment at which something happens and decide. False once everybody has left."""
        while self.ends and self._is_stale(*self.ends[0]):
            heappop(self.ends)
        moments = [self.arrivals[0].job.submitted_at] if self.arrivals else []
        moments += [self.ends[0][0]] if self.ends else []
        if not moments:
            return False
        if self.waiting and self.policy.discipline is Discipline.RESCHEDULE and self.policy.order is not Order.AGE:
            moments.append(self.now + RETHINK_SECONDS * SECOND)
        now = min(moments)
        self.counts.card_milli_micros += self.counts.card_milli * (now - self.now)
        self.now = now
        self._end()
        self._arrive()
        self._decide()
        self.counts.levels.append(self.counts.card_milli)
        return True

    def _end(self) -> None:
        while self.ends and self.ends[0][0] <= self.now:
            end = heappop(self.ends)
            if self._is_stale(*end):
                continue
            id_ = end[2]
            self._release(id_)
            work = self.works[id_]
            self.counts.completions.append(self.now - work.job.submitted_at)
            self.counts.delays.append(self.counts.completions[-1] - work.takes)
            self.seen.append(Seen(cards_asked(work.job), work.takes // SECOND, ended=True))

    def _is_stale(self, _at: int, started_at: int, id_: str) -> bool:
        """Whether a run was stopped before it came to this end."""
        return id_ not in self.runs or self.runs[id_].started_at != started_at

    def _arrive(self) -> None:
        while self.arrivals and self.arrivals[0].job.submitted_at <= self.now:
            job = self.arrivals.popleft().job
            if job.shapes not in self.verdicts:
                self.verdicts[job.shapes] = could_ever_fit(self._snapshot((), ()), job)
            verdict = self.verdicts[job.shapes]
            if verdict is None:
                self.waiting[job.id] = 0
            else:
                self.counts.never += 1
                self.counts.reasons[verdict.reasons[0].code] += 1

    def _decide(self) -> None:
        if not self.waiting:
            return
        self._learn()
        for id_, kept in self.waiting.items():
            if id_ not in self.told:
                self.told[id_] = self._job(id_, kept)
        queue = list(self.told.values())
        self.counts.decisions += len(queue)
        made = plan(self._snapshot(queue, ()), {})
        if len(made.starts) == len(queue):  # beside everybody who runs: no discipline says anything else
            for grant in made.starts:
                self._begin(grant)
        else:
            _DECIDES[self.policy.discipline](self, queue)

    def strictly(self, queue: Sequence[QueuedJob]) -> None:
        for job in in_order(queue, self.usage, {}, self.now, by_service(self.policy.order)):
            grants = cycle(self._snapshot([job], ())).grants
            if not grants:
                return
            self._begin(grants[0])

    def backfilling(self, queue: Sequence[QueuedJob]) -> None:
        runs = [self._active(id_, run) for id_, run in self.runs.items()]
        for grant in cycle(self._snapshot(queue, runs)).grants:
            self._begin(grant)

    def rescheduling(self, queue: Sequence[QueuedJob]) -> None:
        runs = [self._active(id_, run) for id_, run in self.runs.items()]
        back = {
            id_: self._job(id_, run.kept + self._saved(run))
            for id_, run in self.runs.items()
            if self.now - run.started_at >= self.policy.min_run_seconds * SECOND
        }
        self.counts.decisions += len(back)
        made = plan(self._snapshot(queue, runs), back, self.policy.patience)
        for stop in made.stops:
            self._stop(stop.attempt)
        for grant in made.starts:
            self._begin(grant)

    def _learn(self) -> None:
        """Look at everything seen so far, where nobody tells how long jobs take, as often as plans are made anew."""
        if self.policy.told is not Told.NOTHING or self.policy.order is not Order.SHORTEST:
            return
        if self.learned_at is not None and self.now - self.learned_at < RETHINK_SECONDS * SECOND:
            return
        self.learned_at = self.now
        self.told.clear()
        running = ((id_, run.kept + self.now - run.started_at) for id_, run in self.runs.items())
        unfinished = (
            Seen(cards_asked(self.works[id_].job), attained // SECOND, ended=False)
            for id_, attained in (*running, *self.waiting.items())
        )
        self.durations = Durations.of([*self.seen, *unfinished])

    def _job(self, id_: str, attained: int) -> QueuedJob:
        """A job as the scheduler is told of it, once so much of it has been done."""
        work, attained_seconds = self.works[id_], attained // SECOND
        max_runtime = self.policy.told.of(-(-work.takes // SECOND))
        expected = self.durations.seconds_left(cards_asked(work.job), attained_seconds) if self.durations else None
        return replace(work.job, max_runtime_seconds=max_runtime, attained_seconds=attained_seconds, expected_seconds=expected)

    def _active(self, id_: str, run: _Run) -> ActiveRun:
        tenant = self.works[id_].job.tenant
        return ActiveRun(id_, id_, tenant, 0, False, run.place, run.started_at + self._saved(run), ends_at=run.ends_at)

    def _saved(self, run: _Run) -> int:
        """How much of a run its checkpoints have saved."""
        every, elapsed = self.policy.checkpoint_seconds * SECOND, self.now - run.started_at
        return elapsed // every * every if every else elapsed

    def _snapshot(self, queue: Sequence[QueuedJob], runs: Sequence[ActiveRun]) -> Snapshot:
        return Snapshot(self.now, self.fleet, self.free, self.usage, queue, runs, order=self.policy.order)

    def _stop(self, id_: str) -> None:
        run = self.runs[id_]
        saved = self._saved(run)
        self._release(id_)
        self.waiting[id_] = run.kept + saved
        self.counts.preemptions += 1
        self.counts.lost_card_micros += (self.now - run.started_at - saved) * run.place.cards()

    def _release(self, id_: str) -> None:
        place = self.runs.pop(id_).place
        self.free.give(place.allocations)
        self.usage.add(self.works[id_].job.tenant, place, sign=-1)
        self.counts.card_milli -= place.card_milli()

    def _begin(self, grant: Grant) -> None:
        work, kept = self.works[grant.job], self.waiting.pop(grant.job)
        self.told.pop(grant.job, None)
        self.free.take(grant.place.allocations)
        self.usage.add(work.job.tenant, grant.place)
        self.counts.card_milli += grant.place.card_milli()
        told = self._job(grant.job, kept)
        self.runs[grant.job] = _Run(grant.job, grant.place, self.now, kept, ends_at(self.now, seconds_left(told)))
        heappush(self.ends, (self.now + work.takes - kept, self.now, grant.job))
        if grant.job not in self.started:
            self.started.add(grant.job)
            self.counts.waits.append(self.now - work.job.submitted_at)
            self.counts.reasons[grant.reason.code] += 1

    def outcome(self) -> Outcome:
        """The counts, once everybody has left. Raises RuntimeError where they do not add up: that is a bug of ours."""
        counts, empty = self.counts, self.fleet.empty
        if self.waiting or self.runs or self.left != len(self.works):
            raise RuntimeError(f"replay lost a job: {self.left} of {len(self.works)} have left")
        if not all(np.array_equal(getattr(self.free, name), getattr(empty, name)) for name in Free.__slots__):
            raise RuntimeError("replay lost cards: all jobs have left and the network is not empty")
        return Outcome(
            jobs=len(self.works),
            placed=len(counts.completions),
            waiting=0,
            never=counts.never,
            reasons=counts.reasons,
            decisions=counts.decisions,
            cards=int(self.fleet.cards_of.sum()),
            most_card_milli=max(counts.levels),
            card_milli_micros=counts.card_milli_micros,
            span=self.now - self.start,
            makespan=self.now - self.start,
            waits=counts.waits,
            completions=counts.completions,
            levels=counts.levels,
            preemptions=counts.preemptions,
            lost_card_seconds=counts.lost_card_micros // SECOND,
            delays=counts.delays,
        )


_DECIDES: dict[Discipline, Callable[[_Service, Sequence[QueuedJob]], None]] = {
    Discipline.STRICT: _Service.strictly,
    Discipline.BACKFILL: _Service.backfilling,
    Discipline.RESCHEDULE: _Service.rescheduling,
}
