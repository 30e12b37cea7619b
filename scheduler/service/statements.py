"""Monthly statements made from the store."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func, select

from scheduler.billing.journal import GENESIS
from scheduler.billing.months import POSTING_SKEW, Month
from scheduler.billing.statement import NOTHING_SETTLED, Register, StatementBooks
from scheduler.contract.registry import Contract, Provider, Tenant
from scheduler.contract.statement import Detail, Party, Statement
from scheduler.service.months import PIECE, Range, Record, month_range, month_records, stored, stored_head
from scheduler.store.database import CITY, Database, Scope
from scheduler.store.tables import ContractRow, CostRecordRow, JobRow, ProgrammeRow, ProviderRow, SettlementRow, TenantRow


@dataclass(frozen=True, slots=True)
class Asked:
    """Whose statement of which month: of a tenant, of a provider, or of one with the other."""

    month: Month
    tenant: str | None = None
    provider: str | None = None
    detail: Detail = Detail.JOB

    @property
    def scope(self) -> Scope:
        return CITY if self.tenant is None else Scope(tenant=self.tenant)


def records_to_read(database: Database, asked: Asked) -> int:
    """How many records have to be looked at for a statement: a tenant's own, or all that were posted around its month."""
    within = _range(database, asked.month)
    if asked.tenant is None:
        return within.records
    counted = select(func.count(CostRecordRow.sequence)).where(CostRecordRow.sequence.between(within.first, within.last))
    with database.read(asked.scope) as session:
        return session.scalar(counted) or 0


def statement(database: Database, asked: Asked, now: datetime) -> Statement:
    """A statement as the journal stands. Raises `billing.statement.TooManyLinesError`, and KeyError for an unknown party."""
    within = _range(database, asked.month)
    books = StatementBooks(asked.month, asked.detail)
    for records in month_records(asked.month, within, stored(database, asked.scope)):
        settled = _settled(database, records)
        for record in records:
            if asked.provider in (None, record["provider"]):
                books.add(record, settled.get(record["sequence"], NOTHING_SETTLED))
    register = _register(database, books.jobs())
    return Statement(
        month=str(asked.month),
        state="closed" if now >= asked.month.closes_at + POSTING_SKEW else "open",
        starts_at=asked.month.start,
        ends_at=asked.month.end,
        closes_at=asked.month.closes_at,
        tenant=register.tenants[asked.tenant] if asked.tenant else None,
        provider=register.providers[asked.provider] if asked.provider else None,
        detail=asked.detail,
        accounts=books.accounts(register),
        vouchers=books.vouchers(register),
        totals=books.totals(),
        journal=books.extent(within.last, _hash_at(database, within.last)),
    )


def _range(database: Database, month: Month) -> Range:
    return month_range(month, stored_head(database).sequence, stored(database))


def _settled(database: Database, records: Sequence[Record]) -> Mapping[int, Mapping[str, int]]:
    """What the ledger has settled so far, by record and programme: of several decisions the one with the highest revision holds."""
    found: defaultdict[int, dict[str, int]] = defaultdict(dict)
    if records:
        these = SettlementRow.record_sequence.between(records[0]["sequence"], records[-1]["sequence"])
        with database.read(CITY) as session:
            for row in session.scalars(select(SettlementRow).where(these).order_by(SettlementRow.revision)):
                found[row.record_sequence][row.programme] = row.amount_micros
    return found


def _hash_at(database: Database, sequence: int) -> str:
    with database.read(CITY) as session:
        return session.scalar(select(CostRecordRow.hash).where(CostRecordRow.sequence == sequence)) or GENESIS


def _register(database: Database, jobs: set[str]) -> Register:
    names: dict[str, str] = {}
    wanted = sorted(jobs)
    with database.read(CITY) as session:
        for start in range(0, len(wanted), PIECE):
            some = select(JobRow.id, JobRow.spec["name"].as_string()).where(JobRow.id.in_(wanted[start : start + PIECE]))
            names.update(tuple(row) for row in session.execute(some))
        tenants = [Tenant.model_validate(row.body) for row in session.scalars(select(TenantRow))]
        providers = [Provider.model_validate(row.body) for row in session.scalars(select(ProviderRow))]
        contracts = [Contract.model_validate(row.body) for row in session.scalars(select(ContractRow))]
        programmes = session.scalars(select(ProgrammeRow)).all()
    return Register(
        tenants={each.id: _party(each) for each in tenants},
        providers={each.id: _party(each) for each in providers},
        contracts={each.id: each for each in contracts},
        jobs=names,
        programmes={(row.programme, row.version): (row.body["name"]["zh"], row.body["name"]["en"]) for row in programmes},
    )


def _party(body: Tenant | Provider) -> Party:
    return Party(id=body.id, name=body.name, uscc=body.uscc)
