"""The registry: who takes part, under which programme; registered once, and never changed under its name."""

import copy
import json
from importlib.resources import files
from typing import Any

import pytest

from scheduler.service.registry import load_registry
from scheduler.store.database import CITY
from scheduler.subsidy.document import load_document
from scheduler.subsidy.programme import shipped_policies
from tests.api.world import World, contract, make_uscc, problem


def _shipped(programme: str, version: str) -> dict[str, Any]:
    """A shipped document as it looks in JSON: days are strings."""
    path = files("scheduler.subsidy").joinpath("programmes", programme, f"{version}.yaml")
    document: dict[str, Any] = _as_json(load_document(path.read_bytes()))
    return document


def _as_json(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _as_json(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_as_json(inner) for inner in value]
    return value.isoformat() if hasattr(value, "isoformat") else value


PROGRAMME = _shipped("shenzhen-training", "2024")
PROVIDER = {"id": "p-new", "name": "新算力", "uscc": make_uscc(77), "city": "shenzhen"}
TENANT = {"id": "t-new", "name": "研究院", "uscc": make_uscc(78), "type": "institute", "city": "shenzhen"}
CLUSTER = {"id": "c-new", "name": "new", "provider": "p-ascend", "city": "shenzhen", "launcher": "kubernetes"}
CONTRACT = contract("C-NEW", "a-corp")
NOUNS = {"providers": PROVIDER, "tenants": TENANT, "clusters": CLUSTER, "contracts": CONTRACT}


@pytest.mark.parametrize("noun", NOUNS)
def test_what_is_registered_is_listed_and_the_same_again_changes_nothing(world: World, noun: str) -> None:
    body = NOUNS[noun]
    registered = world.post(f"/v1/{noun}", body)
    assert registered.items() >= {**body, **({"amount": "1000000.000000"} if noun == "contracts" else {})}.items()
    listed = {row["id"]: row for row in world.get(f"/v1/{noun}")}
    assert listed[body["id"]].items() >= registered.items()
    after_first = world.rows()
    world.clock.advance(1)
    assert world.post(f"/v1/{noun}", body) == registered
    assert world.rows() == after_first


@pytest.mark.parametrize("noun", NOUNS)
def test_other_content_under_the_same_id_is_refused(world: World, noun: str) -> None:
    body = NOUNS[noun]
    world.post(f"/v1/{noun}", body)
    before, listed = world.rows(), world.get(f"/v1/{noun}")
    changed = {**body, **({"service_item": "other"} if noun == "contracts" else {"name": "another"})}
    problem(world.call("POST", f"/v1/{noun}", "operator", json=changed), 409, "already_exists")
    assert (world.rows(), world.get(f"/v1/{noun}")) == (before, listed)


def test_one_cluster_is_shown_as_it_was_registered(world: World) -> None:
    assert world.get("/v1/clusters/sz-ascend", "finance")["launcher"] == "recorded"
    problem(world.call("GET", "/v1/clusters/none", "finance"), 404, "not_found")


@pytest.mark.parametrize(
    ("path", "body", "code", "field"),
    [
        ("/v1/providers", {**PROVIDER, "uscc": PROVIDER["uscc"][:-1] + "!"}, "invalid_request", "uscc"),
        ("/v1/providers", {**PROVIDER, "uscc": make_uscc(1)[::-1]}, "invalid_request", "uscc"),
        ("/v1/providers", {**PROVIDER, "id": "has spaces"}, "invalid_request", "id"),
        ("/v1/providers", {**PROVIDER, "capacity_pflops": -1}, "invalid_request", "capacity_pflops"),
        ("/v1/providers", {**PROVIDER, "registrations": [{"programme": "p"}]}, "invalid_request", "registrations.0.listed_on"),
        ("/v1/tenants", {**TENANT, "type": "person"}, "invalid_request", "type"),
        ("/v1/tenants", {**TENANT, "vip": True}, "invalid_request", "vip"),
        ("/v1/clusters", {**CLUSTER, "provider": "p-none"}, "unknown_reference", "provider"),
        ("/v1/clusters", {**CLUSTER, "launcher": "slurm"}, "invalid_request", "launcher"),
        ("/v1/contracts", {**CONTRACT, "tenant": "t-none"}, "unknown_reference", "tenant"),
        ("/v1/contracts", {**CONTRACT, "provider": "p-none"}, "unknown_reference", "provider"),
        ("/v1/contracts", {**CONTRACT, "end": "2025-01-01"}, "invalid_request", "body"),
        ("/v1/contracts", {**CONTRACT, "amount": "-1"}, "invalid_request", "amount"),
        ("/v1/contracts", {**CONTRACT, "signed_on": "yesterday"}, "invalid_request", "signed_on"),
        ("/v1/tokens", {"role": "tenant", "subject": "t-none", "note": "n"}, "unknown_reference", "subject"),
        ("/v1/tokens", {"role": "agent", "subject": "c-none", "note": "n"}, "unknown_reference", "subject"),
        ("/v1/tokens", {"role": "tenant", "note": "n"}, "invalid_request", "body"),
        ("/v1/tokens", {"role": "operator", "subject": "a-corp", "note": "n"}, "invalid_request", "body"),
        ("/v1/tokens", {"role": "root", "note": "n"}, "invalid_request", "role"),
        ("/v1/tokens", {"role": "operator", "note": ""}, "invalid_request", "note"),
    ],
)
def test_what_is_wrong_is_refused_by_name_and_not_stored(world: World, path: str, body: Any, code: str, field: str) -> None:
    before = world.rows()
    problem(world.call("POST", path, "operator", json=body), 422, code, field)
    assert world.rows() == before


@pytest.mark.parametrize("policy", shipped_policies(), ids=lambda policy: f"{policy.programme}@{policy.version}")
def test_every_shipped_programme_can_be_loaded_and_is_read_back_as_it_was(world: World, policy: Any) -> None:
    document = _shipped(policy.programme, policy.version)
    view = world.post("/v1/programmes", {"document": document}, "finance")
    assert (view["programme"], view["version"], view["name_zh"]) == (policy.programme, policy.version, policy.name.zh)
    assert world.get("/v1/programmes", "tenant-a") == [view]
    with world.city.database.read(CITY) as session:
        assert load_registry(session).policies == (policy,)
    assert world.submit(voucher={"programme": policy.programme})["state"] == "queued"


def test_a_version_of_a_programme_is_immutable(world: World) -> None:
    world.post("/v1/programmes", {"document": PROGRAMME}, "finance")
    before = world.rows()
    world.post("/v1/programmes", {"document": PROGRAMME}, "operator")
    changed = {**PROGRAMME, "notes": "quietly changed"}
    problem(world.call("POST", "/v1/programmes", "finance", json={"document": changed}), 409, "already_exists")
    assert world.rows() == before
    world.post("/v1/programmes", {"document": {**PROGRAMME, "version": "2025", "adopted": False}}, "finance")
    assert [view["version"] for view in world.get("/v1/programmes")] == ["2024", "2025"]


def test_versions_that_would_both_decide_are_refused_and_one_that_says_it_supersedes_is_taken(world: World) -> None:
    world.post("/v1/programmes", {"document": PROGRAMME}, "finance")
    before = world.rows()
    new = {**PROGRAMME, "version": "2026", "valid_from": "2026-05-01", "valid_until": None}
    refused = problem(
        world.call("POST", "/v1/programmes", "finance", json={"document": new}), 409, "versions_overlap", "document.valid_from"
    )
    assert "shenzhen-training 2024 and 2026 would both decide on 2026-05-01" in refused.detail
    assert refused.errors[0].code == "versions_overlap"
    assert world.rows() == before
    world.post("/v1/programmes", {"document": {**new, "supersedes": "2024"}}, "finance")
    after = {**new, "version": "2027", "valid_from": "2026-12-01"}  # the version of 2026 states no end
    world.post("/v1/programmes", {"document": after}, "finance")
    assert [view["version"] for view in world.get("/v1/programmes")] == ["2024", "2026", "2027"]


@pytest.mark.parametrize(
    ("amount", "code", "zh"),
    [
        ("1.1234567", "amount_too_precise", "7 位小数"),
        ("NaN", "amount_not_finite", "须为数值"),
        ("1e6", "amount_with_exponent", "科学计数法"),
        ("-1", "amount_negative", "不得为负"),
        ("1000000001", "amount_too_large", "上限"),
        ("1,000", "amount_malformed", "十进制"),
    ],
)
def test_a_contract_with_an_amount_that_is_none_has_a_code_for_it(world: World, amount: str, code: str, zh: str) -> None:
    before = world.rows()
    body = {**CONTRACT, "amount": amount}
    (error,) = problem(world.call("POST", "/v1/contracts", "operator", json=body), 422, "invalid_request", "amount").errors
    assert (error.code, zh in (error.message_zh or "")) == (code, True)
    assert world.rows() == before


@pytest.mark.parametrize(("uscc", "code"), [("91440300MA5EXAMP0D", "uscc_check_digit"), ("9144", "uscc_malformed")])
def test_a_code_that_is_no_uscc_says_whether_its_check_digit_is_wrong(world: World, uscc: str, code: str) -> None:
    body = {**PROVIDER, "uscc": uscc}
    (error,) = problem(world.call("POST", "/v1/providers", "operator", json=body), 422, "invalid_request", "uscc").errors
    assert error.code == code


@pytest.mark.parametrize(
    ("path", "value", "field"),
    [
        (("rats",), [], "document.rats"),
        (("rates", 0, "rate"), "1.01", "document.rates.0.rate"),
        (("cap", "amount"), "-1", "document.cap.amount"),
        (("rates", 0, "rate"), 0.5, "document.rates.0.rate"),
        (("requires", 0, "fact"), "applicant.zodiac", "document.requires.0.fact"),
        (("requires", 0, "code"), "because", "document.requires.0.code"),
        (("cap", "amount"), "1e9", "document.cap.amount"),
        (("valid_until",), "2001-01-01", "document"),
        (("adopted",), "yes", "document.adopted"),
        (("notes",), "\ud800", "document.notes"),
        (("notes",), "x" * 4001, "document.notes"),
    ],
)
def test_a_programme_with_a_fault_is_refused_by_name(world: World, path: tuple[str | int, ...], value: Any, field: str) -> None:
    document = copy.deepcopy(PROGRAMME)
    place: Any = document
    for part in path[:-1]:
        place = place[part]
    place[path[-1]] = value
    before = world.rows()
    body, headers = json.dumps({"document": document}), {"Content-Type": "application/json"}
    response = world.call("POST", "/v1/programmes", "finance", content=body, headers=headers)
    found = problem(response, 422, "invalid_request", field)
    assert all(not error.message.startswith("Value error") for error in found.errors)
    assert world.rows() == before


@pytest.mark.parametrize("document", [{}, {"a": {"b": [1, {"c": None}]}}, None, [], "text"])
def test_what_is_no_programme_at_all_is_refused(world: World, document: Any) -> None:
    before = world.rows()
    problem(world.call("POST", "/v1/programmes", "finance", json={"document": document}), 422, "invalid_request")
    assert world.rows() == before


def test_an_unknown_token_cannot_be_revoked(world: World) -> None:
    problem(world.call("POST", "/v1/tokens/tok-none/revoke", "operator"), 404, "not_found")
    problem(world.call("POST", f"/v1/tokens/{'x' * 200}/revoke", "operator"), 422, "invalid_request", "token_id")
