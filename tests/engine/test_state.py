"""A city kept from round to round decides exactly as one that is looked at anew each time."""

from hypothesis import given, settings
from hypothesis import strategies as st

from scheduler.domain.topology import LINK_DOMAIN, RACK
from scheduler.domain.versions import parse_range, parse_version
from scheduler.engine.constraints import LabelIn, Traits, VersionIn
from scheduler.engine.cycle import cycle
from scheduler.engine.fleet import Fleet
from scheduler.engine.order import QueuedJob
from scheduler.engine.shape import Shape
from scheduler.engine.snapshot import Grant, Snapshot
from scheduler.engine.state import State
from tests.engine.builders import HOPPER, gang, job, node

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
        node("cpu", cluster="b", cards=0),
    ]
)

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
    st.builds(gang, nodes=st.just(1), per_node=st.just(0), cpu_milli=st.sampled_from([8_000, 60_000])),
)


@st.composite
def events(draw: st.DrawFn) -> list[list[Shape] | int]:
    """Turns: either jobs of some shapes arrive, or the n-th of the running jobs ends."""
    return draw(st.lists(st.one_of(st.lists(SHAPES, min_size=1, max_size=5), st.integers(0, 20)), min_size=1, max_size=12))


@settings(max_examples=200)
@given(events())
def test_a_round_decides_as_if_everything_were_looked_at_anew(turns: list[list[Shape] | int]) -> None:
    state = State(FLEET)
    waiting: dict[str, QueuedJob] = {}
    running: dict[str, tuple[QueuedJob, Grant]] = {}
    arrived = 0
    for now, turn in enumerate(turns):
        if isinstance(turn, list):
            jobs = [
                job(f"j{arrived + number:03}", shape, tenant=f"t{number % 2}", priority=50 + 25 * (number % 2), submitted_at=now)
                for number, shape in enumerate(turn)
            ]
            arrived += len(jobs)
            waiting |= {each.id: each for each in jobs}
            state.submit(jobs)
        elif running:
            ended, grant = running.pop(sorted(running)[turn % len(running)])
            state.release(ended, grant.place)
        anew = cycle(Snapshot(now, FLEET, state.free.copy(), state.usage.copy(), list(waiting.values())))
        served = state.round(now)
        assert served.grants == anew.grants
        for grant in served.grants:
            running[grant.job] = waiting.pop(grant.job), grant
        assert sorted(waiting) == sorted(id_ for number in range(len(state.backlog.lines)) for id_ in state.backlog.rest(number))


def test_a_job_that_joins_a_sleeping_line_sleeps_too() -> None:
    state = State(FLEET)
    too_large = gang(4, models=frozenset({"H800"}))
    state.submit([job("first", too_large)])
    assert state.round(0).of_line[0].kind == "never"
    state.submit([job("second", too_large, submitted_at=1)])
    assert state.round(1).of_line == {}, "nothing has changed that could help"
    assert state.verdicts[0].kind == "never"
    assert state.backlog.rest(0) == ["first", "second"]
