"""Who takes part: providers, clusters, tenants, contracts, programmes, tokens."""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, Path
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ValidationError
from sqlalchemy import select
from sqlalchemy.orm import Session

from api.auth import Anyone, OperatorOnly, Principal, Staff, TenantOrStaff, sha256
from api.city import City, TheCity
from api.faults import fault_error
from api.idempotency import Attempt, Keyed, once
from api.problems import ProblemError, invalid_part, unknown_reference
from scheduler.contract.registry import (
    Cluster,
    Contract,
    ProgrammeDocument,
    ProgrammeView,
    Provider,
    Role,
    Tenant,
    TokenIssued,
    TokenRequest,
)
from scheduler.domain.faults import Fault
from scheduler.store.tables import (
    Base,
    ClusterRow,
    ContractRow,
    ProgrammeRow,
    ProviderRow,
    TenantRow,
    TokenRow,
)
from scheduler.subsidy.programme import PolicyVersion, check_versions, parse_policy

router = APIRouter(prefix="/v1", tags=["registry"])

MAX_ROWS = 10_000

Row = TypeVar("Row", ProviderRow, TenantRow, ClusterRow, ContractRow)


@router.post("/providers", status_code=201, response_model=Provider)
def add_provider(body: Provider, city: TheCity, principal: OperatorOnly, keyed: Keyed) -> JSONResponse:
    return _add(city, principal, keyed, "provider", ProviderRow, body, {}, {})


@router.get("/providers")
def list_providers(city: TheCity, principal: Anyone) -> list[Provider]:
    return [Provider.model_validate(row.body) for row in _all(city, principal, ProviderRow)]


@router.post("/tenants", status_code=201, response_model=Tenant)
def add_tenant(body: Tenant, city: TheCity, principal: OperatorOnly, keyed: Keyed) -> JSONResponse:
    return _add(city, principal, keyed, "tenant", TenantRow, body, {}, {})


@router.get("/tenants")
def list_tenants(city: TheCity, principal: Staff) -> list[Tenant]:
    return [Tenant.model_validate(row.body) for row in _all(city, principal, TenantRow)]


@router.post("/clusters", status_code=201, response_model=Cluster)
def add_cluster(body: Cluster, city: TheCity, principal: OperatorOnly, keyed: Keyed) -> JSONResponse:
    needs = {"provider": (ProviderRow, body.provider)}
    return _add(city, principal, keyed, "cluster", ClusterRow, body, needs, {"provider_id": body.provider})


@router.post("/contracts", status_code=201, response_model=Contract)
def add_contract(body: Contract, city: TheCity, principal: Staff, keyed: Keyed) -> JSONResponse:
    needs = {"tenant": (TenantRow, body.tenant), "provider": (ProviderRow, body.provider)}
    return _add(
        city, principal, keyed, "contract", ContractRow, body, needs, {"tenant_id": body.tenant, "provider_id": body.provider}
    )


@router.get("/contracts")
def list_contracts(city: TheCity, principal: TenantOrStaff) -> list[Contract]:
    """A tenant sees its own contracts only."""
    return [Contract.model_validate(row.body) for row in _all(city, principal, ContractRow)]


@router.post("/programmes", status_code=201, response_model=ProgrammeView)
def add_programme(body: ProgrammeDocument, city: TheCity, principal: Staff, keyed: Keyed) -> JSONResponse:
    """Load a policy version. Versions are immutable: the same one again changes nothing, another text under its name is refused.

    So is one that would decide on a day on which another does (docs/programmes.md says when one takes another's place).
    """
    policy = _policy(body.document)

    def effect(session: Session) -> tuple[int, BaseModel]:
        stored = body.document  # as it came: a dumped policy is in micro-CNY and cannot be read back
        row = session.get(ProgrammeRow, (policy.programme, policy.version))
        if row is None:
            _check_versions(session, policy)
            session.add(ProgrammeRow(programme=policy.programme, version=policy.version, body=stored, loaded_at=city.clock()))
        elif row.body != stored:
            raise ProblemError("already_exists", noun="programme", id=f"{policy.programme}@{policy.version}")
        return 201, _programme_view(policy)

    return once(city, principal, keyed, effect)


@router.get("/programmes")
def list_programmes(city: TheCity, principal: Anyone) -> list[ProgrammeView]:
    with city.database.read(principal.scope) as session:
        rows = session.scalars(select(ProgrammeRow).order_by(ProgrammeRow.programme, ProgrammeRow.version).limit(MAX_ROWS))
        return [_programme_view(parse_policy(row.body)) for row in rows]


@router.post("/tokens", status_code=201)
def issue_token(body: TokenRequest, city: TheCity, principal: OperatorOnly) -> TokenIssued:
    """Issue a bearer token. The secret is in this answer only, which is why this call takes no Idempotency-Key."""
    with city.database.write(principal.scope) as session:
        if body.role is Role.TENANT:
            _require(session, "tenant", TenantRow, str(body.subject), field="subject")
        if body.role is Role.AGENT:
            _require(session, "cluster", ClusterRow, str(body.subject), field="subject")
        now = city.clock()
        return store_token(session, body, city.make_id("tok", now), city.make_secret(), now)


@router.post("/tokens/{token_id}/revoke", status_code=204)
def revoke_token(token_id: Annotated[str, Path(max_length=128)], city: TheCity, principal: OperatorOnly) -> None:
    with city.database.write(principal.scope) as session:
        row = session.get(TokenRow, token_id)
        if row is None:
            raise ProblemError("not_found", noun="token", id=token_id)
        row.revoked_at = row.revoked_at or city.clock()


def store_token(session: Session, request: TokenRequest, id_: str, secret: str, now: datetime) -> TokenIssued:
    """Store a new token, of which the secret itself is not kept; also how a new city gets its first."""
    session.add(
        TokenRow(
            id=id_,
            sha256=sha256(secret),
            role=request.role,
            subject=request.subject,
            note=request.note,
            created_at=now,
            expires_at=request.expires_at,
        )
    )
    return TokenIssued(id=id_, token=secret, role=request.role, subject=request.subject)


def _add(
    city: City,
    principal: Principal,
    keyed: Attempt,
    noun: str,
    table: type[Row],
    body: Provider | Tenant | Cluster | Contract,
    needs: Mapping[str, tuple[type[Base], str]],
    columns: Mapping[str, str],
) -> JSONResponse:
    """Register something once: the same content again changes nothing, other content under its id is refused."""

    def effect(session: Session) -> tuple[int, BaseModel]:
        for field, (needed, id_) in needs.items():
            _require(session, field, needed, id_)
        stored = body.model_dump(mode="json")
        row = session.get(table, body.id)
        if row is None:
            session.add(table(id=body.id, body=stored, created_at=city.clock(), **columns))
        elif type(body).model_validate(row.body) != body:
            raise ProblemError("already_exists", noun=noun, id=body.id)
        return 201, body

    return once(city, principal, keyed, effect)


def _all(city: City, principal: Principal, table: type[Row]) -> list[Row]:
    with city.database.read(principal.scope) as session:
        return list(session.scalars(select(table).order_by(table.id).limit(MAX_ROWS)))


def _require(session: Session, noun: str, table: type[Base], id_: str, field: str | None = None) -> None:
    if session.get(table, id_) is None:
        raise unknown_reference(field or noun, noun, id_)


def _policy(document: Mapping[str, Any]) -> PolicyVersion:
    try:
        return parse_policy(document)
    except ValidationError as error:
        raise invalid_part(error, "document", document) from error


def _check_versions(session: Session, policy: PolicyVersion) -> None:
    """That a new version fits in beside those loaded before. Their rows are locked, so two loads of one programme take turns."""
    rows = select(ProgrammeRow).where(ProgrammeRow.programme == policy.programme).with_for_update()
    try:
        check_versions([*(parse_policy(row.body) for row in session.scalars(rows)), policy])
    except Fault as fault:
        raise ProblemError(fault.code, [fault_error("document.valid_from", fault)], **fault.found) from None


def _programme_view(policy: PolicyVersion) -> ProgrammeView:
    return ProgrammeView(
        programme=policy.programme,
        version=policy.version,
        name_en=policy.name.en,
        name_zh=policy.name.zh,
        valid_from=policy.valid_from,
        valid_until=policy.valid_until,
        confidence=policy.confidence,
    )
