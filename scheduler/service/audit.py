"""`suanwang ledger verify` on the store itself: the chain in several processes, and every sum and every second held against it.

Everything but the records is read at one moment, and of the records those up to the head of that moment; they are never changed,
so they may be read at leisure. Each process walks ranges of them from the hash the row before is said to have; a range proves that
hash for the one after it.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from hashlib import sha256
from multiprocessing import get_context
from typing import cast

import orjson
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from scheduler.billing.journal import Break, Head, Row, verify_rows
from scheduler.billing.metering import unit_seconds_between
from scheduler.billing.reconcile import JobBooks
from scheduler.billing.sums import Held, Reserved, Stored, Sums, findings
from scheduler.domain.money import format_cny
from scheduler.domain.states import ATTEMPT_FINAL
from scheduler.service.account import held_by
from scheduler.service.budgets import NO_CONTRACT
from scheduler.service.journal import FEED
from scheduler.service.settlements import settled_sums
from scheduler.service.tags import claim_day
from scheduler.store.budget_tables import CommitmentRow, ReservationRow
from scheduler.store.database import CITY, Database
from scheduler.store.tables import (
    AttemptRow,
    ClaimUseRow,
    ContractUseRow,
    CostContextRow,
    CostRecordRow,
    JobCostRow,
    JobRow,
    JournalHeadRow,
    SettlementUseRow,
    SubsidyUseRow,
)

CHUNK = 2_000
"""Records read at a time."""

RANGE = 100_000
"""Records walked between two words on how far it has come."""

ALONE = 20_000
"""Up to so many records, starting processes takes longer than walking."""

MAPPED_BYTES = 2**36
"""How much of an SQLite file is read in place rather than copied."""

_COLUMNS = tuple(getattr(CostRecordRow, name) for name in ("sequence", "tenant_id", "job_id", "contract_id", "payload", "hash"))
_SUMMED = (
    "unit_seconds",
    "card_seconds",
    "list_micros",
    "contracted_micros",
    "voucher_micros",
    "list_carried",
    "contracted_carried",
    "programme",
    "tenant_id",
)
BATCH = 1000
"""Other rows read at a time."""

Progress = Callable[[int, int], None]
"""Told how many records of how many have been walked."""


@dataclass(frozen=True, slots=True)
class Walked:
    """A range of the chain: where it ends, the first row of it that breaks, and what its records add up to."""

    head: Head
    first_break: Break | None
    sums: Sums


@dataclass(frozen=True)
class Audit:
    """What was found. `head` is as far as the chain holds; `breaks` has an entry for each identity, None where it holds."""

    head: Head
    breaks: dict[str, Break | None]
    sums: Sums = field(repr=False)

    def identities(self) -> dict[str, bool]:
        """Whether each holds, by name."""
        return {name: found is None for name, found in self.breaks.items()}

    @property
    def jobs(self) -> Mapping[str, JobBooks]:
        return self.sums.jobs

    def total(self) -> str:
        """Everything charged, CNY."""
        return format_cny(self.sums.contracted_micros)

    @property
    def first_break(self) -> Break | None:
        return next((found for found in self.breaks.values() if found is not None), None)


def audit(database: Database, processes: int, progress: Progress | None = None) -> Audit:
    """Verify everything that was ever posted against everything that is said of it."""
    with database.read(CITY) as session:
        head, last = _head(session), session.scalar(select(func.max(CostRecordRow.sequence))) or 0
        stored = _stored(session)
        starts = _starts(session, head.sequence, processes)
    ends = [*(start.sequence for start in starts[1:]), head.sequence]
    sums, at, broken = Sums(), Head(), None
    for start, end, walked in zip(starts, ends, _walk_all(database, starts, ends, processes), strict=True):
        if broken is None:
            broken = walked.first_break if start == at else _missing(at)
            at = walked.head if start == at else at
        sums.plus(walked.sums)
        if progress is not None:
            progress(end, head.sequence)
    if broken is None and (at != head or last > head.sequence):
        what = f"the chain should end at sequence {head.sequence} ({head.hash}) and ends at {max(last, at.sequence)} ({at.hash})"
        broken = Break(min(head.sequence, at.sequence) + 1, "", what)
    return Audit(at, {"chain_unbroken": broken, **findings(sums, stored)}, sums)


def walk(url: str, start: Head, end: int) -> Walked:
    """Walk the records after `start` up to the sequence `end`. What comes after a break is added up as far as it can be read."""
    database = Database(url)
    try:
        return _walk(database, start, end)
    finally:
        database.close()


def records(database: Database, after: int, end: int) -> Iterator[list[Row]]:
    """Stored rows in order, some at a time, each time in a transaction of its own."""
    with database.engine.connect() as connection:
        if connection.dialect.name == "sqlite":
            connection.exec_driver_sql(f"PRAGMA mmap_size = {MAPPED_BYTES}")
            connection.rollback()
        while True:
            wanted = select(*_COLUMNS).where(CostRecordRow.sequence > after, CostRecordRow.sequence <= end)
            found = connection.execute(wanted.order_by(CostRecordRow.sequence).limit(CHUNK))
            rows = cast("list[Row]", found.cursor.fetchall())  # as the driver has them: nothing in them needs to be converted
            connection.rollback()
            if not rows:
                return
            yield rows
            after = rows[-1][0]


def _walk(database: Database, start: Head, end: int) -> Walked:
    head, broken, sums = start, None, Sums()
    for rows in records(database, start.sequence, end):
        if broken is None:
            head, broken = verify_rows(head, rows)
        for row in rows:
            try:
                sums.add(orjson.loads(row[4]))
            except (KeyError, TypeError, ValueError, AttributeError):
                if broken is None:
                    raise  # the chain vouches for it, and it is not a record
    return Walked(head, broken, sums)


def _walk_all(database: Database, starts: Sequence[Head], ends: Sequence[int], processes: int) -> Iterator[Walked]:
    if len(starts) == 1:
        yield from (_walk(database, start, end) for start, end in zip(starts, ends, strict=True))
        return
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        yield from pool.map(walk, [database.url] * len(starts), starts, ends)


def _starts(session: Session, last: int, processes: int) -> list[Head]:
    """Where ranges begin: at the beginning, and at rows some way apart that say what their hash is."""
    if last <= ALONE:
        return [Head()]
    size = min(RANGE, -(-last // processes))
    wanted = select(CostRecordRow.sequence, CostRecordRow.hash).where(CostRecordRow.sequence.in_(range(size, last, size)))
    return [Head(), *(Head(sequence, hash_) for sequence, hash_ in session.execute(wanted.order_by(CostRecordRow.sequence)))]


def _missing(at: Head) -> Break:
    return Break(at.sequence + 1, "", f"no record follows sequence {at.sequence} as it stands")


def _head(session: Session) -> Head:
    """Where the chain ends, as it was noted with the last posting: it shows records that were cut off the end."""
    row = session.get(JournalHeadRow, FEED)
    return Head(row.sequence, row.hash) if row else Head()


def _stored(session: Session) -> Stored:
    stored = Stored()
    for row, owner in session.execute(select(JobCostRow, JobRow.tenant_id).outerjoin(JobRow, JobRow.id == JobCostRow.job_id)):
        stored.jobs[row.job_id] = {column: getattr(row, column) for column in _SUMMED}
        stored.owners[row.job_id] = owner
    stored.contracts = {row.contract_id: row.used_micros for row in session.scalars(select(ContractUseRow))}
    stored.claims = {(row.programme, row.year, row.tenant_id): row.used_micros for row in session.scalars(select(SubsidyUseRow))}
    stored.contract_claims = {(row.contract_id, row.programme): row.used_micros for row in session.scalars(select(ClaimUseRow))}
    stored.settled = settled_sums(session)
    changes = session.scalars(select(SettlementUseRow))
    stored.settlement_uses = {(row.programme, row.year, row.tenant_id): row.change_micros for row in changes}
    for each in session.scalars(select(ReservationRow).execution_options(yield_per=BATCH)):
        amounts = each.reserved_micros, each.posted_micros, each.voided_micros
        stored.reservations[each.attempt_id] = Reserved((each.tenant_id, each.contract, each.day), *amounts)
    for sums in session.scalars(select(CommitmentRow)):
        stored.commitments[sums.tenant_id, sums.contract, sums.day] = sums.posted_micros, sums.reserved_micros
    for facts in session.scalars(select(CostContextRow).execution_options(yield_per=BATCH)):
        stored.facts[facts.sha256] = sha256(facts.body.encode()).hexdigest() == facts.sha256
    for attempt in session.scalars(select(AttemptRow).execution_options(yield_per=BATCH)):
        _account(stored, attempt)
    return stored


def _account(stored: Stored, attempt: AttemptRow) -> None:
    """What an attempt has held of what it is for, as far as it is accounted for."""
    since, until = attempt.held_from, attempt.metered_until or attempt.held_from
    for holding in held_by(attempt)[:1]:
        key = Held(attempt.id, attempt.job_id, attempt.tenant_id, attempt.cluster_id, holding.sku[1].value)
        stored.allocated[key] = unit_seconds_between(holding.unit_milli, since, since, until)
    counts_in = attempt.tenant_id, attempt.contract_id or NO_CONTRACT, claim_day(attempt.granted_at).isoformat()
    stored.due[attempt.id] = counts_in, attempt.metered
    ended = attempt.state in ATTEMPT_FINAL
    if attempt.metered and (not ended or (attempt.metered_until is not None and attempt.metered_until != attempt.finished_at)):
        stored.astray.append(attempt.id)
