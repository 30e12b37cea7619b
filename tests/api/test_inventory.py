"""The inventory: what node agents report, counted by class, model and cluster."""

from typing import Any

import pytest

from scheduler.domain.hardware import shipped_catalogue
from scheduler.store.database import CITY
from scheduler.store.tables import NodeRow
from tests.api.world import START, World, card, problem


def _row(world: World, model: str = "910B3") -> Any:
    return next(row for row in world.get("/v1/inventory")["rows"] if row["model"] == model)


def _counts(row: Any) -> tuple[int, int, int, int]:
    return row["cards"], row["healthy"], row["allocated"], row["free"]


def _changed_at(world: World, hostname: str = "node-1") -> Any:
    with world.city.database.read(CITY) as session:
        return session.get_one(NodeRow, ("sz-ascend", hostname)).changed_at


def test_an_empty_city_has_an_empty_inventory(world: World) -> None:
    empty = {"as_of": "2026-11-21T08:00:00.000000Z", "catalogue_version": shipped_catalogue().version, "totals": [], "rows": []}
    assert world.get("/v1/inventory") == empty
    assert world.get("/v1/nodes") == {"nodes": [], "next": None}


def test_reports_become_totals_by_class_and_rows_by_cluster_and_model(world: World) -> None:
    for host in ("a1", "a2"):
        world.report("sz-ascend", host, [card(n, uuid=f"{host}-{n}") for n in range(4)])
    world.report("sz-nvidia", "n1", [card(0, "H800"), card(1, "Quantum-9000", uuid="q")])
    inventory = world.get("/v1/inventory", "tenant-a")
    assert {total["hardware_class"]: _counts(total) for total in inventory["totals"]} == {
        "domestic": (8, 8, 0, 8),
        "foreign": (1, 1, 0, 1),
        "unknown": (1, 1, 0, 1),
    }
    rows = {(row["cluster"], row["model"]): (row["hardware_class"], row["recorded"], row["nodes"]) for row in inventory["rows"]}
    assert rows == {
        ("sz-ascend", "910B3"): ("domestic", True, 2),
        ("sz-nvidia", "H800"): ("foreign", False, 1),
        ("sz-nvidia", "Quantum-9000"): ("unknown", False, 1),
    }


@pytest.mark.parametrize(
    ("reported", "class_", "vendor", "model"),
    [
        ({"model": "H800", "hardware_class": "domestic"}, "foreign", "nvidia", "H800"),
        ({"vendor": "NVIDIA", "model": "nvidia h20", "hardware_class": "domestic"}, "foreign", "nvidia", "H20"),
        ({"model": "Ascend910B3", "hardware_class": "foreign"}, "domestic", "huawei", "910B3"),
        ({"vendor": "acme", "model": "X1", "hardware_class": "domestic"}, "unknown", "acme", "X1"),
        ({"vendor": "acme", "model": "X1", "pci_vendor_id": "10de", "hardware_class": "domestic"}, "foreign", "nvidia", "X1"),
    ],
)
def test_the_class_is_what_the_citys_catalogue_says_not_the_agent(
    world: World, reported: dict[str, Any], class_: str, vendor: str, model: str
) -> None:
    world.report("sz-ascend", "node-1", [{**card(0, reported["model"]), **reported}])
    (row,) = world.get("/v1/inventory")["rows"]
    assert (row["hardware_class"], row["vendor"], row["model"]) == (class_, vendor, model)
    (node,) = world.get("/v1/nodes")["nodes"]
    assert node["accelerators"][0]["hardware_class"] == class_


def test_a_card_in_mig_mode_is_one_card_and_its_instances_are_counted_beside_it(world: World) -> None:
    def cut(number: int, *profiles: str, **rest: Any) -> Any:
        instances = [{"uuid": f"{number}-{n}", "profile": each, "memory_bytes": 2**35} for n, each in enumerate(profiles)]
        return card(number, "H800", mig={"slices": 7, "instances": instances}, **rest)

    cards = [cut(0, "3g.40gb", "3g.40gb"), cut(1, "7g.80gb", health="degraded"), cut(2), card(3, "H800")]
    assert world.report("sz-nvidia", "node-1", cards).status_code == 202
    world.sync("sz-nvidia")
    world.submit(hardware={"models": ["H800"], "mig": "3g.40gb"})
    world.turn()
    row = _row(world, "H800")
    assert (_counts(row), row["partitioned"]) == ((4, 3, 0, 1), 3)
    assert row["instances"] == [
        {"profile": "3g.40gb", "count": 2, "allocated": 1, "free": 1},
        {"profile": "7g.80gb", "count": 1, "allocated": 0, "free": 0},
    ]
    (total,) = world.get("/v1/inventory")["totals"]
    assert (_counts(total), total["partitioned"]) == ((4, 3, 0, 1), 3)


def test_a_stale_report_is_ignored_and_a_restarted_agent_is_not(world: World) -> None:
    world.report("sz-ascend", "node-1", [card(n) for n in range(8)], sequence=5)
    for sequence in (5, 4):
        assert world.report("sz-ascend", "node-1", [card(0)], sequence=sequence).status_code == 202
        assert _row(world)["cards"] == 8
    world.report("sz-ascend", "node-1", [card(0)], sequence=6)
    assert _row(world)["cards"] == 1
    world.report("sz-ascend", "node-1", [card(0), card(1)], boot="boot-2", sequence=0)
    assert _row(world)["cards"] == 2


def test_a_report_lost_with_redis_comes_back_with_the_next(world: World) -> None:
    world.report("sz-ascend", "node-1", [card(0)])
    world.city.live._redis.flushdb()
    assert _counts(_row(world)) == (1, 1, 0, 0)  # known, but not heard
    world.report("sz-ascend", "node-1", [card(0)])
    assert _counts(_row(world)) == (1, 1, 0, 1)


def test_capacity_is_written_only_when_it_changes(world: World) -> None:
    world.report("sz-ascend", "node-1", [card(0)])
    for load in (0, 50, 100):
        world.clock.advance(10)
        world.report("sz-ascend", "node-1", [card(0, utilisation_percent=load, temperature_celsius=40 + load)])
        assert _changed_at(world) == START
    world.clock.advance(10)
    world.report("sz-ascend", "node-1", [card(0, health="degraded", health_reasons=["ECC"])])
    assert _changed_at(world) == world.clock.now


def test_readings_are_those_of_the_last_report_and_absent_where_there_is_no_sensor(world: World) -> None:
    for load in (10, 20):
        world.report("sz-ascend", "node-1", [card(0, utilisation_percent=load, power_milliwatts=0), card(1)])
        world.clock.advance(3)
    (node,) = world.get("/v1/nodes")["nodes"]
    first, second = node["accelerators"]
    assert (first["utilisation_percent"], first["power_milliwatts"], first["temperature_celsius"]) == (20, 0, None)
    assert second["utilisation_percent"] is None
    assert (node["cluster"], node["hostname"], node["heard_seconds_ago"], node["cpu_cores"]) == ("sz-ascend", "node-1", 3, 64)


def test_cards_a_job_holds_are_allocated_and_not_free(world: World) -> None:
    world.report("sz-ascend", "node-2", [card(n, uuid=f"second-{n}") for n in range(8)])
    job, _ = world.start_job()
    assert _counts(_row(world)) == (16, 16, 8, 8)
    world.post(f"/v1/jobs/{job['id']}/cancel", {}, "tenant-a", 202)
    assert _row(world)["allocated"] == 8  # until its cluster has stopped it
    world.sync("sz-ascend")
    assert _counts(_row(world)) == (16, 16, 0, 16)


def test_a_degraded_or_lost_card_is_not_free(world: World) -> None:
    world.report("sz-ascend", "node-1", [card(0), card(1, health="degraded"), card(2, health="lost")])
    assert _counts(_row(world)) == (3, 1, 0, 1)


def test_cards_of_a_silent_node_are_not_free(world: World) -> None:
    world.report("sz-ascend", "node-1", [card(0)])
    world.clock.advance(30)
    assert _counts(_row(world)) == (1, 1, 0, 1)
    world.clock.advance(1)
    assert _counts(_row(world)) == (1, 1, 0, 0)


def test_nodes_are_listed_page_by_page(world: World) -> None:
    for host in ("b", "a", "c"):
        world.report("sz-ascend", host, [card(0, uuid=host)])
    world.report("sz-nvidia", "a", [card(0, "H800")])
    first = world.get("/v1/nodes", limit=3)
    rest = world.get("/v1/nodes", limit=3, after=first["next"])
    names = [(node["cluster"], node["hostname"]) for node in first["nodes"] + rest["nodes"]]
    assert names == [("sz-ascend", "a"), ("sz-ascend", "b"), ("sz-ascend", "c"), ("sz-nvidia", "a")]
    assert rest["next"] is None


@pytest.mark.parametrize("query", ["limit=201", "limit=0", "after=no-slash", "after=" + "x/" * 300, "after=a/b/c", "after=%00/a"])
def test_a_bad_query_for_nodes_is_refused(world: World, query: str) -> None:
    problem(world.call("GET", f"/v1/nodes?{query}", "operator"), 422, "invalid_request", query.partition("=")[0])


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"hostname": "a/b"}, "hostname"),
        ({"hostname": ""}, "hostname"),
        ({"sequence": -1}, "sequence"),
        ({"cpu_cores": 0}, "cpu_cores"),
        ({"memory_bytes": 2**60}, "memory_bytes"),
        ({"observed_at": "noon"}, "observed_at"),
        ({"accelerators": [card(0), card(0)]}, "body"),
        ({"accelerators": [card(n, uuid=f"u{n}") for n in range(129)]}, "accelerators"),
        ({"accelerators": [card(0, utilisation_percent=101)]}, "accelerators.0.utilisation_percent"),
        ({"accelerators": [card(0, health="fine")]}, "accelerators.0.health"),
        ({"accelerators": [card(0, colour="red")]}, "accelerators.0.colour"),
        ({"labels": {f"k{n}": "v" for n in range(33)}}, "labels"),
        ({"boot": None}, "boot"),
    ],
)
def test_a_report_that_is_not_as_allowed_is_refused_whole(world: World, changes: dict[str, Any], field: str) -> None:
    before = world.rows()
    problem(world.report("sz-ascend", "node-1", [], **changes), 422, "invalid_request", field)
    assert world.rows() == before
    assert world.city.live.heard_at() == {}


USED: dict[str, Any] = {"processes": [{"pid": 7, "memory_bytes": 2**30, "name": "miner"}], "process_count": 1}


def _uses(world: World) -> list[tuple[bool, bool]]:
    (node,) = world.get("/v1/nodes")["nodes"]
    return [(card["allocated"], card["foreign_use"]) for card in node["accelerators"]]


def test_a_card_that_is_used_and_given_to_nobody_is_shown_to_the_operator_as_such(world: World) -> None:
    world.report("sz-ascend", "node-1", [card(0, **USED), card(1), card(2, processes=[])])
    assert _uses(world) == [(False, True), (False, False), (False, False)]
    (node,) = world.get("/v1/nodes")["nodes"]
    assert node["accelerators"][0]["processes"] == [{"pid": 7, "memory_bytes": 2**30, "name": "miner"}]
    assert node["accelerators"][1]["processes"] is None


def test_the_processes_of_a_job_are_its_own_while_it_runs_and_a_minute_on(world: World) -> None:
    _, run = world.start_job(hardware={"models": ["910B3"], "nodes": 1, "per_node": 8})
    used = [card(n, **USED) for n in range(8)]
    world.report("sz-ascend", "node-1", used)
    assert _uses(world) == [(True, False)] * 8
    world.finish_job(run, 100)
    world.clock.advance(30)
    world.report("sz-ascend", "node-1", used)
    assert _uses(world) == [(False, False)] * 8
    world.clock.advance(31)
    world.report("sz-ascend", "node-1", used)
    assert _uses(world) == [(False, True)] * 8


def test_a_tenant_never_sees_who_else_runs_something(world: World) -> None:
    world.report("sz-ascend", "node-1", [card(0, **USED)])
    for who in ("tenant-a", "agent-ascend", "ledger"):
        problem(world.call("GET", "/v1/nodes", who), 403, "forbidden")
    assert "miner" not in world.call("GET", "/v1/inventory", "tenant-a").text


def test_who_uses_a_card_is_a_reading_and_changes_no_capacity(world: World) -> None:
    world.report("sz-ascend", "node-1", [card(0, **USED)])
    world.clock.advance(10)
    world.report("sz-ascend", "node-1", [card(0, processes=[], process_count=0, sm_clock_mhz=900)])
    assert _changed_at(world) == START


def test_a_node_may_be_closed_as_a_whole_and_says_why(world: World) -> None:
    world.report("sz-ascend", "node-1", [card(0)], closed=["node_cordoned"])
    assert world.get("/v1/nodes")["nodes"][0]["closed"] == ["node_cordoned"]
    world.report("sz-ascend", "node-1", [card(0)])
    assert world.get("/v1/nodes")["nodes"][0]["closed"] == []
