"""The city in memory, as the engine needs it: read from the store once, and then kept up with what changes there.

The store is the truth. `refresh` brings a mirror up to it: jobs by the events of their history (`feed`), nodes by when they last
changed and whether they answer, the registry by how many rows there are, since its rows are only ever added to. What a round grants
runs in the mirror's state at once; where the store refused to have it, `touch` has the job looked at again.

Jobs and tasks of arrays go by name (`scheduler.domain.tasks`): an array waits as one, and only those of its tasks are looked at
that have changed.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta

from sqlalchemy import select
from sqlalchemy.orm import Session

from scheduler.contract.job import JobSpec
from scheduler.domain.clock import to_micros
from scheduler.domain.hardware import Catalogue, shipped_catalogue
from scheduler.domain.reasons import Reason
from scheduler.domain.states import ATTEMPT_ACTIVE, JOB_FINAL, JOB_WAITING, AttemptState
from scheduler.domain.tasks import index_of, job_of, task_name
from scheduler.engine.cycle import Served
from scheduler.engine.drain import ending_by
from scheduler.engine.fleet import Fleet
from scheduler.engine.order import BackOff, QueuedJob
from scheduler.engine.quota import Quotas
from scheduler.engine.shape import Shape
from scheduler.engine.snapshot import ActiveRun, Backfill, InFlight, Snapshot, Verdict
from scheduler.engine.state import State
from scheduler.service.budgets import BudgetWatch
from scheduler.service.feed import Feed
from scheduler.service.lifecycle import from_json
from scheduler.service.moves import may_be_moved, stored_moves
from scheduler.service.nodes import Nodes
from scheduler.service.offers import prices
from scheduler.service.refusals import array_back_offs, load_back_offs
from scheduler.service.registry import Registry, Version, load_registry, refreshed, registry_version
from scheduler.service.snapshot import active_run, dependency_states, past_use, queued_job
from scheduler.service.tags import Terms, claim_day
from scheduler.service.tasks import minus, offered, run_name, waiting_tasks
from scheduler.service.windows import load_windows
from scheduler.store.live import NodeKey
from scheduler.store.tables import AttemptRow, JobRow

REPRICE_EVERY = timedelta(seconds=60)
"""How old net prices, and what tenants have used before, may be: both move slowly, with every line posted."""

CHECKPOINTS_EVERY = timedelta(seconds=10)
"""How old may be what is known of checkpoints, which decide what a stop would lose."""

FRESH = 100
"""How many of a line are told the latest numbers behind the reasons they wait for."""

CHUNK = 500
"""Jobs asked for in one query."""


def look(session: Session, heard_at: Mapping[NodeKey, datetime], now: datetime) -> "Mirror":
    """The city as it is now, for somebody who asks once."""
    mirror = Mirror()
    mirror.refresh(session, heard_at, now)
    return mirror


@dataclass(slots=True)
class _Waiting:
    """A job that waits: in the engine's queue, or held. `noted` is the verdict that the store has. `first`: of an array, the first
    of its tasks that wait."""

    job: QueuedJob
    noted: Verdict | None
    first: str | None = None


@dataclass(frozen=True, slots=True)
class _Active:
    """A job, or a task, that holds cards, with what it takes to see its run again on another fleet."""

    job: JobRow
    spec: JobSpec
    attempt: AttemptRow


@dataclass
class _Known:
    """What has been read so far, and when."""

    registry: Registry
    version: Version
    day: date
    feed: Feed
    priced_at: datetime
    checked_at: datetime
    waiting: dict[str, _Waiting] = field(default_factory=dict)
    active: dict[str, _Active] = field(default_factory=dict)
    """By name, as are those below."""
    granted: set[str] = field(default_factory=set)
    """Those of the active whose cluster has not taken them up yet."""
    unnoted: set[str] = field(default_factory=set)
    """Jobs that have joined, or whose hold has changed, since verdicts were last noted."""
    terms: set[Terms] = field(default_factory=set)
    shapes: dict[tuple[Shape, ...], tuple[Shape, ...]] = field(default_factory=dict)
    """Equal shapes are one object: a million jobs have few."""
    codes: dict[int, tuple[str, ...]] = field(default_factory=dict)
    """By line of the engine's queue: why it waited when that was last told to all in it."""
    budgets: BudgetWatch = field(default_factory=BudgetWatch)
    dependents: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    """By job: who waits for it to end."""


class Mirror:
    """One reader's picture of the city. Not to be shared between threads."""

    def __init__(self, catalogue: Catalogue | None = None) -> None:
        """`catalogue` instead of the shipped one."""
        self.state = State(Fleet.of([]))
        self._nodes = Nodes()
        self._catalogue = catalogue or shipped_catalogue()
        self._known: _Known | None = None
        self._touched: set[str] = set()

    @property
    def registry(self) -> Registry:
        return self._there.registry

    def forget(self) -> None:
        """What is known may be wrong: the next refresh reads everything."""
        self._known = None
        self._touched.clear()

    def touch(self, jobs: Iterable[str]) -> None:
        """Look at some jobs again, whether or not their history says that they have changed."""
        self._touched.update(jobs)

    def refresh(self, session: Session, heard_at: Mapping[NodeKey, datetime], now: datetime) -> None:
        """Bring everything up to the store as the session's transaction sees it. `heard_at` says when each node last reported."""
        version, known = registry_version(session), self._known
        if known is None or known.day != claim_day(now) or known.version.clusters != version.clusters:
            self._read(session, version, heard_at, now)
            return
        renewed, chosen = known.version != version, (known.registry.scheduling.profile, known.registry.profiles)
        known.version = version
        known.registry = load_registry(session) if renewed else refreshed(session, known.registry)
        moved = self._nodes.refresh(session, known.registry.heard_at, heard_at, now)
        changed = known.feed.changed(session, now) | self._touched | known.budgets.look(session, known.registry, now)
        if chosen != (known.registry.scheduling.profile, known.registry.profiles):
            changed |= known.waiting.keys()  # those that name no profile may have another now
        self._touched.clear()
        self._look_at(session, changed, now)
        if moved or renewed:
            self._move(session, now)
        self._look_at_windows(session, now)
        self._look_at_clusters()
        if now - known.priced_at >= REPRICE_EVERY:
            self._reprice(session, now)
        if now - known.checked_at >= CHECKPOINTS_EVERY:
            self._look_at_checkpoints(session, now)

    def snapshot(self, now: datetime) -> Snapshot:
        """The moment with everything that waits, held jobs included."""
        waiting = (job for each in self._there.waiting.values() for job in self._entries(each))
        queue = sorted(waiting, key=lambda job: (job.submitted_at, job.id))
        return replace(self.state.snapshot(to_micros(now)), queue=queue)

    def _entries(self, waiting: _Waiting) -> list[QueuedJob]:
        """A job that waits as it stands in the queue: an array as its tasks do, or as the first of them where it is held."""
        if waiting.first is None:
            return [waiting.job]
        if waiting.job.hold is not None:
            return [replace(waiting.job, id=waiting.first)]
        return _tasks(waiting.job, self.state.backlog.standing(waiting.job))

    def unnoted(self, served: Served) -> dict[str, Verdict]:
        """The verdicts of a round that the store does not have yet, by job; those of newcomers to lines that sleep among them.

        Where a line waits for the same reasons as before, only the first of it are told the latest numbers.
        """
        known, backlog = self._there, self.state.backlog
        served_alone = set(map(job_of, served.of_job))
        found = {job_of(name): verdict for name, verdict in sorted(served.of_job.items(), reverse=True)}
        for number, verdict in served.of_line.items():
            codes = tuple(reason.code for reason in verdict.reasons)
            rest = backlog.rest(number, FRESH if known.codes.get(number) == codes else None)
            found.update((job, verdict) for job in map(job_of, rest) if job not in served_alone)
            known.codes[number] = codes
        for id_ in known.unnoted & known.waiting.keys() - found.keys():
            job = known.waiting[id_].job
            newest = self.state.verdict(job) if job.hold is None else Verdict("wait", (job.hold,))
            if newest is not None:
                found[id_] = newest
        known.unnoted.clear()
        return {id_: verdict for id_, verdict in found.items() if id_ in known.waiting and known.waiting[id_].noted != verdict}

    def noted(self, verdicts: Mapping[str, Verdict]) -> None:
        """The store has them now."""
        for id_, verdict in verdicts.items():
            self._there.waiting[id_].noted = verdict

    @property
    def _there(self) -> _Known:
        if self._known is None:
            raise RuntimeError("a mirror shows nothing before its first refresh")
        return self._known

    def _read(self, session: Session, version: Version, heard_at: Mapping[NodeKey, datetime], now: datetime) -> None:
        registry = load_registry(session)
        self._nodes.refresh(session, registry.heard_at, heard_at, now)
        self._known = _Known(registry, version, claim_day(now), Feed(session, now), now, now)
        self._known.budgets.look(session, registry, now)
        self._touched.clear()
        self.state = State(self._nodes.fleet)
        self._move(session, now)
        open_ = select(JobRow.id).where(JobRow.state.not_in(JOB_FINAL))
        holding = select(AttemptRow.job_id, AttemptRow.task).where(AttemptRow.state.in_(ATTEMPT_ACTIVE))
        running = {job if task is None else task_name(job, task) for job, task in session.execute(holding)}
        self._look_at(session, {*session.scalars(open_), *running}, now)
        self._look_at_moves(session, now)
        self._look_at_windows(session, now)
        self._look_at_clusters()

    def _look_at(self, session: Session, names: set[str], now: datetime) -> None:
        """Bring some jobs and tasks up to the store, and the jobs that depend on them."""
        known = self._there
        tasks: dict[str, list[int]] = defaultdict(list)
        for name in names:
            index = index_of(name)
            if index is not None:
                tasks[job_of(name)].append(index)
        dependents = (known.dependents[name] for name in names if name in known.dependents)
        ids = sorted(set(map(job_of, names)).union(*dependents))
        joining: list[QueuedJob] = []
        for start in range(0, len(ids), CHUNK):
            chunk = ids[start : start + CHUNK]
            rows = session.scalars(select(JobRow).where(JobRow.id.in_(chunk)).order_by(JobRow.id)).all()
            whole = [row.id for row in rows if row.tasks is None]
            holding = select(AttemptRow).where(AttemptRow.job_id.in_(whole), AttemptRow.state.in_(ATTEMPT_ACTIVE))
            attempts = {attempt.job_id: attempt for attempt in session.scalars(holding)}
            back_offs = load_back_offs(session, [row.id for row in rows if row.attempts and row.tasks is None], now)
            told = [row for row in rows if row.state not in JOB_FINAL or row.id in attempts or row.tasks is not None]
            specs = {row.id: JobSpec.model_validate(row.spec) for row in told}
            ended = dependency_states(session, list(specs.values()))
            for row in rows:
                known.budgets.forget(row.id)
                if row.id in attempts:
                    self._runs(_Active(row, specs[row.id], attempts[row.id]), now)
                elif row.tasks is not None:
                    self._tasks_run(session, row, specs[row.id], sorted(tasks.get(row.id, ())), now)
                    joining += self._tasks_wait(session, row, specs[row.id], ended, now)
                elif row.state in JOB_WAITING:
                    joining += self._waits(row, specs[row.id], ended, back_offs.get(row.id, ()), now)
                else:
                    self._leave(row.id)
                if row.state in JOB_FINAL:
                    known.dependents.pop(row.id, None)
        self._price_newcomers(now)
        self.state.submit(joining)

    def _tasks_run(self, session: Session, row: JobRow, spec: JobSpec, indices: list[int], now: datetime) -> None:
        """Bring the runs of some tasks of an array up to the store."""
        for start in range(0, len(indices), CHUNK):
            chunk = indices[start : start + CHUNK]
            holding = select(AttemptRow).where(
                AttemptRow.job_id == row.id, AttemptRow.task.in_(chunk), AttemptRow.state.in_(ATTEMPT_ACTIVE)
            )
            attempts = {attempt.task: attempt for attempt in session.scalars(holding)}
            for index in chunk:
                if index in attempts:
                    self._runs(_Active(row, spec, attempts[index]), now)
                else:
                    self._leave(task_name(row.id, index))

    def _tasks_wait(self, session: Session, row: JobRow, spec: JobSpec, ended: Mapping[str, str], now: datetime) -> list[QueuedJob]:
        """The tasks of an array that join the engine's queue; those that stand in it and should not leave it."""
        known = self._there
        before = known.waiting.get(row.id)
        standing = [] if before is None or before.job.hold is not None else self.state.backlog.standing(before.job)
        wanted = offered(session, row, spec)
        job = self._queued(row, spec, ended, array_back_offs(session, row.id, now) if row.attempts else (), now)
        job = replace(job, hold=job.hold or known.budgets.hold(known.registry, row, spec, job, now))
        if job.hold is None and not wanted and spec.array is not None:
            job = replace(job, hold=Reason("waiting_for_parallelism", {"parallelism": spec.array.parallelism or spec.array.size}))
        stays = wanted if job.hold is None else []
        another = before is not None and before.job != job  # it asks for something else, in another line
        if before is not None:
            for each in _tasks(before.job, standing if another else minus(standing, stays)):
                self.state.withdraw(each)
        if not waiting_tasks(row):
            known.waiting.pop(row.id, None)
            return []
        first = wanted[0].start if wanted else min(row.tasks_begun, spec.tasks - 1)
        known.waiting[row.id] = _Waiting(job, _noted(row), task_name(row.id, first))
        if before is None or another:
            self._joins(row, spec)
        return _tasks(job, stays if another else minus(stays, standing))

    def _runs(self, active: _Active, now: datetime) -> None:
        known, id_ = self._there, run_name(active.attempt)
        before = self.state.run_of(id_)
        run = ending_by(self.state.windows, self._seen(active, now), to_micros(now))
        if before is not None and before.place.cluster == run.place.cluster and before.place.allocations == run.place.allocations:
            known.waiting.pop(id_, None)
            self.state.change(replace(run, place=before.place))
        else:
            self._leave(id_)
            self.state.hold(run)
        known.active[id_] = active
        known.granted.discard(id_)
        if active.attempt.state == AttemptState.GRANTED:
            known.granted.add(id_)

    def _seen(self, active: _Active, now: datetime) -> ActiveRun:
        """A run as it is on the fleet of now; with its job where the policy lets it be moved."""
        run = active_run(self.registry, self.state.fleet, active.attempt, active.job, active.spec)
        movable = self.state.restart_seconds is not None and may_be_moved(active.attempt, active.spec)
        return replace(run, again=self._again(active, now)) if movable else run

    def _again(self, active: _Active, now: datetime) -> QueuedJob:
        """The job of a run, as it would wait for its place."""
        job = self._queued(active.job, active.spec, {}, (), now)
        return replace(job, id=run_name(active.attempt), hold=None)

    def _look_at_moves(self, session: Session, now: datetime) -> None:
        """The moves that are under way, seen on the fleet of now."""
        known = self._there

        def job_named(id_: str) -> QueuedJob | None:
            waiting, active = known.waiting.get(job_of(id_)), known.active.get(id_)
            if active is not None:
                return self._again(active, now)
            return None if waiting is None else replace(waiting.job, id=id_)

        moving = () if self.state.restart_seconds is None else stored_moves(session, self.state.fleet, job_named)
        self.state.moves = {move.job.id: move for move in moving}

    def _waits(
        self, row: JobRow, spec: JobSpec, ended: Mapping[str, str], back_off: tuple[BackOff, ...], now: datetime
    ) -> list[QueuedJob]:
        """The job if it joins the engine's queue: it is not there yet, or not as it is now, and nothing holds it."""
        known = self._there
        job = self._queued(row, spec, ended, back_off, now)
        job = replace(job, hold=job.hold or known.budgets.hold(known.registry, row, spec, job, now))
        before = known.waiting.get(row.id)
        if before is not None and before.job == job and self.state.run_of(row.id) is None:
            return []
        self._leave(row.id)
        known.waiting[row.id] = _Waiting(job, _noted(row))
        self._joins(row, spec)
        return [job] if job.hold is None else []

    def _queued(
        self, row: JobRow, spec: JobSpec, ended: Mapping[str, str], back_off: tuple[BackOff, ...], now: datetime
    ) -> QueuedJob:
        known = self._there
        job = queued_job(known.registry, row.id, row.tenant_id, row.submitted_at, spec, ended, now)
        return replace(job, shapes=known.shapes.setdefault(job.shapes, job.shapes), back_off=back_off)

    def _joins(self, row: JobRow, spec: JobSpec) -> None:
        """A job waits from now on, or for something else than before."""
        known = self._there
        known.unnoted.add(row.id)
        known.terms.add(Terms.of(row.tenant_id, spec))
        for other in spec.depends_on:
            known.dependents[other].add(row.id)

    def _leave(self, id_: str) -> None:
        """A job neither waits nor holds anything any more, as far as the engine is concerned."""
        known = self._there
        before = known.waiting.pop(id_, None)
        known.active.pop(id_, None)
        known.granted.discard(id_)
        if self.state.run_of(id_) is not None:
            self.state.end(id_)
        elif before is not None and before.job.hold is None:
            self.state.withdraw(before.job)

    def _move(self, session: Session, now: datetime) -> None:
        """The fleet, or what the operator has declared, is another: the queue stays as it is, and the runs are seen anew."""
        known = self._there
        queues = known.registry.queues
        self.state.move_to(
            fleet=self._nodes.fleet,
            quotas=Quotas.of(queues),
            weights={queue.name: queue.weight for queue in queues},
            backfill=Backfill(known.registry.scheduling.backfill),
        )
        self.state.restart_seconds = known.registry.scheduling.restart_seconds
        for active in known.active.values():
            self.state.hold(self._seen(active, now))
        self._look_at_moves(session, now)
        self._reprice(session, now)

    def _reprice(self, session: Session, now: datetime) -> None:
        known = self._there
        known.priced_at = now
        self.state.reprice(prices(known.registry, self.state.fleet, known.terms, now))
        self.state.usage = replace(self.state.usage, past=past_use(session, known.registry, now))

    def _price_newcomers(self, now: datetime) -> None:
        """Terms that nobody had before get their prices at once."""
        known, offered = self._there, self.state.prices or {}
        priced = {terms for terms, _, _ in offered}
        new = [terms for terms in known.terms if terms.key() not in priced]
        if new:
            self.state.reprice({**offered, **prices(known.registry, self.state.fleet, new, now)})

    def _look_at_clusters(self) -> None:
        """What is known of the ways between clusters, and how many grants each has yet to take up."""
        known, state = self._there, self.state
        granted = Counter(known.active[job].attempt.cluster_id for job in known.granted)
        state.links = {way: link.mbps for way, link in known.registry.links.items()}
        state.throughput = self._catalogue.throughput_gflops()
        state.in_flight = {each.id: InFlight(granted[each.id], each.max_in_flight) for each in known.registry.clusters.values()}

    def _look_at_checkpoints(self, session: Session, now: datetime) -> None:
        known = self._there
        known.checked_at = now
        row = AttemptRow
        saved = row.state.in_(ATTEMPT_ACTIVE), row.checkpoint_at.is_not(None)
        for job, task, checkpoint_at in session.execute(select(row.job_id, row.task, row.checkpoint_at).where(*saved)):
            active = known.active.get(job if task is None else task_name(job, task))
            if active is not None and active.attempt.checkpoint_at != checkpoint_at:
                active.attempt.checkpoint_at = checkpoint_at
                self._runs(active, now)

    def _look_at_windows(self, session: Session, now: datetime) -> None:
        windows = load_windows(session, self.state.fleet, now)
        if windows != self.state.windows:
            self.state.set_windows(windows, to_micros(now))
            for active in list(self._there.active.values()):  # a window that was cancelled ends nobody's run any more
                self._runs(active, now)


def _noted(row: JobRow) -> Verdict | None:
    """The verdict that the store has."""
    return Verdict("never" if row.verdict == "never" else "wait", tuple(map(from_json, row.reasons))) if row.verdict else None


def _tasks(array: QueuedJob, ranges: Iterable[range]) -> list[QueuedJob]:
    """Some tasks of an array, each range as one."""
    return [replace(array, id=task_name(array.id, each.start), tasks=len(each)) for each in ranges]
