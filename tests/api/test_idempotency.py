"""`Idempotency-Key`: asking twice is asking once, on every POST that creates."""

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

import pytest
from httpx import Response
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from api.auth import Principal
from api.idempotency import Attempt, once
from scheduler.contract.base import Page
from scheduler.contract.registry import Role
from tests.api.test_registry import PROGRAMME
from tests.api.world import START, World, contract, make_uscc, problem, spec

PROVIDER = {"id": "p-new", "name": "new", "uscc": make_uscc(77), "city": "shenzhen"}
EXPENSE = {"contract": "C-A", "item": "corpus", "amount": "1", "incurred_on": "2026-11-01", "description": "a corpus"}
CREATING: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "/v1/jobs": ("tenant-a", spec(), spec(name="other")),
    "/v1/providers": ("operator", PROVIDER, {**PROVIDER, "id": "p-newer"}),
    "/v1/tenants": (
        "operator",
        {"id": "t-new", "name": "t", "uscc": make_uscc(78), "type": "institute", "city": "shenzhen"},
        {"id": "t-new", "name": "u", "uscc": make_uscc(78), "type": "institute", "city": "shenzhen"},
    ),
    "/v1/clusters": (
        "operator",
        {"id": "c-new", "name": "c", "provider": "p-ascend", "city": "shenzhen", "launcher": "ray"},
        {"id": "c-new", "name": "d", "provider": "p-ascend", "city": "shenzhen", "launcher": "ray"},
    ),
    "/v1/contracts": ("finance", contract("C-NEW", "a-corp"), contract("C-NEW", "b-univ")),
    "/v1/prices": (
        "finance",
        {"cluster": "sz-ascend", "item": "cpu", "list_price": "1", "contracted_price": "1", "effective_from": START.isoformat()},
        {"cluster": "sz-ascend", "item": "cpu", "list_price": "2", "contracted_price": "1", "effective_from": START.isoformat()},
    ),
    "/v1/expenses": ("tenant-a", EXPENSE, {**EXPENSE, "amount": "2"}),
    "/v1/programmes": ("finance", {"document": PROGRAMME}, {"document": {**PROGRAMME, "version": "x"}}),
}
"""Every creating POST: who asks, a body, and another body."""


def _post(world: World, path: str, who: str, body: Any, key: str) -> Response:
    return world.call("POST", path, who, json=body, headers={"Idempotency-Key": key})


@pytest.mark.parametrize("path", CREATING)
def test_the_same_key_and_body_is_one_effect_and_one_answer(world: World, path: str) -> None:
    who, body, _ = CREATING[path]
    first = _post(world, path, who, body, "k-1")
    assert first.status_code == 201, first.text
    after_first = world.rows()
    world.clock.advance(5)
    again = _post(world, path, who, body, "k-1")
    assert (again.status_code, again.json()) == (201, first.json())
    assert world.rows() == after_first


@pytest.mark.parametrize("path", CREATING)
def test_the_same_key_with_another_body_is_refused(world: World, path: str) -> None:
    who, body, other = CREATING[path]
    assert _post(world, path, who, body, "k-1").status_code == 201
    before = world.rows()
    problem(_post(world, path, who, other, "k-1"), 422, "idempotency_key_reused")
    assert world.rows() == before


@pytest.mark.parametrize("path", CREATING)
@pytest.mark.parametrize("key", ["", "x" * 129, "two words", "naïve"])
def test_a_key_that_is_none_is_refused(world: World, path: str, key: str) -> None:
    who, body, _ = CREATING[path]
    before = world.rows()
    response = world.call("POST", path, who, json=body, headers={"Idempotency-Key": key.encode("latin-1")})
    problem(response, 422, "invalid_request", "Idempotency-Key")
    assert world.rows() == before


def test_cancelling_with_a_key_is_answered_as_before_though_the_job_has_ended(world: World) -> None:
    path = f"/v1/jobs/{world.submit()['id']}/cancel"
    first, again = (_post(world, path, "tenant-a", {}, "k-1") for _ in range(2))
    assert (first.status_code, again.status_code) == (202, 202)
    assert first.json() == again.json()
    problem(_post(world, path, "tenant-a", {}, "k-2"), 409, "job_finished")


def test_a_key_belongs_to_one_token_and_one_path(world: World) -> None:
    ids = {_post(world, "/v1/jobs", who, spec(), "k-1").json()["id"] for who in ("tenant-a", "tenant-b")}
    assert len(ids) == 2
    path = f"/v1/jobs/{world.submit()['id']}/cancel"
    problem(_post(world, path, "tenant-a", spec(), "k-1"), 422, "idempotency_key_reused")


def test_a_refused_request_does_not_use_up_its_key(world: World) -> None:
    problem(_post(world, "/v1/jobs", "tenant-a", spec(contract="C-9"), "k-1"), 422, "unknown_reference")
    assert _post(world, "/v1/jobs", "tenant-a", spec(), "k-1").status_code == 201


def test_without_a_key_every_post_is_a_new_one(world: World) -> None:
    assert world.submit()["id"] != world.submit()["id"]


def test_two_at_once_with_one_key_are_one_job(world: World) -> None:
    before, threads = world.rows(), 4
    barrier = Barrier(threads)

    def ask(_: int) -> Response:
        barrier.wait()
        return _post(world, "/v1/jobs", "tenant-a", spec(), "k-1")

    with ThreadPoolExecutor(threads) as pool:
        answers = list(pool.map(ask, range(threads)))
    assert [answer.status_code for answer in answers] == [201] * threads
    assert len({answer.text for answer in answers}) == 1
    assert world.rows()["jobs"] == before["jobs"] + 1


@pytest.mark.parametrize("key", ["k-1", None])
def test_a_twin_that_committed_first_is_found_on_the_second_look(world: World, key: str | None) -> None:
    """PostgreSQL lets two writers run until one of them commits; the other then fails, and looks again."""
    looks = 0

    def effect(session: Session) -> tuple[int, Page]:
        nonlocal looks
        looks += 1
        if looks == 1:
            raise IntegrityError("INSERT", {}, Exception("duplicate key"))
        return 201, Page(next="done")

    answer = once(world.city, Principal("tok-1", Role.OPERATOR, None), Attempt(key, "0" * 64), effect)
    assert (answer.status_code, answer.body, looks) == (201, b'{"next":"done"}', 2)
