"""How the city schedules, as its operator chooses through the API."""

from tests.api.world import World, problem


def test_what_is_shipped_holds_until_something_is_chosen(world: World) -> None:
    assert world.get("/v1/scheduling") == {"backfill": "easy"}
    world.post("/v1/scheduling", {"backfill": "conservative"})
    world.post("/v1/scheduling", {"backfill": "conservative"})
    assert world.get("/v1/scheduling") == {"backfill": "conservative"}
    assert world.rows()["scheduling_policies"] == 1, "the same again is no new choice"


def test_an_unknown_choice_is_refused_by_name(world: World) -> None:
    before = world.rows()
    problem(world.call("POST", "/v1/scheduling", "operator", json={"backfill": "greedy"}), 422, "invalid_request", "backfill")
    problem(world.call("POST", "/v1/scheduling", "operator", json={"backfil": "easy"}), 422, "invalid_request", "backfil")
    assert world.rows() == before
