"""An array of n tasks is placed as n equal jobs would be, and costs what one does until its tasks start."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scheduler.domain.reasons import Reason
from scheduler.domain.tasks import MAX_TASKS, job_of, task_name
from scheduler.engine import cycle as rounds
from scheduler.engine.answers import answer
from scheduler.engine.backlog import Backlog
from scheduler.engine.cycle import Served, cycle
from scheduler.engine.decide import decide
from scheduler.engine.fleet import Fleet
from scheduler.engine.order import QueuedJob
from scheduler.engine.quota import Queue, Quotas
from scheduler.engine.round import Round
from scheduler.engine.snapshot import Backfill, Verdict
from scheduler.engine.state import State
from tests.engine.arrays import apart, array, everybody
from tests.engine.builders import ASCEND, HOPPER, SECOND, gang, job, node, snapshot

FLEET = Fleet.of([*(node(f"n{number}") for number in range(3)), *(node(f"m{number}", "b", HOPPER) for number in range(2))])
QUEUES = (Queue("city"), Queue("t0", "city", {"class:domestic": 9_000}), Queue("t1", "city", {"cpu": 99_000}, max_running=4))


@dataclass(frozen=True)
class Arrival:
    tasks: int
    per_node: int
    nodes: int
    tenant: str
    priority: int
    preemptible: bool
    seconds: int | None


ARRIVALS = st.builds(
    Arrival,
    tasks=st.sampled_from([1, 1, 2, 5, 30]),
    per_node=st.sampled_from([1, 3, 8]),
    nodes=st.sampled_from([1, 1, 2]),
    tenant=st.sampled_from(["t0", "t1"]),
    priority=st.sampled_from([25, 50, 75]),
    preemptible=st.booleans(),
    seconds=st.sampled_from([None, 1, 3, 9]),
)
TURNS = st.one_of(
    st.lists(ARRIVALS, min_size=1, max_size=3), st.tuples(st.sampled_from(["end", "back", "cut", "pass"]), st.integers(0, 60))
)


@settings(max_examples=80, deadline=None)
@given(st.lists(TURNS, min_size=1, max_size=10), st.sampled_from([(), QUEUES]), st.sampled_from(Backfill), st.booleans())
def test_an_array_is_placed_as_so_many_equal_jobs(
    turns: list[list[Arrival] | tuple[str, int]], queues: tuple[Queue, ...], backfill: Backfill, moves: bool
) -> None:
    """Grants, stops and promises of every round are the same, whatever ends, comes back or is cut out of the middle."""
    restart_seconds = 1 if moves else None
    together, singly = (State(FLEET, quotas=Quotas.of(queues), backfill=backfill, restart_seconds=restart_seconds) for _ in "ab")
    jobs: dict[str, QueuedJob] = {}
    waiting: dict[str, QueuedJob] = {}
    for number, turn in enumerate(turns):
        now = (number + 1) * SECOND
        if isinstance(turn, list):
            new = [_arrived(f"j{number}{position}", each, now) for position, each in enumerate(turn)]
            waiting |= {each.id: each for each in apart(new)}
            jobs |= waiting
            together.submit(new)
            singly.submit(apart(new))
        else:
            _happen((together, singly), waiting, jobs, *turn)
        for state in (together, singly):
            for run in [each for each in state.runs if each.ends_at <= now]:
                state.end(run.job)
        served = [state.round(now) for state in (together, singly)]
        assert _outcome(served[0]) == _outcome(served[1])
        for grant in served[0].grants:
            del waiting[grant.job]
        assert {id_: together.verdict(each) for id_, each in waiting.items() if id_ not in served[0].of_job} == {
            id_: singly.verdict(each) for id_, each in waiting.items() if id_ not in served[0].of_job
        }
        assert everybody(together.backlog) == sorted(waiting) == everybody(singly.backlog)


def _arrived(id_: str, arrival: Arrival, now: int) -> QueuedJob:
    return array(
        id_,
        arrival.tasks,
        gang(arrival.nodes, arrival.per_node),
        tenant=arrival.tenant,
        queue=arrival.tenant,
        priority=arrival.priority,
        preemptible=arrival.preemptible,
        max_runtime_seconds=arrival.seconds,
        submitted_at=now,
    )


def _happen(states: Sequence[State], waiting: dict[str, QueuedJob], jobs: dict[str, QueuedJob], what: str, which: int) -> None:
    running = sorted(each.job for each in states[0].runs)
    if what == "end" and running:
        for state in states:
            state.end(running[which % len(running)])
    elif what == "cut" and waiting:
        gone = waiting.pop(sorted(waiting)[which % len(waiting)])
        for state in states:
            state.withdraw(gone)
    elif what == "back" and running:
        again = jobs[running[which % len(running)]]
        waiting[again.id] = again
        for state in states:
            state.end(again.id)
            state.submit([again])


def _outcome(served: Served) -> object:
    return served.grants, served.preemptions, [(each.job, each.at) for each in served.promises], dict(served.kept)


def test_a_round_on_an_array_costs_what_it_grants(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a hundred thousand tasks on a network for 24: 24 are granted, and one more is decided about."""
    decided: list[str] = []

    def counted(round_: Round, each: QueuedJob) -> Verdict | None:
        decided.append(each.id)
        return decide(round_, each)

    monkeypatch.setattr(rounds, "decide", counted)
    for tasks in (100, MAX_TASKS):
        decided.clear()
        state = State(FLEET)
        state.submit([array("j", tasks, gang(1, 1, models=frozenset({ASCEND.model})))])
        served = state.round(0)
        assert [grant.job for grant in served.grants] == [task_name("j", index) for index in range(24)]
        assert (len(decided), len(served.decided)) == (25, 25)
        assert [len(line.jobs) for line in state.backlog.lines] == [1]
        assert state.backlog.rest(0) == [task_name("j", 24)]
        state.end(task_name("j", 7))
        assert [grant.job for grant in state.round(SECOND).grants] == [task_name("j", 24)]
        assert len(decided) == 26


def test_tasks_that_come_back_go_before_those_that_never_began() -> None:
    state = State(FLEET)
    whole = array("j", 50, gang(3, 8, models=frozenset({ASCEND.model})))
    state.submit([whole])
    assert [grant.job for grant in state.round(0).grants] == [task_name("j", 0)]
    state.end(task_name("j", 0))
    state.submit([replace(whole, tasks=1)])
    assert [grant.job for grant in state.round(1).grants] == [task_name("j", 0)]


def test_what_stands_of_an_array_is_known_by_its_own_id() -> None:
    backlog = Backlog([array("j", 9), array("j0", 3), array("i", 2)])
    own = job("j")
    backlog.remove(array("j", 2, first=3))
    backlog.remove(array("j", 1, first=0))
    assert backlog.standing(own) == [range(1, 3), range(5, 9)]
    assert [backlog.holds(array("j", 1, first=index)) for index in (0, 1, 4, 6, 9)] == [False, True, False, True, False]
    assert backlog.standing(job("k")) == []
    with pytest.raises(KeyError):
        backlog.remove(array("j", 1, first=3))


def test_every_task_of_an_array_ahead_counts_in_a_position() -> None:
    """Two nodes of eight are left to the tasks of three; those that got nothing are ahead too."""
    ahead = array("j", 30, gang(1, 8, models=frozenset({ASCEND.model})), priority=75)
    asked = job("mine", gang(1, 8, models=frozenset({ASCEND.model})))
    found = answer(snapshot(FLEET, [ahead]), asked)
    assert (found.verdict, found.position.ahead, found.position.competing) == ("wait", 30, 30)


def test_an_array_that_is_held_is_told_so_once() -> None:
    held = array("j", 30, hold=Reason("waiting_for_round"))
    decisions = cycle(snapshot(FLEET, [held]))
    assert decisions.grants == ()
    assert {job_of(id_): verdict.reasons[0].code for id_, verdict in decisions.verdicts.items()} == {"j": "waiting_for_round"}
