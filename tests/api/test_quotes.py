"""Quotes and explanations through the API: what is said beforehand is what happens, and nobody learns of anybody else."""

import json
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from scheduler.contract.registry import Role
from tests.api.test_registry import PROGRAMME
from tests.api.world import World, card, contract, issue, make_uscc, observed, problem, spec

Json = dict[str, Any]

EITHER = {"models": ["910B3", "H800"], "per_node": 8}


@pytest.fixture
def town(world: World) -> World:
    """Two clusters of one node of eight cards, both of which answer."""
    world.report("sz-ascend", "node-1", [card(n) for n in range(8)])
    world.report("sz-nvidia", "node-2", [card(n, "H800") for n in range(8)])
    for cluster in ("sz-ascend", "sz-nvidia"):
        world.sync(cluster)
    return world


def quote(world: World, who: str = "tenant-a", language: str = "en", **changes: Any) -> Json:
    response = world.call("POST", "/v1/quotes", who, json=spec(**changes), headers={"Accept-Language": language})
    assert response.status_code == 200, response.text
    answer: Json = response.json()
    return answer


def explain(world: World, job: str, who: str = "tenant-a", language: str = "en") -> Json:
    answer: Json = world.get(f"/v1/jobs/{job}/explanation", who, language=language)
    return answer


def occupy(world: World, who: str, cluster: str, model: str) -> Json:
    """A job of somebody that runs on the one node of a cluster."""
    job = world.submit(who, hardware={"models": [model], "per_node": 8}, max_runtime="1h")
    world.turn()
    (run,) = world.sync(cluster)
    world.sync(cluster, observed(run, "running", started_at=world.clock.now.isoformat()))
    return job


def test_the_quoted_place_is_the_one_the_job_gets(town: World) -> None:
    quoted = quote(town, hardware=EITHER)
    assert quoted["verdict"] == "fit"
    job = town.submit(hardware=EITHER)
    town.turn()
    first = quoted["options"][0]
    got = explain(town, job["id"])
    assert (got["placed"]["cluster"], got["placed"]["model"], len(got["placed"]["nodes"])) == (
        first["cluster"],
        first["model"],
        first["nodes"],
    )
    assert got["reasons"] == quoted["reasons"]
    assert (got["state"], got["verdict"]) == ("granted", "fit")
    same = [{**option, "starts_at": got["as_of"]} for option in quoted["options"]]
    assert got["options"] == same, "its own cards count as free: the same places are compared"


def test_prices_are_per_hour_and_for_the_whole_run(town: World) -> None:
    (option, _) = quote(town, hardware=EITHER, max_runtime="30m")["options"]
    assert option["per_hour"] == {"list_amount": "96.000000", "contracted_amount": "86.400000", "net_amount": "86.400000"}
    assert option["whole_run"] == {"list_amount": "48.000000", "contracted_amount": "43.200000", "net_amount": "43.200000"}
    assert (option["voucher"], option["cards"], option["cores"], option["recorded"]) == (None, 8, 0, True)


def test_the_voucher_is_told_with_its_status_and_counts_only_when_eligible(town: World) -> None:
    town.post("/v1/programmes", {"document": PROGRAMME})
    (option,) = quote(town, contract="C-A")["options"]
    voucher = option["voucher"]
    assert voucher["programme"] == "shenzhen-training"
    assert voucher["counted"] is (voucher["status"] == "eligible")
    assert option["whole_run"]["net_amount"] == option["whole_run"]["contracted_amount"]
    assert voucher["reasons"][0]["text"]


def test_nothing_is_stored(town: World) -> None:
    before = town.rows()
    quote(town)
    quote(town, hardware={"per_node": 64})
    assert town.rows() == before


def test_a_job_too_large_is_answered_never_with_the_sizes(town: World) -> None:
    refused = town.call("POST", "/v1/jobs", "tenant-a", json=spec(hardware={"models": ["910B3"], "nodes": 4, "per_node": 8}))
    problem(refused, 422, "job_never_fits")
    quoted = quote(town, hardware={"models": ["910B3"], "nodes": 4, "per_node": 8})
    assert (quoted["verdict"], quoted["reasons"][0]["code"], quoted["options"]) == ("never", "never_larger_than_cluster", [])
    assert quoted["start"]["method"] == "unknown"
    assert {each["cluster"]: each["reasons"][0]["code"] for each in quoted["elsewhere"]} == {
        "sz-ascend": "place_too_small",
        "sz-nvidia": "place_no_such_hardware",
    }
    assert [change["reason"]["code"] for change in quoted["changes"]] == ["change_fewer_nodes"]


@pytest.mark.parametrize(
    ("changes", "code", "field"),
    [
        ({"contract": "C-B"}, "unknown_reference", "contract"),
        ({"voucher": {"programme": "none-such"}}, "unknown_reference", "voucher.programme"),
        ({"depends_on": ["job-none"]}, "unknown_reference", "depends_on.0"),
        ({"hardware": {"nodes": 0}}, "invalid_request", "hardware.nodes"),
        ({"max_runtime": None}, "invalid_request", "max_runtime"),
    ],
)
def test_a_bad_spec_is_refused_as_on_submission(town: World, changes: Json, code: str, field: str) -> None:
    for path in ("/v1/jobs", "/v1/quotes"):
        problem(town.call("POST", path, "tenant-a", json=spec(**changes)), 422, code, field)


def test_a_waiting_job_is_told_when_why_and_what_would_help(town: World) -> None:
    occupy(town, "tenant-b", "sz-ascend", "910B3")
    mine = town.submit()
    town.turn()
    told = explain(town, mine["id"])
    assert (told["verdict"], told["reasons"][0]["code"], told["placed"]) == ("wait", "waiting_for_cards", None)
    assert told["position"] == {
        "ahead": 0,
        "competing": 0,
        "text": "0 ahead of it in the queue, 0 of them after the same kind of cards",
        "past_use": None,
    }
    assert (told["start"]["method"], told["start"]["latest"]) == ("promised", "2026-11-21T09:00:01.000000Z")
    assert [(option["cluster"], option["now"]) for option in told["options"]] == [("sz-ascend", False)]
    (change,) = told["changes"]
    assert (change["reason"]["text"], change["cluster"]) == ("accept foreign H800 as well", "sz-nvidia")
    assert change["per_hour"]["net_amount"] == "86.400000"
    town.submit(hardware=EITHER)
    town.turn()
    assert quote(town)["position"]["ahead"] == 1


def test_the_suggested_change_does_start_it(town: World) -> None:
    occupy(town, "tenant-b", "sz-ascend", "910B3")
    assert quote(town)["changes"][0]["reason"]["code"] == "change_other_model"
    job = town.submit(hardware=[{"models": ["910B3"], "per_node": 8}, {"models": ["H800"], "per_node": 8}])
    town.turn()
    assert explain(town, job["id"])["placed"]["cluster"] == "sz-nvidia"


def test_a_contract_that_binds_to_a_busy_provider_is_said_to(town: World) -> None:
    occupy(town, "tenant-b", "sz-ascend", "910B3")
    town.post("/v1/contracts", contract("C-A2", "a-corp", provider="p-nvidia"))
    quoted = quote(town, hardware=EITHER, contract="C-A")
    assert {each["cluster"]: each["reasons"][0]["code"] for each in quoted["elsewhere"]} == {
        "sz-ascend": "place_busy",
        "sz-nvidia": "place_other_provider",
    }
    assert [change["reason"]["text"] for change in quoted["changes"]] == [
        "use contract C-A2",
        "do not name contract C-A, which binds it to one provider",
    ]


def test_nobody_learns_of_anybody_else(town: World) -> None:
    theirs = [occupy(town, "tenant-b", "sz-ascend", "910B3"), occupy(town, "tenant-b", "sz-nvidia", "H800")]
    theirs.append(town.submit("tenant-b", priority="high"))
    mine = town.submit(hardware=EITHER)
    town.turn()
    for told in (explain(town, mine["id"]), quote(town, hardware=EITHER), quote(town, priority="low")):
        text = json.dumps(told)
        assert "b-univ" not in text
        assert "C-B" not in text
        assert not [job for job in theirs if job["id"] in text]
    assert explain(town, mine["id"])["position"]["competing"] == 1


def test_a_job_that_has_ended_says_how_and_nothing_more(town: World) -> None:
    job, run = town.start_job()
    town.finish_job(run, 60)
    told = explain(town, job["id"])
    assert (told["state"], told["verdict"], told["reasons"][0]["code"]) == ("succeeded", None, "succeeded")
    assert (told["options"], told["changes"], told["position"], told["start"]) == ([], [], None, None)
    assert told["placed"]["cluster"] == "sz-ascend"


def test_staff_reads_an_explanation_as_its_owner_does(town: World) -> None:
    job = town.submit()
    assert explain(town, job["id"], "operator") == explain(town, job["id"], "finance") == explain(town, job["id"])


def test_answers_come_in_chinese(town: World) -> None:
    occupy(town, "tenant-b", "sz-ascend", "910B3")
    quoted = quote(town, language="zh")
    assert quoted["changes"][0]["reason"]["text"] == "同时接受 国外 H800"
    assert quoted["start"]["text"].startswith("已为其预留位置")
    assert quoted["position"]["text"] == "前面有 0 个作业,其中 0 个需要同类加速卡"
    job = town.submit()
    assert explain(town, job["id"], language="zh")["elsewhere"][1]["reasons"][0]["text"] == "该集群没有任何节点具备 8 × 910B3"


def test_a_job_without_cards_is_quoted_by_the_core(town: World) -> None:
    price = {"cluster": "sz-nvidia", "item": "cpu", "list_price": "0.5", "contracted_price": "0.4"}
    town.post("/v1/prices", price)
    town.clock.advance(1)
    (option,) = quote(town, hardware={"per_node": 0, "cpus": 4})["options"]
    assert (option["cluster"], option["model"], option["cards"], option["cores"]) == ("sz-nvidia", None, 0, 4)
    assert option["per_hour"]["contracted_amount"] == "1.600000"


def test_a_job_may_ask_for_labels_and_versions_and_is_told_what_they_cost_it(town: World) -> None:
    cards = [card(n, "H800", uuid=f"new-{n}") for n in range(8)]
    versions = {"driver_version": "550.54.15", "toolkit_version": "12.4", "labels": {"pool": "training"}}
    town.report("sz-nvidia", "node-3", cards, **versions)
    town.report("sz-nvidia", "node-2", [card(n, "H800") for n in range(8)], driver_version="535.104.05", toolkit_version="12.2")
    nodes = {node["hostname"]: (node["driver_version"], node["toolkit_version"]) for node in town.get("/v1/nodes")["nodes"]}
    assert nodes == {"node-1": (None, None), "node-2": ("535.104.05", "12.2"), "node-3": ("550.54.15", "12.4")}
    wish = {"models": ["H800"], "per_node": 8, "driver": ">=550", "toolkit": ">= 12.2, < 13", "labels": {"pool": ["training"]}}
    job = town.submit(hardware=wish)
    town.turn()
    assert explain(town, job["id"])["placed"]["nodes"] == ["node-3"]

    told = quote(town, hardware=wish)
    (reason,) = [each for each in told["reasons"] if each["code"] == "constraints_exclude"]
    each = "driver>=550: 1, toolkit>=12.2,<13: 2, pool=training: 1"
    assert reason["text"] == f"2 nodes have 8 × H800; what it asks of nodes leaves 1 of them ({each})"
    assert "constraints_exclude" in {each["code"] for each in told["elsewhere"][1]["reasons"]}

    two = town.submit(hardware={**wish, "nodes": 2})
    assert (two["state"], two["verdict"]) == ("queued", None), "a driver may be renewed: such a job waits"
    refused = town.call("POST", "/v1/jobs", "tenant-a", json=spec(hardware={**wish, "nodes": 3}))
    problem(refused, 422, "job_never_fits", "hardware.nodes")


def test_a_gang_may_wish_to_be_near_and_is_told_how_far_apart_it_is(town: World) -> None:
    for number, rack in enumerate(("r1", "r2", "r2")):
        cards = [card(n, "H800", uuid=f"{number}-{n}") for n in range(8)]
        town.report("sz-nvidia", f"node-{number + 3}", cards, labels={"rack": rack, "spine": "s1"})
    wish = {"models": ["H800"], "nodes": 2, "per_node": 8, "topology": {"within": "rack", "required": False}}
    quoted = quote(town, hardware=wish)
    assert quoted["options"][0]["spans"] == {"rack": 1, "spine": 1}
    job = town.submit(hardware=wish)
    town.turn()
    told = explain(town, job["id"])
    assert told["placed"]["nodes"] == ["node-4", "node-5"]
    assert told["reasons"] == quoted["reasons"]
    assert told["reasons"][1]["text"] == "it lies in 1 rack(s)"

    told = quote(town, hardware={**wish, "nodes": 3, "topology": "rack"}, language="zh")
    text = "需要同一机架内 3 个节点 × 8 × H800;最大的机架(集群 sz-nvidia)总共只有 2 个此类节点"
    assert (told["verdict"], told["reasons"][0]["text"]) == ("never", text)


def test_instances_of_mig_are_quoted_granted_and_told_as_their_part_of_a_card(town: World) -> None:
    instances = [{"uuid": f"MIG-{n}", "profile": "3g.40gb", "memory_bytes": 39 * 2**30} for n in range(2)]
    town.report("sz-nvidia", "cut", [card(0, "H800", uuid="cut-0", mig={"slices": 7, "instances": instances})])
    wish = {"models": ["H800"], "mig": "3g.40gb", "per_node": 2}
    (option,) = quote(town, hardware=wish)["options"]
    whole = quote(town, hardware={"models": ["H800"], "per_node": 1})["options"][0]
    assert (option["mig"], option["cards"], option["card_milli"], whole["card_milli"]) == ("3g.40gb", 2, 856, 1000)
    listed, price = (Decimal(each["per_hour"]["list_amount"]) for each in (option, whole))
    assert listed == price * 856 / 1000
    seconds = 7200 * 856 // 1000
    assert abs(Decimal(option["whole_run"]["list_amount"]) - price * seconds / 3600) < Decimal("0.000001")
    job = town.submit(hardware=wish)
    town.turn()
    (run,) = town.sync("sz-nvidia")
    assert run["placements"] == [
        {"node": "cut", "devices": ["MIG-0", "MIG-1"], "card_milli": 428, "mig": "3g.40gb", "cpus": 0, "host_memory_gib": 0}
    ]
    (attempt,) = town.get(f"/v1/jobs/{job['id']}/attempts", "tenant-a")["attempts"]
    assert (attempt["mig"], attempt["cards"], attempt["card_milli"]) == ("3g.40gb", 2, 856)
    placed = explain(town, job["id"])["placed"]
    assert (placed["mig"], placed["cards"], placed["card_milli"]) == ("3g.40gb", 2, 856)


def test_what_if_says_which_constraint_is_in_the_way(town: World) -> None:
    town.report("sz-nvidia", "node-2", [card(n, "H800") for n in range(8)], driver_version="535.104.05")
    quoted = quote(town, hardware={"models": ["H800"], "per_node": 8, "driver": ">=550"}, language="zh")
    assert quoted["verdict"] == "never"
    assert "不要求 driver>=550" in [change["reason"]["text"] for change in quoted["changes"]]


def test_in_an_empty_city_a_quote_says_never_and_where_nothing_is(world: World) -> None:
    quoted = quote(world)
    assert (quoted["verdict"], quoted["options"], quoted["elsewhere"]) == ("never", [], [])


def test_a_quote_says_list_contracted_tier_off_peak_and_net_for_every_place(town: World) -> None:
    """It is 16:00 in China, and a run of ten hours goes on into the night."""
    town.post(
        "/v1/tenants", {"id": "small", "name": "s", "uscc": make_uscc(60), "type": "enterprise", "city": "shenzhen", "sme": True}
    )
    town.secrets = {**town.secrets, "small": issue(town.city, Role.TENANT, "small")[1]}
    night = {"from": "22:00", "until": "08:00", "contracted_price": "5", "sme_price": "4.5"}
    tiers = {"list_price": "12", "contracted_price": "10", "preferential_price": "8", "sme_price": "9", "off_peak": [night]}
    town.post("/v1/prices", {"cluster": "sz-ascend", "item": "accelerator", "model": "910B3", **tiers})
    town.clock.advance(1)
    option, other = quote(town, "small", hardware=EITHER, max_runtime="10h")["options"]
    assert (option["cluster"], other["cluster"]) == ("sz-ascend", "sz-nvidia")
    day, dark = option["prices"]
    assert (day["tier"], day["off_peak"], day["list_price"], day["contracted_price"]) == ("sme", False, "12.000000", "9.000000")
    assert (dark["tier"], dark["off_peak"], dark["list_price"], dark["contracted_price"]) == ("sme", True, "12.000000", "4.500000")
    assert (day["unit_seconds"], dark["unit_seconds"]) == (8 * (6 * 3600 - 1), 8 * (4 * 3600 + 1))
    assert [reason["code"] for reason in dark["reasons"]] == [
        "price_sme",
        "price_off_peak",
    ], "the preferential price is as by day, which is more"
    assert [reason["code"] for reason in day["reasons"]] == ["price_sme", "price_preferential_not_established"]
    paid = (8 * (6 * 3600 - 1) * 9_000_000 + 8 * (4 * 3600 + 1) * 4_500_000) // 3600
    assert Decimal(option["whole_run"]["contracted_amount"]) * 10**6 == paid
    assert option["whole_run"]["list_amount"] == "960.000000"
    assert [share["tier"] for share in other["prices"]] == ["contracted"]
    assert "优惠价为 8.000000" in quote(town, "small", "zh", max_runtime="1h")["options"][0]["prices"][0]["reasons"][1]["text"]


def test_what_is_quoted_is_what_is_charged(town: World) -> None:
    night = {"from": "16:30", "until": "17:10", "contracted_price": "5"}
    price = {"list_price": "12", "contracted_price": "10.000007", "off_peak": [night]}
    town.post("/v1/prices", {"cluster": "sz-ascend", "item": "accelerator", "model": "910B3", **price})
    later = (town.clock.now + timedelta(minutes=50)).isoformat()
    town.post(
        "/v1/prices",
        {"cluster": "sz-ascend", "item": "cpu", **price, "off_peak": [], "beside_cards": True, "effective_from": later},
    )
    town.clock.advance(1)
    hardware = {"models": ["910B3"], "per_node": 8, "cpus": 3}
    job, run = town.start_job(hardware=hardware)
    (option,) = town.get(f"/v1/jobs/{job['id']}/explanation", "tenant-a")["options"]
    assert {share["item"] for share in option["prices"]} == {"accelerator", "cpu"}
    town.finish_job(run, 7200)
    costs = town.get(f"/v1/jobs/{job['id']}/costs", "tenant-a")
    assert costs["state"] == "final"
    assert option["whole_run"]["contracted_amount"] == costs["contracted_amount"]
    assert option["whole_run"]["list_amount"] == costs["list_amount"]
