"""Queues through the API: declared by operators, kept by the scheduler, explained to whoever waits."""

from tests.api.world import World, card, problem, spec

HARDWARE = {"models": ["910B3"], "per_node": 8}


def declare(world: World, name: str, **rest: object) -> None:
    world.post("/v1/queues", {"name": name, **rest})


def report(world: World, *hosts: str) -> None:
    for host in hosts:
        world.report("sz-ascend", host, [card(index, uuid=f"{host}-{index}") for index in range(8)])
    world.sync("sz-ascend")


def test_a_tenant_waits_for_its_quota_and_is_told_so(world: World) -> None:
    declare(world, "a-corp", nominal={"model:910B3": 8})
    report(world, "n1", "n2")
    first, second = (world.submit(hardware=HARDWARE) for _ in range(2))
    world.turn()
    assert world.get(f"/v1/jobs/{first['id']}", "tenant-a")["state"] == "granted"
    waiting = world.get(f"/v1/jobs/{second['id']}", "tenant-a")
    assert (waiting["state"], waiting["reasons"][0]["code"]) == ("queued", "waiting_for_quota")
    (queue,) = world.get("/v1/queues")
    assert (queue["used"], queue["running"], queue["pending"]) == ({"model:910B3": 8}, 1, 1)


def test_the_latest_declaration_holds(world: World) -> None:
    report(world, "n1", "n2")
    declare(world, "a-corp", nominal={"class:domestic": 0})
    job = world.submit(hardware=HARDWARE)
    world.turn()
    assert world.get(f"/v1/jobs/{job['id']}", "tenant-a")["state"] == "queued"
    declare(world, "a-corp", nominal={"class:domestic": 8})
    world.turn()
    assert world.get(f"/v1/jobs/{job['id']}", "tenant-a")["state"] == "granted"
    assert len(world.get("/v1/queues")) == 1


def test_a_full_queue_takes_nothing_more(world: World) -> None:
    declare(world, "a-corp", max_pending=1)
    world.submit()
    before = world.rows()
    assert "at most 1" in problem(world.call("POST", "/v1/jobs", "tenant-a", json=spec()), 429, "queue_full").detail
    assert world.rows() == before


def test_queues_must_form_trees(world: World) -> None:
    before = world.rows()
    body: dict[str, object] = {"name": "a-corp", "parent": "nowhere"}
    problem(world.call("POST", "/v1/queues", "operator", json=body), 422, "invalid_request", "parent")
    body = {"name": "a-corp", "nominal": {"gpu": 1}}
    assert (
        problem(world.call("POST", "/v1/queues", "operator", json=body), 422, "invalid_request")
        .errors[0]
        .field.startswith("nominal")
    )
    assert world.rows() == before
