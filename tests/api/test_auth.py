"""Who may ask for what: every route of the application, whatever is added to it, against every kind of token."""

from datetime import timedelta

import pytest
from fastapi.routing import iter_route_contexts

from api.app import build_app
from api.auth import sha256
from scheduler.contract.registry import Role
from scheduler.store.database import CITY
from scheduler.store.tables import TokenRow
from tests.api.world import PEOPLE, World, issue, problem

Route = tuple[str, str]

PROBES = {("GET", "/startupz"), ("GET", "/livez"), ("GET", "/readyz")}
ANYONE = frozenset(Role)
TENANT, OPERATOR, FINANCE, LEDGER, AGENT = ({role} for role in (Role.TENANT, Role.OPERATOR, Role.FINANCE, Role.LEDGER, Role.AGENT))
STAFF = OPERATOR | FINANCE

MATRIX = {
    ("POST", "/v1/jobs"): TENANT,
    ("GET", "/v1/jobs"): TENANT | STAFF,
    ("GET", "/v1/jobs/{job_id}"): TENANT | STAFF,
    ("POST", "/v1/jobs/{job_id}/cancel"): TENANT | OPERATOR,
    ("GET", "/v1/jobs/{job_id}/attempts"): TENANT | STAFF,
    ("GET", "/v1/jobs/{job_id}/tasks"): TENANT | STAFF,
    ("GET", "/v1/jobs/{job_id}/events"): TENANT | STAFF,
    ("GET", "/v1/jobs/{job_id}/logs"): TENANT | STAFF,
    ("GET", "/v1/jobs/{job_id}/costs"): TENANT | STAFF,
    ("GET", "/v1/jobs/{job_id}/explanation"): TENANT | STAFF,
    ("POST", "/v1/quotes"): TENANT,
    ("POST", "/v1/nodes/report"): AGENT,
    ("GET", "/v1/nodes"): STAFF,
    ("GET", "/v1/inventory"): ANYONE,
    ("GET", "/v1/catalogue"): ANYONE,
    ("POST", "/v1/providers"): OPERATOR,
    ("GET", "/v1/providers"): ANYONE,
    ("POST", "/v1/tenants"): OPERATOR,
    ("GET", "/v1/tenants"): STAFF,
    ("POST", "/v1/contracts"): STAFF,
    ("GET", "/v1/contracts"): TENANT | STAFF,
    ("POST", "/v1/expenses"): TENANT,
    ("GET", "/v1/expenses"): TENANT | STAFF,
    ("POST", "/v1/prices"): STAFF,
    ("GET", "/v1/prices"): ANYONE,
    ("POST", "/v1/queues"): {Role.OPERATOR},
    ("GET", "/v1/queues"): STAFF,
    ("POST", "/v1/budgets"): STAFF,
    ("GET", "/v1/budgets"): TENANT | STAFF,
    ("POST", "/v1/links"): OPERATOR,
    ("GET", "/v1/links"): ANYONE,
    ("POST", "/v1/scheduling"): OPERATOR,
    ("GET", "/v1/scheduling"): STAFF,
    ("GET", "/metrics"): STAFF,
    ("POST", "/v1/windows"): OPERATOR,
    ("GET", "/v1/windows"): TENANT | STAFF,
    ("POST", "/v1/windows/{window_id}/cancel"): OPERATOR,
    ("POST", "/v1/programmes"): STAFF,
    ("GET", "/v1/programmes"): ANYONE,
    ("POST", "/v1/tokens"): OPERATOR,
    ("POST", "/v1/tokens/{token_id}/revoke"): OPERATOR,
    ("POST", "/v1/clusters"): OPERATOR,
    ("GET", "/v1/clusters"): STAFF,
    ("GET", "/v1/clusters/{cluster_id}"): STAFF,
    ("POST", "/v1/clusters/{cluster_id}/sync"): AGENT,
    ("POST", "/v1/clusters/{cluster_id}/logs"): AGENT,
    ("GET", "/v1/clusters/{cluster_id}/watch"): AGENT,
    ("GET", "/v1/cost-records"): LEDGER | FINANCE,
    ("GET", "/v1/cost-records/{record_id}"): LEDGER | FINANCE,
    ("POST", "/v1/settlements"): LEDGER,
    ("GET", "/v1/settlements"): TENANT | STAFF | LEDGER,
    ("GET", "/v1/cost-contexts/{sha256}"): LEDGER | FINANCE,
    ("GET", "/v1/cost-records/{record_id}/trace"): TENANT | LEDGER | FINANCE,
    ("GET", "/v1/schemas/cost-record.v1.json"): ANYONE,
    ("GET", "/v1/statements/{month}"): TENANT | FINANCE,
    ("GET", "/v1/applications/{application}/claim-pack"): TENANT | FINANCE,
    ("GET", "/v1/contracts/{contract_id}/claim-packs/{programme}/{year}"): TENANT | FINANCE,
}
"""Every route that needs a token, and the roles it answers."""

ROUTES = sorted((method, str(route.path)) for route in iter_route_contexts(build_app().routes) for method in route.methods or ())
GUARDED = [route for route in ROUTES if route not in PROBES]


def _path(route: Route) -> str:
    return (
        route[1]
        .replace("{cluster_id}", "sz-ascend")
        .replace("{job_id}", "job-none")
        .replace("{token_id}", "tok-none")
        .replace("{window_id}", "win-none")
        .replace("{record_id}", "cost-none")
        .replace("{sha256}", "0" * 64)
        .replace("{month}", "2026-11")
        .replace("{application}", "A-none")
        .replace("{contract_id}", "C-none")
        .replace("{programme}", "none")
        .replace("{year}", "2026")
    )


def test_every_route_has_its_line_in_the_matrix() -> None:
    assert set(GUARDED) == set(MATRIX)


@pytest.mark.parametrize("route", GUARDED, ids=" ".join)
def test_no_route_answers_without_a_valid_token(world: World, route: Route) -> None:
    world.secrets = {**world.secrets, "stranger": "not-a-token", "empty": ""}
    before = world.rows()
    for who in (None, "stranger", "empty"):
        refused = world.call(route[0], _path(route), who)
        problem(refused, 401, "unauthenticated")
        assert refused.headers["www-authenticate"] == "Bearer"
    assert world.rows() == before


@pytest.mark.parametrize("route", GUARDED, ids=" ".join)
def test_every_route_answers_its_roles_and_no_other(world: World, route: Route) -> None:
    """A role that may ask is told what is wrong with the request, if anything; one that may not is told nothing else."""
    refused = set()
    for who in ("tenant-a", "operator", "finance", "ledger", "agent-ascend"):
        role = PEOPLE[who][0]
        response = world.call(route[0], _path(route), who)
        assert response.status_code in (200, 201, 202, 403, 404, 422), response.text
        if response.status_code == 403:
            assert role in problem(response, 403, "forbidden").detail
            refused.add(role)
    assert set(Role) - refused == MATRIX[route]


@pytest.mark.parametrize("path", ["/", "/docs", "/redoc", "/openapi.json", "/v1", "/v1/unheard-of"])
def test_nothing_is_served_beside_the_routes(world: World, path: str) -> None:
    problem(world.call("GET", path, None), 404, "no_such_path")


def test_another_method_is_refused(world: World) -> None:
    refused = world.call("DELETE", "/v1/jobs", "tenant-a")
    assert "DELETE" in problem(refused, 405, "method_not_allowed").detail
    assert refused.headers["allow"] in ("GET", "POST")


@pytest.mark.parametrize("header", ["", "Bearer", "Basic {secret}", "{secret}", "Bearer {secret}x", "Bearer \xff"])
def test_a_malformed_authorization_header_is_no_token(world: World, header: str) -> None:
    value = header.format(secret=world.secrets["operator"]).encode("latin-1")
    problem(world.call("GET", "/v1/tenants", None, headers={"Authorization": value}), 401, "unauthenticated")


def test_a_token_works_until_it_expires(world: World) -> None:
    _, world.secrets["guest"] = issue(world.city, Role.OPERATOR, None, expires_at=world.clock.now + timedelta(seconds=60))
    world.clock.advance(59.9)
    world.get("/v1/tenants", "guest")
    world.clock.advance(0.1)
    problem(world.call("GET", "/v1/tenants", "guest"), 401, "unauthenticated")


def test_a_token_works_until_it_is_revoked(world: World) -> None:
    id_, world.secrets["guest"] = issue(world.city, Role.FINANCE, None)
    world.get("/v1/tenants", "guest")
    for _ in range(2):  # revoking twice is revoking once
        assert world.call("POST", f"/v1/tokens/{id_}/revoke", "operator").status_code == 204
        world.clock.advance(1)
    problem(world.call("GET", "/v1/tenants", "guest"), 401, "unauthenticated")
    with world.city.database.read(CITY) as session:
        revoked_at = session.get_one(TokenRow, id_).revoked_at
    assert revoked_at is not None
    assert world.clock.now - revoked_at == timedelta(seconds=2)


def test_a_secret_is_shown_once_and_stored_only_as_its_hash(world: World) -> None:
    issued = world.post("/v1/tokens", {"role": "agent", "subject": "sz-ascend", "note": "a new agent"})
    with world.city.database.read(CITY) as session:
        row = session.get_one(TokenRow, issued["id"])
    assert row.sha256 == sha256(issued["token"])
    assert issued["token"] not in str(vars(row))
    assert len(issued["token"]) >= 32
