"""Why a run failed decides whose retry it costs, whether the job is sent there again at once, and what it is charged."""

import pytest

from scheduler.contract.sync import Cause, RunState
from scheduler.domain.states import AttemptState, JobState
from scheduler.service.causes import CONSEQUENCES
from scheduler.service.refusals import load_back_offs
from scheduler.store.database import CITY, Database
from tests.builders import add_attempt, add_job
from tests.service.test_sync import LATER, run, seen
from tests.service.town import exchange

A, J = AttemptState, JobState


def test_every_cause_has_its_consequence_and_its_own_code() -> None:
    assert CONSEQUENCES.keys() == set(Cause)
    assert len({each.reason for each in CONSEQUENCES.values()}) == len(Cause)


@pytest.mark.parametrize(
    ("cause", "end", "failures", "losses", "kept_away"),
    [
        (Cause.LAUNCH_REFUSED, A.FAILED, 1, 0, True),
        (Cause.IMAGE_PULL, A.FAILED, 1, 0, True),
        (Cause.NOT_PLACED, A.LOST, 0, 0, True),
        (Cause.OUT_OF_MEMORY, A.FAILED, 1, 0, False),
        (Cause.EVICTED, A.LOST, 0, 1, False),
        (Cause.PREEMPTED, A.LOST, 0, 0, True),
        (Cause.NODE_LOST, A.LOST, 0, 1, False),
    ],
)
def test_a_whole_gang_is_tried_again(
    city: Database, cause: Cause, end: AttemptState, failures: int, losses: int, kept_away: bool
) -> None:
    with city.write(CITY) as session:
        job = add_job(session, retries={"failed": 1, "node_lost": 1})
        attempt = add_attempt(session, job, A.RUNNING)
    exchange(city, "sz", [run(attempt, RunState.FAILED, finished_at=LATER, cause=cause, detail="as told")], LATER)
    attempt, job = seen(city, attempt)
    assert (attempt.state, job.state, job.failures, job.losses) == (end, J.QUEUED, failures, losses)
    assert attempt.reason == {"code": CONSEQUENCES[cause].reason, "numbers": {"cluster": "sz", "detail": "as told"}}
    with city.read(CITY) as session:
        assert bool(load_back_offs(session, [job.id], LATER)) is kept_away


@pytest.mark.parametrize("cause", [cause for cause in Cause if CONSEQUENCES[cause].costs_retry])
def test_what_costs_a_retry_ends_the_job_that_has_none_left(city: Database, cause: Cause) -> None:
    with city.write(CITY) as session:
        attempt = add_attempt(session, add_job(session, retries={"failed": 0, "node_lost": 0}), A.RUNNING)
    exchange(city, "sz", [run(attempt, RunState.FAILED, cause=cause)], LATER)
    assert seen(city, attempt)[1].state == J.FAILED
