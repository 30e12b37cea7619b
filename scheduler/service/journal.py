"""Posting: records follow the head of the feed, and everything that sums records up moves with them, whole or not at all.

Whoever posts locks the head first and only then looks at what is left of contracts, caps and pools: posting is one line, whoever
stands in it, and two that post at once cannot draw on the same fen.
"""

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from datetime import datetime
from hashlib import sha256
from typing import Any, NamedTuple

import orjson
from sqlalchemy import Connection, TextClause, select, text
from sqlalchemy.orm import Session

from scheduler.billing.journal import Head, Row, append, canonical
from scheduler.contract.cost import RecordKind, Tag
from scheduler.domain.clock import rfc3339
from scheduler.domain.money import SECONDS_PER_HOUR, format_cny, parse_cny
from scheduler.service.registry import Registry, load_registry
from scheduler.service.uses import Claim, change_claim, change_use, settled
from scheduler.store.tables import CostRecordRow, JobCostRow, JournalHeadRow

FEED = "cost-records"

_FIRST_HEAD = text("INSERT INTO journal_heads (feed, sequence, hash) VALUES (:feed, :sequence, :hash) ON CONFLICT DO NOTHING")

_RECORD_ID = re.compile(r"cost-(\d{12,15})-[\w-]{1,100}", re.ASCII)
_HEAD = text("UPDATE journal_heads SET sequence = :sequence, hash = :hash WHERE feed = :feed")
_CONTEXTS = text("INSERT INTO cost_contexts (sha256, body) VALUES (:sha256, :body) ON CONFLICT DO NOTHING")
_RECORDS = "INSERT INTO cost_records (sequence, tenant_id, job_id, contract_id, payload, hash) VALUES (?, ?, ?, ?, ?, ?)"
_COPY_RECORDS = "COPY cost_records (sequence, tenant_id, job_id, contract_id, payload, hash) FROM STDIN"
_JOBS = text(
    "INSERT INTO job_costs (job_id, tenant_id, unit_seconds, card_seconds, list_micros, contracted_micros, voucher_micros, "
    "list_carried, contracted_carried, programme) VALUES (:job, :tenant, :unit_seconds, :card_seconds, :list_micros, "
    ":contracted_micros, :voucher_micros, :list_carried, :contracted_carried, :programme) ON CONFLICT (job_id) DO UPDATE SET "
    "unit_seconds = excluded.unit_seconds, card_seconds = excluded.card_seconds, list_micros = excluded.list_micros, "
    "contracted_micros = excluded.contracted_micros, voucher_micros = excluded.voucher_micros, "
    "list_carried = excluded.list_carried, contracted_carried = excluded.contracted_carried, programme = excluded.programme"
)
_CONTRACTS = text(
    "INSERT INTO contract_uses (contract_id, used_micros) VALUES (:contract, :micros) "
    "ON CONFLICT (contract_id) DO UPDATE SET used_micros = contract_uses.used_micros + excluded.used_micros"
)
_USES = text(
    "INSERT INTO subsidy_uses (programme, year, tenant_id, used_micros) VALUES (:programme, :year, :tenant, :micros) "
    "ON CONFLICT (programme, year, tenant_id) DO UPDATE SET used_micros = subsidy_uses.used_micros + excluded.used_micros"
)

_REVERSALS = text("INSERT INTO reversals (sequence, by_sequence) VALUES (:sequence, :by_sequence)")

Body = dict[str, Any]
"""A `CostRecord` as JSON, without its tags and what its place in the feed decides (id, sequence, hashes, the moment it was posted);
prices and amounts are in micro-CNY."""


class Context(NamedTuple):
    """The facts that decided tags: their canonical JSON, and its SHA-256."""

    sha256: str
    text: str

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> "Context":
        text = canonical(document)
        return cls(sha256(text.encode()).hexdigest(), text)


@dataclass(slots=True)
class Sums:
    """What a job's records add up to; `list_carried` and `contracted_carried` are in micro-CNY × seconds, all else as named."""

    tenant: str
    unit_seconds: int = 0
    card_seconds: int = 0
    list_micros: int = 0
    contracted_micros: int = 0
    voucher_micros: int = 0
    list_carried: int = 0
    contracted_carried: int = 0
    programme: str | None = None

    def add(self, body: Body, programme: str | None, voucher_micros: int) -> None:
        """Count a record; time that is not charged counts for nothing."""
        if body["kind"] == RecordKind.UNBILLED:
            return
        units, listed, contracted = body["unit_seconds"], body["list_amount"], body["contracted_amount"]
        self.unit_seconds += units
        self.card_seconds += body["card_seconds"]
        self.list_micros += listed
        self.contracted_micros += contracted
        self.voucher_micros += voucher_micros
        self.programme = programme or self.programme
        if body["attempt"] is not None:  # what was bought has no price and no seconds: its amount is all there is
            self.list_carried += units * body["list_price"] - listed * SECONDS_PER_HOUR
            self.contracted_carried += units * body["contracted_price"] - contracted * SECONDS_PER_HOUR


@dataclass
class Journal:
    """The end of the feed, held until the transaction ends. `registry` is read under the lock; what is posted is counted in it.

    `nonce` goes into the ids of what is posted: a database that was put back to an earlier state and posts anew does not give
    out ids again that a ledger has seen.
    """

    session: Session
    registry: Registry
    posted_at: str
    nonce: str
    head: Head
    _rows: list[Row] = field(default_factory=list)
    _contexts: dict[str, str] = field(default_factory=dict)
    _jobs: dict[str, Sums] = field(default_factory=dict)
    _contracts: Counter[str] = field(default_factory=Counter)
    _uses: Counter[Claim] = field(default_factory=Counter)
    _uses_kept: Counter[Claim] = field(default_factory=Counter)
    """What reversals would give back of a cap and do not: what was settled holds until the ledger decides anew."""
    _reversals: list[dict[str, int]] = field(default_factory=list)
    _claims: Counter[tuple[str, str]] = field(default_factory=Counter)

    @classmethod
    def locked(cls, session: Session, now: datetime, nonce: str) -> "Journal":
        """The journal, once whoever holds it has let go."""
        head = lock_journal(session)
        return cls(session, load_registry(session), rfc3339(now), nonce, head)

    def expect(self, jobs: Mapping[str, str]) -> None:
        """Look up at once what will be asked for one by one: the sums of jobs, given with their tenants."""
        columns = [getattr(JobCostRow, each.name) for each in fields(Sums) if each.name != "tenant"]
        query = select(JobCostRow.job_id, *columns).where(JobCostRow.job_id.in_(jobs.keys() - self._jobs.keys()))
        found = {job: values for job, *values in self.session.execute(query)}
        for job, tenant in jobs.items():
            self._jobs.setdefault(job, Sums(tenant, *found.get(job, ())))

    def sums(self, job: str, tenant: str) -> Sums:
        """What a job's records add up to, those posted here among them."""
        if job not in self._jobs:
            self.expect({job: tenant})
        return self._jobs[job]

    def post(self, body: Body, tags: list[Tag], context: Context) -> None:
        """Append a record and count it. `context` is what decided its tags, besides the record itself and the policy.

        What only may be paid (`needs_review`) is counted too: it is reserved until the ledger decides.
        """
        programme, voucher = None, "0.000000"
        for tag in tags:
            if tag.selected:
                programme, voucher = tag.programme, tag.capped
        record = {
            **body,
            "list_price": format_cny(body["list_price"]),
            "contracted_price": format_cny(body["contracted_price"]),
            "list_amount": format_cny(body["list_amount"]),
            "contracted_amount": format_cny(body["contracted_amount"]),
            "id": f"cost-{self.head.sequence + 1:012d}-{self.nonce}",
            "posted_at": self.posted_at,
            "voucher_programme": programme,
            "voucher_estimate": voucher,
            "context": context.sha256,
            "eligibility": [vars(tag) for tag in tags],
        }
        self.head, row = append(self.head, record)
        self._rows.append(row)
        self._contexts[context.sha256] = context.text
        micros = 0 if programme is None else parse_cny(voucher)
        self._count(body, programme, micros)
        if body["reverses"] is not None:
            self._take_back(body, programme, micros)

    def close(self) -> int:
        """Write what was posted, and what it adds up to. Returns how many records that were."""
        if not self._rows:
            return 0
        _write(self.session, _CONTEXTS, [{"sha256": sha256, "body": text} for sha256, text in self._contexts.items()])
        _write_records(self.session.connection(), self._rows)
        _write(self.session, _JOBS, [{"job": job, **asdict(sums)} for job, sums in self._jobs.items()])
        _write(self.session, _CONTRACTS, [{"contract": contract, "micros": micros} for contract, micros in self._contracts.items()])
        uses = [(*key, micros) for key, micros in self._uses.items()]
        _write(self.session, _USES, [dict(zip(("programme", "year", "tenant", "micros"), use, strict=True)) for use in uses])
        _write(self.session, _REVERSALS, self._reversals)
        for claim, micros in self._uses_kept.items():
            change_use(self.session, claim, micros)
        for (contract, programme), micros in self._claims.items():
            change_claim(self.session, contract, programme, micros)
        head = {"feed": FEED, "sequence": self.head.sequence, "hash": self.head.hash}
        self.session.execute(_HEAD, head)
        return len(self._rows)

    def _count(self, body: Body, programme: str | None, voucher: int) -> None:
        """Add a record to its job, its contract, and the selected programme's cap and pool."""
        tenant, contract, job = body["tenant"], body["contract"], body["job"]
        if job is not None:
            self.sums(job, tenant).add(body, programme, voucher)
        if contract is not None:
            self._contracts[contract] += body["contracted_amount"]
            spent = self.registry.contract_spent
            spent[contract] = spent.get(contract, 0) + body["contracted_amount"]
        if programme is not None:
            claim = Claim.of(body, programme)
            self._uses[claim] += voucher
            self._use(claim, voucher)
            self._claim(body["contract"], programme, voucher)

    def _take_back(self, body: Body, programme: str | None, voucher: int) -> None:
        """Note that a record is taken back. Where it was settled under the programme it was estimated for, the estimate was no
        longer what it used, and so is not given back."""
        sequence = sequence_of(body["reverses"])
        if sequence is None:
            return
        self._reversals.append({"sequence": sequence, "by_sequence": self.head.sequence})
        if programme is not None and settled(self.session, sequence, programme) is not None:
            claim = Claim.of(body, programme)
            self._uses_kept[claim] -= voucher
            self._use(claim, -voucher)
            self._claim(body["contract"], programme, -voucher)

    def _claim(self, contract: str | None, programme: str, micros: int) -> None:
        if contract is not None:
            self._claims[contract, programme] += micros
            claims = self.registry.claims.setdefault(contract, {})
            claims[programme] = claims.get(programme, 0) + micros

    def _use(self, claim: Claim, micros: int) -> None:
        uses = self.registry.uses.setdefault((claim.programme, claim.year), {})
        uses[claim.tenant] = uses.get(claim.tenant, 0) + micros


def lock_journal(session: Session) -> Head:
    """The end of the feed, held until the transaction ends, once whoever holds it has let go."""
    session.execute(_FIRST_HEAD, {"feed": FEED, "sequence": Head().sequence, "hash": Head().hash})
    row = session.get_one(JournalHeadRow, FEED, with_for_update=True, populate_existing=True)
    return Head(row.sequence, row.hash)


def _write_records(connection: Connection, rows: list[Row]) -> None:
    """Straight to the driver: what SQLAlchemy does for each row would take as long as the database itself."""
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql(_RECORDS, rows)
        return
    cursor: Any = connection.connection.cursor()
    with cursor.copy(_COPY_RECORDS) as copy:
        for row in rows:
            copy.write_row(row)


def _write(session: Session, statement: TextClause, rows: list[dict[str, Any]]) -> None:
    if rows:
        session.execute(statement, rows)


def stored(row: CostRecordRow) -> Row:
    """A row of the store as the chain knows it."""
    return Row(row.sequence, row.tenant_id, row.job_id, row.contract_id, row.payload, row.hash)


def sequence_of(record_id: str) -> int | None:
    """The place in the feed that an id says; None for what is no id."""
    place = _RECORD_ID.fullmatch(record_id)
    return int(place[1]) if place else None


def find_record(session: Session, record_id: str) -> Row | None:
    """The record of an id, in the session's scope. An id says its place in the feed, and must be the one that stands there."""
    sequence = sequence_of(record_id)
    row = session.get(CostRecordRow, sequence) if sequence is not None else None
    return stored(row) if row is not None and orjson.loads(row.payload)["id"] == record_id else None
