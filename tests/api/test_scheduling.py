"""How the city schedules, as its operator chooses through the API."""

import pytest

from tests.api.test_queues import HARDWARE, report
from tests.api.world import World, problem


def test_what_is_shipped_holds_until_something_is_chosen(world: World) -> None:
    choices = {"backfill": "easy", "half_life": "7d", "consolidation": None}
    shipped = {**choices, "profile": "cheapest-net", "min_runtime": "0s"}
    assert world.get("/v1/scheduling") == shipped
    world.post("/v1/scheduling", {"backfill": "conservative"})
    world.post("/v1/scheduling", {"backfill": "conservative"})
    assert world.get("/v1/scheduling")["backfill"] == "conservative"
    assert world.rows()["scheduling_policies"] == 1, "the same again is no new choice"


def test_an_unknown_choice_is_refused_by_name(world: World) -> None:
    before = world.rows()
    problem(world.call("POST", "/v1/scheduling", "operator", json={"backfill": "greedy"}), 422, "invalid_request", "backfill")
    problem(world.call("POST", "/v1/scheduling", "operator", json={"backfil": "easy"}), 422, "invalid_request", "backfil")
    assert world.rows() == before


def test_moving_runs_is_off_until_it_is_chosen_and_a_restart_takes_minutes_as_shipped(world: World) -> None:
    assert world.post("/v1/scheduling", {"consolidation": {}})["consolidation"] == {"restart": "5m"}
    before = world.rows()
    body = {"consolidation": {"restart": "25h"}}
    problem(world.call("POST", "/v1/scheduling", "operator", json=body), 422, "invalid_request", "consolidation.restart")
    assert world.rows() == before


@pytest.mark.parametrize("min_runtime", ["8d", "soon", ""])
def test_a_minimum_run_time_is_none_to_a_week(world: World, min_runtime: str) -> None:
    before = world.rows()
    for path, body in (("/v1/scheduling", {}), ("/v1/queues", {"name": "a-corp"})):
        refused = world.call("POST", path, "operator", json={**body, "min_runtime": min_runtime})
        problem(refused, 422, "invalid_request", "min_runtime")
    assert world.rows() == before
    world.post("/v1/queues", {"name": "a-corp", "min_runtime": "0s"})
    assert world.get("/v1/queues")[0]["min_runtime"] == "0s"


def test_conservative_backfill_promises_every_blocked_job_a_start(world: World) -> None:
    """Three jobs want the same node: with `easy` only the first that waits is promised it, with `conservative` both are."""
    report(world, "n1")
    _, head, behind = (world.submit(hardware=HARDWARE) for _ in range(3))
    world.turn()

    def method(job: str) -> str:
        found: str = world.get(f"/v1/jobs/{job}/explanation", "tenant-a")["start"]["method"]
        return found

    assert (method(head["id"]), method(behind["id"])) == ("promised", "simulated to max_runtime")
    world.post("/v1/scheduling", {"backfill": "conservative"})
    assert (method(head["id"]), method(behind["id"])) == ("promised", "promised")


@pytest.mark.parametrize("half_life", ["59m", "91d", "soon"])
def test_a_half_life_is_hours_to_months(world: World, half_life: str) -> None:
    before = world.rows()
    problem(world.call("POST", "/v1/scheduling", "operator", json={"half_life": half_life}), 422, "invalid_request", "half_life")
    assert world.rows() == before


def test_who_used_much_before_is_told_why_others_go_first(world: World) -> None:
    _, run = world.start_job()
    world.finish_job(run, seconds=2 * 3600)
    report(world, "node-1")
    mine = world.submit(hardware=HARDWARE)
    world.submit("tenant-b", hardware=HARDWARE)
    position = world.get(f"/v1/jobs/{mine['id']}/explanation", "tenant-a")["position"]
    assert (position["ahead"], position["past_use"]["code"]) == (1, "position_past_cards")
    said = "1 of them go first for what its tenant has used before: 16 domestic card-hours, halved every 7d"
    assert position["past_use"]["text"] == said
    chinese = world.get(f"/v1/jobs/{mine['id']}/explanation", "tenant-a", "zh")["position"]["past_use"]["text"]
    assert chinese == "其中 1 个因本租户此前已使用 16 个 国产 卡时(每过 7d 折半计)而排在前面"
    world.post("/v1/scheduling", {"half_life": None})
    position = world.get(f"/v1/jobs/{mine['id']}/explanation", "tenant-a")["position"]
    assert (position["ahead"], position["past_use"]) == (0, None)
