"""A town on virtual time: the real store, the real Valkey, the real dispatcher, and cluster agents that do as they are told.

`Town.tick` is one beat of everything: time passes, nodes report, agents sync, the dispatcher takes its turn.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from itertools import count
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from scheduler.billing.reconcile import Books
from scheduler.contract.sync import RUN_FINAL, DesiredRun, ObservedRun, RunState, SyncRequest
from scheduler.domain.states import AttemptState, JobState
from scheduler.engine.cycle import Served
from scheduler.service.dispatcher import Dispatcher, Pace
from scheduler.service.journal import stored
from scheduler.service.lifecycle import lock_job, request_cancel
from scheduler.service.sync import desired, observe
from scheduler.store.database import CITY, Database, Scope
from scheduler.store.live import Live
from scheduler.store.tables import AttemptRow, ClusterRow, CostRecordRow, JobCostRow, JobEventRow, JobRow, NodeRow
from tests.builders import NOW, add_job


class Crash(Exception):
    """The process died here."""


class Town:
    """One city with its own clock. Agents of `silent` clusters, and their nodes, say nothing."""

    def __init__(self, database: Database, live: Live, pace: Pace | None = None) -> None:
        self.database, self.live = database, live
        self.pace = pace or Pace()
        self.now = NOW
        self.silent: set[str] = set()
        self.agents = {cluster: Agent(cluster) for cluster in ("sz", "hz")}
        self._holders = count(1)
        self.dispatcher = self.new_dispatcher()
        self.hear()

    def clock(self) -> datetime:
        return self.now

    def new_dispatcher(self, database: Database | None = None) -> Dispatcher:
        return Dispatcher(database or self.database, self.live, f"dispatcher-{next(self._holders)}", self.pace, self.clock)

    def submit(self, tenant: str = "acme", **changes: Any) -> str:
        with self.database.write(Scope(tenant=tenant)) as session:
            return add_job(session, tenant, self.now, **changes).id

    def cancel(self, job: str) -> None:
        with self.database.write(CITY) as session:
            request_cancel(session, lock_job(session, job), self.now)

    def hear(self) -> None:
        """Every node that is not silent reports."""
        with self.database.read(CITY) as session:
            nodes = [(node.cluster_id, node.hostname) for node in session.scalars(select(NodeRow))]
        for node in nodes:
            if node[0] not in self.silent:
                self.live.heard(node, "boot", 1, {}, self.now)

    def sync(self) -> None:
        for cluster, agent in self.agents.items():
            if cluster not in self.silent:
                agent.sync(self.database, self.now)

    def turn(self) -> Served | None:
        return self.dispatcher.turn()

    def tick(self, seconds: float = 1) -> Served | None:
        self.now += timedelta(seconds=seconds)
        self.hear()
        self.sync()
        return self.turn()

    def finish(self, job: str, exit_code: int = 0, task: int | None = None) -> None:
        """The program of a running job, or of a task of an array, ends now."""
        attempt = [attempt for attempt in self.attempts(job) if task is None or attempt.task == task][-1]
        agent = self.agents[attempt.cluster_id]
        state = RunState.SUCCEEDED if exit_code == 0 else RunState.FAILED
        changes = {"state": state, "exit_code": exit_code, "finished_at": self.now}
        agent.runs[attempt.id] = agent.runs[attempt.id].model_copy(update=changes)

    def job(self, id_: str) -> JobRow:
        with self.database.read(CITY) as session:
            return session.get_one(JobRow, id_)

    def state(self, id_: str) -> JobState:
        return JobState(self.job(id_).state)

    def reason(self, id_: str) -> str:
        return str(self.job(id_).reasons[0]["code"])

    def attempts(self, job: str) -> list[AttemptRow]:
        with self.database.read(CITY) as session:
            return list(session.scalars(select(AttemptRow).where(AttemptRow.job_id == job).order_by(AttemptRow.number)))

    def events(self, job: str, task: int | None = None) -> list[str]:
        with self.database.read(CITY) as session:
            rows = session.scalars(select(JobEventRow).where(JobEventRow.job_id == job).order_by(JobEventRow.id))
            return [str(row.reason["code"]) for row in rows if task is None or row.task == task]

    def running(self, job: str) -> list[int | None]:
        """The tasks of an array that run and were not asked to stop, or `[None]` for a job that does."""
        attempts = self.attempts(job)
        return [each.task for each in attempts if each.state == AttemptState.RUNNING and each.stop_as is None]


class Agent:
    """A cluster's agent and its cluster: launches what is desired, and it runs from the next sync on until it is told to stop."""

    def __init__(self, cluster: str) -> None:
        self.cluster = cluster
        self.runs: dict[str, ObservedRun] = {}

    def sync(self, database: Database, now: datetime) -> None:
        wanted = {run.attempt: run for run in exchange(database, self.cluster, list(self.runs.values()), now)}
        self.runs = {attempt: run for attempt, run in self.runs.items() if attempt in wanted}
        for attempt, run in wanted.items():
            known = self.runs.get(attempt)
            if known is None:
                self.runs[attempt] = ObservedRun(attempt=attempt, fencing_token=run.fencing_token, state=RunState.STARTING)
            elif known.state not in RUN_FINAL:
                changes = {"state": RunState.RUNNING, "started_at": known.started_at or now}
                self.runs[attempt] = known.model_copy(update=changes)


def exchange(database: Database, cluster: str, observed: list[ObservedRun], now: datetime) -> list[DesiredRun]:
    """One sync as the API makes it."""
    with database.write(Scope(cluster=cluster)) as session:
        row = session.get_one(ClusterRow, cluster)
        observe(session, row, SyncRequest(agent="test", observed=observed), now)
        session.flush()
        return desired(session, row)


class Faulty(Database):
    """The same database seen by a process that dies at the `at`th of its write transactions, just before or after it commits."""

    def __init__(self, url: str, at: int, *, committed: bool) -> None:
        super().__init__(url)
        self.left = at
        self._committed = committed

    @contextmanager
    def write(self, scope: Scope) -> Iterator[Session]:
        self.left -= 1
        dying = self.left <= 0
        with super().write(scope) as session:
            yield session
            if dying and not self._committed:
                raise Crash
        if dying:
            raise Crash


def books(database: Database) -> Books:
    """What the ledger makes of everything posted, with the columns and the sums per job checked against the records."""
    taken = Books()
    with database.read(CITY) as session:
        rows = session.scalars(select(CostRecordRow).order_by(CostRecordRow.sequence)).all()
        assert taken.take_rows([stored(row) for row in rows]), taken.first_break
        for sums in session.scalars(select(JobCostRow)):
            job = taken.jobs[sums.job_id]
            assert (sums.card_seconds, sums.list_micros, sums.contracted_micros, sums.voucher_micros) == (
                job.card_seconds,
                job.list_micros,
                job.contracted_micros,
                job.voucher_micros,
            )
    return taken
