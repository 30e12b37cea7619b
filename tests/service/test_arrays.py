"""A job of many tasks: one row, one line in the queue, and an attempt for each task that starts."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import event, func, select

from scheduler.domain.states import AttemptState, JobState
from scheduler.domain.tasks import MAX_TASKS
from scheduler.engine import cycle as rounds
from scheduler.engine.decide import decide
from scheduler.engine.order import QueuedJob
from scheduler.engine.round import Round
from scheduler.engine.snapshot import Verdict
from scheduler.service.answers import answer_job
from scheduler.service.lifecycle import NotWaitingError, start_attempt
from scheduler.service.moments import Moments
from scheduler.service.tasks import minus
from scheduler.store.database import CITY, Database
from scheduler.store.tables import AttemptRow, Base, JobRow, TaskRow
from tests.builders import add_job
from tests.service.town import Town, books

J, A = JobState, AttemptState
EIGHT: dict[str, Any] = {"models": ["910B3"], "nodes": 1, "per_node": 8}


def start(town: Town, job: str) -> None:
    """What is granted to it runs."""
    for _ in range(4):
        town.tick()
    assert town.running(job)


def counts(town: Town, job: str) -> dict[str, int]:
    return dict(town.job(job).tasks or {})


def tasks(town: Town, job: str) -> list[TaskRow]:
    with town.database.read(CITY) as session:
        return list(session.scalars(select(TaskRow).where(TaskRow.job_id == job).order_by(TaskRow.index)))


@pytest.mark.processes
def test_every_task_has_an_attempt_of_its_own_and_the_array_succeeds_when_all_have(town: Town) -> None:
    job = town.submit(array={"size": 3}, hardware=EIGHT, contract="C-1")
    assert (town.state(job), counts(town, job)) == (J.QUEUED, {"queued": 3})
    start(town, job)
    assert (town.state(job), counts(town, job), town.reason(job)) == (J.RUNNING, {"running": 2, "queued": 1}, "waiting_for_cards")
    assert [(each.task, each.number, each.tries) for each in town.attempts(job)] == [(0, 1, 1), (1, 2, 1)]
    town.finish(job, task=1)
    start(town, job)
    assert counts(town, job) == {"running": 2, "succeeded": 1}
    town.finish(job, task=0)
    town.finish(job, task=2)
    town.tick(seconds=3600)
    town.turn()
    assert (town.state(job), town.reason(job), counts(town, job)) == (J.SUCCEEDED, "array_succeeded", {"succeeded": 3})
    assert town.events(job, task=2) == ["granted", "taken_up", "started", "succeeded"]
    assert town.events(job)[-1] == "array_succeeded"
    ledger = books(town.database)
    assert all(ledger.identities().values())
    assert ledger.jobs[job].voucher_micros > 0


@pytest.mark.processes
def test_a_task_is_retried_for_itself_and_one_that_fails_leaves_the_others_alone(town: Town) -> None:
    job = town.submit(array={"size": 2}, hardware=EIGHT, retries={"failed": 1})
    start(town, job)
    town.finish(job, task=0, exit_code=1)
    start(town, job)
    assert [(each.task, each.number, each.tries) for each in town.attempts(job)] == [(0, 1, 1), (1, 2, 1), (0, 3, 2)]
    town.finish(job, task=0, exit_code=1)
    town.tick()
    assert (town.state(job), counts(town, job)) == (J.RUNNING, {"failed": 1, "running": 1})
    assert [(each.failures, each.tries, each.attempt) for each in tasks(town, job)] == [(2, 2, 3), (0, 1, 2)]
    town.finish(job, task=1)
    town.tick()
    town.turn()
    assert (town.state(job), town.reason(job)) == (J.FAILED, "array_failed")
    assert town.events(job, task=0)[-2:] == ["exit_code", "retries_exhausted"]


@pytest.mark.processes
def test_cancelling_ends_those_that_wait_at_once_and_stops_those_that_run(town: Town) -> None:
    job = town.submit(array={"size": 50}, hardware=EIGHT)
    start(town, job)
    town.cancel(job)
    assert (town.state(job), counts(town, job)) == (J.RUNNING, {"running": 2, "cancelled": 48})
    for _ in range(3):
        town.tick()
    assert (town.state(job), town.reason(job), counts(town, job)) == (J.CANCELLED, "cancelled", {"cancelled": 50})
    assert [each.state for each in town.attempts(job)] == [A.CANCELLED, A.CANCELLED]
    assert len(tasks(town, job)) == 2


@pytest.mark.processes
def test_an_array_that_only_waits_is_cancelled_at_once(town: Town) -> None:
    job = town.submit(array={"size": 50}, hardware={"models": ["910B3"], "nodes": 3, "per_node": 8})
    town.tick()
    assert (town.job(job).verdict, town.reason(job)) == ("never", "never_larger_than_cluster")
    town.cancel(job)
    town.tick()
    assert (town.state(job), counts(town, job), tasks(town, job)) == (J.CANCELLED, {"cancelled": 50}, [])


@pytest.mark.processes
def test_no_more_tasks_run_at_a_time_than_was_asked(town: Town) -> None:
    job = town.submit(array={"size": 5, "parallelism": 3}, hardware={"models": ["910B3"], "per_node": 1})
    start(town, job)
    assert (town.running(job), town.reason(job)) == ([0, 1, 2], "waiting_for_parallelism")
    town.finish(job, task=1)
    start(town, job)
    assert town.running(job) == [0, 2, 3]
    assert town.events(job).count("waiting_for_parallelism") == 1, "its history is not filled with what does not change"


@pytest.mark.processes
def test_what_depends_on_an_array_waits_for_all_of_it(town: Town) -> None:
    first = town.submit(array={"size": 2}, hardware={"models": ["910B3"], "per_node": 1})
    second = town.submit(array={"size": 2}, hardware={"models": ["910B3"], "per_node": 1}, depends_on=[first])
    start(town, first)
    town.finish(first, task=0)
    town.tick()
    assert (town.state(second), town.reason(second)) == (J.HELD, "waiting_for_dependency")
    town.finish(first, task=1)
    town.tick()
    town.tick()
    assert (town.state(first), town.state(second)) == (J.SUCCEEDED, J.GRANTED)


@pytest.mark.processes
def test_an_array_whose_dependency_failed_ends_whole(town: Town) -> None:
    first = town.submit()
    second = town.submit(array={"size": 7}, depends_on=[first])
    town.cancel(first)
    town.tick()
    town.tick()
    assert (town.state(second), town.reason(second), counts(town, second)) == (J.FAILED, "dependency_failed", {"failed": 7})


@pytest.mark.processes
def test_preempted_tasks_come_back_before_those_that_never_began(town: Town) -> None:
    job = town.submit(array={"size": 9}, hardware=EIGHT, priority="low", preemptible=True)
    start(town, job)
    urgent = town.submit(hardware=EIGHT, priority="high")
    for _ in range(6):
        town.tick()
    assert town.state(urgent) == J.RUNNING
    [back] = [each.index for each in tasks(town, job) if each.state == J.QUEUED]
    assert counts(town, job) == {"running": 1, "queued": 8}
    town.finish(urgent)
    start(town, job)
    assert [(each.index, each.state) for each in tasks(town, job)] == [(0, J.RUNNING), (1, J.RUNNING)]
    assert tasks(town, job)[back].tries == 2


@pytest.mark.processes
def test_an_array_is_unreachable_with_all_that_runs_of_it_and_comes_back(town: Town) -> None:
    job = town.submit(array={"size": 2}, hardware=EIGHT)
    start(town, job)
    town.silent.add("sz")
    town.tick(seconds=40)
    assert (town.state(job), counts(town, job)) == (J.UNREACHABLE, {"unreachable": 2})
    town.silent.clear()
    town.tick()
    assert (town.state(job), counts(town, job)) == (J.RUNNING, {"running": 2})


@pytest.mark.processes
def test_a_new_leader_goes_on_where_the_last_one_was(town: Town) -> None:
    job = town.submit(array={"size": 40, "parallelism": 20}, hardware={"models": ["910B3"], "per_node": 1})
    start(town, job)
    town.dispatcher._mirror.forget()
    town.finish(job, task=5)
    start(town, job)
    assert sorted(each for each in town.running(job) if each is not None) == [0, 1, 2, 3, 4, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16]


@pytest.mark.processes
def test_an_array_is_explained_by_the_first_of_its_tasks_that_waits(town: Town) -> None:
    """And what all of it costs is said, not what one task does."""
    one = town.submit(hardware={"models": ["910B3"], "per_node": 1}, max_runtime="1h")
    job = town.submit(array={"size": 100}, hardware={"models": ["910B3"], "per_node": 1}, max_runtime="1h")
    start(town, job)
    moment = Moments().look(town.database, town.live.heard_at(), town.now)
    with town.database.read(CITY) as session:
        found = answer_job(session, moment, session.get_one(JobRow, job), town.now)
        single = answer_job(session, moment, session.get_one(JobRow, one), town.now)
    assert (found.answer.verdict, found.answer.position.ahead) == ("wait", 0)
    assert found.options[0].whole_run.contracted == pytest.approx(100 * single.options[0].whole_run.contracted, abs=100)


def work(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Who is decided about from now on."""
    decided: list[str] = []

    def counted(round_: Round, each: QueuedJob) -> Verdict | None:
        decided.append(each.id)
        return decide(round_, each)

    monkeypatch.setattr(rounds, "decide", counted)
    return decided


@contextmanager
def statements(database: Database) -> Iterator[list[str]]:
    """What is asked of the database, except that a run was heard of again, which is noted by time."""
    told: list[str] = []

    def note(_connection: object, _cursor: object, statement: str, *_rest: object) -> None:
        if not statement.startswith("UPDATE attempts SET observed_at="):
            told.append(statement)

    event.listen(database.engine, "before_cursor_execute", note)
    try:
        yield told
    finally:
        event.remove(database.engine, "before_cursor_execute", note)


@pytest.mark.processes
def test_a_hundred_thousand_tasks_cost_what_a_few_do(town: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work is counted: statements, rows, decisions, entries in the queue. Fifteen cards are taken by whoever starts."""
    town.submit(hardware={"models": ["910B3"], "per_node": 1})
    town.tick()
    decided, taken = work(monkeypatch), []
    for size in (20, MAX_TASKS):
        with statements(town.database) as submitting:
            job = town.submit(array={"size": size}, hardware={"models": ["910B3"], "per_node": 1})
        rows = _rows(town.database)
        decided.clear()
        with statements(town.database) as turning:
            town.tick()
        backlog = town.dispatcher._mirror.state.backlog
        assert len(town.attempts(job)) == 15
        assert [len(line.jobs) - int(backlog._next[number]) for number, line in enumerate(backlog.lines)] == [1]
        taken.append((len(submitting), rows["jobs"], rows["tasks"], len(turning), len(decided)))
        town.cancel(job)
        for _ in range(4):
            town.tick()
        assert town.state(job) == J.CANCELLED
    (few, many) = taken
    assert (few[0], few[3:]) == (many[0], many[3:])
    assert many[1] - few[1] == 1
    assert (few[2], many[2]) == (0, 15), "the tasks of the first one that began"


def _rows(database: Database) -> dict[str, int]:
    with database.read(CITY) as session:
        tables = [table for table in Base.metadata.sorted_tables if table.name in ("jobs", "tasks")]
        return {table.name: session.scalar(select(func.count()).select_from(table)) or 0 for table in tables}


@pytest.mark.parametrize(
    ("ranges", "others", "left"),
    [
        ([range(9)], [], [range(9)]),
        ([range(9)], [range(9)], []),
        ([range(9)], [range(2, 4), range(6, 12)], [range(2), range(4, 6)]),
        ([range(3), range(5, 9)], [range(1, 6)], [range(1), range(6, 9)]),
        ([range(2), range(4, 6)], [range(2, 4)], [range(2), range(4, 6)]),
    ],
)
def test_ranges_are_told_apart(ranges: list[range], others: list[range], left: list[range]) -> None:
    assert minus(ranges, others) == left


def test_a_task_cannot_begin_before_those_before_it(city: Database) -> None:
    """A grant that does not fit what the store has is refused, whatever made it."""
    with city.write(CITY) as session:
        job = add_job(session, array={"size": 3})
        with pytest.raises(NotWaitingError):
            start_attempt(session, job, 1, [])
        assert start_attempt(session, job, 0, []) is not None
        with pytest.raises(NotWaitingError):
            start_attempt(session, job, 0, [])
        with pytest.raises(NotWaitingError):
            start_attempt(session, job, None, [])
        assert (job.attempts, job.tasks) == (1, {"queued": 2, "granted": 1})
        assert session.scalars(select(AttemptRow)).all() == []
