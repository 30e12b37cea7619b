"""Arrays through the API: submitted as one job, shown by task."""

from typing import Any

import pytest

from tests.api.world import World, card, observed, problem, spec

ONE = {"models": ["910B3"], "per_node": 1}


def test_an_array_is_one_job_and_counts_its_tasks(world: World) -> None:
    before = world.rows()
    job = world.submit(array={"size": 100_000, "parallelism": 50})
    after = world.rows()
    assert {table: after[table] - before[table] for table in ("jobs", "tasks", "job_events")} == {
        "jobs": 1,
        "tasks": 0,
        "job_events": 1,
    }
    assert (job["state"], job["tasks"]) == ("queued", {"queued": 100_000})
    assert job["spec"]["array"] == {"size": 100_000, "parallelism": 50}
    assert [each["id"] for each in world.get("/v1/jobs", "tenant-a")["jobs"]] == [job["id"]]
    assert world.get(f"/v1/jobs/{job['id']}/tasks", "tenant-a") == {"tasks": [], "begun": 0, "next": None}
    assert world.submit()["tasks"] is None


@pytest.mark.parametrize(
    ("array", "field"),
    [
        ({"size": 0}, "array.size"),
        ({"size": 100_001}, "array.size"),
        ({}, "array.size"),
        ({"size": 5, "parallelism": 0}, "array.parallelism"),
        ({"size": 5, "step": 2}, "array.step"),
    ],
)
def test_a_bad_array_is_refused_by_name(world: World, array: dict[str, int], field: str) -> None:
    before = world.rows()
    problem(world.call("POST", "/v1/jobs", "tenant-a", json=spec(array=array)), 422, "invalid_request", field)
    assert world.rows() == before


def test_every_task_counts_in_a_full_queue(world: World) -> None:
    world.post("/v1/queues", {"name": "a-corp", "max_pending": 10})
    world.submit(array={"size": 6})
    assert problem(world.call("POST", "/v1/jobs", "tenant-a", json=spec(array={"size": 5})), 429, "queue_full").detail
    world.submit(array={"size": 3})
    world.submit()
    assert world.get("/v1/queues")[0]["pending"] == 10


def started(world: World) -> tuple[str, list[dict[str, Any]]]:
    """An array of ten of which eight run."""
    world.report("sz-ascend", "node-1", [card(n) for n in range(8)])
    world.sync("sz-ascend")
    job = world.submit(array={"size": 10}, hardware=ONE)["id"]
    world.turn()
    runs = world.sync("sz-ascend")
    now = world.clock.now.isoformat()
    world.sync("sz-ascend", *(observed(run, "running", started_at=now) for run in runs))
    return job, runs


def test_attempts_events_and_logs_are_found_by_task(world: World) -> None:
    job, runs = started(world)
    assert [run["array"] for run in runs] == [{"index": index, "size": 10} for index in range(8)]
    shown = world.get(f"/v1/jobs/{job}", "tenant-a")
    assert (shown["state"], shown["tasks"]) == ("running", {"running": 8, "queued": 2})
    chunk = {"attempt": runs[3]["attempt"], "fencing_token": runs[3]["fencing_token"], "offset": 0, "text": "I am the fourth"}
    world.post("/v1/clusters/sz-ascend/logs", {"chunks": [chunk]}, "agent-ascend", 200)
    log = world.get(f"/v1/jobs/{job}/logs", "tenant-a", task=3)
    assert (log["text"], log["task"], log["number"]) == ("I am the fourth", 3, 4)
    assert [each["task"] for each in world.get(f"/v1/jobs/{job}/attempts", "tenant-a", task=3)["attempts"]] == [3]
    events = world.get(f"/v1/jobs/{job}/events", "tenant-a", task=3)["events"]
    assert [(each["state"], each["task"], each["reason"]["code"]) for each in events] == [
        ("granted", 3, "granted"),
        ("running", 3, "started"),
    ]
    problem(world.call("GET", f"/v1/jobs/{job}/logs", "tenant-a", params={"task": 9}), 404, "not_found")
    problem(world.call("GET", f"/v1/jobs/{job}/logs", "tenant-a", params={"task": -1}), 422, "invalid_request", "task")


def test_tasks_and_attempts_are_paged(world: World) -> None:
    job, _ = started(world)
    seen: list[int] = []
    after: dict[str, str] = {}
    for expected in (3, 3, 2):
        page = world.get(f"/v1/jobs/{job}/tasks", "tenant-a", limit=3, **after)
        assert (len(page["tasks"]), page["begun"]) == (expected, 8)
        seen += [each["index"] for each in page["tasks"]]
        after = {"after": page["next"]}
    assert seen == list(range(8))
    assert world.get(f"/v1/jobs/{job}/tasks", "tenant-a", state="failed")["tasks"] == []
    page = world.get(f"/v1/jobs/{job}/attempts", "tenant-a", limit=5)
    rest = world.get(f"/v1/jobs/{job}/attempts", "tenant-a", limit=5, after=page["next"])
    assert [each["number"] for each in page["attempts"] + rest["attempts"]] == list(range(1, 9))
    assert rest["next"] is None


def test_another_tenant_sees_nothing_of_it(world: World) -> None:
    job, _ = started(world)
    problem(world.call("GET", f"/v1/jobs/{job}/tasks", "tenant-b"), 404, "not_found")


def test_cancelling_an_array_cancels_every_task(world: World) -> None:
    job, _ = started(world)
    shown = world.post(f"/v1/jobs/{job}/cancel", {}, "tenant-a", 202)
    assert shown["tasks"] == {"running": 8, "cancelled": 2}
    assert world.sync("sz-ascend") == []
    shown = world.get(f"/v1/jobs/{job}", "tenant-a")
    assert (shown["state"], shown["tasks"]) == ("cancelled", {"cancelled": 10})


def test_an_array_is_quoted_for_all_its_tasks_and_explained_while_some_run(world: World) -> None:
    world.report("sz-ascend", "node-1", [card(n) for n in range(8)])
    world.sync("sz-ascend")
    one, ten = (
        world.post("/v1/quotes", spec(hardware=ONE, array={"size": size} if size > 1 else None), "tenant-a", 200)
        for size in (1, 10)
    )
    assert (one["verdict"], ten["verdict"]) == ("fit", "fit")
    costs = [float(each["options"][0]["whole_run"]["contracted_amount"]) for each in (one, ten)]
    assert costs[1] == pytest.approx(10 * costs[0])
    job, _ = started(world)
    found = world.get(f"/v1/jobs/{job}/explanation", "tenant-a")
    assert (found["state"], found["verdict"], found["reasons"][0]["code"]) == ("running", "wait", "waiting_for_cards")
