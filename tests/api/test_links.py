"""Links through the API, and what they do: the time to bring data, in quotes and in where jobs go, under every profile."""

from typing import Any

import pytest

from tests.api.test_queues import declare
from tests.api.test_quotes import EITHER, Json, explain, occupy, quote
from tests.api.test_quotes import town as town
from tests.api.world import World, observed, problem, spec

CORPUS = [{"uri": "s3://corpus/a", "size_gib": 1000, "cluster": "sz-ascend"}]


def link(world: World, source: str = "sz-ascend", target: str = "sz-nvidia", gbps: object = 1, **rest: Any) -> Json:
    answer: Json = world.post("/v1/links", {"from": source, "to": target, "gbps": gbps, **rest})
    return answer


def cheap(world: World, cluster: str, model: str) -> None:
    """From now on a cluster is the cheaper one by far."""
    price = {"cluster": cluster, "item": "accelerator", "model": model, "list_price": "1", "contracted_price": "1"}
    world.clock.advance(1)  # of two prices that hold from the same moment on neither is the later
    world.post("/v1/prices", price)


def test_a_link_is_declared_and_declared_anew(world: World) -> None:
    assert link(world, gbps=10) == {"from": "sz-ascend", "to": "sz-nvidia", "gbps": "10", "price_per_gib": None}
    link(world, gbps="10.0")
    assert world.rows()["links"] == 1, "the same again is nothing new"
    link(world, gbps="2.5", price_per_gib="0.02")
    link(world, "sz-nvidia", "sz-ascend", 0.1)
    assert world.get("/v1/links", "tenant-a") == [
        {
            "from": "sz-ascend",
            "to": "sz-nvidia",
            "gbps": "2.5",
            "price_per_gib": "0.020000",
            "declared_at": "2026-11-21T08:00:00.000000Z",
        },
        {
            "from": "sz-nvidia",
            "to": "sz-ascend",
            "gbps": "0.1",
            "price_per_gib": None,
            "declared_at": "2026-11-21T08:00:00.000000Z",
        },
    ]
    link(world, gbps=0)
    assert [each["from"] for each in world.get("/v1/links")] == ["sz-nvidia"], "0 takes it back"


@pytest.mark.parametrize(
    ("changes", "code", "field"),
    [
        ({"from": "nowhere"}, "unknown_reference", "from"),
        ({"to": "nowhere"}, "unknown_reference", "to"),
        ({"to": "sz-ascend"}, "invalid_request", "body"),
        ({"gbps": -1}, "invalid_request", "gbps"),
        ({"gbps": "0.0001"}, "invalid_request", "gbps"),
        ({"gbps": 100_001}, "invalid_request", "gbps"),
        ({"gbps": "fast"}, "invalid_request", "gbps"),
        ({"price_per_gib": "-1"}, "invalid_request", "price_per_gib"),
        ({"price_per_gib": "1000.000001"}, "invalid_request", "price_per_gib"),
        ({"latency": 3}, "invalid_request", "latency"),
    ],
)
def test_a_bad_link_is_refused_by_name_and_nothing_is_stored(world: World, changes: Json, code: str, field: str) -> None:
    before = world.rows()
    body = {"from": "sz-ascend", "to": "sz-nvidia", "gbps": 1, **changes}
    problem(world.call("POST", "/v1/links", "operator", json=body), 422, code, field)
    assert world.rows() == before


def test_data_in_a_cluster_that_does_not_exist_is_refused(world: World) -> None:
    body = spec(data=[{"uri": "s3://a", "size_gib": 1}, {"uri": "s3://b", "size_gib": 1, "cluster": "nowhere"}])
    problem(world.call("POST", "/v1/jobs", "tenant-a", json=body), 422, "unknown_reference", "data.1.cluster")


def test_a_quote_says_how_long_the_data_takes_and_what_the_link_charges(town: World) -> None:
    link(town, price_per_gib="0.02")
    options = {each["cluster"]: each for each in quote(town, hardware=EITHER, data=CORPUS)["options"]}
    assert options["sz-ascend"]["staging"] == {"seconds": 0, "unknown_gib": 0, "cost": "0.000000"}
    assert options["sz-nvidia"]["staging"] == {"seconds": 8590, "unknown_gib": 0, "cost": "20.000000"}
    assert {each["starts_at"] for each in options.values()} == {"2026-11-21T08:00:00.000000Z"}
    assert options["sz-nvidia"]["per_hour"]["contracted_amount"] == "86.400000", "no price of a link is in it"


@pytest.mark.parametrize("data", [CORPUS, [{"uri": "s3://corpus/a", "size_gib": 1000}]], ids=["no link", "nobody says where"])
def test_what_is_not_known_is_said_and_never_zero(town: World, data: list[Json]) -> None:
    options = {each["cluster"]: each for each in quote(town, hardware=EITHER, data=data)["options"]}
    assert options["sz-nvidia"]["staging"] == {"seconds": None, "unknown_gib": 1000, "cost": None}


@pytest.mark.parametrize(
    ("profile", "goes_to", "because"),
    [
        ("cheapest-net", "sz-nvidia", "placed_cheapest_net"),
        ("fastest", "sz-ascend", "placed_fastest"),
        ("domestic-first", "sz-ascend", "placed_domestic_first"),
    ],
)
def test_the_quoted_place_is_the_one_the_job_gets_under_every_profile(
    town: World, profile: str, goes_to: str, because: str
) -> None:
    link(town)
    cheap(town, "sz-nvidia", "H800")
    wanted: Json = {"hardware": EITHER, "data": CORPUS, "profile": profile}
    quoted = quote(town, **wanted)
    job = town.submit(**wanted)
    town.turn()
    told = explain(town, job["id"])
    assert quoted["options"][0]["cluster"] == told["placed"]["cluster"] == goes_to
    assert quoted["reasons"] == told["reasons"]
    assert told["reasons"][0]["code"] == because
    assert told["options"] == [{**each, "starts_at": told["as_of"]} for each in quoted["options"]]


def test_whoever_says_nothing_chooses_as_the_queue_above_or_the_city_does(town: World) -> None:
    cheap(town, "sz-nvidia", "H800")

    def goes_to(**changes: Any) -> str:
        return str(quote(town, hardware=EITHER, **changes)["options"][0]["cluster"])

    assert goes_to() == "sz-nvidia"
    town.post("/v1/scheduling", {"profile": "domestic-first"})
    assert goes_to() == "sz-ascend"
    declare(town, "research", profile="cheapest-net")
    declare(town, "a-corp", parent="research")
    assert goes_to() == "sz-nvidia"
    declare(town, "a-corp", parent="research", profile="domestic-first")
    assert (goes_to(), goes_to(profile="cheapest-net")) == ("sz-ascend", "sz-nvidia")


def test_domestic_first_waits_and_both_languages_say_what_would_help(town: World) -> None:
    occupy(town, "tenant-b", "sz-ascend", "910B3")
    job = town.submit(hardware=EITHER, profile="domestic-first")
    town.turn()
    told = explain(town, job["id"])
    assert told["verdict"] == "wait"
    assert [(each["cluster"], each["now"]) for each in told["options"]] == [("sz-ascend", False), ("sz-nvidia", True)]
    assert told["options"][0]["starts_at"] == told["start"]["latest"] == "2026-11-21T09:00:01.000000Z"
    assert told["changes"][0]["reason"]["text"] == "choose by price: profile cheapest-net instead of domestic-first"
    in_chinese = explain(town, job["id"], language="zh")
    assert in_chinese["changes"][0]["reason"]["text"] == "按价格选择:将策略由 domestic-first 改为 cheapest-net"
    assert in_chinese["elsewhere"][1]["reasons"][0]["text"] == "该集群可容纳,但按 domestic-first 策略,作业等待更合适的位置"


def test_the_fastest_waits_for_the_cluster_where_its_data_lies(town: World) -> None:
    """Free now, the H800 would get its data in 8590 s and take 2281 of the 7200 that the 910B3 may take, by the catalogue."""
    link(town)
    occupy(town, "tenant-b", "sz-ascend", "910B3")
    job = town.submit(hardware=EITHER, profile="fastest", data=CORPUS)
    town.turn()
    told = explain(town, job["id"])
    assert told["reasons"][0]["code"] == "waiting_for_faster"
    assert told["reasons"][0]["numbers"] == {
        "cluster": "sz-ascend",
        "free": "sz-nvidia",
        "seconds": 3599,
        "sooner": 8590 + 2281 - 3599 - 7200,
    }
    assert told["start"]["method"] == "promised"


def test_a_cluster_registered_before_it_had_a_limit_is_still_the_same(world: World) -> None:
    body = {"id": "sz-more", "name": "more", "provider": "p-ascend", "city": "shenzhen", "launcher": "recorded"}
    assert world.post("/v1/clusters", body)["max_in_flight"] == 256
    world.post("/v1/clusters", {**body, "max_in_flight": 256})
    problem(world.call("POST", "/v1/clusters", "operator", json={**body, "max_in_flight": 1}), 409, "already_exists")
    problem(
        world.call("POST", "/v1/clusters", "operator", json={**body, "id": "x", "max_in_flight": 0}),
        422,
        "invalid_request",
        "max_in_flight",
    )


def test_a_cluster_that_refused_a_job_is_not_offered_it_again_at_once(town: World) -> None:
    job = town.submit(hardware=EITHER, retries={"failed": 5})
    town.turn()
    (run,) = town.sync("sz-ascend")
    town.sync("sz-ascend", observed(run, "failed", cause="launch_refused", detail="no such image"))
    told = explain(town, job["id"])
    assert {each["cluster"]: each["reasons"][0]["text"] for each in told["elsewhere"]} == {
        "sz-ascend": "sz-ascend did not start it last time; it is not offered there again for 30 s"
    }
    town.turn()
    assert explain(town, job["id"])["placed"]["cluster"] == "sz-nvidia"
