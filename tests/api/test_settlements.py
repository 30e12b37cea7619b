"""Settlements over HTTP: taken from the ledger once each, told to whoever they concern, and refused with a code of their own."""

import re
from typing import Any

import pytest
from httpx import Response

from api.client import Client
from api.problems import CODES
from scheduler.contract.settlement import Settlement
from scheduler.domain.money import format_cny, parse_cny
from tests.api.test_registry import PROGRAMME
from tests.api.world import World, problem

PATH = "/v1/settlements"


@pytest.fixture
def settled(world: World) -> World:
    """A job of tenant-a that was charged once: 8 cards × 1000 s × 10.8 an hour, 24 CNY."""
    world.post("/v1/programmes", {"document": PROGRAMME}, "finance")
    _, run = world.start_job(contract="C-A")
    world.finish_job(run, 1000)
    return world


def record_of(world: World) -> Any:
    return world.get("/v1/cost-records", "ledger")["records"][0]


def settlement(world: World, **changes: Any) -> dict[str, Any]:
    values = {
        "id": "S-1",
        "record": record_of(world)["id"],
        "programme": "shenzhen-training",
        "revision": 1,
        "decision": "approved",
        "amount": "7.5",
        "settled_on": "2026-12-01",
        **changes,
    }
    return {key: value for key, value in values.items() if value is not None}


def send(world: World, body: dict[str, Any], key: str | None = None) -> Response:
    return world.call("POST", PATH, "ledger", json=body, headers={"Idempotency-Key": key} if key else {})


def test_a_settlement_is_taken_once_and_told(settled: World) -> None:
    estimate = record_of(settled)["voucher_estimate"]
    body = settlement(settled, invoice="F-2026-1", payment="P-9")
    taken = send(settled, body)
    assert taken.status_code == 201
    change = format_cny(7_500_000 - parse_cny(estimate))
    assert taken.json() == {
        **body,
        "amount": "7.500000",
        "sequence": 1,
        "received_at": taken.json()["received_at"],
        "tenant": "a-corp",
        "use_change": change,
    }
    rows = settled.rows()
    settled.clock.advance(60)
    for key in (None, "k-1", "k-1"):
        again = send(settled, body, key)
        assert (again.status_code, again.json()) == (201, taken.json())
    after = settled.rows()
    assert {name: after[name] - rows[name] for name in rows if after[name] != rows[name]} == {"idempotency_keys": 1}
    for who in ("ledger", "finance", "operator", "tenant-a"):
        assert settled.get(PATH, who) == {"settlements": [taken.json()], "next": 1}
    assert settled.get(PATH, "tenant-b") == {"settlements": [], "next": 0}


def test_they_are_read_on_from_any_point_and_by_record(settled: World) -> None:
    for revision in (3, 1, 2):
        assert send(settled, settlement(settled, id=f"S-{revision}", revision=revision)).status_code == 201
    page = settled.get(PATH, "ledger", limit=2)
    assert ([each["id"] for each in page["settlements"]], page["next"]) == (["S-3", "S-1"], 2)
    page = settled.get(PATH, "ledger", limit=2, after=2, record=record_of(settled)["id"])
    assert ([each["id"] for each in page["settlements"]], page["next"]) == (["S-2"], 3)
    assert settled.get(PATH, "ledger", after=3) == {"settlements": [], "next": 3}
    for who, record in (("ledger", "cost-000000000099-n"), ("ledger", "x"), ("tenant-b", record_of(settled)["id"])):
        assert settled.get(PATH, who, record=record)["settlements"] == []


def test_what_is_settled_stands_beside_the_estimate_of_a_job(settled: World) -> None:
    path = f"/v1/jobs/{record_of(settled)['job']}/costs"
    assert settled.get(path, "tenant-a")["voucher_settled"] is None
    send(settled, settlement(settled))
    costs = settled.get(path, "tenant-a")
    assert costs["voucher_settled"] == "7.500000"
    assert costs["voucher_estimate"] == record_of(settled)["voucher_estimate"]
    send(settled, settlement(settled, id="S-2", revision=2, decision="rejected", amount="0"))
    assert settled.get(path, "tenant-a")["voucher_settled"] == "0.000000"


@pytest.mark.parametrize(
    ("changes", "status", "code", "field"),
    [
        ({"record": "cost-000000000099-n"}, 422, "settlement_of_unknown_record", "record"),
        ({"programme": "hangzhou-compute"}, 422, "settlement_without_answer", "programme"),
        ({"amount": "24.000001"}, 422, "settlement_beyond_record", "amount"),
        ({"decision": "reversed"}, 422, "settlement_pays_nothing", "amount"),
        ({"id": "S-0", "amount": "6"}, 422, "settlement_id_reused", "id"),
        ({"revision": 9}, 409, "settlement_revision_taken", "revision"),
    ],
)
def test_what_cannot_be_taken_has_a_code_and_changes_nothing(
    settled: World, changes: dict[str, Any], status: int, code: str, field: str
) -> None:
    assert send(settled, settlement(settled, id="S-0", revision=9)).status_code == 201
    before = settled.rows(), settled.get(PATH, "ledger"), settled.get("/v1/cost-records", "ledger")
    found = problem(send(settled, settlement(settled, **changes)), status, code, field)
    assert [error.code for error in found.errors] == [code]
    assert (settled.rows(), settled.get(PATH, "ledger"), settled.get("/v1/cost-records", "ledger")) == before


@pytest.mark.parametrize(
    ("changes", "field", "code"),
    [
        ({"amount": "-1"}, "amount", "amount_negative"),
        ({"amount": "1.0000001"}, "amount", "amount_too_precise"),
        ({"amount": "1e1"}, "amount", "amount_with_exponent"),
        ({"amount": "NaN"}, "amount", "amount_not_finite"),
        ({"amount": 7.5}, "amount", "wrong_type"),
        ({"revision": 0}, "revision", None),
        ({"decision": "paid"}, "decision", None),
        ({"settled_on": "yesterday"}, "settled_on", "malformed"),
        ({"settled_on": None}, "settled_on", None),
        ({"note": "x"}, "note", "unknown_key"),
    ],
)
def test_what_is_no_settlement_is_refused_field_by_field(
    settled: World, changes: dict[str, Any], field: str, code: str | None
) -> None:
    before = settled.rows()
    found = problem(send(settled, settlement(settled, **changes)), 422, "invalid_request", field)
    if code is not None:
        assert [error.code for error in found.errors] == [code]
    assert all(error.message_zh and re.search("[一-鿿]", error.message_zh) for error in found.errors)
    assert settled.rows() == before


def test_only_the_ledger_decides(settled: World) -> None:
    for who in ("finance", "operator", "tenant-a"):
        problem(settled.call("POST", PATH, who, json=settlement(settled)), 403, "forbidden")


def test_every_code_of_a_settlement_is_told_in_both_languages() -> None:
    codes = [code for code in CODES if code.startswith("settlement_")]
    assert len(codes) == 7
    for code in codes:
        _, _, en, zh = CODES[code]
        assert sorted(re.findall(r"{\w+}", en)) and set(re.findall(r"{\w+}", en)) <= set(re.findall(r"{\w+}", zh)) | {"{id}"}


def test_the_client_settles_and_lists(settled: World) -> None:
    client = Client("http://city", settled.secrets["ledger"])
    client._http = settled.http  # the same application, without a network
    client._http.headers["Authorization"] = f"Bearer {settled.secrets['ledger']}"
    try:
        for number in range(3):
            taken = client.settle(Settlement.model_validate(settlement(settled, id=f"S-{number}", revision=number + 1)))
            assert taken.sequence == number + 1
        assert [each.id for each in client.settlements()] == ["S-0", "S-1", "S-2"]
        assert [each.id for each in client.settlements(record_of(settled)["id"], after=1)] == ["S-1", "S-2"]
    finally:
        del client._http.headers["Authorization"]
