"""A workload through the real engine, on virtual or real time: `run(workload, clock, admissions) -> WorkloadOutcome`.

At one moment the jobs whose time is over leave, then the new ones arrive, then rounds decide until one decides nothing more. An
admission counts from when it is committed: a job's runtime starts there, and on real time it is later than the decision.

The network is an `engine.state.State`, with its queues and their quotas: who got nothing sleeps in it until something happens that
could help. Jobs it asks to stop leave at once and wait again, at their age; with a checkpoint they go on from there, else anew.
"""

from collections import Counter, defaultdict, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from heapq import heappop, heappush

import numpy as np

from scheduler.domain.clock import MICROS_PER_SECOND
from scheduler.engine.cycle import Served
from scheduler.engine.fleet import Fleet, Free
from scheduler.engine.history import History
from scheduler.engine.order import RESOURCES, QueuedJob, held, place_amounts
from scheduler.engine.quota import Quotas, Resource
from scheduler.engine.reserve import ends_at
from scheduler.engine.snapshot import ActiveRun
from scheduler.engine.state import State
from scheduler.replay.admissions import Admission, Admissions
from scheduler.replay.clock import Clock
from scheduler.replay.workload import Stream, Workload

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
    used: dict[str, Counter[Resource]]
    used_by_tenant: dict[str, list[int]]
    """By tenant, milli × microseconds of each resource as `engine.order` counts them."""
    preemptions: int
    moves: int
    """How many of these went on elsewhere in the same cluster."""
    lost_card_milli_micros: int
    """What was done again, and what starting from a checkpoint took."""


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


@dataclass(slots=True)
class _Job:
    """One job of a stream, and what has become of it. `attempts`: how often it has been admitted; `done`: microseconds of its
    runtime that it has saved in earlier attempts; `begins`: since when it gets on in this one, which may begin with a restart."""

    queued: QueuedJob
    stream: Stream
    attempts: int = 0
    done: int = 0
    begins: int = 0

    def saved(self, now: int) -> int:
        """Microseconds of what it has done in this attempt that it would not lose if it stopped now."""
        every = self.stream.work.checkpoint
        return 0 if every is None else max(0, now - self.begins) // every * every


@dataclass
class _Run:
    """The network and its queue at one moment, and what has been counted up to it."""

    workload: Workload
    admissions: Admissions
    state: State
    history: History | None
    arrivals: deque[tuple[int, int, int]]
    """Arrival, stream and number of the jobs that are still to come."""
    jobs: dict[str, _Job] = field(default_factory=dict)
    """Those that have come and not ended."""
    ends: list[tuple[int, str, int]] = field(default_factory=list)
    saves: list[tuple[int, str, int]] = field(default_factory=list)
    """When which job saves next what it has done, in which attempt."""
    used_by_tenant: dict[str, list[int]] = field(default_factory=dict)
    moves: int = 0
    since: dict[str, int] = field(default_factory=dict)
    """By job that holds its place: when it was admitted."""
    waits: dict[str, list[int]] = field(default_factory=lambda: defaultdict(list))
    reasons: Counter[str] = field(default_factory=Counter)
    completions: list[int] = field(default_factory=list)
    used: dict[str, Counter[Resource]] = field(default_factory=lambda: defaultdict(Counter))
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
        state = State(Fleet.of(workload.nodes), workload.prices, Quotas.of(workload.queues), workload.weights)
        state.restart_seconds = workload.restart_seconds
        history = None if workload.half_life is None else History(workload.half_life, 0)
        arrivals = ((at, n, number) for n, stream in enumerate(workload.streams) for at, number in stream.arrivals())
        return cls(workload, admissions, state, history, deque(sorted(arrivals)))

    def next_event(self) -> int | None:
        """When the next job arrives or ends; None when none will."""
        moments = [queue[0][0] for queue in (self.arrivals, self.ends) if queue]
        return min(moments, default=None)

    def end_due(self, now: int) -> None:
        """Jobs whose runtime is over by now leave."""
        self._pass_time(now)
        while self.ends and self.ends[0][0] <= now:
            at, id_, attempt = heappop(self.ends)
            if id_ in self.since and self.jobs[id_].attempts == attempt:
                self._leave(id_, at)
                self.completions.append(at - self.jobs.pop(id_).queued.submitted_at)

    def arrive_due(self, now: int) -> None:
        """Jobs that have arrived by now join the queue."""
        self._pass_time(now)
        new = []
        while self.arrivals and self.arrivals[0][0] <= now:
            at, index, number = self.arrivals.popleft()
            stream = self.workload.streams[index]
            new.append(stream.work.job(number, at))
            self.jobs[new[-1].id] = _Job(new[-1], stream)
        self.state.submit(new)

    def round(self, clock: Clock) -> bool:
        """One round of the engine; False where it decided nothing, so that another would not either."""
        self._save(clock.now())
        if self.history is not None:
            self.state.usage = replace(self.state.usage, past=self.history.past(clock.now()))
        served = self.state.round(clock.now())
        self.rounds += 1
        self.decisions += len(served.grants) + len(served.of_line) + len(served.of_job)
        if served.grants:
            self._admit(served, clock)
        if served.stopping:
            self._stop(served.stopping)
            self.moves += sum(each.move is not None for each in served.preemptions)
        return bool(served.grants or served.stopping)

    def _admit(self, served: Served, clock: Clock) -> None:
        """Commit what was granted; from then on it runs."""
        decided_at = clock.now()
        granted = [(self.jobs[grant.job], grant) for grant in served.grants]
        clusters = self.state.fleet.clusters
        self.admissions.commit(
            [
                Admission(
                    job=grant.job,
                    attempt=job.attempts + 1,
                    queue=job.queued.queue,
                    cluster=clusters[grant.place.cluster],
                    nodes=grant.place.nodes,
                    decided_at=decided_at,
                )
                for job, grant in granted
            ]
        )
        now = clock.now()
        self._pass_time(now)
        for (job, grant), started in zip(granted, served.started, strict=True):
            restart = (self.workload.restart_seconds or 0) * MICROS_PER_SECOND if job.done else 0
            job.begins = now + restart
            self.lost_card_milli_micros += restart * grant.place.card_milli()
            self.state.change(replace(started, safe_at=now, ends_at=ends_at(now, job.queued.max_runtime_seconds)))
            if self.history is not None:
                self.history.begin(job.queued.tenant, place_amounts(self.state.fleet, grant.place), now)
            self.since[grant.job] = now
            self.card_milli += grant.place.card_milli()
            self.reasons[grant.reason.code] += 1
            job.attempts += 1
            work = job.stream.work
            if job.attempts == 1:
                self.waits[work.class_name].append(now - job.queued.submitted_at)
            if work.runtime is not None:
                heappush(self.ends, (job.begins + work.runtime - job.done, grant.job, job.attempts))
            if work.checkpoint is not None:
                heappush(self.saves, (job.begins + work.checkpoint, grant.job, job.attempts))
        self.most_card_milli = max(self.most_card_milli, self.card_milli)

    def _stop(self, stopped: Sequence[ActiveRun]) -> None:
        """Preempted jobs leave at once and wait again, at their age."""
        for run_ in stopped:
            self.preemptions += 1
            job = self.jobs[run_.job]
            saved = job.saved(self.now)
            job.done += saved
            self.lost_card_milli_micros += run_.place.card_milli() * max(0, self.now - job.begins - saved)
            self._leave(run_.job, self.now)
        self.state.submit(self.jobs[run_.job].queued for run_ in stopped)

    def _save(self, now: int) -> None:
        """What jobs have saved by now they do not lose, and they may be moved."""
        while self.saves and self.saves[0][0] <= now:
            _, id_, attempt = heappop(self.saves)
            if id_ not in self.since or self.jobs[id_].attempts != attempt:
                continue
            job, run_ = self.jobs[id_], self.state.run_of(id_)
            safe_at = job.begins + job.saved(now)
            heappush(self.saves, (safe_at + (job.stream.work.checkpoint or 0), id_, attempt))
            if run_ is not None:
                self.state.change(replace(run_, safe_at=safe_at, again=job.queued))

    def _leave(self, id_: str, at: int) -> None:
        """A job gives back what it holds; it used it until `at`."""
        run_ = self.state.end(id_)
        if self.history is not None:
            self.history.end(run_.tenant, place_amounts(self.state.fleet, run_.place), at)
        self.card_milli -= run_.place.card_milli()
        self._count_use(run_, self.since.pop(id_), at)

    def _count_use(self, run_: ActiveRun, since: int, until: int) -> None:
        used = self.used[run_.queue]
        for resource, amount in held(self.state.fleet, run_.place).items():
            used[resource] += amount * (until - since)
        tenant = self.used_by_tenant.setdefault(run_.tenant, [0] * RESOURCES)
        for position, counted in enumerate(place_amounts(self.state.fleet, run_.place)):
            tenant[position] += counted * (until - since)

    def _pass_time(self, now: int) -> None:
        self.card_milli_micros += self.card_milli * (now - self.now)
        self.now = now

    def outcome(self) -> WorkloadOutcome:
        """The counts, once nothing happens any more. Raises RuntimeError where they do not add up: that is a bug of ours."""
        waiting = self._count_waiting()
        placed = len(self.completions) + len(self.since)
        if placed + waiting.total() != self.workload.jobs:
            raise RuntimeError(f"replay lost a job: {placed} + {waiting.total()} of {self.workload.jobs}")
        for id_, since in self.since.items():
            run_ = self.state.end(id_)
            self._count_use(run_, since, self.now)
        free, empty = self.state.free, self.state.fleet.empty
        if not all(np.array_equal(getattr(free, name), getattr(empty, name)) for name in Free.__slots__):
            raise RuntimeError("replay lost cards: what runs has been given back and the network is not empty")
        counts: Counter[str] = Counter()
        for stream in self.workload.streams:
            counts[stream.work.class_name] += stream.count
        return WorkloadOutcome(
            jobs=self.workload.jobs,
            placed=placed,
            waiting=waiting["wait"],
            never=waiting["never"],
            reasons=self.reasons,
            decisions=self.decisions,
            rounds=self.rounds,
            cards=sum(card.kind is not None for node in self.workload.nodes for card in node.cards),
            most_card_milli=self.most_card_milli,
            card_milli_micros=self.card_milli_micros,
            start=min(stream.first for stream in self.workload.streams),
            end=self.now,
            classes={name: ClassOutcome(count, self.waits[name]) for name, count in counts.items()},
            completions=self.completions,
            used=dict(self.used),
            used_by_tenant=self.used_by_tenant,
            preemptions=self.preemptions,
            moves=self.moves,
            lost_card_milli_micros=self.lost_card_milli_micros,
        )

    def _count_waiting(self) -> Counter[str]:
        """How many jobs never got a place although they may (`wait`) or could not (`never`); their reasons are counted too."""
        found: Counter[str] = Counter()
        for id_, job in self.jobs.items():
            if id_ in self.since:
                continue
            verdict = self.state.verdict(job.queued)
            if verdict is None:
                raise RuntimeError(f"replay never decided about {id_}")
            found[verdict.kind] += 1
            self.reasons[verdict.reasons[0].code] += 1
        return found
