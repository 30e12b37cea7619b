"""Which state may follow which: never out of an end, forward only, and out of silence anywhere."""

from itertools import product

import pytest

from scheduler.domain.states import (
    ATTEMPT_ACTIVE,
    ATTEMPT_FINAL,
    JOB_FINAL,
    JOB_WAITING,
    AttemptState,
    JobState,
    may_follow,
)

G, S, R, U = AttemptState.GRANTED, AttemptState.STARTING, AttemptState.RUNNING, AttemptState.UNREACHABLE


@pytest.mark.parametrize(("before", "after"), list(product(sorted(ATTEMPT_FINAL), AttemptState)))
def test_nothing_follows_an_end(before: AttemptState, after: AttemptState) -> None:
    assert not may_follow(before, after)


@pytest.mark.parametrize("state", list(AttemptState))
def test_no_state_follows_itself(state: AttemptState) -> None:
    assert not may_follow(state, state)


@pytest.mark.parametrize(("before", "end"), list(product(sorted(ATTEMPT_ACTIVE), sorted(ATTEMPT_FINAL))))
def test_every_end_may_follow_what_is_active(before: AttemptState, end: AttemptState) -> None:
    assert may_follow(before, end)


@pytest.mark.parametrize(("before", "after"), [(G, S), (G, R), (S, R)])
def test_an_attempt_goes_forward_only(before: AttemptState, after: AttemptState) -> None:
    assert may_follow(before, after)
    assert not may_follow(after, before)


@pytest.mark.parametrize("state", [G, S, R])
def test_silence_comes_and_goes(state: AttemptState) -> None:
    assert may_follow(state, U)
    assert may_follow(U, state)


def test_every_active_attempt_state_is_a_job_state_and_the_sets_do_not_overlap() -> None:
    assert {JobState(state) for state in ATTEMPT_ACTIVE} == set(JobState) - JOB_FINAL - JOB_WAITING
    assert not JOB_FINAL & JOB_WAITING
