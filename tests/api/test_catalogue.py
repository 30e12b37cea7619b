"""The catalogue in force: what cards are is the city's to say, and what was said of a run does not change with it."""

from dataclasses import replace
from typing import Any

from scheduler.contract.catalogue import read_catalogue
from scheduler.domain.hardware import shipped_catalogue
from scheduler.service.dispatcher import Dispatcher, Pace
from scheduler.service.moments import Moments
from tests.api.world import World, card, observed

OWN: dict[str, Any] = {
    "version": "sz-2",
    "verified_on": "2026-11-20",
    "pci_vendors": {"abcd": {"vendor": "acme", "class": "domestic"}},
    "models": [
        {
            "vendor": "acme",
            "model": "X9",
            "class": "domestic",
            "memory_gib": 96,
            "aliases": ["Acme X9", "910B3"],
            "source": "its data sheet",
            "confidence": "high",
            "tflops_fp16": 500,
        },
    ],
}


def _under(world: World, document: dict[str, Any]) -> None:
    catalogue = read_catalogue(document)
    world.city = replace(world.city, catalogue=catalogue, moments=Moments(catalogue))
    world.http.app.state.city = world.city  # type: ignore[attr-defined]


def _turn(world: World) -> None:
    Dispatcher(world.city.database, world.city.live, "test", Pace(), world.clock, catalogue=world.city.catalogue).turn()


def test_anybody_may_look_at_the_shipped_one(world: World) -> None:
    shown = world.get("/v1/catalogue", "tenant-a")
    assert shown["version"] == shipped_catalogue().version
    assert len(shown["models"]) == len(shipped_catalogue().entries)
    h20 = next(row for row in shown["models"] if row["model"] == "H20")
    assert (h20["class"], h20["link"], h20["link_gigabytes_per_second"]) == ("foreign", "NVLink", 900)
    assert h20["verified_on"] == "2026-11-24"


def test_a_file_names_cards_that_the_shipped_one_does_not_know(world: World) -> None:
    mystery = card(0, "Acme X9", vendor="acme", hardware_class="unknown", memory_bytes=95 * 2**30)
    world.report("sz-nvidia", "n1", [mystery])
    assert world.get("/v1/inventory")["totals"][0]["hardware_class"] == "unknown"
    _under(world, {**OWN, "extends": "shipped"})
    answer = world.report("sz-nvidia", "n1", [mystery, card(1, "H800")]).json()
    version = f"{shipped_catalogue().version}+sz-2"
    assert answer["catalogue_version"] == world.get("/v1/inventory")["catalogue_version"] == version
    assert world.get("/v1/catalogue")["version"] == version
    (node,) = world.get("/v1/nodes")["nodes"]
    known, foreign = node["accelerators"]
    assert (known["model"], known["hardware_class"], known["nominal_memory_bytes"]) == ("X9", "domestic", 96 * 2**30)
    assert (foreign["model"], foreign["hardware_class"]) == ("H800", "foreign")


def test_a_job_that_asks_for_the_memory_a_card_is_sold_with_finds_a_card_of_the_citys_own_catalogue(world: World) -> None:
    _under(world, {**OWN, "extends": "shipped"})
    world.report("sz-nvidia", "n1", [card(0, "X9", vendor="acme", memory_bytes=95 * 2**30)])
    world.sync("sz-nvidia")
    world.post(
        "/v1/prices", {"cluster": "sz-nvidia", "item": "accelerator", "model": "X9", "list_price": "9", "contracted_price": "9"}
    )
    world.submit(hardware={"models": ["X9"], "nodes": 1, "per_node": 1, "memory_gib": 96})
    _turn(world)
    assert len(world.sync("sz-nvidia")) == 1


def test_another_catalogue_changes_nothing_of_what_runs_or_was_posted(world: World) -> None:
    _, run = world.start_job()
    before = shipped_catalogue().version
    foreign = {"vendor": "huawei", "model": "910B3", "class": "foreign", "memory_gib": 64, "source": "a test", "confidence": "low"}
    _under(world, {**OWN, "models": [foreign]})
    world.report("sz-ascend", "node-1", [card(n) for n in range(8)])
    assert [total["hardware_class"] for total in world.get("/v1/inventory")["totals"]] == ["foreign"]
    started = world.clock.now
    world.clock.advance(3600)
    times = {"started_at": started.isoformat(), "finished_at": world.clock.now.isoformat(), "exit_code": 0}
    world.report("sz-ascend", "node-1", [card(n) for n in range(8)])
    world.sync("sz-ascend", observed(run, "succeeded", **times))
    _turn(world)
    world.submit()
    _turn(world)
    (later,) = world.sync("sz-ascend")
    world.sync("sz-ascend", observed(later, "running", started_at=world.clock.now.isoformat()))
    began = world.clock.now
    world.clock.advance(60)
    times = {"started_at": began.isoformat(), "finished_at": world.clock.now.isoformat(), "exit_code": 0}
    world.sync("sz-ascend", observed(later, "succeeded", **times))
    _turn(world)
    records = [each for each in world.get("/v1/cost-records", "ledger", after=0)["records"] if each["item"] == "accelerator"]
    said = {(each["attempt"], each["catalogue_version"], each["hardware_class"]) for each in records}
    assert said == {(run["attempt"], before, "domestic"), (later["attempt"], "sz-2", "foreign")}
