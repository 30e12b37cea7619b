"""Posting: records follow the head of the feed, and everything that sums records up moves with them, whole or not at all.

Whoever posts locks the head first and only then looks at what is left of contracts, caps and pools: posting is one line, whoever
stands in it, and two that post at once cannot draw on the same fen.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import sha256
from typing import Any

import orjson
from sqlalchemy import insert, select, text
from sqlalchemy.orm import Session

from scheduler.billing.journal import Head, Row, append, canonical
from scheduler.contract.cost import Tag
from scheduler.domain.clock import CHINA, rfc3339
from scheduler.domain.money import SECONDS_PER_HOUR, parse_cny
from scheduler.service.registry import Registry, load_registry
from scheduler.store.tables import (
    ContractUseRow,
    CostContextRow,
    CostRecordRow,
    JobCostRow,
    JournalHeadRow,
    SubsidyUseRow,
)

FEED = "cost-records"

_FIRST_HEAD = text("INSERT INTO journal_heads (feed, sequence, hash) VALUES (:feed, :sequence, :hash) ON CONFLICT DO NOTHING")

_RECORD_ID = re.compile(r"cost-(\d{12,15})-[\w-]{1,100}", re.ASCII)

Body = dict[str, Any]
"""A `CostRecord` as JSON, without what its place in the feed decides: id, sequence, hashes and the moment it was posted."""


@dataclass
class Journal:
    """The end of the feed, held until the transaction ends. `registry` is read under the lock; what is posted is counted in it.

    `nonce` goes into the ids of what is posted: a database that was put back to an earlier state and posts anew does not give
    out ids again that a ledger has seen.
    """

    session: Session
    registry: Registry
    now: datetime
    nonce: str
    head: Head
    _row: JournalHeadRow
    _rows: list[Row] = field(default_factory=list)
    _contexts: dict[str, str] = field(default_factory=dict)
    _jobs: dict[str, JobCostRow] = field(default_factory=dict)
    _contracts: dict[str, int] = field(default_factory=dict)
    _uses: dict[tuple[str, int, str], int] = field(default_factory=dict)

    @classmethod
    def locked(cls, session: Session, now: datetime, nonce: str) -> "Journal":
        """The journal, once whoever holds it has let go."""
        session.execute(_FIRST_HEAD, {"feed": FEED, "sequence": Head().sequence, "hash": Head().hash})
        row = session.get_one(JournalHeadRow, FEED, with_for_update=True, populate_existing=True)
        return cls(session, load_registry(session), now, nonce, Head(row.sequence, row.hash), row)

    def sums(self, job: str, tenant: str) -> JobCostRow:
        """What a job's records add up to, those posted here among them."""
        if job not in self._jobs:
            found = self.session.get(JobCostRow, job)
            zero = dict.fromkeys(("unit_seconds", "card_seconds", "list_micros", "contracted_micros", "voucher_micros"), 0)
            self._jobs[job] = found or JobCostRow(job_id=job, tenant_id=tenant, list_carried=0, contracted_carried=0, **zero)
            self.session.add(self._jobs[job])
        return self._jobs[job]

    def post(self, body: Body, tags: list[Tag], context: Mapping[str, Any]) -> None:
        """Append a record and count it. `context` is what decided its tags, besides the record itself and the policy."""
        selected = next((tag for tag in tags if tag.selected), None)
        record = {
            **body,
            "id": f"cost-{self.head.sequence + 1:012d}-{self.nonce}",
            "posted_at": rfc3339(self.now),
            "voucher_programme": selected.programme if selected else None,
            "voucher_estimate": selected.capped if selected else "0.000000",
            "context": self._context(context),
            "eligibility": [tag.model_dump(mode="json") for tag in tags],
        }
        self.head, row = append(self.head, record)
        self._rows.append(row)
        self._count(record)

    def close(self) -> int:
        """Write what was posted. Returns how many records that were."""
        session = self.session
        known = set(session.scalars(select(CostContextRow.sha256).where(CostContextRow.sha256.in_(self._contexts))))
        new = [{"sha256": key, "body": body} for key, body in self._contexts.items() if key not in known]
        if new:
            session.execute(insert(CostContextRow), new)
        if self._rows:
            columns = ("sequence", "tenant_id", "job_id", "contract_id", "payload", "hash")
            session.execute(insert(CostRecordRow), [dict(zip(columns, row, strict=True)) for row in self._rows])
        self._row.sequence, self._row.hash = self.head.sequence, self.head.hash
        for contract, micros in self._contracts.items():
            use = session.get(ContractUseRow, contract)
            session.add(use := use or ContractUseRow(contract_id=contract, used_micros=0))
            use.used_micros += micros
        for key, micros in self._uses.items():
            claim = session.get(SubsidyUseRow, key)
            programme, year, tenant = key
            session.add(claim := claim or SubsidyUseRow(programme=programme, year=year, tenant_id=tenant, used_micros=0))
            claim.used_micros += micros
        session.flush()
        return len(self._rows)

    def _context(self, context: Mapping[str, Any]) -> str:
        body = canonical(context)
        key = sha256(body.encode()).hexdigest()
        self._contexts[key] = body
        return key

    def _count(self, record: Mapping[str, Any]) -> None:
        """Add a record to its job, its contract, and the selected programme's cap and pool.

        What only may be paid (`needs_review`) is counted too: it is reserved until the ledger decides.
        """
        tenant, contract, programme = record["tenant"], record["contract"], record["voucher_programme"]
        contracted, voucher = parse_cny(record["contracted_amount"]), parse_cny(record["voucher_estimate"])
        if record["job"] is not None:
            _add(self.sums(record["job"], tenant), record, contracted, voucher)
        if contract is not None:
            self._contracts[contract] = self._contracts.get(contract, 0) + contracted
            spent = self.registry.contract_spent
            spent[contract] = spent.get(contract, 0) + contracted
        if programme is not None:
            year = datetime.fromisoformat(record["period_start"]).astimezone(CHINA).year
            self._uses[programme, year, tenant] = self._uses.get((programme, year, tenant), 0) + voucher
            uses = self.registry.uses.setdefault((programme, year), {})
            uses[tenant] = uses.get(tenant, 0) + voucher


def _add(sums: JobCostRow, record: Mapping[str, Any], contracted: int, voucher: int) -> None:
    units, listed = record["unit_seconds"], parse_cny(record["list_amount"])
    sums.unit_seconds += units
    sums.card_seconds += record["card_seconds"]
    sums.list_micros += listed
    sums.contracted_micros += contracted
    sums.voucher_micros += voucher
    sums.list_carried += units * parse_cny(record["list_price"]) - listed * SECONDS_PER_HOUR
    sums.contracted_carried += units * parse_cny(record["contracted_price"]) - contracted * SECONDS_PER_HOUR
    sums.programme = record["voucher_programme"] or sums.programme


def stored(row: CostRecordRow) -> Row:
    """A row of the store as the chain knows it."""
    return Row(row.sequence, row.tenant_id, row.job_id, row.contract_id, row.payload, row.hash)


def find_record(session: Session, record_id: str) -> Row | None:
    """The record of an id, in the session's scope. An id says its place in the feed, and must be the one that stands there."""
    place = _RECORD_ID.fullmatch(record_id)
    row = session.get(CostRecordRow, int(place[1])) if place else None
    return stored(row) if row is not None and orjson.loads(row.payload)["id"] == record_id else None
