"""Statements (对账单) and claim packs: what people read, print and hand in."""

from collections.abc import Iterator
from tempfile import SpooledTemporaryFile
from typing import IO, Annotated

from fastapi import APIRouter, Path, Query, Response
from fastapi.responses import StreamingResponse
from sqlalchemy.orm import Session

from api.auth import Principal, TenantOrFinance
from api.city import City, TheCity
from api.exports.focus_files import MissingExtraError
from api.exports.statement_html import statement_html
from api.exports.statement_xlsx import MEDIA_TYPE as XLSX
from api.exports.statement_xlsx import statement_xlsx
from api.language import Lang
from api.negotiation import Accept, preferred
from api.problems import ProblemError
from scheduler.billing.months import Month
from scheduler.billing.statement import MAX_LINES, TooManyLinesError
from scheduler.contract.statement import Detail, Statement
from scheduler.service.claims import Application, ClaimTooLargeError, ContractYear, NothingClaimedError, write_claim
from scheduler.service.statements import Asked, records_to_read, statement
from scheduler.store.tables import ContractRow, ProgrammeRow, ProviderRow, TenantRow

router = APIRouter(prefix="/v1", tags=["statements"])

MAX_RECORDS = 300_000
"""Records that are read for one statement while somebody waits: some ten seconds. `suanwang statements` reads any number."""

MAX_CLAIM_RECORDS = 100_000
"""Records of a claim pack while somebody waits. `suanwang claim-pack` writes any number."""

MEMORY_BYTES = 16 * 2**20
"""What of a pack is held in memory before it goes to a temporary file."""

CHUNK_BYTES = 2**16

JSON = "application/json"
HTML = "text/html"
ZIP = "application/zip"

_ID = r"^[A-Za-z0-9][A-Za-z0-9._:-]{0,127}$"
Id = Annotated[str, Path(pattern=_ID)]
Tenant = Annotated[str | None, Query(pattern=_ID, description="a tenant may name itself only")]
_STRING = {"schema": {"type": "string"}}
_BINARY = {"schema": {"type": "string", "format": "binary"}}


@router.get("/statements/{month}", response_model=Statement, responses={200: {"content": {HTML: _STRING, XLSX: _BINARY}}})
def get_statement(
    month: Annotated[str, Path(pattern=r"^2[01]\d{2}-(0[1-9]|1[0-2])$", description="in Asia/Shanghai, such as 2026-11")],
    city: TheCity,
    principal: TenantOrFinance,
    accept: Accept,
    language: Lang,
    tenant: Tenant = None,
    provider: Annotated[str | None, Query(pattern=_ID)] = None,
    by: Annotated[Detail, Query(description="a line for a job's day on a model, or for all jobs' days on one")] = Detail.JOB,
) -> Response:
    """A month's statement: of the tenant that asks; for finance of a tenant, a provider, one with the other, or everybody.

    By `Accept` it is JSON, a page to print (`text/html`) or a workbook; the last two in the language of `Accept-Language`.
    """
    asked = Asked(Month.parse(month), _tenant(city, principal, tenant), provider, by)
    if provider is not None:
        with city.database.read(principal.scope) as session:
            _known(session, ProviderRow, "provider", provider)
    now = city.clock()
    if asked.month.start > now:
        raise ProblemError("month_not_begun", month=month)
    if records_to_read(city.database, asked) > MAX_RECORDS:
        raise ProblemError("statement_too_large", limit=MAX_RECORDS, noun="records", noun_zh="条记录")
    try:
        made = statement(city.database, asked, now)
        form = preferred(accept, (JSON, HTML, XLSX))
        if form == HTML:
            body: str | bytes = statement_html(made, language)
        else:
            body = made.model_dump_json() if form == JSON else statement_xlsx(made, language)
    except TooManyLinesError:
        raise ProblemError("statement_too_large", limit=MAX_LINES, noun="lines", noun_zh="行") from None
    except MissingExtraError as error:
        raise ProblemError("export_not_installed", what=str(error)) from None
    return Response(body, media_type=form, headers={"Vary": "Accept, Accept-Language", "Content-Disposition": _named(asked, form)})


@router.get("/applications/{application}/claim-pack", response_class=Response, responses={200: {"content": {ZIP: _BINARY}}})
def get_application_pack(application: Id, city: TheCity, principal: TenantOrFinance, tenant: Tenant = None) -> Response:
    """What a tenant claims under an application's id, with all it rests on, as a ZIP. Finance says whose application it is."""
    whose = _tenant(city, principal, tenant)
    if whose is None:
        raise ProblemError("tenant_needed")
    return _pack(city, Application(whose, application), application)


@router.get(
    "/contracts/{contract_id}/claim-packs/{programme}/{year}",
    response_class=Response,
    responses={200: {"content": {ZIP: _BINARY}}},
)
def get_contract_pack(
    contract_id: Id,
    programme: Id,
    year: Annotated[int, Path(ge=2000, le=2199, description="the claim year, Asia/Shanghai")],
    city: TheCity,
    principal: TenantOrFinance,
) -> Response:
    """What is claimed of a contract from a programme in a year, with all it rests on, as a ZIP."""
    with city.database.read(principal.scope) as session:
        _known(session, ContractRow, "contract", contract_id)
        if session.query(ProgrammeRow).filter(ProgrammeRow.programme == programme).first() is None:
            raise ProblemError("not_found", noun="programme", id=programme)
    return _pack(city, ContractYear(contract_id, programme, year), f"{contract_id}-{programme}-{year}")


def _tenant(city: City, principal: Principal, named: str | None) -> str | None:
    """Whose records are meant: a tenant's are its own, and another's are as absent as those of one that never was."""
    whose = named or principal.scope.tenant
    if whose is not None:
        with city.database.read(principal.scope) as session:
            if principal.scope.tenant not in (None, whose):
                raise ProblemError("not_found", noun="tenant", id=whose)
            _known(session, TenantRow, "tenant", whose)
    return whose


def _known(session: Session, table: type[TenantRow | ProviderRow | ContractRow], noun: str, id_: str) -> None:
    if session.get(table, id_) is None:
        raise ProblemError("not_found", noun=noun, id=id_)


def _pack(city: City, claim: Application | ContractYear, name: str) -> Response:
    file = SpooledTemporaryFile(MEMORY_BYTES)  # noqa: SIM115 - closed when it has been sent
    try:
        write_claim(file, city.database, claim, MAX_CLAIM_RECORDS)
    except NothingClaimedError:
        file.close()
        raise ProblemError("nothing_claimed", what=name) from None
    except ClaimTooLargeError:
        file.close()
        raise ProblemError("claim_too_large", limit=MAX_CLAIM_RECORDS) from None
    headers = {"Content-Disposition": f'attachment; filename="claim-{name}.zip"', "Content-Length": str(file.tell())}
    file.seek(0)
    return StreamingResponse(_chunks(file), media_type=ZIP, headers=headers)


def _chunks(file: IO[bytes]) -> Iterator[bytes]:
    with file:
        while chunk := file.read(CHUNK_BYTES):
            yield chunk


def _named(asked: Asked, form: str) -> str:
    """Pages are shown; a workbook is saved under a name."""
    if form != XLSX:
        return "inline"
    whose = "-".join(part for part in (asked.tenant, asked.provider) if part) or "city"
    return f'attachment; filename="statement-{asked.month}-{whose}.xlsx"'
