"""`suanwang statements` and `suanwang claim-pack`: what people read, print and hand in, from a store or from a city's API."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Literal

import typer

from api.cli.connection import DataOption, LanguageOption, TokenOption, UrlOption, connect
from api.cli.errors import UsageProblemError
from api.cli.journal import MonthArgument, month_of, open_store, whole_file
from api.cli.stores import DatabaseFile, DatabaseUrl
from api.client import ApiProblemError
from api.exports.focus_files import MissingExtraError
from api.exports.statement_html import statement_html
from api.exports.statement_xlsx import MEDIA_TYPE as XLSX
from api.exports.statement_xlsx import statement_xlsx
from scheduler.billing.statement import MAX_LINES, TooManyLinesError
from scheduler.contract.statement import Detail, Statement
from scheduler.domain.reasons import Language
from scheduler.service.claims import Application, ContractYear, NothingClaimedError, write_claim
from scheduler.service.statements import Asked, statement
from scheduler.store.database import CITY, Database
from scheduler.store.tables import ContractRow, ProgrammeRow, ProviderRow, TenantRow

Format = Literal["html", "xlsx", "json"]

_MEDIA_TYPES: dict[Format, str] = {"html": "text/html", "xlsx": XLSX, "json": "application/json"}


def statements(
    month: MonthArgument,
    out: Annotated[Path, typer.Option("--out", help="The file to write; one that is there is replaced.")],
    format_: Annotated[Format, typer.Option("--format", help="xlsx needs the extra `exports`.")] = "html",
    tenant: Annotated[str | None, typer.Option("--tenant", help="What this tenant owes.")] = None,
    provider: Annotated[str | None, typer.Option("--provider", help="What is owed to this provider.")] = None,
    by: Annotated[Detail, typer.Option("--by", help="A line for a job's day, or for a model's.")] = Detail.JOB,
    data: DataOption = None,
    database: DatabaseUrl = None,
    database_file: DatabaseFile = None,
    url: UrlOption = None,
    token_file: TokenOption = None,
    lang: LanguageOption = "en",
) -> None:
    """Write a month's statement (对账单) of a tenant, of a provider, of one with the other, or of the whole city."""
    asked = Asked(month_of(month, "YYYY-MM"), tenant, provider, by)
    if url is not None:
        query = {"tenant": tenant, "provider": provider, "by": by.value}
        content = _served(url, token_file, lang, f"/v1/statements/{asked.month}", _MEDIA_TYPES[format_], query)
    else:
        with open_store(data, (database, database_file)) as store:
            content = _rendered(_made(store, asked), format_, lang)
    with whole_file(out) as file:
        file.write(content)
    typer.echo(f"statement of {asked.month} in {out}")


def claim_pack(
    out: Annotated[Path, typer.Option("--out", help="The ZIP to write; one that is there is replaced.")],
    application: Annotated[str | None, typer.Option("--application", help="An application's id, with --tenant.")] = None,
    tenant: Annotated[str | None, typer.Option("--tenant", help="Whose application it is.")] = None,
    contract: Annotated[str | None, typer.Option("--contract", help="A contract, with --programme and --year.")] = None,
    programme: Annotated[str | None, typer.Option("--programme", help="The programme to claim from.")] = None,
    year: Annotated[int | None, typer.Option("--year", min=2000, max=2199, help="The claim year, Asia/Shanghai.")] = None,
    data: DataOption = None,
    database: DatabaseUrl = None,
    database_file: DatabaseFile = None,
    url: UrlOption = None,
    token_file: TokenOption = None,
) -> None:
    """Write a voucher application's claim pack (申领材料包): contracts, lines with their rules, evidence, facts and policies."""
    by_contract = (contract, programme, year)
    if (application is None) == (None in by_contract) or (application is not None and by_contract != (None, None, None)):
        raise UsageProblemError("give either --application (and --tenant), or all of --contract, --programme and --year")
    if url is not None:
        path = f"/v1/applications/{application}/claim-pack"
        if application is None:
            path = f"/v1/contracts/{contract}/claim-packs/{programme}/{year}"
        content = _served(url, token_file, "en", path, "application/zip", {"tenant": tenant} if application else {})
        with whole_file(out) as file:
            file.write(content)
        typer.echo(f"claim pack in {out}")
        return
    with open_store(data, (database, database_file)) as store:
        claim = _claim(store, application, tenant, contract, programme, year)
        with whole_file(out) as file:
            try:
                count = write_claim(file, store, claim)
            except NothingClaimedError:
                raise UsageProblemError("no cost record belongs to this claim; nothing was written") from None
    typer.echo(f"claim pack of {count:,} records in {out}")


def _served(url: str, token_file: Path | None, lang: str, path: str, accept: str, query: dict[str, str | None]) -> bytes:
    with connect(None, url, token_file, "finance", lang) as city:
        try:
            return city.download(path, accept, query)
        except ApiProblemError as error:
            raise UsageProblemError(error.problem.detail if lang == "en" else error.problem.detail_zh) from error


def _made(store: Database, asked: Asked) -> Statement:
    with store.read(CITY) as session:
        if asked.tenant is not None and session.get(TenantRow, asked.tenant) is None:
            raise UsageProblemError(f"--tenant: there is no tenant {asked.tenant}")
        if asked.provider is not None and session.get(ProviderRow, asked.provider) is None:
            raise UsageProblemError(f"--provider: there is no provider {asked.provider}")
    now = datetime.now(UTC)
    if asked.month.start > now:
        raise UsageProblemError(f"{asked.month} has not begun")
    try:
        return statement(store, asked, now)
    except TooManyLinesError:
        raise UsageProblemError(f"more than the {MAX_LINES:,} lines a statement may have: use --by model, or one tenant") from None


def _rendered(made: Statement, format_: Format, lang: Language) -> bytes:
    if format_ == "html":
        return statement_html(made, lang).encode()
    if format_ == "json":
        return (made.model_dump_json(indent=1) + "\n").encode()
    try:
        return statement_xlsx(made, lang)
    except MissingExtraError as error:
        raise UsageProblemError(f"--format xlsx: {error}") from error


def _claim(
    store: Database, application: str | None, tenant: str | None, contract: str | None, programme: str | None, year: int | None
) -> Application | ContractYear:
    with store.read(CITY) as session:
        if application is not None:
            if tenant is None or session.get(TenantRow, tenant) is None:
                raise UsageProblemError("--tenant: say whose application it is; tenants choose the ids of their applications")
            return Application(tenant, application)
        if session.get(ContractRow, contract) is None:
            raise UsageProblemError(f"--contract: there is no contract {contract}")
        if session.query(ProgrammeRow).filter(ProgrammeRow.programme == programme).first() is None:
            raise UsageProblemError(f"--programme: there is no programme {programme}")
    return ContractYear(str(contract), str(programme), int(year or 0))
