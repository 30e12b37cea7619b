"""A job with a checkpoint is moved so that a larger one fits: what agents see, what its history says, what is kept on the way."""

from typing import Any

import pytest

from scheduler.contract.scheduling import SchedulingPolicy
from scheduler.domain.states import JobState
from scheduler.service.mirror import look
from scheduler.store.database import CITY
from scheduler.store.tables import SchedulingPolicyRow
from tests.builders import NOW
from tests.service.town import Town

pytestmark = pytest.mark.processes

HALF = {"models": ["910B3"], "nodes": 1, "per_node": 4}
CHECKPOINT = {"path": "ckpt", "every": "1m"}


def scattered(town: Town, **changes: object) -> tuple[str, str]:
    """Two jobs on half a node each, that have saved what they did: one on `s1`, one on `s2`."""
    with town.database.write(CITY) as session:
        policy = SchedulingPolicy.model_validate({"consolidation": {"restart": "2m"}})
        session.add(SchedulingPolicyRow(body=policy.model_dump(mode="json"), created_at=NOW))
    asked: dict[str, Any] = {"hardware": HALF, "preemptible": True, "checkpoint": CHECKPOINT, **changes}
    first, second, third = (town.submit(**asked) for _ in range(3))
    for _ in range(3):
        town.tick()
    town.finish(first)
    town.tick(60)
    for job in (second, third):
        save(town, job)
    town.tick(10)
    assert [node(town, job) for job in (second, third)] == ["s1", "s2"]
    return second, third


def save(town: Town, job: str) -> None:
    attempt = town.attempts(job)[-1]
    agent = town.agents[attempt.cluster_id]
    agent.runs[attempt.id] = agent.runs[attempt.id].model_copy(update={"checkpoint_at": town.now})


def node(town: Town, job: str) -> str:
    return str(town.attempts(job)[-1].placements[0]["node"])


def test_a_run_is_moved_and_everybody_runs(town: Town) -> None:
    moved, stays = scattered(town)
    head = town.submit()
    town.tick(30)
    waiting = town.job(head)
    assert waiting.reasons == [
        {"code": "waiting_for_move", "numbers": {"cluster": "sz", "runs": 1, "card_seconds": 4 * (40 + 120)}}
    ]
    for _ in range(6):
        town.tick()
    assert [town.state(job) for job in (moved, stays, head)] == [JobState.RUNNING] * 3
    assert [node(town, job) for job in (moved, stays, head)] == ["s2", "s2", "s1"]
    assert town.events(moved)[-6:] == ["move_requested", "moved", "waiting_for_round", "granted", "taken_up", "started"]
    assert (town.job(moved).losses, town.job(moved).failures) == (0, 0)
    assert [attempt.state for attempt in town.attempts(moved)] == ["preempted", "running"]


def test_its_place_is_kept_over_a_restart_of_the_dispatcher_and_in_front_of_whoever_is_urgent(town: Town) -> None:
    moved, _ = scattered(town)
    head = town.submit()
    town.tick(30)
    town.dispatcher = town.new_dispatcher()
    urgent = town.submit("uni", hardware=HALF, priority="high")
    for _ in range(12):
        town.tick(2)
    assert node(town, moved) == "s2"
    assert (node(town, urgent), town.state(urgent)) == ("s1", JobState.RUNNING)
    assert town.state(head) == JobState.QUEUED


@pytest.mark.parametrize("changes", [{"checkpoint": None}, {"preemptible": False}])
def test_who_has_no_checkpoint_or_may_not_be_stopped_is_not_moved(town: Town, changes: dict[str, object]) -> None:
    scattered(town, **changes)
    head = town.submit()
    town.tick(30)
    assert town.reason(head) == "waiting_for_cards"


def test_nothing_is_moved_before_it_has_saved_what_it_did_since_it_started(town: Town) -> None:
    moved, stays = scattered(town)
    with town.database.read(CITY) as session:
        heard = dict.fromkeys((("hz", "h1"), ("sz", "s1"), ("sz", "s2")), town.now)
        runs = {run.job: run for run in look(session, heard, town.now).state.runs}
    assert {job for job, run in runs.items() if run.again is not None} == {moved, stays}
    late = town.submit(hardware=HALF, preemptible=True, checkpoint=CHECKPOINT)
    town.tick()
    town.tick()
    with town.database.read(CITY) as session:
        runs = {run.job: run for run in look(session, heard, town.now).state.runs}
    assert runs[late].again is None
