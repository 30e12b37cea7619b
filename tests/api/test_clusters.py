"""Clusters: how they stand, and what their agents say and are told, through HTTP."""

import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.api.world import START, World, card, observed, problem

RUN = {"attempt": "att-1", "fencing_token": 1, "state": "running"}


def _view(world: World, cluster: str = "sz-ascend") -> Any:
    return next(view for view in world.get("/v1/clusters", "finance") if view["id"] == cluster)


def test_a_cluster_is_never_heard_then_live_then_suspect(world: World) -> None:
    assert (_view(world)["state"], _view(world)["heard_seconds_ago"]) == ("never_heard", None)
    world.sync("sz-ascend")
    world.clock.advance(30)
    assert (_view(world)["state"], _view(world)["heard_seconds_ago"]) == ("live", 30)
    world.clock.advance(1)
    assert _view(world)["state"] == "suspect"
    assert _view(world, "sz-nvidia")["state"] == "never_heard"


def test_a_view_counts_nodes_cards_and_runs_and_labels_what_is_recorded(world: World) -> None:
    world.report("sz-ascend", "node-2", [card(9)])
    world.start_job()
    view = _view(world)
    assert (view["nodes"], view["cards"], view["running"], view["recorded"]) == (2, 9, 1, True)
    assert (_view(world, "sz-nvidia")["running"], _view(world, "sz-nvidia")["recorded"]) == (0, False)


def test_a_grant_is_desired_until_the_run_has_ended(world: World) -> None:
    world.report("sz-ascend", "node-1", [card(n) for n in range(8)])
    world.sync("sz-ascend")
    job = world.submit(entrypoint=["python", "训练.py"], checkpoint={"path": "/ckpt", "every": "30m"})
    assert world.sync("sz-ascend") == []
    world.turn()
    (run,) = world.sync("sz-ascend")
    assert (run["job"], run["tenant"], run["entrypoint"]) == (job["id"], "a-corp", ["python", "训练.py"])
    assert (run["checkpoint_path"], run["max_runtime_seconds"], run["per_node"]) == ("/ckpt", 7200, 8)
    assert run["placements"][0]["devices"] == [f"910B3-{n}" for n in range(8)]
    assert world.sync("sz-ascend") == [run]  # not seen there yet: still to be launched
    assert world.sync("sz-ascend", observed(run, "running", started_at=START.isoformat())) == [run]
    assert world.get(f"/v1/jobs/{job['id']}", "tenant-a")["state"] == "running"
    ended = observed(run, "succeeded", exit_code=0, finished_at=world.clock.now.isoformat())
    for _ in range(2):  # saying it again changes nothing
        assert world.sync("sz-ascend", ended) == []
    assert world.get(f"/v1/jobs/{job['id']}", "tenant-a")["state"] == "succeeded"
    assert world.sync("sz-nvidia") == []


WATCH = "/v1/clusters/sz-ascend/watch"


def _synced(world: World, agent: str = "test", **body: Any) -> Any:
    return world.post("/v1/clusters/sz-ascend/sync", {"agent": agent, **body}, "agent-ascend", 200)


def test_a_sync_that_knows_what_is_desired_is_not_told_it_again(world: World) -> None:
    world.start_job()
    full = _synced(world, others=[1])
    assert [run["fencing_token"] for run in full["desired"]] == [1]
    again = _synced(world, others=[1], revision=full["revision"])
    assert (again["desired"], again["revision"]) == (None, full["revision"])
    other = _synced(world, others=[1], revision="7-7")
    assert other == full


def test_a_run_that_is_only_named_is_there(world: World) -> None:
    job, run = world.start_job()
    world.clock.advance(20)
    _synced(world, others=[run["fencing_token"]])
    assert world.get(f"/v1/jobs/{job['id']}", "tenant-a")["state"] == "running"
    _synced(world, others=[run["fencing_token"] + 1])
    assert world.get(f"/v1/jobs/{job['id']}", "tenant-a")["state"] == "queued"


def test_a_watch_answers_at_once_when_there_is_something_to_hear(world: World) -> None:
    quiet = world.get(WATCH, "agent-ascend", revision="0-0", wait_seconds=0)
    assert quiet == {"revision": "0-0"}
    world.start_job()
    found = world.get(WATCH, "agent-ascend", revision="0-0", wait_seconds=20)
    assert found == {"revision": _synced(world, others=[1])["revision"]}


@pytest.mark.timeout(20)
def test_a_watch_waits_for_the_grant(world: World) -> None:
    world.report("sz-ascend", "node-1", [card(n) for n in range(8)])
    world.sync("sz-ascend")
    with ThreadPoolExecutor(1) as pool:
        watch = pool.submit(world.get, WATCH, "agent-ascend", revision="0-0", wait_seconds=20)
        while not len(world.city.watches):
            assert not watch.done()
            time.sleep(0.001)
        world.submit()
        world.turn()
        assert watch.result(10) == {"revision": "1-1"}


@pytest.mark.timeout(20)
def test_a_process_that_is_asked_to_end_answers_those_that_wait(world: World) -> None:
    with ThreadPoolExecutor(1) as pool:
        watch = pool.submit(world.get, WATCH, "agent-ascend", revision="0-0", wait_seconds=20)
        while not len(world.city.watches):
            time.sleep(0.001)
        world.http.portal.call(world.city.close_waiting)  # type: ignore[union-attr]
        assert watch.result(10) == {"revision": "0-0"}


def test_a_watch_is_for_the_cluster_s_own_agent_and_of_what_it_was_told(world: World) -> None:
    problem(world.call("GET", f"{WATCH}?revision=0-0", "agent-nvidia"), 404, "not_found")
    for query, field in (("", "revision"), ("?revision=x", "revision"), ("?revision=0-0&wait_seconds=31", "wait_seconds")):
        problem(world.call("GET", WATCH + query, "agent-ascend"), 422, "invalid_request", field)


def test_only_one_agent_speaks_for_a_cluster_at_a_time(world: World) -> None:
    job, run = world.start_job()
    world.clock.advance(5)
    _synced(world, "test", observed=[observed(run, "running")])
    refusal = world.call("POST", "/v1/clusters/sz-ascend/sync", "agent-ascend", json={"agent": "other", "observed": []})
    assert "agent test speaks for sz-ascend" in problem(refusal, 409, "cluster_taken").detail
    assert refusal.headers["Retry-After"] == "15"
    assert world.get(f"/v1/jobs/{job['id']}", "tenant-a")["state"] == "running", "what it does not see is not gone"
    world.clock.advance(15)
    assert _synced(world, "other", others=[run["fencing_token"]])["desired"]
    problem(world.call("POST", "/v1/clusters/sz-ascend/sync", "agent-ascend", json={"agent": "test"}), 409, "cluster_taken")


def test_a_failure_says_its_exit_code(world: World) -> None:
    job, run = world.start_job()
    world.sync("sz-ascend", observed(run, "failed", exit_code=137))
    failed = world.get(f"/v1/jobs/{job['id']}", "tenant-a")
    assert (failed["state"], failed["reasons"][0]["text"]) == ("failed", "the program exited with code 137")


def test_a_run_with_an_old_fencing_token_is_not_believed(world: World) -> None:
    job, run = world.start_job()
    world.sync("sz-ascend", observed({**run, "fencing_token": run["fencing_token"] + 1}, "succeeded", exit_code=0))
    shown = world.get(f"/v1/jobs/{job['id']}", "tenant-a")
    assert shown["state"] != "succeeded"


def test_a_run_nobody_granted_is_ignored(world: World) -> None:
    world.sync("sz-ascend")
    before = world.rows()
    stranger = {"attempt": "att-none", "fencing_token": 1}
    assert world.sync("sz-ascend", observed(stranger, "running", started_at=START.isoformat())) == []
    assert world.rows() == before


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "agent"),
        ({"agent": ""}, "agent"),
        ({"agent": "a", "observed": [{**RUN, "fencing_token": 2**60}]}, "observed.0.fencing_token"),
        ({"agent": "a", "observed": [{**RUN, "state": "paused"}]}, "observed.0.state"),
        ({"agent": "a", "observed": [{**RUN, "exit_code": 999}]}, "observed.0.exit_code"),
        ({"agent": "a", "observed": [RUN] * 5001}, "observed"),
    ],
)
def test_an_observation_that_is_not_as_allowed_is_refused(world: World, body: Any, field: str) -> None:
    before = world.rows()
    response = world.call("POST", "/v1/clusters/sz-ascend/sync", "agent-ascend", json=body)
    problem(response, 422, "invalid_request", field)
    assert world.rows() == before
