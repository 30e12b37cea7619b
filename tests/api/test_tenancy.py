"""What one tenant, or one cluster's agent, can see of another: nothing, not even that it is there."""

import pytest

from tests.api.world import World, observed, problem


@pytest.mark.parametrize("what", ["", "/attempts", "/events", "/logs", "/logs?attempt=1", "/costs", "/explanation"])
def test_another_tenants_job_is_as_absent_as_one_that_never_was(world: World, what: str) -> None:
    job, run = world.start_job()
    world.finish_job(run, 60)
    assert world.call("GET", f"/v1/jobs/{job['id']}{what}", "tenant-a").status_code == 200
    refused = world.call("GET", f"/v1/jobs/{job['id']}{what}", "tenant-b")
    never = world.call("GET", f"/v1/jobs/job-none{what}", "tenant-b")
    assert problem(refused, 404, "not_found").detail.replace(job["id"], "job-none") == problem(never, 404, "not_found").detail


def test_another_tenants_job_cannot_be_cancelled(world: World) -> None:
    job = world.submit("tenant-a")
    before = world.rows()
    problem(world.call("POST", f"/v1/jobs/{job['id']}/cancel", "tenant-b"), 404, "not_found")
    assert world.rows() == before
    assert world.get(f"/v1/jobs/{job['id']}", "tenant-a")["state"] == "queued"


def test_listings_hold_a_tenants_own_only(world: World) -> None:
    mine, theirs = world.submit("tenant-a")["id"], world.submit("tenant-b")["id"]
    for query in ({}, {"state": "queued"}, {"limit": 1}):
        assert [job["id"] for job in world.get("/v1/jobs", "tenant-a", **query)["jobs"]] == [mine]
    assert [job["id"] for job in world.get("/v1/jobs", "tenant-b")["jobs"]] == [theirs]
    assert [contract["id"] for contract in world.get("/v1/contracts", "tenant-a")] == ["C-A"]
    for staff in ("operator", "finance"):
        assert [job["id"] for job in world.get("/v1/jobs", staff)["jobs"]] == [theirs, mine]
        assert [contract["id"] for contract in world.get("/v1/contracts", staff)] == ["C-A", "C-B"]


def test_another_tenants_job_used_as_a_cursor_shows_nothing_of_it(world: World) -> None:
    mine, theirs = world.submit("tenant-a")["id"], world.submit("tenant-b")["id"]
    assert [job["id"] for job in world.get("/v1/jobs", "tenant-a", after=theirs)["jobs"]] == [mine]


def test_an_agent_speaks_for_its_own_cluster_only(world: World) -> None:
    before = world.rows()
    chunk = {"attempt": "att-1", "fencing_token": 1, "offset": 0, "text": "x"}
    for cluster in ("sz-ascend", "sz-none"):
        problem(world.call("POST", f"/v1/clusters/{cluster}/sync", "agent-nvidia", json={"agent": "a"}), 404, "not_found")
        problem(world.call("POST", f"/v1/clusters/{cluster}/logs", "agent-nvidia", json={"chunks": [chunk]}), 404, "not_found")
    assert world.rows() == before


def test_an_agent_neither_sees_nor_moves_the_runs_of_another_cluster(world: World) -> None:
    job, run = world.start_job("sz-ascend")
    assert world.sync("sz-nvidia", observed(run, "failed", exit_code=1)) == []
    chunk = {"attempt": run["attempt"], "fencing_token": run["fencing_token"], "offset": 0, "text": "forged"}
    position = world.post("/v1/clusters/sz-nvidia/logs", {"chunks": [chunk]}, "agent-nvidia", 200)["positions"][0]
    assert position["wanted"] is False
    assert world.get(f"/v1/jobs/{job['id']}", "tenant-a")["state"] == "running"
    assert world.get(f"/v1/jobs/{job['id']}/logs", "tenant-a")["text"] == ""


def test_a_tenant_sees_the_networks_totals_but_no_node_and_no_other_tenant(world: World) -> None:
    world.start_job()
    seen = world.get("/v1/inventory", "tenant-b")
    assert seen["totals"][0]["allocated"] == 8  # of everybody: the network is one
    assert "a-corp" not in str(seen)
    for path in ("/v1/nodes", "/v1/tenants", "/v1/clusters", "/v1/cost-records"):
        problem(world.call("GET", path, "tenant-b"), 403, "forbidden")
