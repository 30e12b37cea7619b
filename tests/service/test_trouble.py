"""The real agent and the real city over whatever may befall them: nothing runs twice, no job is lost, nothing unused is charged.

The agent's loop (`agents.cluster.agent`) speaks to the store as the API does; between the two messages get lost, either side is
restarted, the token is revoked, a second agent speaks, the cluster is cut off or its clock is wrong. The cluster is in memory and
knows the truth: when which program really ran.
"""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.cluster.agent import Agent
from agents.cluster.launcher import LauncherUnavailableError, LogPiece
from agents.cluster.reconcile import RunKey
from agents.cluster.watch import Watch
from agents.terms import CityRefusedError, CityUnavailableError
from scheduler.contract.inventory import NodeReport, ReportAccepted
from scheduler.contract.sync import (
    DesiredRun,
    LogChunks,
    LogPositions,
    ObservedRun,
    RunState,
    SyncRequest,
    SyncResponse,
    Watched,
)
from scheduler.domain.states import JOB_FINAL, JobState
from scheduler.service.logs import append
from scheduler.service.sync import ClusterTakenError, desired, observe, revision_of, revisions
from scheduler.store.database import Database, Scope
from scheduler.store.live import Live
from scheduler.store.tables import ClusterRow
from tests.builders import city_database
from tests.service.town import Town, books
from tests.store.databases import fresh_database, in_a_hurry, valkey

pytestmark = pytest.mark.processes

SECONDS = 30
"""How long a program runs."""
GRACE_SECONDS = 12
"""How long one that ignores SIGTERM goes on."""


@dataclass
class Program:
    """One run as it really is: when it began and when it was over, on the true clock."""

    job: str
    began: datetime
    stop_at: datetime | None = None
    seconds: int = SECONDS

    def over_at(self) -> datetime:
        end = self.began + timedelta(seconds=self.seconds)
        return end if self.stop_at is None else min(end, self.stop_at)


@dataclass
class Cluster:
    """A cluster in memory. `skew`: how far its clock is ahead. `stubborn`: its programs ignore SIGTERM."""

    town: Town
    skew: timedelta = timedelta()
    stubborn: bool = False
    silent: bool = False
    programs: dict[RunKey, Program] = field(default_factory=dict)
    forgotten: set[RunKey] = field(default_factory=set)

    def alive(self) -> list[tuple[RunKey, Program]]:
        return [(key, each) for key, each in self.programs.items() if each.over_at() > self.town.now]

    def observe(self) -> list[ObservedRun]:
        if self.silent:
            raise LauncherUnavailableError("the cluster does not answer")
        return [self._observed(key, each) for key, each in self.programs.items() if key not in self.forgotten]

    def _observed(self, key: RunKey, program: Program) -> ObservedRun:
        over_at = program.over_at()
        over = over_at <= self.town.now
        stopped = over and over_at < program.began + timedelta(seconds=program.seconds)
        state = RunState.RUNNING if not over else RunState.STOPPED if stopped else RunState.SUCCEEDED
        return ObservedRun(
            attempt=key[0],
            fencing_token=key[1],
            state=state,
            started_at=program.began + self.skew,
            finished_at=over_at + self.skew if over else None,
            exit_code=0 if state is RunState.SUCCEEDED else None,
        )

    def launch(self, run: DesiredRun) -> None:
        if self.silent:
            raise LauncherUnavailableError("the cluster does not answer")
        self.programs.setdefault((run.attempt, run.fencing_token), Program(run.job, self.town.now))

    def stop(self, attempt: str, token: int) -> None:
        program = self.programs.get((attempt, token))
        if program is not None and program.stop_at is None:
            program.stop_at = self.town.now + timedelta(seconds=GRACE_SECONDS if self.stubborn else 0)

    def forget(self, attempt: str, token: int) -> None:
        assert self.programs[attempt, token].over_at() <= self.town.now
        self.forgotten.add((attempt, token))

    def read_log(self, attempt: str, token: int, rank: int, offset: int, max_bytes: int) -> LogPiece:
        return LogPiece(offset)

    def close(self) -> None:
        pass


@dataclass
class Api:
    """The city as the agent's HTTP client shows it. `fault`: what befalls the next syncs."""

    town: Town
    fault: str = ""

    def sync(self, cluster: str, request: SyncRequest) -> SyncResponse:
        if self.fault in ("down", "busy"):
            raise CityUnavailableError("no answer", 7 if self.fault == "busy" else None)
        if self.fault == "revoked":
            raise CityRefusedError(401, "unauthenticated", "send a valid bearer token")
        try:
            with self.town.database.write(Scope(cluster=cluster)) as session:
                row = session.get_one(ClusterRow, cluster)
                observe(session, row, request, self.town.now)
                session.flush()
                revision = revisions(session, [cluster])[cluster]
                runs = None if request.revision == revision else desired(session, row)
        except ClusterTakenError as taken:
            raise CityRefusedError(409, "cluster_taken", str(taken)) from taken
        assert runs is None or revision_of(runs) == revision
        if self.fault == "answer_lost":
            raise CityUnavailableError("timed out")
        return SyncResponse(desired=runs, revision=revision, next_sync_milliseconds=5000)

    def watch(self, cluster: str, revision: str, wait_seconds: int) -> Watched:
        raise NotImplementedError

    def report(self, report: NodeReport) -> ReportAccepted:
        raise NotImplementedError

    def append_logs(self, cluster: str, chunks: LogChunks) -> LogPositions:
        if self.fault:
            raise CityUnavailableError("no answer")
        with self.town.database.write(Scope(cluster=cluster)) as session:
            return LogPositions(positions=append(session, chunks.chunks))


class Scene:
    """A town with the real agent for `sz`, on the true clock of the town."""

    def __init__(self, database: Database) -> None:
        self.town = Town(database, Live(valkey()))
        self.town.agents.pop("sz")
        self.api = Api(self.town)
        self.cluster = Cluster(self.town)
        self.began = self.town.now
        self.start_agent()

    def start_agent(self, name: str = "first") -> None:
        rng = random.Random(1)
        watch = Watch(self.api, "sz", Event(), rng)
        self.agent = Agent(self.api, self.cluster, watch, cluster="sz", name=name, clock=self.town.clock, rng=rng)
        self.due = self.town.now

    def step(self, seconds: int) -> None:
        """So many seconds, one at a time: a turn of the dispatcher, the agent's round when it is due, and a look at the truth."""
        for _ in range(seconds):
            self.town.tick()
            if self.town.now >= self.due:
                wait = self.agent.round((self.town.now - self.began).total_seconds())
                self.due = self.town.now + timedelta(seconds=wait)
            self.look()

    def look(self) -> None:
        """No gang runs twice in the cluster, whatever its attempt or token."""
        jobs = [program.job for _, program in self.cluster.alive()]
        assert len(jobs) == len(set(jobs)), self.cluster.alive()

    def settle(self, job: str) -> JobState:
        """Everything answers again; what becomes of a job."""
        self.api.fault, self.cluster.silent = "", False
        for _ in range(12):
            self.step(25)
            if self.town.state(job) in JOB_FINAL:
                break
        self.step(5)
        return self.town.state(job)

    def check_charged(self, job: str) -> None:
        """What was charged is of time in which a program of the job really ran, and in which it was the city's run."""
        charged = books(self.town.database).jobs
        cards = 8
        ran = {key[0]: (each.over_at() - each.began).total_seconds() for key, each in self.cluster.programs.items()}
        used = sum(ran.get(attempt.id, 0) for attempt in self.town.attempts(job))
        card_seconds = charged[job].card_seconds if job in charged else 0
        assert card_seconds <= used * cards


@contextmanager
def scene() -> Iterator[Scene]:
    valkey().flushall()
    with TemporaryDirectory() as folder, fresh_database("sqlite", Path(folder)) as database:
        yield Scene(city_database(in_a_hurry(database)))


TROUBLES = (
    "down",
    "busy",
    "answer_lost",
    "revoked",
    "silent_cluster",
    "agent_restarts",
    "city_restarts",
    "second_agent",
    "nothing",
)


def befall(at: Scene, trouble: str, seconds: int) -> None:
    match trouble:
        case "silent_cluster":
            at.cluster.silent = True
            at.step(seconds)
            at.cluster.silent = False
        case "agent_restarts":
            at.start_agent()
            at.step(seconds)
        case "city_restarts":
            at.town.dispatcher = at.town.new_dispatcher()
            at.step(seconds)
        case "second_agent":
            first, due = at.agent, at.due
            at.start_agent("second")
            at.step(seconds)
            at.agent, at.due = first, due
        case "nothing":
            at.step(seconds)
        case fault:
            at.api.fault = fault
            at.step(seconds)
            at.api.fault = ""


STEPS = st.lists(st.tuples(st.sampled_from(TROUBLES), st.sampled_from((1, 3, 10, 40))), max_size=6)


@settings(max_examples=12, deadline=None)
@given(STEPS, st.booleans(), st.sampled_from((0, -7200, 7200)), st.booleans())
def test_nothing_runs_twice_no_job_is_lost_and_nothing_unused_is_charged(
    steps: list[tuple[str, int]], stubborn: bool, skew_seconds: int, cancelled: bool
) -> None:
    with scene() as at:
        at.cluster.stubborn, at.cluster.skew = stubborn, timedelta(seconds=skew_seconds)
        job = at.town.submit(hardware={"models": ["910B3"], "nodes": 1, "per_node": 8}, retries={"node_lost": 10})
        for number, (trouble, seconds) in enumerate(steps):
            befall(at, trouble, seconds)
            if cancelled and number == 2:
                at.town.cancel(job)
        expected = {JobState.SUCCEEDED} | ({JobState.CANCELLED} if cancelled and len(steps) > 2 else set())
        assert at.settle(job) in expected
        at.check_charged(job)


def test_a_cluster_that_comes_back_stops_the_old_run_before_it_starts_the_new_one() -> None:
    """Cut off for longer than the city waits: the gang is granted anew, the old one has an old token and ignores SIGTERM."""
    with scene() as at:
        at.cluster.stubborn = True
        job = at.town.submit(hardware={"models": ["910B3"], "nodes": 1, "per_node": 8}, max_runtime="1h")
        at.step(5)
        [(key, program)] = at.cluster.alive()
        program.seconds = 3600  # it is alive when the cluster is back
        at.api.fault = "down"
        for _ in range(11):
            at.town.now += timedelta(seconds=60)
            at.town.hear()
            at.town.sync()
            at.town.turn()
        assert "cluster_lost" in at.town.events(job)
        at.api.fault = ""
        at.due = at.town.now
        at.step(40)
        tokens = sorted(token for _, token in at.cluster.programs)
        assert len(tokens) == 2
        new = next(each for other, each in at.cluster.programs.items() if other != key)
        assert program.stop_at is not None
        assert new.began >= program.stop_at
        at.check_charged(job)


@pytest.mark.parametrize("trouble", ["down", "revoked", "silent_cluster"])
def test_a_cut_off_cluster_is_charged_no_second_after_it_was_heard_last(trouble: str) -> None:
    """Nobody knows what became of the run: no time after its last observation is charged, and of what is, all of it is lost."""
    with scene() as at:
        job = at.town.submit(hardware={"models": ["910B3"], "nodes": 1, "per_node": 8}, retries={"node_lost": 0})
        at.step(8)
        heard = at.town.now
        befall(at, trouble, 1)
        at.cluster.silent, at.api.fault = trouble == "silent_cluster", "" if trouble == "silent_cluster" else trouble
        for _ in range(12):
            at.town.now += timedelta(seconds=60)
            at.town.hear()
            at.town.sync()
            at.town.turn()
        assert at.town.state(job) == JobState.FAILED
        [attempt] = at.town.attempts(job)
        assert attempt.finished_at is not None
        assert attempt.finished_at <= heard + timedelta(seconds=1)
        assert books(at.town.database).jobs[job].card_seconds == 0, "the work since its last checkpoint is lost"
