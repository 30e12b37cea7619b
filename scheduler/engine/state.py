"""A network, its queue and its runs kept from round to round, so that a round costs what has changed and not what there is.

Whoever got nothing sleeps until something happens that could help (`sleep`); the decisions are those that `cycle` would have taken
on the whole of it.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from heapq import heappop, heappush

from scheduler.engine.backlog import Backlog
from scheduler.engine.cycle import Served, serve
from scheduler.engine.drain import ending_by
from scheduler.engine.fleet import Fleet
from scheduler.engine.order import QueuedJob, Usage, held
from scheduler.engine.packing import Packing
from scheduler.engine.quota import Quotas
from scheduler.engine.runs import Runs
from scheduler.engine.sleep import Sleep
from scheduler.engine.snapshot import FOREVER, ActiveRun, Backfill, InFlight, Move, Prices, Snapshot, Verdict
from scheduler.engine.staging import Links
from scheduler.engine.window import Window


class State:
    """One city in memory. Everything that happens to it goes through a method; `round` then decides, and what it grants runs."""

    def __init__(
        self,
        fleet: Fleet,
        prices: Prices | None = None,
        quotas: Quotas | None = None,
        weights: Mapping[str, int] | None = None,
        backfill: Backfill = Backfill.EASY,
        restart_seconds: int | None = None,
    ) -> None:
        self.fleet = fleet
        self.free = fleet.all_free()
        self.usage = Usage.none(fleet)
        self.backlog = Backlog()
        self.runs = Runs()
        self.prices = prices
        self.quotas = quotas or Quotas.of(())
        self.weights = weights or {}
        self.backfill = backfill
        self.restart_seconds = restart_seconds
        """As `Snapshot.restart_seconds`: None where nothing is moved."""
        self.moves: dict[str, Move] = {}
        """By job: the moves that have not come to their end."""
        self.packing: Packing | None = None
        """The demand that nodes are chosen by; may be set anew at any time."""
        self.links: Links = {}
        self.throughput: Mapping[str, int] = {}
        self.in_flight: Mapping[str, InFlight] = {}
        """What clusters have not taken up yet; may be set anew before any round, as links and throughput may."""
        self.windows: tuple[Window, ...] = ()
        self._protected: list[tuple[int, int]] = []
        """Until when a run is protected, and in which cluster: a heap."""
        self._looked_at = FOREVER
        """When the last round was."""
        self._run_of: dict[str, ActiveRun] = {}
        self._waits_for_release: dict[str, Verdict] = {}
        self._sleep = Sleep(fleet, self.backlog)

    @classmethod
    def of(cls, snapshot: Snapshot) -> "State":
        """A state to go on with from a moment, which is left as it is. Jobs that are held do not join."""
        state = cls(snapshot.fleet, snapshot.prices, snapshot.quotas.copy(), snapshot.weights, snapshot.backfill)
        state.restart_seconds, state.moves = snapshot.restart_seconds, {move.job.id: move for move in snapshot.moves}
        state.free, state.usage, state.runs = snapshot.free.copy(), snapshot.usage.copy(), Runs.of(snapshot.runs)
        state.packing, state.windows = snapshot.packing, tuple(snapshot.windows)
        state.links, state.throughput, state.in_flight = snapshot.links, snapshot.throughput, snapshot.in_flight
        for run in state.runs:
            state._enter(run)
        state.submit(job for job in snapshot.queue if job.hold is None)
        return state

    def submit(self, jobs: Iterable[QueuedJob]) -> None:
        """Let jobs join the queue. A line that sleeps goes on sleeping: who joins it asks for the same. The job of a run that was
        moved joins when its run ends, before the next round; it may have come to ask for something else since."""
        jobs = list(jobs)
        self._sleep.begin(self.backlog.put(jobs), self.quotas)
        for job in jobs if self.moves else ():
            if job.id in self.moves:
                self.moves[job.id] = replace(self.moves[job.id], job=job)

    def withdraw(self, job: QueuedJob) -> Verdict | None:
        """A job leaves the queue without a place. Returns why it had none; None before its first round."""
        number = self.backlog.remove(job)
        self._sleep.leave(number, job.id, self.quotas.cohort(job.queue))
        self._forget_move(job.id)
        return self._waits_for_release.pop(job.id, None) or self._sleep.verdict(number)

    def verdict(self, job: QueuedJob) -> Verdict | None:
        """Why a waiting job has no place; None before its first round."""
        return self._waits_for_release.get(job.id) or self._sleep.verdict(self.backlog.line_of(job))

    def run_of(self, job: str) -> ActiveRun | None:
        """What a job holds."""
        return self._run_of.get(job)

    def hold(self, run: ActiveRun) -> None:
        """A run holds its place from now on."""
        self.free.take(run.place.allocations)
        self.usage.add(run.tenant, run.place)
        self.quotas.use(run.queue, held(self.fleet, run.place))
        self.runs.add(run)
        self._enter(run)

    def change(self, run: ActiveRun) -> None:
        """Something about the run of a job is different from now on, but not what it holds or against whom it counts."""
        before = self._leave(run.job)
        self.runs.remove(before)
        self.runs.add(run)
        self._enter(run)
        if (run.releasing, run.preemptible) != (before.releasing, before.preemptible):
            self._sleep.touch(run.place.cluster)
        if not run.releasing:
            self._forget_move(run.job)

    def end(self, job: str) -> ActiveRun:
        """The run of a job has ended: what it held is free, and its queue may use it again."""
        run = self._leave(job)
        self.runs.remove(run)
        self.free.give(run.place.allocations)
        self.usage.add(run.tenant, run.place, sign=-1)
        self._sleep.touch(run.place.cluster)
        root = self.quotas.cohort(run.queue)
        if root is not None:
            self.quotas.use(run.queue, held(self.fleet, run.place), sign=-1)
            self._sleep.touch_cohort(root)
        return run

    def set_windows(self, windows: Iterable[Window], now: int) -> None:
        """These windows are in force from now on; what runs ends when one of them opens on it at the latest."""
        self.windows = tuple(windows)
        for run in list(self.runs.occupants()):
            ends = ending_by(self.windows, run, now)
            if ends != run:
                self.change(ends)
        self._sleep.wake_all(self.quotas)

    def move_to(self, fleet: Fleet, quotas: Quotas, weights: Mapping[str, int], backfill: Backfill) -> None:
        """The network, or what was declared about it, is another from now on. The queue stays; what runs, what is moved, and which
        windows are in force, must be told anew."""
        self.fleet, self.quotas, self.weights, self.backfill = fleet, quotas, weights, backfill
        self.free, self.usage, self.runs = fleet.all_free(), replace(Usage.none(fleet), past=self.usage.past), Runs()
        self.windows, self.moves = (), {}
        self._protected.clear()
        self._run_of.clear()
        self._waits_for_release = {}
        self._sleep = Sleep(fleet, self.backlog)
        self._sleep.wake_all(self.quotas)

    def reprice(self, prices: Prices) -> None:
        """Other prices from now on. Who found no price may find one."""
        before, self.prices = self.prices, prices
        if before is None or before.keys() != prices.keys():
            self._sleep.wake_all(self.quotas)

    def round(self, now: int) -> Served:
        """Serve whoever could be helped by what has changed since the last round."""
        if any(self._looked_at < moment <= now for each in self.windows for moment in (each.start, each.end)):
            self._sleep.wake_all(self.quotas)
        while self._protected and self._protected[0][0] <= now:
            self._sleep.touch(heappop(self._protected)[1])
        self._looked_at = now
        for job in [each for each, move in self.moves.items() if each not in self._run_of and not self.backlog.holds(move.job)]:
            self._forget_move(job)  # it ended before it was stopped
        self._sleep.lowest_preemptible = self.runs.lowest_preemptible()
        served = serve(self.snapshot(now), self.backlog, self._sleep)
        for grant in served.grants:
            self.free.take(grant.place.allocations)
        arrived = [grant.place.cluster for grant in served.grants if self.moves.pop(grant.job, None) is not None]
        self.moves |= {each.move.job.id: each.move for each in served.preemptions if each.move is not None}
        self.usage, self.quotas, self.runs = served.usage, served.quotas, served.runs
        self._waits_for_release = served.of_job
        for run in served.stopping:
            self._leave(run.job)
        for run in (*served.stopping, *served.started):
            self._enter(run)
        self._sleep.settle(served)
        for cluster in arrived:
            self._sleep.touch(cluster)  # nobody could have taken those places; from now on their runs may be stopped
        return served

    def snapshot(self, now: int) -> Snapshot:
        """Everything but the queue, which stands in the backlog."""
        return Snapshot(
            now=now,
            fleet=self.fleet,
            free=self.free,
            usage=self.usage,
            queue=(),
            runs=self.runs,
            prices=self.prices,
            weights=self.weights,
            backfill=self.backfill,
            quotas=self.quotas,
            packing=self.packing,
            windows=self.windows,
            restart_seconds=self.restart_seconds,
            moves=tuple(self.moves.values()),
            links=self.links,
            throughput=self.throughput,
            in_flight=self.in_flight,
            kept=self._sleep.kept,
        )

    def _forget_move(self, job: str) -> None:
        """What was kept for a moved job is for others."""
        move = self.moves.pop(job, None)
        if move is not None:
            self._sleep.touch(move.place.cluster)

    def _enter(self, run: ActiveRun) -> None:
        self._run_of[run.job] = run
        if run.protected_until:
            heappush(self._protected, (run.protected_until, run.place.cluster))
        if not (run.preemptible or run.releasing):
            self._sleep.reclaimable.take(run.place.allocations)

    def _leave(self, job: str) -> ActiveRun:
        run = self._run_of.pop(job)
        if not (run.preemptible or run.releasing):
            self._sleep.reclaimable.give(run.place.allocations)
        return run
