"""What becomes of moves from round to round: everybody stops, starts again where a place was kept, and the gang in between."""

from dataclasses import dataclass, field, replace

from hypothesis import given, settings
from hypothesis import strategies as st

from scheduler.engine.cycle import cycle
from scheduler.engine.fleet import Fleet
from scheduler.engine.order import QueuedJob
from scheduler.engine.snapshot import ActiveRun, Decisions, Move, Snapshot
from scheduler.engine.state import State
from tests.engine.builders import SECOND, gang, job, place, run, snapshot
from tests.engine.test_consolidate import FLEET, NOW, RESTART, crowded, movable


@dataclass
class City:
    """Rounds as a driver would go through them: who is asked to stop goes on holding its cards until `stop` says it is over."""

    fleet: Fleet
    queue: dict[str, QueuedJob]
    runs: dict[str, ActiveRun]
    moves: dict[str, Move] = field(default_factory=dict)
    places: dict[str, list[int]] = field(default_factory=dict)
    """By job: on which nodes it was placed last."""
    restart_seconds: int | None = RESTART

    def moment(self) -> Snapshot:
        moment = snapshot(self.fleet, list(self.queue.values()), list(self.runs.values()), now=NOW)
        return replace(moment, restart_seconds=self.restart_seconds, moves=list(self.moves.values()))

    def round(self) -> Decisions:
        decisions = cycle(self.moment())
        for preemption in decisions.preemptions:
            stopped = self.runs[preemption.attempt] = replace(self.runs[preemption.attempt], releasing=True)
            if preemption.move is not None:
                self.moves[stopped.job] = preemption.move
        for grant in decisions.grants:
            started = self.queue.pop(grant.job)
            self.moves.pop(grant.job, None)
            self.places[grant.job] = [part.node for part in grant.place.allocations]
            held = ActiveRun(f"of-{grant.job}", grant.job, started.tenant, started.priority, False, grant.place)
            self.runs[held.attempt] = held
        return decisions

    def stop(self, attempt: str) -> None:
        """The run is gone; its job waits again."""
        gone = self.runs.pop(attempt)
        if gone.again is not None:
            self.queue[gone.job] = gone.again

    def stopping(self) -> list[str]:
        return sorted(attempt for attempt, each in self.runs.items() if each.releasing)


def halves(*names: str) -> dict[str, ActiveRun]:
    return {name: movable(name, FLEET, (name, 0, 4)) for name in names}


def reason(decisions: Decisions, of: str) -> tuple[str, dict[str, str | int]]:
    found = decisions.verdicts[of].reasons[0]
    return found.code, dict(found.numbers)


def test_the_gang_waits_for_the_move_and_everybody_starts_where_they_were_meant_to() -> None:
    city = City(FLEET, {"head": job("head", gang(1, 8))}, halves("n1", "n2"))
    city.runs["full"] = run("full", place(FLEET, "n3"), preemptible=False)
    decisions = city.round()
    [stop] = decisions.preemptions
    assert (stop.attempt, stop.by) == ("n1", "head")
    told = ("waiting_for_move", {"cluster": "a", "runs": 1, "card_seconds": 4 * RESTART})
    assert reason(decisions, "head") == told
    assert reason(city.round(), "head") == told, "as long as the run has not stopped"
    city.stop("n1")
    assert city.round().grants[0].reason.code == "placed_moved"
    assert (city.places["head"], city.places["job-n1"], city.moves) == ([0], [1], {})


def test_nothing_is_moved_unless_the_policy_says_so_or_for_those_behind_the_first() -> None:
    city = City(FLEET, {"head": job("head", gang(1, 8))}, halves("n1", "n2", "n3"), restart_seconds=None)
    assert (city.round().preemptions, reason(city.round(), "head")[0]) == ((), "waiting_for_cards")
    city = City(
        FLEET, {each: job(each, gang(size, 8)) for each, size in (("a-large", 2), ("b-small", 1))}, halves("n1", "n2", "n3")
    )
    assert city.round().preemptions == (), "two nodes cannot be emptied, and the first that waits is not to wait longer"
    city.queue["b-small"] = replace(city.queue["b-small"], priority=75)
    assert [each.by for each in city.round().preemptions] == ["b-small"]


def test_of_moving_and_stopping_for_good_the_one_that_loses_less_is_done() -> None:
    lower = run("lower", place(FLEET, "n3"), priority=25, safe_at=NOW - 20 * SECOND)
    city = City(FLEET, {"head": job("head", gang(1, 8))}, {**halves("n1", "n2"), "lower": lower})
    assert [each.attempt for each in city.round().preemptions] == ["n1"], "4 × 60 s against 8 × (20 + 60) s"
    stale = {name: movable(name, FLEET, (name, 0, 4), lost=600) for name in ("n1", "n2")}
    city = City(FLEET, {"head": job("head", gang(1, 8))}, {**stale, "lower": lower})
    assert [(each.attempt, each.move) for each in city.round().preemptions] == [("lower", None)]


def test_a_kept_place_is_nobody_elses_however_urgent() -> None:
    city = City(FLEET, {"head": job("head", gang(1, 8))}, halves("n1", "n2"))
    city.runs["full"] = run("full", place(FLEET, "n3"), preemptible=False)
    city.round()
    for each in ("u1", "u2"):
        city.queue[each] = job(each, gang(1, 4), priority=100)
    decisions = city.round()
    assert (city.places["u1"], reason(decisions, "u2")[0]) == ([0], "waiting_for_release"), "as the head they were moved for might"
    city.stop("n1")
    city.round()
    assert (city.places["job-n1"], city.places["u2"]) == ([1], [0])


def test_a_place_that_is_gone_is_kept_no_longer_and_the_job_waits_as_any_other() -> None:
    city = City(FLEET, {"head": job("head", gang(1, 8))}, halves("n1", "n2"))
    city.runs["full"] = run("full", place(FLEET, "n3"), preemptible=False)
    city.round()
    city.stop("n1")
    city.fleet = Fleet.of([replace(each, live=each.name != "n2") for each in FLEET.nodes])
    city.round()
    assert city.places == {"head": [0]}
    assert reason(city.round(), "job-n1")[0] == "waiting_for_cards"


def test_a_job_that_comes_back_changed_has_its_place_all_the_same() -> None:
    """As one does that a cluster has refused before: what it is not offered is its own affair."""
    state = State(FLEET, restart_seconds=RESTART)
    for each in (*halves("n1", "n2").values(), run("full", place(FLEET, "n3"), preemptible=False)):
        state.hold(each)
    state.submit([job("head", gang(1, 8))])
    [stop] = state.round(NOW).preemptions
    assert stop.move is not None
    gone = state.end(stop.move.job.id)
    assert gone.again is not None
    state.submit([replace(gone.again, max_runtime_seconds=60)])
    assert {grant.job: grant.reason.code for grant in state.round(NOW).grants}[gone.job] == "placed_moved"
    assert state.moves == {}


def test_who_has_been_moved_may_be_stopped_again_for_those_who_slept_meanwhile() -> None:
    """Its place was nobody's while it was on its way, and nobody's to take in the round that it started in; then it is as any."""
    state, lower = State(FLEET, restart_seconds=RESTART), halves("n1")["n1"]
    lower = replace(lower, priority=25, again=job(lower.job, gang(1, 4), priority=25, preemptible=True))
    for each in (lower, halves("n2")["n2"], run("full", place(FLEET, "n3"), preemptible=False)):
        state.hold(each)
    state.submit([job("head", gang(1, 8)), job("large", gang(1, 8), submitted_at=1), job("small", gang(1, 4), submitted_at=2)])
    assert [each.attempt for each in state.round(NOW).preemptions] == ["n1"]
    gone = state.end(lower.job)
    assert gone.again is not None
    state.submit([gone.again])
    assert [grant.job for grant in state.round(NOW).grants] == [lower.job, "head"]
    assert [(each.attempt, each.by) for each in state.round(NOW).preemptions] == [(lower.job, "small")]


def test_a_move_whose_job_is_over_keeps_nothing() -> None:
    city = City(FLEET, {"head": job("head", gang(1, 8))}, halves("n1", "n2"))
    city.runs["full"] = run("full", place(FLEET, "n3"), preemptible=False)
    city.round()
    del city.runs["n1"]  # it ended by itself
    city.queue["late"] = job("late", gang(1, 4))
    assert {grant.job for grant in city.round().grants} == {"head", "late"}


@settings(max_examples=100, deadline=None)
@given(crowded(), st.data())
def test_nobody_who_is_moved_loses_its_place(case: tuple[Snapshot, QueuedJob], data: st.DataObject) -> None:
    """Whoever arrives, and in whatever order runs stop: each moved job starts just where a place was kept for it, and in the end
    everybody who ran does so again."""
    moment, head = case
    city = City(moment.fleet, {head.id: head}, {each.attempt: each for each in moment.runs}, restart_seconds=moment.restart_seconds)
    for number in range(8):
        if data.draw(st.booleans(), label="somebody arrives"):
            shape = gang(data.draw(st.integers(1, 2)), data.draw(st.integers(1, 3)))
            late = job(f"late-{number}", shape, priority=data.draw(st.sampled_from((25, 50))), submitted_at=number)
            city.queue[late.id] = late
        before = dict(city.moves)
        city.round()
        for id_ in before.keys() - city.moves.keys():
            assert city.places[id_] == [part.node for part in before[id_].place.allocations]
        stopping = city.stopping()
        stops: bool = data.draw(st.booleans(), label="somebody stops")
        if stopping and stops:
            city.stop(stopping[data.draw(st.integers(0, len(stopping) - 1))])
    for _ in moment.runs:
        for attempt in city.stopping():
            city.stop(attempt)
        city.round()
    assert city.moves == {}
    assert not {each.job for each in moment.runs} & city.queue.keys()
