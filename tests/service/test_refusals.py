"""From where a job is kept, and for how long: read from how its attempts ended."""

from datetime import timedelta

import pytest

from scheduler.domain.clock import from_micros
from scheduler.domain.reasons import Reason
from scheduler.domain.states import AttemptState
from scheduler.engine.intake import MAX_BACK_OFF_SECONDS, back_off_seconds
from scheduler.service.lifecycle import end_attempt
from scheduler.service.refusals import load_back_offs
from scheduler.store.database import CITY, Database
from tests.builders import NOW, add_attempt, add_job, after

A = AttemptState
FAILED = (A.FAILED, Reason("launch_failed", {"detail": "no such image"}))
EXPIRED = (A.LOST, Reason("grant_expired", {"cluster": "sz", "seconds": 120}))
CRASHED = (A.FAILED, Reason("exit_code", {"exit_code": 1}))


def kept_until(city: Database, *ends: tuple[AttemptState, Reason], at: float = 0) -> list[tuple[str, float]]:
    """A job whose attempts ended so, one second after the other from NOW on: from where it is kept, for how many seconds more."""
    with city.write(CITY) as session:
        job = add_job(session, retries={"failed": 10, "node_lost": 10})
        for number, (state, reason) in enumerate(ends):
            attempt = add_attempt(session, job, A.GRANTED if reason.code != "exit_code" else A.RUNNING)
            end_attempt(session, job, attempt, state, reason, after(seconds=number), after(seconds=number))
    with city.read(CITY) as session:
        found = load_back_offs(session, [job.id], after(seconds=at)).get(job.id, ())
    return [(each.cluster, (from_micros(each.until) - NOW).total_seconds()) for each in found]


@pytest.mark.parametrize(
    ("ends", "kept"),
    [
        ((), []),
        ((FAILED,), [("sz", 30)]),
        ((EXPIRED,), [("sz", 30)]),
        ((CRASHED,), []),
        ((EXPIRED, FAILED), [("sz", 1 + 60)]),
        ((EXPIRED, FAILED, EXPIRED), [("sz", 2 + 120)]),
        ((FAILED, CRASHED, FAILED), [("sz", 2 + 30)]),
        ((FAILED, CRASHED), []),
    ],
    ids=["nothing", "not launched", "not taken up", "it ran", "twice", "three times", "a run between", "it ran last"],
)
def test_a_refusing_cluster_is_kept_from_the_job(
    city: Database, ends: tuple[tuple[AttemptState, Reason], ...], kept: list[tuple[str, float]]
) -> None:
    assert kept_until(city, *ends) == kept


def test_only_for_a_while(city: Database) -> None:
    assert kept_until(city, FAILED, at=29.9) == [("sz", 30)]
    assert kept_until(city, FAILED, at=30) == []


def test_a_job_that_no_longer_waits_is_kept_from_nowhere(city: Database) -> None:
    with city.write(CITY) as session:
        job = add_job(session, retries={"failed": 1})
        end_attempt(session, job, add_attempt(session, job, A.GRANTED), *FAILED, NOW, NOW)
        add_attempt(session, job)
    with city.read(CITY) as session:
        assert load_back_offs(session, [job.id], NOW) == {}


def test_the_time_doubles_up_to_a_limit() -> None:
    assert [back_off_seconds(times) for times in (1, 2, 3, 4, 5, 6, 7, 100)] == [30, 60, 120, 240, 480, 900, 900, 900]
    assert timedelta(seconds=MAX_BACK_OFF_SECONDS) == timedelta(minutes=15)
