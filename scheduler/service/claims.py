"""Claims of vouchers as the store knows them: the records of an application or of a contract's year, and what they rest on."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO, Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from scheduler.billing.claim_pack import Documents, Record, claim_year, claimed_tag, write_claim_pack
from scheduler.service.months import PIECE, Range, pieces, stored, stored_head
from scheduler.store.database import CITY, Database, Scope
from scheduler.store.tables import ContractRow, CostContextRow, CostRecordRow, ProgrammeRow, ProviderRow, TenantRow
from scheduler.subsidy.reasons import TEXTS


class NothingClaimedError(Exception):
    """No record belongs to a claim."""


class ClaimTooLargeError(Exception):
    """A claim has more records than whoever asks can take."""


@dataclass(frozen=True, slots=True)
class Application:
    """What a tenant has claimed under an application's id, which is its own to choose."""

    tenant: str
    application: str

    def read(self, database: Database, last: int) -> Iterator[list[dict[str, Any]]]:
        named = CostRecordRow.payload.contains(f'"voucher_application":"{self.application}"', autoescape=True)
        return pieces(Range(1, last), stored(database, Scope(tenant=self.tenant), named))

    def programme_of(self, record: Record, facts: dict[str, dict[str, Any]]) -> str | None:
        """The programme the job applied to."""
        applied: str | None = facts[record["context"]]["applied"]
        return applied

    def has(self, record: Record) -> bool:
        return bool(record["voucher_application"] == self.application)

    def said(self) -> dict[str, Any]:
        return {"tenant": self.tenant, "application": self.application}


@dataclass(frozen=True, slots=True)
class ContractYear:
    """What is claimed of a contract from a programme in a Chinese calendar year."""

    contract: str
    programme: str
    year: int

    def read(self, database: Database, last: int) -> Iterator[list[dict[str, Any]]]:
        return pieces(Range(1, last), stored(database, CITY, CostRecordRow.contract_id == self.contract))

    def programme_of(self, _record: Record, _facts: dict[str, dict[str, Any]]) -> str | None:
        return self.programme

    def has(self, record: Record) -> bool:
        return claim_year(record) == self.year

    def said(self) -> dict[str, Any]:
        return {"contract": self.contract, "programme": self.programme, "claim_year": self.year}


def write_claim(out: IO[bytes], database: Database, claim: Application | ContractYear, max_records: int | None = None) -> int:
    """Write a claim's pack as the journal stands. Returns how many records it has.

    Raises NothingClaimedError where there are none, ClaimTooLargeError where there are more than `max_records`.
    """
    head = stored_head(database)
    facts: dict[str, dict[str, Any]] = {}

    def records() -> Iterator[Record]:
        for piece in claim.read(database, head.sequence):
            mine = [record for record in piece if claim.has(record)]
            _learn(database, facts, {record["context"] for record in mine})
            yield from (record for record in mine if claimed_tag(record, claim.programme_of(record, facts)))

    count, found = 0, _Found()
    for record in records():
        count += 1
        if max_records is not None and count > max_records:
            raise ClaimTooLargeError
        found.add(record, claim.programme_of(record, facts))
    if count == 0:
        raise NothingClaimedError
    read_until = {"sequence": head.sequence, "hash": head.hash}
    with database.read(CITY) as session:
        documents = found.documents(
            session, {**claim.said(), "journal_read_until": read_until}, lambda r: claim.programme_of(r, facts)
        )
    write_claim_pack(out, documents, records)
    return count


def _learn(database: Database, facts: dict[str, dict[str, Any]], contexts: set[str]) -> None:
    new = contexts - facts.keys()
    if new:
        with database.read(CITY) as session:
            for row in session.scalars(select(CostContextRow).where(CostContextRow.sha256.in_(new))):
                facts[row.sha256] = json.loads(row.body)


class _Found:
    """What the records of a claim name."""

    def __init__(self) -> None:
        self._tenants: set[str] = set()
        self._providers: set[str] = set()
        self._contracts: set[str] = set()
        self._contexts: set[str] = set()
        self._versions: set[tuple[str, str]] = set()

    def add(self, record: Record, programme: str | None) -> None:
        self._tenants.add(record["tenant"])
        self._providers.add(record["provider"])
        self._contexts.add(record["context"])
        if record["contract"]:
            self._contracts.add(record["contract"])
        tag = claimed_tag(record, programme)
        if tag is not None:
            self._versions.add((tag["programme"], tag["version"]))

    def documents(self, session: Session, claim: dict[str, Any], programme_of: Any) -> Documents:
        return Documents(
            claim=claim,
            contracts=_bodies(session, ContractRow, self._contracts),
            tenants=_bodies(session, TenantRow, self._tenants),
            providers=_bodies(session, ProviderRow, self._providers),
            facts=_facts(session, self._contexts),
            policies=[session.get_one(ProgrammeRow, version).body for version in sorted(self._versions)],
            texts=TEXTS,
            programme_of=programme_of,
        )


def _bodies(session: Session, table: Any, ids: set[str]) -> list[dict[str, Any]]:
    return [session.get_one(table, id_).body for id_ in sorted(ids)]


def _facts(session: Session, contexts: set[str]) -> dict[str, str]:
    wanted, found = sorted(contexts), {}
    for start in range(0, len(wanted), PIECE):
        rows = session.scalars(select(CostContextRow).where(CostContextRow.sha256.in_(wanted[start : start + PIECE])))
        found.update({row.sha256: row.body for row in rows})
    return found
