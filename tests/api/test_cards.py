"""Cards from report to report: one that two nodes report, one that fails or goes under a job, and clocks that are wrong."""

from typing import Any

import pytest

from tests.api.world import Json, World, card

EIGHT = [card(n) for n in range(8)]


def _states(world: World, hostname: str, cluster: str = "sz-ascend") -> list[tuple[str, list[str]]]:
    node = next(each for each in world.get("/v1/nodes")["nodes"] if (each["cluster"], each["hostname"]) == (cluster, hostname))
    return [(each["health"], each["health_reasons"]) for each in node["accelerators"]]


SOUND: tuple[str, list[str]] = ("healthy", [])
DOUBLED = ("degraded", ["uuid_on_two_nodes"])


def _happened(world: World, job: Json, code: str, language: str = "en") -> list[Any]:
    events = world.get(f"/v1/jobs/{job['id']}/events", "tenant-a", language)["events"]
    return [event["reason"] for event in events if event["reason"]["code"] == code]


@pytest.mark.parametrize("other", ["sz-ascend", "sz-nvidia"])
def test_a_card_that_two_nodes_report_is_the_firsts_and_is_given_out_once(world: World, other: str) -> None:
    world.report("sz-ascend", "node-1", [card(0)])
    for _ in range(2):
        assert world.report(other, "node-2", [card(0), card(1)]).status_code == 202
        world.report("sz-ascend", "node-1", [card(0)])
    assert _states(world, "node-1") == [SOUND]
    assert _states(world, "node-2", other) == [DOUBLED, SOUND]
    totals = world.get("/v1/inventory")["totals"]
    assert sum(total["free"] for total in totals) == 2


def test_two_nodes_with_one_card_run_one_job(world: World) -> None:
    world.report("sz-ascend", "node-1", EIGHT)
    world.report("sz-ascend", "node-2", EIGHT)
    world.sync("sz-ascend")
    for _ in range(2):
        world.submit()
    world.turn()
    (run,) = world.sync("sz-ascend")
    assert [placement["node"] for placement in run["placements"]] == ["node-1"]


def test_a_card_that_its_first_node_no_longer_reports_is_the_others(world: World) -> None:
    world.report("sz-ascend", "node-1", [card(0), card(1)])
    world.report("sz-ascend", "node-2", [card(0)])
    world.report("sz-ascend", "node-1", [card(1)])
    world.report("sz-ascend", "node-2", [card(0)])
    assert (_states(world, "node-1"), _states(world, "node-2")) == ([SOUND], [SOUND])
    world.report("sz-ascend", "node-1", [card(0), card(1)])
    assert _states(world, "node-1") == [DOUBLED, SOUND]


def test_a_node_that_is_long_silent_keeps_a_card_only_while_a_job_holds_it(world: World) -> None:
    _, run = world.start_job()
    world.report("sz-nvidia", "node-1", EIGHT)
    world.clock.advance(601)
    world.report("sz-nvidia", "node-1", EIGHT)
    assert _states(world, "node-1", "sz-nvidia") == [DOUBLED] * 8
    world.finish_job(run, 10)
    world.report("sz-nvidia", "node-1", EIGHT)
    assert _states(world, "node-1", "sz-nvidia") == [SOUND] * 8
    world.report("sz-ascend", "node-1", EIGHT)
    assert _states(world, "node-1") == [DOUBLED] * 8


def test_a_node_that_is_silent_for_a_while_keeps_its_cards(world: World) -> None:
    world.report("sz-ascend", "node-1", [card(0)])
    world.clock.advance(600)
    world.report("sz-ascend", "node-2", [card(0)])
    assert _states(world, "node-2") == [DOUBLED]


def test_a_card_that_is_lost_on_two_nodes_is_lost_and_says_so_within_its_bounds(world: World) -> None:
    world.report("sz-ascend", "node-1", [card(0)])
    reasons = [f"reason_{n}" for n in range(16)]
    world.report("sz-ascend", "node-2", [card(0, health="lost", health_reasons=reasons)])
    assert _states(world, "node-2") == [("lost", ["uuid_on_two_nodes", *reasons[:15]])]


def test_cities_from_before_find_the_homes_of_their_cards_with_the_next_reports(world: World) -> None:
    from sqlalchemy import delete

    from scheduler.store.database import CITY
    from scheduler.store.tables import DeviceRow

    world.report("sz-ascend", "node-1", [card(0)])
    with world.city.database.write(CITY) as session:
        session.execute(delete(DeviceRow))
    world.report("sz-ascend", "node-1", [card(0)])
    world.report("sz-ascend", "node-2", [card(0)])
    assert (_states(world, "node-1"), _states(world, "node-2")) == ([SOUND], [DOUBLED])


def test_a_job_is_told_once_that_cards_under_it_fail_and_goes_on(world: World) -> None:
    job, _ = world.start_job()
    ill = [card(0, health="degraded", health_reasons=["xid_79", "row_remap_failed"]), *EIGHT[1:]]
    for _ in range(2):
        world.report("sz-ascend", "node-1", ill)
    (told,) = _happened(world, job, "cards_degraded")
    assert told["numbers"] == {"cards": 1, "node": "node-1", "why": "xid_79, row_remap_failed"}
    (in_chinese,) = _happened(world, job, "cards_degraded", "zh")
    assert in_chinese["text"].startswith("其在 node-1 上的 1 张卡不再健康")
    assert world.get(f"/v1/jobs/{job['id']}", "tenant-a")["state"] == "running"
    world.report("sz-ascend", "node-1", EIGHT)
    world.report("sz-ascend", "node-1", ill)
    assert len(_happened(world, job, "cards_degraded")) == 2


def test_a_card_that_fails_under_nobody_is_told_to_nobody(world: World) -> None:
    world.report("sz-ascend", "node-2", [card(n, uuid=f"second-{n}") for n in range(8)])
    job, run = world.start_job()
    held = run["placements"][0]["node"]
    idle = "node-2" if held == "node-1" else "node-1"
    uuids = [f"second-{n}" if idle == "node-2" else card(n)["uuid"] for n in range(8)]
    world.report("sz-ascend", idle, [card(n, uuid=uuid, health="lost") for n, uuid in enumerate(uuids)])
    assert not _happened(world, job, "cards_degraded")


def test_a_degraded_card_is_given_to_no_new_job(world: World) -> None:
    world.report("sz-ascend", "node-1", [card(0, health="degraded", health_reasons=["xid_79"]), *EIGHT[1:]])
    world.sync("sz-ascend")
    world.submit()
    world.submit(hardware={"models": ["910B3"], "nodes": 1, "per_node": 7})
    world.turn()
    (run,) = world.sync("sz-ascend")
    (placement,) = run["placements"]
    assert len(placement["devices"]) == 7
    assert card(0)["uuid"] not in placement["devices"]


def test_a_node_that_loses_cards_under_a_job_tells_it_and_gives_nothing_that_is_not_there(world: World) -> None:
    job, run = world.start_job()
    world.report("sz-ascend", "node-1", EIGHT[:6])
    (told,) = _happened(world, job, "cards_missing")
    assert told["numbers"] == {"cards": 2, "node": "node-1"}
    waiting = world.submit(hardware={"models": ["910B3"], "nodes": 1, "per_node": 1})
    world.turn()
    assert world.get(f"/v1/jobs/{waiting['id']}", "tenant-a")["state"] == "queued"
    world.finish_job(run, 20)
    world.turn()
    (granted,) = world.sync("sz-ascend")
    assert granted["attempt"] != run["attempt"]
    assert set(granted["placements"][0]["devices"]) <= {each["uuid"] for each in EIGHT[:6]}


def test_a_node_that_gains_cards_under_a_job_offers_those(world: World) -> None:
    job, _ = world.start_job()
    world.report("sz-ascend", "node-1", [*EIGHT, card(8)])
    world.submit(hardware={"models": ["910B3"], "nodes": 1, "per_node": 1})
    world.turn()
    assert [run["placements"][0]["devices"] for run in world.sync("sz-ascend")] == [[card(8)["uuid"]]]
    assert not _happened(world, job, "cards_missing")


@pytest.mark.parametrize(("offset", "ahead"), [(-86_400 * 365, -86_400 * 365), (7200, 7200), (0, 0)])
def test_a_nodes_clock_that_is_wrong_is_shown_and_nothing_is_reckoned_by_it(world: World, offset: int, ahead: int) -> None:
    from datetime import timedelta

    world.report("sz-ascend", "node-1", [card(0)], observed_at=(world.clock.now + timedelta(seconds=offset)).isoformat())
    (node,) = world.get("/v1/nodes")["nodes"]
    assert (node["clock_ahead_seconds"], node["heard_seconds_ago"]) == (ahead, 0)
    assert sum(total["free"] for total in world.get("/v1/inventory")["totals"]) == 1


def test_what_probes_could_not_see_is_shown_with_the_node(world: World) -> None:
    probes = [{"probe": "nvml", "found": 0, "error": "crashed"}, {"probe": "npu-smi", "found": 1, "milliseconds": 12}]
    world.report("sz-ascend", "node-1", [card(0)], probes=probes)
    (node,) = world.get("/v1/nodes")["nodes"]
    assert node["probe_errors"] == {"nvml": "crashed"}
