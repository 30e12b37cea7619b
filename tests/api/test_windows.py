"""Windows through the API: made by operators, kept by the scheduler, told to whoever waits or is stopped for them."""

from datetime import timedelta
from typing import Any

import pytest

from tests.api.world import START, World, card, observed, problem

HARDWARE = {"models": ["910B3"], "per_node": 8}


def moment(hours: float) -> str:
    """So many hours after the world begins."""
    return (START + timedelta(hours=hours)).isoformat()


def report(world: World, *hosts: str, **labels: str) -> None:
    for host in hosts:
        world.report("sz-ascend", host, [card(index, uuid=f"{host}-{index}") for index in range(8)], labels=labels)
    world.sync("sz-ascend")


def maintenance(**changes: Any) -> dict[str, Any]:
    return {"kind": "maintenance", "cluster": "sz-ascend", "nodes": ["n1"], "start": moment(4), "end": moment(8), **changes}


def reservation(**changes: Any) -> dict[str, Any]:
    whole = {"kind": "reservation", "cluster": "sz-ascend", "hardware": {**HARDWARE, "nodes": 1}, "tenants": ["b-univ"]}
    return {key: value for key, value in {**whole, "start": moment(4), "end": moment(8), **changes}.items() if value is not None}


def state(world: World, job: Any) -> tuple[str, str]:
    found = world.get(f"/v1/jobs/{job['id']}")
    return found["state"], found["reasons"][0]["code"]


def test_a_job_that_would_reach_into_maintenance_waits_and_says_so_and_a_shorter_one_runs(world: World) -> None:
    report(world, "n1")
    made = world.post("/v1/windows", maintenance())
    assert (made["state"], made["nodes"]) == ("ahead", ["n1"])
    long, short = world.submit(max_runtime="5h"), world.submit(max_runtime="2h")
    world.turn()
    assert state(world, short)[0] == "granted"
    assert state(world, long) == ("queued", "waiting_for_window")
    told = world.get(f"/v1/jobs/{long['id']}/explanation", "tenant-a", "zh")
    assert "维护" in told["reasons"][0]["text"]
    assert told["start"]["latest"] == "2026-11-21T16:00:00.000000Z", "when it ends"
    assert told["start"]["earliest"] == told["start"]["latest"], "and no sooner, whoever else leaves"


def test_a_quote_honours_windows_and_says_what_would_help(world: World) -> None:
    report(world, "n1")
    world.post("/v1/windows", maintenance())
    quote = world.post("/v1/quotes", {**world_spec(), "max_runtime": "5h"}, "tenant-a", 200)
    assert (quote["verdict"], quote["reasons"][0]["code"]) == ("wait", "waiting_for_window")
    (shorter,) = [change for change in quote["changes"] if change["reason"]["code"] == "change_shorter_runtime"]
    assert shorter["reason"]["numbers"] == {"max_runtime": "4h"}


def world_spec() -> dict[str, Any]:
    return {
        "name": "train",
        "entrypoint": ["python", "train.py"],
        "hardware": HARDWARE,
        "max_runtime": "2h",
        "activity": "finetune",
    }


def test_what_runs_at_the_start_is_stopped_and_queued_again_at_no_cost_of_a_retry(world: World) -> None:
    job, run = world.start_job(max_runtime="24h")
    world.post("/v1/windows", maintenance(nodes=["node-1"]))
    world.clock.advance(4 * 3600 - 2)
    world.report("sz-ascend", "node-1", [card(n) for n in range(8)])
    assert world.sync("sz-ascend", observed(run, "running", started_at=moment(0))) != []
    world.turn()
    assert world.sync("sz-ascend", observed(run, "running", started_at=moment(0))) != [], "not before"
    world.clock.advance(2)
    world.turn()
    assert world.sync("sz-ascend", observed(run, "running", started_at=moment(0))) == []
    world.sync("sz-ascend")
    (attempt,) = world.get(f"/v1/jobs/{job['id']}/attempts")["attempts"]
    assert (attempt["state"], attempt["reasons"][0]["code"]) == ("preempted", "maintenance")
    assert world.get(f"/v1/jobs/{job['id']}")["state"] == "queued"
    world.turn()
    assert state(world, job) == ("queued", "waiting_for_window")


def test_a_reservation_by_count_is_of_nodes_from_the_start_and_only_its_tenant_gets_them(world: World) -> None:
    report(world, "n1", "n2")
    made = world.post("/v1/windows", reservation())
    assert len(made["nodes"]) == 1
    others, own = world.submit(max_runtime="5h", hardware={**HARDWARE, "nodes": 2}), world.submit("tenant-b", max_runtime="5h")
    world.turn()
    assert state(world, others)[1] == "waiting_for_window"
    assert state(world, own)[0] == "granted"


def test_nodes_on_which_nothing_is_stopped_are_chosen_first(world: World) -> None:
    report(world, "n1", "n2", "n3")
    jobs = [world.submit(max_runtime=runtime) for runtime in ("24h", "2h")]
    world.turn()
    nodes = {job["id"]: world.get(f"/v1/jobs/{job['id']}/attempts")["attempts"][0]["nodes"][0] for job in jobs}
    made = world.post("/v1/windows", reservation(hardware={**HARDWARE, "nodes": 2}))
    assert nodes[jobs[0]["id"]] not in made["nodes"], "its run would be stopped; the other ends before"


@pytest.mark.parametrize(
    ("changes", "status", "code", "field"),
    [
        ({"hardware": {**HARDWARE, "nodes": 3}}, 422, "window_never_fits", "hardware.nodes"),
        ({"hardware": {"models": ["H800"], "nodes": 1}}, 422, "window_never_fits", "hardware.nodes"),
        ({"hardware": {**HARDWARE, "nodes": 2, "min_nodes": 1}}, 422, "invalid_request", None),
        ({"hardware": None, "nodes": ["n1", "n9"]}, 422, "unknown_reference", "nodes.1"),
        ({"hardware": None}, 422, "invalid_request", None),
        ({"nodes": ["n1"]}, 422, "invalid_request", None),
        ({"tenants": ["nobody"]}, 422, "unknown_reference", "tenants.0"),
        ({"tenants": []}, 422, "invalid_request", None),
        ({"queue": "nowhere"}, 422, "unknown_reference", "queue"),
        ({"cluster": "nowhere"}, 422, "unknown_reference", "cluster"),
        ({"start": moment(-1)}, 422, "invalid_request", "start"),
        ({"start": moment(8)}, 422, "invalid_request", None),
        ({"start": None, "end": moment(-1)}, 422, "invalid_request", "end"),
        ({"kind": "maintenance"}, 422, "invalid_request", None),
        ({"nightly": True}, 422, "invalid_request", "nightly"),
    ],
)
def test_what_can_never_be_held_is_refused_and_nothing_of_it_stored(
    world: World, changes: dict[str, Any], status: int, code: str, field: str | None
) -> None:
    report(world, "n1", "n2")
    before = world.rows()
    problem(world.call("POST", "/v1/windows", "operator", json=reservation(**changes)), status, code, field)
    assert world.rows() == before


def test_windows_do_not_overlap(world: World) -> None:
    report(world, "n1", "n2")
    first = world.post("/v1/windows", maintenance())
    for body in (
        maintenance(start=moment(7), end=moment(9)),
        maintenance(nodes=None),
        reservation(hardware={**HARDWARE, "nodes": 2}),
    ):
        refused = problem(world.call("POST", "/v1/windows", "operator", json=body), 409, "window_overlaps")
        assert first["id"] in refused.detail
    assert world.post("/v1/windows", maintenance(start=moment(8), end=moment(9)))["nodes"] == ["n1"], "one may follow another"
    assert world.post("/v1/windows", reservation())["nodes"] == ["n2"], "the node that is left"


def test_maintenance_of_a_whole_cluster_is_of_what_joins_it_too(world: World) -> None:
    report(world, "n1")
    assert world.post("/v1/windows", maintenance(nodes=None, start=None))["nodes"] is None
    report(world, "n2")
    job = world.submit()
    world.turn()
    assert state(world, job)[1] == "waiting_for_window"


def test_a_window_that_is_cancelled_gives_the_nodes_back(world: World) -> None:
    report(world, "n1")
    made = world.post("/v1/windows", maintenance(start=None))
    job = world.submit()
    world.turn()
    assert state(world, job)[1] == "waiting_for_window"
    assert world.get("/v1/windows")[0]["state"] == "open"
    cancelled = world.post(f"/v1/windows/{made['id']}/cancel", {}, status=200)
    assert cancelled["state"] == "cancelled"
    assert world.post(f"/v1/windows/{made['id']}/cancel", {}, status=200) == cancelled, "the same again changes nothing"
    world.turn()
    assert state(world, job)[0] == "granted"
    assert world.get("/v1/windows") == []
    assert [each["state"] for each in world.get("/v1/windows", ended=True)] == ["cancelled"]


def test_a_window_that_is_over_cannot_be_cancelled(world: World) -> None:
    report(world, "n1")
    made = world.post("/v1/windows", maintenance())
    world.clock.advance(8 * 3600)
    problem(world.call("POST", f"/v1/windows/{made['id']}/cancel", "operator", json={}), 409, "window_over")
    problem(world.call("POST", "/v1/windows/win-none/cancel", "operator", json={}), 404, "not_found")
    assert [each["state"] for each in world.get("/v1/windows", ended=True)] == ["over"]


def test_a_tenant_sees_maintenance_and_its_own_reservations(world: World) -> None:
    report(world, "n1", "n2")
    world.post("/v1/queues", {"name": "universities"})
    world.post("/v1/queues", {"name": "b-univ", "parent": "universities"})
    world.post("/v1/windows", maintenance())
    world.post("/v1/windows", reservation(tenants=None, queue="universities"))
    assert [each["kind"] for each in world.get("/v1/windows", "tenant-a")] == ["maintenance"]
    assert sorted(each["kind"] for each in world.get("/v1/windows", "tenant-b")) == ["maintenance", "reservation"]
    own = world.submit("tenant-b", max_runtime="5h")
    world.turn()
    assert state(world, own)[0] == "granted", "its queue is below the one that reserved"


def test_the_same_key_makes_one_window(world: World) -> None:
    report(world, "n1")
    headers = {"Idempotency-Key": "w-1"}
    first, again = (world.call("POST", "/v1/windows", "operator", json=maintenance(), headers=headers) for _ in range(2))
    assert first.json() == again.json()
    assert len(world.get("/v1/windows")) == 1
