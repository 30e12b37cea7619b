"""What was bought beside the machines: a cost record of its own, never beyond its contract, never twice, never anybody else's."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from api.routers import expenses
from scheduler.domain.money import parse_cny
from scheduler.store.database import CITY
from scheduler.store.tables import ContractUseRow
from tests.api.test_idempotency import EXPENSE
from tests.api.test_registry import PROGRAMME, _shipped
from tests.api.world import World, card, problem
from tests.service.town import books

CORPUS = _shipped("shenzhen-corpus", "2024")
SHA = "ab" * 32


def add(world: World, who: str = "tenant-a", **changes: Any) -> Any:
    return world.post("/v1/expenses", {**EXPENSE, **changes}, who)


def spent(world: World, contract: str = "C-A") -> int:
    with world.city.database.read(CITY) as session:
        row = session.get(ContractUseRow, contract)
        return 0 if row is None else row.used_micros


def test_an_expense_becomes_a_record_of_its_own(world: World) -> None:
    found = add(world, amount="1234.5", evidence_sha256=SHA)
    record = found["record"]
    assert (record["kind"], record["item"], record["tenant"], record["provider"]) == ("purchase", "corpus", "a-corp", "p-ascend")
    assert (record["unit_seconds"], record["card_seconds"], record["attempt"], record["job"]) == (0, 0, None, None)
    assert record["list_amount"] == record["contracted_amount"] == "1234.500000"
    assert (record["period_start"], record["period_end"]) == ("2026-10-31T16:00:00.000000Z", "2026-11-01T16:00:00.000000Z")
    assert (record["description"], record["evidence_sha256"]) == ("a corpus", SHA)
    assert world.get("/v1/cost-records", "ledger")["records"] == [record]
    assert world.get("/v1/expenses", "tenant-a")["expenses"] == [found] == world.get("/v1/expenses", "finance")["expenses"]
    assert spent(world) == 1_234_500_000
    assert all(books(world.city.database).identities().values())


def test_it_is_tagged_by_what_pays_for_it_and_by_nothing_else(world: World) -> None:
    world.post("/v1/programmes", {"document": PROGRAMME})
    world.post("/v1/programmes", {"document": CORPUS})
    tags = {tag["programme"]: tag for tag in add(world, amount="100")["record"]["eligibility"]}
    assert tags["shenzhen-training"]["status"] == "not_in_scope"
    assert (tags["shenzhen-corpus"]["status"], tags["shenzhen-corpus"]["capped"]) == ("needs_review", "30.000000")
    assert "contract.ordered_on_platform" in tags["shenzhen-corpus"]["missing"]
    tags = {tag["programme"]: tag for tag in add(world, item="model_service")["record"]["eligibility"]}
    assert {tag["status"] for tag in tags.values()} == {"not_in_scope"}
    declined = add(world, voucher={"programme": "none"})
    assert not any(tag["selected"] for tag in declined["record"]["eligibility"])


def test_an_expense_of_a_job_is_among_its_costs_and_its_lines_still_add_up(world: World) -> None:
    world.report("sz-ascend", "n1", [card(n) for n in range(8)])
    job, run = world.start_job()
    add(world, job=job["id"], amount="1000.000001", item="model_service")
    world.finish_job(run, 3601)
    costs = world.get(f"/v1/jobs/{job['id']}/costs", "tenant-a")
    assert [record["kind"] for record in costs["records"]] == ["purchase", "usage"]
    assert costs["records"][0]["activity"] == "finetune"
    assert parse_cny(costs["contracted_amount"]) == 1_000_000_001 + 8 * 3601 * 10_800_000 // 3600
    assert all(books(world.city.database).identities().values())


@pytest.mark.parametrize(
    ("changes", "status", "code", "field"),
    [
        ({"contract": "C-B"}, 422, "unknown_reference", "contract"),
        ({"contract": "C-NONE"}, 422, "unknown_reference", "contract"),
        ({"job": "job-none"}, 422, "unknown_reference", "job"),
        ({"voucher": {"programme": "nowhere"}}, 422, "unknown_reference", "voucher.programme"),
        ({"item": "accelerator"}, 422, "not_a_choice", "item"),
        ({"amount": "0"}, 422, "expense_out_of_bounds", "amount"),
        ({"amount": "100000000.000001"}, 422, "expense_out_of_bounds", "amount"),
        ({"amount": "-1"}, 422, "amount_negative", "amount"),
        ({"amount": "1.0000001"}, 422, "amount_too_precise", "amount"),
        ({"amount": "1000000.000001"}, 422, "expense_beyond_contract", "amount"),
        ({"incurred_on": "2026-11-22"}, 422, "expense_in_future", "incurred_on"),
        ({"incurred_on": "2025-12-31"}, 422, "expense_outside_contract", "incurred_on"),
        ({"incurred_on": "yesterday"}, 422, "malformed", "incurred_on"),
        ({"evidence_sha256": "abc"}, 422, "malformed", "evidence_sha256"),
        ({"evidence_sha256": SHA}, 409, "expense_already_posted", "evidence_sha256"),
        ({"description": ""}, 422, "wrong_length", "description"),
        ({"paid": True}, 422, "unknown_key", "paid"),
    ],
)
def test_what_is_wrong_is_refused_and_nothing_is_posted(
    world: World, changes: dict[str, Any], status: int, code: str, field: str
) -> None:
    add(world, amount="0.000001", evidence_sha256=SHA)
    before, used = world.rows(), spent(world)
    response = world.call("POST", "/v1/expenses", "tenant-a", json={**EXPENSE, **changes})
    whole = (code.startswith("expense_") and code != "expense_out_of_bounds") or code == "unknown_reference"
    found = problem(response, status, code if whole else "invalid_request", field)
    if code != "unknown_reference":
        assert [error.code for error in found.errors] == [code]
    assert (world.rows(), spent(world)) == (before, used)


def test_another_tenants_job_is_as_absent_as_one_that_never_was(world: World) -> None:
    theirs = world.submit("tenant-b")
    answers = [world.call("POST", "/v1/expenses", "tenant-a", json={**EXPENSE, "job": id_}) for id_ in (theirs["id"], "job-none")]
    assert [answer.json()["code"] for answer in answers] == ["unknown_reference"] * 2
    add(world)
    assert world.get("/v1/expenses", "tenant-b")["expenses"] == []


def test_the_last_fen_of_a_contract_may_be_spent_and_no_more(world: World) -> None:
    add(world, amount="999999.999999")
    found = problem(
        world.call("POST", "/v1/expenses", "tenant-a", json={**EXPENSE, "amount": "0.000002"}), 422, "expense_beyond_contract"
    )
    assert "0.000001 CNY left" in found.detail
    add(world, amount="0.000001")
    assert spent(world) == 10**12


def test_many_at_once_do_not_overrun_a_contract(world: World) -> None:
    with ThreadPoolExecutor(4) as pool:
        answers = list(
            pool.map(lambda _: world.call("POST", "/v1/expenses", "tenant-a", json={**EXPENSE, "amount": "300000"}), range(5))
        )
    assert sorted(answer.status_code for answer in answers) == [201, 201, 201, 422, 422]
    assert spent(world) == 900_000 * 10**6
    records = world.get("/v1/cost-records", "ledger")["records"]
    assert [record["sequence"] for record in records] == [1, 2, 3]


def test_the_same_evidence_counts_under_another_contract(world: World) -> None:
    first = add(world, evidence_sha256=SHA)
    found = problem(
        world.call("POST", "/v1/expenses", "tenant-a", json={**EXPENSE, "evidence_sha256": SHA}), 409, "expense_already_posted"
    )
    assert first["id"] in found.detail
    add(world, "tenant-b", contract="C-B", evidence_sha256=SHA)
    add(world)
    add(world)


def test_there_is_an_end_to_the_expenses_of_a_contract(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(expenses, "MAX_EXPENSES", 2)
    add(world)
    add(world)
    problem(world.call("POST", "/v1/expenses", "tenant-a", json=EXPENSE), 409, "too_many_expenses", "contract")
    add(world, "tenant-b", contract="C-B")


def test_they_come_in_pages_and_by_contract(world: World) -> None:
    whole = [
        add(world, who, contract=contract) for who, contract in (("tenant-a", "C-A"), ("tenant-b", "C-B"), ("tenant-a", "C-A"))
    ]
    first = world.call("GET", "/v1/expenses", "finance", params={"limit": 2}).json()
    second = world.call("GET", "/v1/expenses", "finance", params={"limit": 2, "after": first["next"]}).json()
    assert [*first["expenses"], *second["expenses"]] == whole
    assert second["next"] is None
    assert world.call("GET", "/v1/expenses", "finance", params={"contract": "C-B"}).json()["expenses"] == [whole[1]]
