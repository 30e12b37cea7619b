"""Budgets through the API: declared by staff, seen by whose they are, told to whoever is held."""

from typing import Any

import pytest

from tests.api.world import START, World, card, problem

YEAR = {"start": "2026-01-01", "end": "2026-12-31"}


def declare(world: World, name: str = "2026", **changes: Any) -> Any:
    return world.post("/v1/budgets", {"name": name, "tenant": "a-corp", "amount": "100", **YEAR, **changes}, "finance")


def test_a_budget_is_declared_and_declared_anew(world: World) -> None:
    assert declare(world) == {
        "name": "2026",
        "tenant": "a-corp",
        "contract": None,
        "amount": "100.000000",
        **YEAR,
        "posted": "0.000000",
        "reserved": "0.000000",
        "left": "100.000000",
    }
    declare(world)
    assert world.rows()["budgets"] == 1, "the same again is nothing new"
    declare(world, amount="250.5")
    assert [budget["amount"] for budget in world.get("/v1/budgets", "finance")] == ["250.500000"]


def test_a_contracts_budget_is_its_tenants(world: World) -> None:
    assert declare(world, contract="C-B", tenant=None)["tenant"] == "b-univ"
    declare(world, "mine")
    assert [budget["name"] for budget in world.get("/v1/budgets", "tenant-a")] == ["mine"]
    assert [budget["name"] for budget in world.get("/v1/budgets", "tenant-b")] == ["2026"]
    assert len(world.get("/v1/budgets", "operator")) == 2


@pytest.mark.parametrize(
    ("changes", "code", "field"),
    [
        ({"tenant": None}, "invalid_request", "body"),
        ({"tenant": "nobody"}, "unknown_reference", "tenant"),
        ({"contract": "C-9"}, "unknown_reference", "contract"),
        ({"contract": "C-B"}, "invalid_request", "tenant"),
        ({"end": "2025-12-31"}, "invalid_request", "body"),
        ({"amount": "-1"}, "invalid_request", "amount"),
        ({"amount": "1.0000001"}, "invalid_request", "amount"),
        ({"amount": 5}, "invalid_request", "amount"),
        ({"currency": "CNY"}, "invalid_request", "currency"),
    ],
)
def test_what_is_wrong_with_a_budget_is_named_and_nothing_is_stored(
    world: World, changes: dict[str, Any], code: str, field: str
) -> None:
    before = world.rows()
    body = {"name": "x", "tenant": "a-corp", "amount": "1", **YEAR, **changes}
    problem(world.call("POST", "/v1/budgets", "finance", json=body), 422, code, field)
    assert world.rows() == before


def test_a_name_stays_with_its_tenant(world: World) -> None:
    declare(world)
    body = {"name": "2026", "tenant": "b-univ", "amount": "1", **YEAR}
    problem(world.call("POST", "/v1/budgets", "finance", json=body), 409, "already_exists")


def test_whoever_is_held_is_told_the_numbers_in_both_languages(world: World) -> None:
    declare(world, amount="5")
    world.report("sz-ascend", "n1", [card(number) for number in range(8)])
    world.sync("sz-ascend")
    job = world.submit(max_runtime="1h")
    world.turn()
    held = world.get(f"/v1/jobs/{job['id']}", "tenant-a")
    assert (held["state"], held["reasons"][0]["code"]) == ("held", "waiting_for_budget")
    assert held["reasons"][0]["numbers"] == {"budget": "2026", "asked": "86.400001", "left": "5.000000"}
    said = world.get(f"/v1/jobs/{job['id']}", "tenant-a", language="zh")["reasons"][0]["text"]
    assert "预算 2026 剩余 5.000000 元" in said
    explained = world.get(f"/v1/jobs/{job['id']}/explanation", "tenant-a")
    assert "waiting_for_budget" in str(explained)
    declare(world, amount="500")
    world.clock.advance(1)
    world.turn()
    assert world.get(f"/v1/jobs/{job['id']}", "tenant-a")["state"] == "granted"
    [budget] = world.get("/v1/budgets", "tenant-a")
    assert (budget["reserved"], budget["left"]) == ("86.400001", "413.599999")


def test_a_budget_of_last_year_holds_nobody(world: World) -> None:
    assert START.year == 2026
    declare(world, amount="0", start="2025-01-01", end="2025-12-31")
    job, _ = world.start_job()
    assert world.get(f"/v1/jobs/{job['id']}", "tenant-a")["state"] == "running"
