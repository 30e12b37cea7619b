"""`plan`: the protocol's rules one by one, and that following it always leads to what is desired."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.cluster.reconcile import Actions, plan
from scheduler.contract.sync import RUN_FINAL, DesiredRun, ObservedRun, RunState
from tests.agents.cluster.doubles import MemoryLauncher, desired


def observed(state: RunState, attempt: str = "att-1", token: int = 1) -> ObservedRun:
    return ObservedRun(attempt=attempt, fencing_token=token, state=state)


@pytest.mark.parametrize("state", RunState)
def test_desired_and_observed_with_its_token_is_left_alone(state: RunState) -> None:
    assert plan([desired()], [observed(state)]) == Actions()


def test_desired_and_not_observed_is_launched() -> None:
    assert plan([desired()], []).launch == (desired(),)


@pytest.mark.parametrize("state", [RunState.STARTING, RunState.RUNNING])
def test_not_desired_and_alive_is_stopped_and_kept(state: RunState) -> None:
    assert plan([], [observed(state)]) == Actions(stop=(("att-1", 1),))


@pytest.mark.parametrize("state", sorted(RUN_FINAL))
def test_not_desired_and_ended_is_forgotten(state: RunState) -> None:
    assert plan([], [observed(state)]) == Actions(forget=(("att-1", 1),))


@pytest.mark.parametrize("old", [1, 3])
def test_another_token_is_stopped_first_and_only_then_replaced(old: int) -> None:
    assert plan([desired(token=2)], [observed(RunState.RUNNING, token=old)]) == Actions(stop=(("att-1", old),))
    after = plan([desired(token=2)], [observed(RunState.STOPPED, token=old)])
    assert after == Actions(launch=(desired(token=2),), forget=(("att-1", old),))


def test_an_attempt_waits_until_one_that_it_replaces_has_ended() -> None:
    replacement = desired("att-2", 2, replaces=["att-0", "att-1"])
    assert plan([replacement], [observed(RunState.RUNNING)]) == Actions(stop=(("att-1", 1),))
    assert plan([replacement], [observed(RunState.STOPPED)]).launch == (replacement,)
    assert plan([replacement], [observed(RunState.RUNNING, "att-9", 9)]).launch == (replacement,)


def test_of_one_attempt_desired_twice_the_greatest_token_counts() -> None:
    assert plan([desired(token=5), desired(token=4)], []).launch == (desired(token=5),)


ATTEMPTS = st.sampled_from(["a", "b", "c", "d"])
TOKENS = st.integers(1, 3)
DESIRED = st.lists(st.builds(desired, attempt=ATTEMPTS, token=TOKENS), max_size=6)
OBSERVED = st.lists(
    st.builds(observed, st.sampled_from(RunState), attempt=ATTEMPTS, token=TOKENS),
    max_size=8,
    unique_by=lambda run: (run.attempt, run.fencing_token),
)


@given(DESIRED, OBSERVED)
def test_following_the_plan_converges_without_doubles(wanted: list[DesiredRun], there: list[ObservedRun]) -> None:
    cluster = MemoryLauncher(runs={(run.attempt, run.fencing_token): run for run in there})
    goal = {(run.attempt, max(twin.fencing_token for twin in wanted if twin.attempt == run.attempt)) for run in wanted}
    for _ in range(3):
        actions = plan(wanted, cluster.observe())
        for key in actions.stop:
            assert key not in goal
            cluster.stop(*key)
        for key in actions.forget:
            assert cluster.runs[key].state in RUN_FINAL
            cluster.forget(*key)
        for run in actions.launch:
            alive = [key for key, twin in cluster.runs.items() if key[0] == run.attempt and twin.state not in RUN_FINAL]
            assert not alive, "two runs of one attempt at once"
            cluster.launch(run)
    assert set(cluster.runs) == goal
    assert plan(wanted, cluster.observe()) == Actions()
    assert len(cluster.launched) == len(set(cluster.launched)) <= len(goal)
