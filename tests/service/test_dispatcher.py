"""The dispatcher's turn, end to end on a tiny city with a real Valkey: from a submitted job to its cost record."""

from datetime import timedelta
from threading import Event, Thread
from typing import Any

import pytest
from sqlalchemy import select

from scheduler.contract.registry import QueueSpec
from scheduler.domain.states import AttemptState, JobState
from scheduler.engine.cycle import Served
from scheduler.engine.state import State
from scheduler.service.dispatcher import Pace
from scheduler.service.expiry import Patience
from scheduler.service.leadership import DeposedError
from scheduler.service.lifecycle import from_json, lock_job, request_cancel
from scheduler.store.database import CITY
from scheduler.store.tables import AttemptRow, ClusterRow, JobEventRow, NodeRow, QueueRow
from tests.service.town import Faulty, Town, books, exchange
from tests.store.databases import valkey

pytestmark = pytest.mark.processes
A, J = AttemptState, JobState
BIG: dict[str, Any] = {"hardware": {"models": ["910B3"], "nodes": 2, "per_node": 8}}


def test_a_job_goes_from_the_queue_to_its_cost_record(town: Town) -> None:
    job = town.submit(contract="C-1")
    town.tick()
    assert town.state(job) == J.GRANTED
    town.tick()
    town.tick()
    assert town.state(job) == J.STARTING
    town.tick()
    assert town.state(job) == J.RUNNING
    town.finish(job)
    town.tick(seconds=3600)
    town.turn()
    assert town.state(job) == J.SUCCEEDED
    [attempt] = town.attempts(job)
    assert (attempt.cluster_id, attempt.cards, attempt.contract_id, attempt.metered) == ("sz", 8, "C-1", True)
    assert town.events(job) == ["submitted", "granted", "taken_up", "started", "succeeded"]
    ledger = books(town.database)
    assert all(ledger.identities().values())
    assert ledger.jobs[job].voucher_micros > 0


def test_a_grant_is_no_older_than_its_job(town: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that is submitted after a turn has begun, and before it reads the queue."""
    refresh, jobs = town.dispatcher._mirror.refresh, []

    def late(*arguments: Any) -> None:
        town.now += timedelta(seconds=1)
        jobs.append(town.submit())
        refresh(*arguments)

    monkeypatch.setattr(town.dispatcher._mirror, "refresh", late)
    town.tick()
    [attempt] = town.attempts(jobs[0])
    assert attempt.granted_at >= town.job(jobs[0]).submitted_at


def test_fencing_tokens_only_grow(town: Town) -> None:
    jobs = [town.submit(hardware={"per_node": 1}) for _ in range(3)]
    town.tick()
    tokens = [town.attempts(job)[0].fencing_token for job in jobs]
    assert tokens == sorted(set(tokens))


def test_the_cheaper_place_after_the_voucher_is_taken(town: Town) -> None:
    job = town.submit(hardware={"per_node": 8})
    town.tick()
    assert town.attempts(job)[0].cluster_id == "sz"
    assert town.reason(job) == "placed_cheapest_net"
    with town.database.read(CITY) as session:
        granted = session.scalars(
            select(JobEventRow).where(JobEventRow.job_id == job).order_by(JobEventRow.id.desc()).limit(1)
        ).one()
    assert from_json(granted.reason).text("zh") == "授权给 sz:1 个节点 × 8 × 国产 910B3"


def test_a_job_that_does_not_fit_waits_with_its_reason_until_there_is_room(town: Town) -> None:
    first, second = town.submit(**BIG), town.submit(**BIG)
    town.tick()
    assert (town.state(first), town.state(second), town.reason(second)) == (J.GRANTED, J.QUEUED, "waiting_for_cards")
    assert town.job(second).verdict == "wait"
    for _ in range(3):
        town.tick()
    town.finish(first)
    town.tick()
    assert town.state(second) == J.GRANTED
    assert town.events(second) == ["submitted", "waiting_for_cards", "granted"]


def test_a_job_that_can_never_fit_says_so(town: Town) -> None:
    job = town.submit(hardware={"models": ["910B3"], "nodes": 3, "per_node": 8})
    town.tick()
    assert (town.state(job), town.job(job).verdict, town.reason(job)) == (J.QUEUED, "never", "never_larger_than_cluster")


def test_a_held_job_is_held_and_released_by_its_dependency(town: Town) -> None:
    first = town.submit(hardware={"per_node": 1})
    second = town.submit(hardware={"per_node": 1}, depends_on=[first])
    town.tick()
    assert (town.state(second), town.reason(second)) == (J.HELD, "waiting_for_dependency")
    for _ in range(3):
        town.tick()
    town.finish(first)
    town.tick()
    assert town.state(second) == J.GRANTED


def test_a_job_whose_dependency_failed_ends_and_so_do_those_behind_it(town: Town) -> None:
    first = town.submit()
    second = town.submit(depends_on=[first])
    third = town.submit(depends_on=[second])
    town.cancel(first)
    town.tick()
    town.tick()
    assert [(town.state(job), town.reason(job)) for job in (second, third)] == [(J.FAILED, "dependency_failed")] * 2


def test_a_job_cancelled_between_snapshot_and_commit_is_not_granted(town: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    job, other = town.submit(), town.submit(hardware={"per_node": 1})

    def cancel_meanwhile(state: State, now: int) -> Served:
        served = round_(state, now)
        town.cancel(job)
        return served

    round_ = State.round
    monkeypatch.setattr(State, "round", cancel_meanwhile)
    town.tick()
    assert (town.state(job), town.attempts(job)) == (J.CANCELLED, [])
    assert town.state(other) == J.GRANTED


def test_a_job_being_cancelled_while_its_verdict_is_noted_stays_cancelled(town: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    """The cancellation has locked the job but not committed yet when the dispatcher wants to note why it waits."""
    first = town.submit(hardware={"per_node": 1})
    job = town.submit(depends_on=[first])
    turns: list[Any] = []

    def decide_then(state: State, now: int) -> Served:
        served = round_(state, now)
        decided.set()
        go_on.wait(5)
        return served

    round_ = State.round
    decided, go_on = Event(), Event()
    monkeypatch.setattr(State, "round", decide_then)
    turning = Thread(target=lambda: turns.append(town.turn()))
    turning.start()
    decided.wait(5)
    with town.database.write(CITY) as session:
        request_cancel(session, lock_job(session, job), town.now)
        session.flush()
        go_on.set()
        turning.join(timeout=0.3)
    turning.join()
    assert (len(turns), town.state(job), town.reason(job)) == (1, J.CANCELLED, "cancelled")


def test_a_high_priority_job_preempts_and_the_other_comes_back(town: Town) -> None:
    low = town.submit(priority="low", preemptible=True, **BIG)
    for _ in range(4):
        town.tick()
    high = town.submit(priority="high", **BIG)
    town.tick()
    assert (town.state(high), town.reason(high)) == (J.QUEUED, "waiting_for_release")
    assert town.attempts(low)[0].stop_as == A.PREEMPTED
    for _ in range(2):
        town.tick()
    assert (town.state(high), town.state(low)) == (J.GRANTED, J.QUEUED)
    for _ in range(3):
        town.tick()
    town.finish(high)
    for _ in range(4):
        town.tick()
    town.finish(low)
    town.tick()
    town.turn()
    assert [attempt.state for attempt in town.attempts(low)] == [A.PREEMPTED, A.SUCCEEDED]
    assert {"stop_requested", "preempted"} <= set(town.events(low))
    assert town.attempts(low)[0].reason == {"code": "preempted", "numbers": {"priority": 75}}, "nobody learns whose job it was"
    assert all(books(town.database).identities().values())


def test_a_failing_program_is_retried_as_often_as_its_owner_allows(town: Town) -> None:
    job = town.submit(retries={"failed": 1})
    for _ in range(2):
        for _ in range(4):
            town.tick()
        town.finish(job, exit_code=3)
    town.tick()
    assert (town.state(job), town.reason(job), len(town.attempts(job))) == (J.FAILED, "retries_exhausted", 2)


def test_a_cluster_that_stays_silent_loses_its_jobs_to_another(town: Town) -> None:
    job = town.submit(hardware=[{"models": ["910B3"], "per_node": 8}, {"models": ["H800"], "per_node": 8}])
    for _ in range(4):
        town.tick()
    town.silent.add("sz")
    town.tick(seconds=31)
    assert town.state(job) == J.UNREACHABLE
    for _ in range(21):
        town.tick(seconds=30)
    first, second = town.attempts(job)
    assert (first.state, second.cluster_id) == (A.LOST, "hz")
    assert second.fencing_token > first.fencing_token
    town.silent.clear()
    town.tick()
    assert first.id not in town.agents["sz"].runs


def test_a_run_past_its_max_runtime_is_stopped(town: Town) -> None:
    job = town.submit(max_runtime="60s")
    for _ in range(4):
        town.tick()
    for _ in range(5):
        town.tick(seconds=25)
    assert (town.state(job), town.reason(job)) == (J.FAILED, "max_runtime_exceeded")


def test_a_flush_of_valkey_loses_no_job(town: Town) -> None:
    running = town.submit(hardware={"per_node": 1})
    for _ in range(4):
        town.tick()
    valkey().flushall()
    waiting = town.submit(hardware={"per_node": 1})
    town.turn()
    assert (town.state(running), town.state(waiting), town.reason(waiting)) == (J.RUNNING, J.QUEUED, "waiting_for_cluster")
    town.tick()
    assert town.state(waiting) == J.GRANTED


def test_a_second_dispatcher_waits_its_turn_and_takes_over(town: Town) -> None:
    town.turn()
    second = town.new_dispatcher()
    assert second.turn() is None
    town.now += timedelta(seconds=11)
    assert second.turn() is not None
    assert town.turn() is None


def test_a_leader_deposed_while_it_decides_commits_nothing(town: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    job = town.submit()

    def overtaken(state: State, now: int) -> Served:
        monkeypatch.setattr(State, "round", round_)
        town.now += timedelta(seconds=11)
        town.hear()
        town.new_dispatcher().turn()
        return round_(state, now)

    round_ = State.round
    monkeypatch.setattr(State, "round", overtaken)
    with pytest.raises(DeposedError):
        town.turn()
    assert len(town.attempts(job)) <= 1


def test_a_withdrawn_grant_goes_back_to_the_queue(town: Town) -> None:
    town.pace = Pace(patience=Patience(grant=timedelta(seconds=5)))
    town.dispatcher = town.new_dispatcher()
    job = town.submit()
    town.turn()
    town.agents["sz"].sync = lambda database, now: None  # type: ignore[method-assign] # its answers never arrive
    with town.database.write(CITY) as session:
        session.delete(session.get_one(NodeRow, ("sz", "s2")))
    for _ in range(6):
        town.tick()
    assert town.attempts(job)[0].state == A.LOST
    assert "grant_expired" in town.events(job)


def test_the_loop_ends_when_told_and_gives_the_lead_back(town: Town) -> None:
    town.pace = Pace(turn=timedelta(milliseconds=1))
    dispatcher, stop = town.new_dispatcher(), Event()
    job = town.submit()
    looping = Thread(target=dispatcher.run, args=(stop, lambda _: None))
    looping.start()
    for _ in range(200):
        if town.state(job) == J.GRANTED:
            break
        stop.wait(0.02)
    stop.set()
    looping.join(10)
    assert town.state(job) == J.GRANTED
    assert town.new_dispatcher().turn() is not None


def test_the_number_of_writes_of_a_turn_is_small(town: Town) -> None:
    """Crash tests walk through every write: this says how many there are."""
    counting = Faulty(town.database.url, at=1_000, committed=False)
    town.submit()
    town.new_dispatcher(counting).turn()
    assert 1_000 - counting.left <= 4
    counting.close()
    with town.database.read(CITY) as session:
        assert session.query(AttemptRow).count() == 1


def test_an_attempt_is_left_its_minimum_run_time_and_the_job_that_waits_is_told(town: Town) -> None:
    queue = QueueSpec(name="acme", min_runtime="10m")
    with town.database.write(CITY) as session:
        session.add(QueueRow(name="acme", body=queue.model_dump(mode="json"), created_at=town.now))
    low = town.submit(priority="low", preemptible=True, **BIG)
    for _ in range(4):
        town.tick()
    assert town.state(low) == J.RUNNING
    started = town.attempts(low)[0].started_at
    high = town.submit("uni", priority="high", **BIG)
    town.tick()
    assert [reason["code"] for reason in town.job(high).reasons] == ["waiting_for_cards", "held_by_min_runtime"]
    assert started is not None
    while town.now < started + timedelta(minutes=10):
        assert town.attempts(low)[0].stop_as is None
        town.tick(seconds=20)
    town.tick()
    assert (town.attempts(low)[0].stop_as, town.reason(high)) == (A.PREEMPTED, "waiting_for_release")


@pytest.mark.parametrize(
    ("reclaims", "stop_as", "code"), [(True, A.PREEMPTED, "waiting_for_release"), (False, None, "waiting_for_quota")]
)
def test_a_lender_takes_back_what_it_lent_unless_it_was_declared_not_to(
    town: Town, reclaims: bool, stop_as: AttemptState | None, code: str
) -> None:
    cards = {"model:910B3": 16}
    queues = [QueueSpec(name="city"), QueueSpec(name="uni", parent="city", nominal=cards, reclaims=reclaims)]
    with town.database.write(CITY) as session:
        for queue in (*queues, QueueSpec(name="acme", parent="city", nominal={"model:910B3": 0})):
            session.add(QueueRow(name=queue.name, body=queue.model_dump(mode="json"), created_at=town.now))
    borrower = town.submit(**BIG)
    for _ in range(4):
        town.tick()
    assert town.state(borrower) == J.RUNNING
    lender = town.submit("uni", **BIG)
    town.tick()
    assert (town.attempts(borrower)[0].stop_as, town.reason(lender)) == (stop_as, code)


def test_a_cluster_has_no_more_grants_in_flight_than_it_may(town: Town) -> None:
    """The next one goes there once its agent has said that it has the one before."""
    with town.database.write(CITY) as session:
        row = session.get_one(ClusterRow, "sz")
        row.body = {**row.body, "max_in_flight": 1}
    first, second = (town.submit(hardware={"models": ["910B3"], "per_node": 1}) for _ in range(2))
    town.turn()
    assert (town.state(first), town.state(second), town.reason(second)) == (J.GRANTED, J.QUEUED, "waiting_for_in_flight")
    town.turn()
    assert town.state(second) == J.QUEUED
    town.tick()
    town.tick()
    assert (town.state(first), town.state(second)) == (J.STARTING, J.GRANTED)


@pytest.mark.parametrize("profile", ["cheapest-net", "fastest", "domestic-first"])
def test_a_suspect_cluster_is_offered_nothing_under_any_profile(town: Town, profile: str) -> None:
    town.tick()
    town.silent.add("sz")
    town.tick(seconds=40)
    job = town.submit(hardware={"per_node": 8}, profile=profile)
    town.turn()
    if profile == "domestic-first":
        assert (town.state(job), town.reason(job)) == (J.QUEUED, "waiting_for_cluster")
    else:
        assert [attempt.cluster_id for attempt in town.attempts(job)] == ["hz"]


def test_a_grant_nobody_took_up_goes_elsewhere_and_comes_back_later(town: Town) -> None:
    """Its cluster answers and does not start it: the job is kept from there, first for 30 s."""
    job = town.submit(hardware={"per_node": 8})
    town.turn()
    assert town.attempts(job)[0].cluster_id == "sz"
    for _ in range(13):  # agents that are heard but launch nothing
        town.now += timedelta(seconds=10)
        town.hear()
        for cluster in ("sz", "hz"):
            exchange(town.database, cluster, [], town.now)
        town.turn()
    assert [attempt.cluster_id for attempt in town.attempts(job)] == ["sz", "hz"]
