"""Prices: exact, each of them kept, seen by everybody, and never changed for time that is over."""

from datetime import timedelta
from typing import Any

import pytest

from scheduler.store.database import CITY
from scheduler.store.tables import AttemptRow
from tests.api.world import START, World, problem

PRICE = {"cluster": "sz-ascend", "item": "cpu", "list_price": "0.5", "contracted_price": "0.4", "effective_from": START.isoformat()}
NIGHT = {"from": "22:00", "until": "08:00", "contracted_price": "0.2"}
WHOLE = {**PRICE, "preferential_price": "0.3", "sme_price": "0.25", "off_peak": [NIGHT], "beside_cards": True}
NO_AMOUNTS = {
    "0.1234567": "amount_too_precise",
    "1e3": "amount_with_exponent",
    "1E-6": "amount_with_exponent",
    "NaN": "amount_not_finite",
    "Infinity": "amount_not_finite",
    "-0.01": "amount_negative",
    "1000000000.000001": "amount_too_large",
    "9" * 24: "amount_too_large",
    **dict.fromkeys(["1,000", "", " 1", "１２", "0x10", "1_000", ".5", "1.", "01"], "amount_malformed"),
}


@pytest.mark.parametrize("field", ["list_price", "sme_price"])
@pytest.mark.parametrize(("amount", "code"), [*NO_AMOUNTS.items(), (12, "wrong_type"), (1.5, "wrong_type")])
def test_money_is_a_plain_decimal_string(world: World, field: str, amount: object, code: str) -> None:
    before = world.rows()
    found = problem(world.call("POST", "/v1/prices", "finance", json={**PRICE, field: amount}), 422, "invalid_request", field)
    (error,) = found.errors
    assert error.code == code
    assert error.message_zh
    assert world.rows() == before


@pytest.mark.parametrize(("amount", "shown"), [("0", "0.000000"), ("0.000001", "0.000001"), ("10000", "10000.000000")])
def test_money_is_exact_to_the_last_place(world: World, amount: str, shown: str) -> None:
    priced = world.post("/v1/prices", {**PRICE, "list_price": amount, "contracted_price": "0"}, "finance")
    assert (priced["list_price"], priced["contracted_price"]) == (shown, "0.000000")
    assert priced in world.get("/v1/prices", "tenant-a")["prices"]


@pytest.mark.parametrize(
    ("changes", "code", "field"),
    [
        ({"cluster": "c-none"}, "unknown_reference", "cluster"),
        ({"item": "accelerator"}, "model_misplaced", "body"),
        ({"list_price": "10000.000001"}, "price_too_high", "body"),
        ({"contracted_price": "0.6"}, "tier_above_list", "body"),
        ({"preferential_price": "0.41"}, "tier_above_contracted", "body"),
        ({"vip_price": "0.1"}, "unknown_key", "vip_price"),
        ({"off_peak": [{**NIGHT, "until": "22:00"}]}, "off_peak_empty", "off_peak.0"),
        ({"off_peak": [{**NIGHT, "from": "25:00"}]}, "time_of_day", "off_peak.0.from"),
        ({"off_peak": [NIGHT, NIGHT]}, "off_peak_overlap", "body"),
        ({"off_peak": [{**NIGHT, "contracted_price": "0.45"}]}, "off_peak_above_ordinary", "body"),
        ({"off_peak": [{"from": "22:00", "until": "08:00"}]}, "off_peak_without_price", "off_peak.0"),
        ({"effective_from": "2026-11-21T08:00:00"}, "timezone_aware", "effective_from"),
        ({"effective_from": "2026-11-21T07:59:59Z"}, "price_in_past", "effective_from"),
        ({"effective_from": "2026-11-21T15:59:59+08:00"}, "price_in_past", "effective_from"),
    ],
)
def test_what_is_wrong_is_refused_by_a_code_of_its_own_and_not_stored(
    world: World, changes: dict[str, Any], code: str, field: str
) -> None:
    before = world.rows()
    response = world.call("POST", "/v1/prices", "operator", json={**PRICE, **changes})
    whole = code in ("unknown_reference", "price_in_past")
    found = problem(response, 422, code if whole else "invalid_request", field)
    assert whole or [error.code for error in found.errors] == [code]
    assert all(error.message_zh for error in found.errors)
    assert world.rows() == before


def test_a_price_in_posted_time_is_refused_whatever_the_clock_says(world: World) -> None:
    """The machine that posts may be ahead of the one that is asked."""
    world.report("sz-ascend", "n1", [{**CARD, "index": n, "uuid": f"c{n}"} for n in range(8)])
    job, _ = world.start_job()
    posted = world.clock() + timedelta(seconds=30)
    with world.city.database.write(CITY) as session:
        for attempt in session.query(AttemptRow).filter_by(job_id=job["id"]):
            attempt.metered_until = posted
    before = world.rows()
    body = {**PRICE, "effective_from": (posted - timedelta(seconds=1)).isoformat()}
    found = problem(world.call("POST", "/v1/prices", "operator", json=body), 422, "price_in_posted_time", "effective_from")
    assert "cannot change" in found.detail
    assert world.rows() == before
    world.post("/v1/prices", {**PRICE, "effective_from": posted.isoformat()})


CARD = {"vendor": "huawei", "model": "910B3", "hardware_class": "unknown", "memory_bytes": 64 * 2**30}


def test_tiers_and_hours_are_shown_as_they_were_published(world: World) -> None:
    priced = world.post("/v1/prices", WHOLE, "finance")
    assert priced["preferential_price"] == "0.300000"
    assert priced["off_peak"] == [
        {
            "list_price": None,
            "contracted_price": "0.200000",
            "preferential_price": None,
            "sme_price": None,
            "from": "22:00",
            "until": "08:00",
            "weekdays": None,
        }
    ]
    (cpu,) = [price for price in world.get("/v1/prices", "tenant-b")["prices"] if price["item"] == "cpu"]
    assert cpu == priced


def test_prices_are_all_kept_with_a_version_each(world: World) -> None:
    later = (START + timedelta(days=1)).isoformat()
    first, second = (world.post("/v1/prices", {**PRICE, "effective_from": when}) for when in (START.isoformat(), later))
    assert first["version"] != second["version"]
    cpu = [price for price in world.get("/v1/prices", "ledger")["prices"] if price["item"] == "cpu"]
    assert sorted(cpu, key=lambda price: price["effective_from"]) == [first, second]
    assert second["effective_from"] == "2026-11-22T08:00:00.000000Z"


def test_those_in_force_at_a_moment_are_the_latest_begun(world: World) -> None:
    for number, days in enumerate((2, 0, 1, 1)):
        world.clock.advance(0.001)
        when = (START + timedelta(days=days, seconds=1)).isoformat()
        world.post("/v1/prices", {**PRICE, "contracted_price": f"0.{number}", "effective_from": when})

    def cpu(**query: str) -> list[str]:
        found = world.call("GET", "/v1/prices", "ledger", params={"cluster": "sz-ascend", **query}).json()["prices"]
        assert {price["cluster"] for price in found} <= {"sz-ascend"}
        return [price["contracted_price"] for price in found if price["item"] == "cpu"]

    assert cpu(at=START.isoformat()) == []
    assert cpu(at=(START + timedelta(days=1)).isoformat()) == ["0.100000"]
    assert cpu(at=(START + timedelta(days=1, seconds=1)).isoformat()) == ["0.300000"]
    assert cpu(at="2030-01-01T08:00:00+08:00") == ["0.000000"]
    assert sorted(cpu()) == ["0.000000", "0.100000", "0.200000", "0.300000"]
    problem(world.call("GET", "/v1/prices", "ledger", params={"at": "2026-01-01T00:00:00"}), 422, "invalid_request", "at")


def test_history_comes_in_pages(world: World) -> None:
    for _ in range(3):
        world.clock.advance(1)
        world.post("/v1/prices", {**PRICE, "effective_from": None})
    whole = world.get("/v1/prices", "tenant-a")["prices"]
    paged, after = [], None
    while True:
        page = world.call("GET", "/v1/prices", "tenant-a", params={"limit": 2, **({"after": after} if after else {})}).json()
        assert len(page["prices"]) <= 2
        paged += page["prices"]
        after = page["next"]
        if after is None:
            break
    assert paged == whole
    assert len(whole) == 5
