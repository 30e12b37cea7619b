"""A city kept from round to round decides exactly as one that is looked at anew each time."""

from dataclasses import dataclass, replace

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from scheduler.contract.job import Profile
from scheduler.contract.window import WindowKind
from scheduler.domain.topology import LINK_DOMAIN, RACK
from scheduler.domain.versions import parse_range, parse_version
from scheduler.engine.constraints import LabelIn, Traits, VersionIn
from scheduler.engine.cycle import cycle
from scheduler.engine.fleet import Fleet
from scheduler.engine.order import BackOff, QueuedJob
from scheduler.engine.quota import Queue, Quotas
from scheduler.engine.shape import Shape
from scheduler.engine.snapshot import Backfill, InFlight
from scheduler.engine.staging import Data
from scheduler.engine.state import State
from scheduler.engine.window import Window
from tests.engine.builders import HOPPER, SECOND, SLICE, gang, job, node, place
from tests.engine.builders import run as a_run

FLEET = Fleet.of(
    [
        *(
            node(
                f"n{number}",
                cluster="a",
                rack=f"r{number // 2}",
                link_domain="pod" if number else None,
                traits=Traits(frozenset({("zone", f"z{number % 2}")})),
            )
            for number in range(4)
        ),
        *(
            node(f"m{number}", cluster="b", kind=HOPPER, cpus=32, traits=Traits(driver=parse_version(driver)))
            for number, driver in enumerate(("535.104.05", "550.54.15", ""))
        ),
        node("cut", cluster="b", kind=SLICE, cards=4),
        node("cpu", cluster="b", cards=0),
    ]
)

ASCENDS = frozenset({"910B3"})

SHAPES = st.one_of(
    st.builds(gang, nodes=st.integers(1, 3), per_node=st.sampled_from([1, 4, 8]), cpu_milli=st.sampled_from([0, 16_000, 33_000])),
    st.builds(gang, nodes=st.just(1), per_node=st.just(1), card_milli=st.sampled_from([250, 500])),
    st.builds(gang, nodes=st.just(2), per_node=st.just(8), within=st.sampled_from([LINK_DOMAIN, RACK])),
    st.builds(
        gang,
        nodes=st.integers(1, 2),
        per_node=st.sampled_from([4, 8]),
        constraints=st.sampled_from([(LabelIn("zone", frozenset({"z1"})),), (VersionIn("driver", parse_range(">=550")),)]),
    ),
    st.builds(gang, nodes=st.just(1), per_node=st.integers(1, 4), mig=st.just(SLICE.mig)),
    st.builds(gang, nodes=st.just(1), per_node=st.just(0), cpu_milli=st.sampled_from([8_000, 60_000])),
)


QUEUES = (
    Queue("city"),
    Queue("t0", parent="city", nominal={"class:domestic": 16_000}, borrowing_limit={"class:domestic": 8_000}),
    Queue("t2", parent="city", nominal={"model:H800": 9_000}),
    Queue("t1", parent="city", nominal={"class:domestic": 8_000, "cpu": 40_000}, max_running=3),
)


@dataclass(frozen=True)
class Arrival:
    shape: Shape
    tenant: str
    priority: int
    preemptible: bool
    max_runtime_seconds: int | None
    min_runtime_seconds: int = 0
    profile: Profile = Profile.CHEAPEST_NET
    data: tuple[Data, ...] = ()
    back_off: tuple[BackOff, ...] = ()


ARRIVALS = st.builds(
    Arrival,
    shape=SHAPES,
    tenant=st.sampled_from(["t0", "t1", "t2"]),
    priority=st.sampled_from([25, 50, 50, 75]),
    preemptible=st.booleans(),
    max_runtime_seconds=st.sampled_from([None, 1, 3, 10]),
    min_runtime_seconds=st.sampled_from([0, 0, 2, 5]),
    profile=st.sampled_from(Profile),
    data=st.sampled_from([(), (), (Data("a", 1),), (Data("b", 1),)]),
    back_off=st.sampled_from([(), (), (), (BackOff("a", 3 * SECOND),), (BackOff("b", 6 * SECOND),)]),
)
TURNS = st.one_of(
    st.lists(ARRIVALS, min_size=1, max_size=5),
    st.tuples(st.sampled_from(["end", "withdraw", "stop", "save", "save", "resume", "pass", "window"]), st.integers(0, 20)),
)


@settings(max_examples=300, deadline=None)
@given(
    st.lists(TURNS, min_size=1, max_size=14),
    st.sampled_from([(), QUEUES]),
    st.sampled_from(Backfill),
    st.sampled_from([None, 1]),
    st.lists(st.integers(0, 2), min_size=14, max_size=14),
)
def test_a_round_decides_as_if_everything_were_looked_at_anew(
    turns: list[list[Arrival] | tuple[str, int]],
    queues: tuple[Queue, ...],
    backfill: Backfill,
    restart_seconds: int | None,
    in_flight: list[int],
) -> None:
    """Arrivals, ends on time and early, cancellations of those that wait and of those that run, windows, checkpoints,
    moves, and grants that are not taken up."""
    state = State(FLEET, quotas=Quotas.of(queues), backfill=backfill, restart_seconds=restart_seconds)
    state.links, state.throughput = {("a", "b"): 1000, ("b", "a"): 9000}, {"910B3": 300, "H800": 900}
    _agree(state, turns, in_flight)


PARTS = st.builds(
    Arrival,
    shape=st.builds(gang, st.sampled_from([1, 1, 1, 2]), st.sampled_from([2, 4, 6, 8]), models=st.just(frozenset({"910B3"}))),
    tenant=st.sampled_from(["t0", "t1"]),
    priority=st.sampled_from([50, 50, 50, 25]),
    preemptible=st.just(True),
    max_runtime_seconds=st.sampled_from([None, None, 5]),
)
CROWD = st.one_of(
    st.lists(PARTS, min_size=1, max_size=6),
    st.tuples(st.sampled_from(["end", "end", "withdraw", "resume", "resume", "pass"]), st.integers(0, 20)),
)


@settings(max_examples=200, deadline=None)
@given(st.lists(CROWD, min_size=4, max_size=14), st.sampled_from([(), QUEUES]))
def test_and_so_it_does_where_much_is_moved(turns: list[list[Arrival] | tuple[str, int]], queues: tuple[Queue, ...]) -> None:
    """Parts of nodes that come and go, of runs that have saved everything."""
    _agree(State(FLEET, quotas=Quotas.of(queues), restart_seconds=1), turns, [], all_save=True)


def _agree(state: State, turns: list[list[Arrival] | tuple[str, int]], in_flight: list[int], *, all_save: bool = False) -> None:
    waiting: dict[str, QueuedJob] = {}
    jobs: dict[str, QueuedJob] = {}
    now = 0
    for turn in turns:
        now += SECOND
        if isinstance(turn, list):
            new = [_job(f"j{len(jobs) + number:03}", each, now) for number, each in enumerate(turn)]
            jobs |= {each.id: each for each in new}
            waiting |= {each.id: each for each in new}
            state.submit(new)
        else:
            _happen(state, waiting, jobs, now, *turn)
        for run in [each for each in state.runs if each.ends_at <= now]:
            state.end(run.job)
        for run in list(state.runs.occupants()) if all_save else ():
            state.change(replace(run, again=jobs[run.job]))
        state.in_flight = {"a": InFlight(in_flight.pop(), 2)} if in_flight else {}
        moment = state.snapshot(now)
        anew = cycle(replace(moment, queue=list(waiting.values()), runs=list(moment.runs)))
        served = state.round(now)
        assert served.grants == anew.grants
        assert served.preemptions == anew.preemptions
        assert {each.job: each.at for each in served.promises} == anew.promised_at
        for grant in served.grants:
            del waiting[grant.job]
        assert sorted(waiting) == sorted(id_ for number in range(len(state.backlog.lines)) for id_ in state.backlog.rest(number))
        assert {id_: verdict.kind for id_, verdict in anew.verdicts.items()} == {
            id_: verdict.kind for id_, each in waiting.items() if (verdict := state.verdict(each)) is not None
        }
        _held_exactly(state)


def _job(id_: str, arrival: Arrival, now: int) -> QueuedJob:
    return job(
        id_,
        arrival.shape,
        tenant=arrival.tenant,
        queue=arrival.tenant,
        priority=arrival.priority,
        preemptible=arrival.preemptible,
        max_runtime_seconds=arrival.max_runtime_seconds,
        min_runtime_seconds=arrival.min_runtime_seconds,
        profile=arrival.profile,
        data=arrival.data,
        back_off=arrival.back_off,
        submitted_at=now,
    )


def _happen(state: State, waiting: dict[str, QueuedJob], jobs: dict[str, QueuedJob], now: int, what: str, which: int) -> None:
    running = sorted(each.job for each in state.runs)
    if what == "end" and running:
        state.end(running[which % len(running)])
    elif what == "withdraw" and waiting:
        state.withdraw(waiting.pop(sorted(waiting)[which % len(waiting)]))
    elif what == "stop" and running:
        run = state.run_of(running[which % len(running)])
        assert run is not None
        state.change(replace(run, releasing=True))
    elif what == "window":
        start, row = now + which % 4 * SECOND, which % len(FLEET.nodes)
        kind, tenants = (WindowKind.RESERVATION, frozenset({"t0"})) if which % 2 else (WindowKind.MAINTENANCE, frozenset())
        end = start + (1 + which % 5) * SECOND
        new = Window(f"w{now}", kind, start, end, int(FLEET.cluster_of[row]), frozenset({row}), tenants)
        state.set_windows([new, *(each for each in state.windows if each.end > now)], now)
    elif what == "save" and (moveable := [each for each in running if jobs[each].preemptible]):
        run = state.run_of(moveable[which % len(moveable)])
        assert run is not None
        state.change(replace(run, again=jobs[run.job]))
    elif what == "resume" and (stopping := sorted(each.job for each in state.runs.releasing.values())):
        job_ = stopping[which % len(stopping)]
        state.end(job_)
        state.submit([jobs[job_]])
        waiting[job_] = jobs[job_]


def _held_exactly(state: State) -> None:
    """What the runs hold and what is free is the whole network, and no run is lost."""
    free = state.free.copy()
    for run in state.runs:
        free.give(run.place.allocations)
    assert np.array_equal(free.card_milli, FLEET.empty.card_milli)
    assert np.array_equal(free.cpu_milli, FLEET.empty.cpu_milli)
    assert state.free.card_milli.min() >= 0


def test_a_job_that_joins_a_sleeping_line_sleeps_too() -> None:
    state = State(FLEET)
    too_large = gang(4, models=frozenset({"H800"}))
    first, second = job("first", too_large), job("second", too_large, submitted_at=1)
    state.submit([first])
    assert state.round(0).of_line[0].kind == "never"
    state.submit([second])
    assert state.round(1).of_line == {}, "nothing has changed that could help"
    verdict = state.verdict(second)
    assert verdict is not None
    assert verdict.kind == "never"
    assert state.backlog.rest(0) == ["first", "second"]


def test_what_nobody_waits_for_wakes_nobody() -> None:
    state = State(FLEET)
    state.submit([job("runs", gang(1, models=frozenset({"H800"}))), job("waits", gang(4, 8, cpu_milli=65_000))])
    assert [grant.job for grant in state.round(0).grants] == ["runs"]
    state.end("runs")
    assert state.round(1).decided == (), "nodes of the other cluster are no help"


def test_a_window_that_ends_wakes_who_waited_for_it() -> None:
    """The head waits for both nodes of cluster b that are busy, and has the promise of its pool; the one behind waits for a window
    on the third, and may have it as soon as that is over, being short."""
    state = State(FLEET)
    rows = [FLEET.index["b", name] for name in ("m0", "m1", "m2")]
    hopper = frozenset({"H800"})
    busy = [job(f"busy-{number}", gang(1, models=hopper), max_runtime_seconds=100) for number in range(2)]
    state.submit(busy)
    state.round(0)
    free = (set(rows) - {part.node for run in state.runs for part in run.place.allocations}).pop()
    cluster = FLEET.clusters.index("b")
    state.set_windows([Window("w", WindowKind.MAINTENANCE, 0, 50 * SECOND, cluster, frozenset({free}))], 0)
    head = job("head", gang(3, models=hopper), priority=75, max_runtime_seconds=100)
    behind = job("behind", gang(1, models=hopper), max_runtime_seconds=50)
    state.submit([head, behind])
    assert {each.job: each.at for each in state.round(0).promises} == {"head": 100 * SECOND}
    assert state.round(49 * SECOND).grants == ()
    assert [grant.job for grant in state.round(50 * SECOND).grants] == ["behind"]


BORROWER = Queue("borrower", "city", {"class:domestic": 0})


def test_what_a_lender_took_back_is_not_borrowed_again() -> None:
    """The borrower that was stopped is older and waits in front; it must not take its place again before the lender's turn."""
    lender = Queue("lender", "city", {"class:domestic": 32_000})
    state = State(FLEET, quotas=Quotas.of([Queue("city"), lender, BORROWER]))
    old = job("old", gang(4, models=ASCENDS), queue="borrower")
    state.submit([old])
    assert [grant.job for grant in state.round(0).grants] == ["old"]
    state.submit([job("new", gang(4, models=ASCENDS), queue="lender", submitted_at=1)])
    assert [each.by for each in state.round(1).preemptions] == ["new"]
    state.end("old")
    state.submit([old])
    assert [grant.job for grant in state.round(2).grants] == ["new"]


def test_a_queue_that_does_not_reclaim_waits_for_the_end_of_who_borrows() -> None:
    lender = Queue("lender", "city", {"class:domestic": 32_000}, reclaims=False)
    state = State(FLEET, quotas=Quotas.of([Queue("city"), lender, BORROWER]))
    state.submit([job("old", gang(4, models=ASCENDS), queue="borrower")])
    state.round(0)
    state.submit([job("new", gang(4, models=ASCENDS), queue="lender", submitted_at=1)])
    assert state.round(1).preemptions == ()
    state.end("old")
    assert [grant.job for grant in state.round(2).grants] == ["new"]


def test_quota_that_was_kept_for_who_gave_it_up_is_for_others_in_the_next_round() -> None:
    """What `small` waits for is kept of its queue's quota up to its turn; `large` comes before it and finds too little, but then
    stands in its way."""
    state = State(FLEET, quotas=Quotas.of([Queue("own", nominal={"class:domestic": 8_000})]))
    ascends = [name for cluster, name in FLEET.index if cluster == "a"]
    for name in ascends:
        state.hold(a_run(name, place(FLEET, name), preemptible=False, releasing=name == ascends[0]))
    small = job("small", gang(1, 2, models=ASCENDS), queue="own", priority=25)
    large = job("large", gang(1, 8, models=ASCENDS), queue="own", submitted_at=1)
    state.submit([small])
    assert state.round(0).of_job.keys() == {"small"}
    state.submit([large])
    assert state.round(1).grants == ()
    state.end(f"job-{ascends[0]}")
    assert [grant.job for grant in state.round(2).grants] == ["large"]
