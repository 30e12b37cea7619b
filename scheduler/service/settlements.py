"""Settlements: what the ledger decided takes the place of what the city estimated (docs/adr/0019-feed.md).

For each record and programme the use of cap and pool is

- what was settled for it, by the highest revision that has come; or else
- its estimate, where the programme was selected, until the record is taken back.

So the order in which settlements, revisions and reversals of records arrive makes no difference. A settlement of a record that was
taken back, before or after, holds until the ledger decides anew: what was paid is paid until it says that it has it back.
"""

from contextlib import suppress
from datetime import datetime
from typing import Any

import orjson
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from scheduler.billing.journal import Row, canonical
from scheduler.billing.sums import Settled
from scheduler.contract.settlement import Decision, Settlement
from scheduler.domain.money import parse_cny
from scheduler.service.journal import find_record, lock_journal, sequence_of
from scheduler.service.uses import Claim, change_claim, change_use, settled
from scheduler.store.tables import CostRecordRow, ReversalRow, SettlementRow


class SettlementError(Exception):
    """A settlement that cannot be taken: why, by code, which field says so, and the numbers behind it."""

    def __init__(self, code: str, field: str, **numbers: str | int) -> None:
        super().__init__(code)
        self.code, self.field, self.numbers = code, field, numbers


def settle(session: Session, settlement: Settlement, now: datetime) -> SettlementRow:
    """Take a settlement, or give the one that came under its id before.

    Raises SettlementError for one that says something else than another did, or that its record cannot bear.
    """
    lock_journal(session)
    body = canonical(settlement.model_dump(mode="json"))
    again = session.scalars(select(SettlementRow).where(SettlementRow.id == settlement.id)).one_or_none()
    if again is not None:
        if again.body != body:
            raise SettlementError("settlement_id_reused", "id", id=settlement.id)
        return again
    row = find_record(session, settlement.record)
    if row is None:
        raise SettlementError("settlement_of_unknown_record", "record", record=settlement.record)
    record = orjson.loads(row.payload)
    _check(session, settlement, row, record)
    holds = settled(session, row.sequence, settlement.programme)
    before = holds.amount_micros if holds is not None else _estimate(session, row.sequence, record, settlement.programme)
    amount = parse_cny(settlement.amount)
    after = before if holds is not None and holds.revision > settlement.revision else amount
    change_use(session, Claim.of(record, settlement.programme), after - before)
    change_claim(session, row.contract, settlement.programme, after - before)
    taken = SettlementRow(
        sequence=(session.scalar(select(func.max(SettlementRow.sequence))) or 0) + 1,
        id=settlement.id,
        tenant_id=row.tenant,
        record_sequence=row.sequence,
        programme=settlement.programme,
        revision=settlement.revision,
        amount_micros=amount,
        use_change_micros=after - before,
        received_at=now,
        body=body,
    )
    session.add(taken)
    session.flush()
    return taken


def _check(session: Session, settlement: Settlement, row: Row, record: dict[str, Any]) -> None:
    """Whether a record can bear a settlement, by itself: what else was settled decides nothing, or the order of arrival would."""
    if record["reverses"] is not None:
        raise SettlementError("settlement_of_reversal", "record", record=settlement.record, reverses=record["reverses"])
    answered = [tag["programme"] for tag in record["eligibility"]]
    if settlement.programme not in answered:
        raise SettlementError(
            "settlement_without_answer",
            "programme",
            record=settlement.record,
            programme=settlement.programme,
            answered=", ".join(answered) or "–",
        )
    if settlement.decision is not Decision.APPROVED and parse_cny(settlement.amount) != 0:
        raise SettlementError("settlement_pays_nothing", "amount", decision=settlement.decision.value, amount=settlement.amount)
    if parse_cny(settlement.amount) > max(0, parse_cny(record["contracted_amount"])):
        numbers = {"amount": settlement.amount, "contracted": record["contracted_amount"], "record": settlement.record}
        raise SettlementError("settlement_beyond_record", "amount", **numbers)
    place = {"record_sequence": row.sequence, "programme": settlement.programme, "revision": settlement.revision}
    other = session.scalars(select(SettlementRow).filter_by(**place)).one_or_none()
    if other is not None:
        numbers = {"record": settlement.record, "programme": settlement.programme, "other": other.id}
        raise SettlementError("settlement_revision_taken", "revision", revision=settlement.revision, **numbers)


def _estimate(session: Session, sequence: int, record: dict[str, Any], programme: str) -> int:
    """What a record counts for under a programme while nothing is settled."""
    if record["voucher_programme"] != programme or session.get(ReversalRow, sequence) is not None:
        return 0
    return parse_cny(record["voucher_estimate"])


def settled_micros(session: Session, job: str) -> int | None:
    """What was decided to be paid for a job's records, under whatever programme; None while nothing was decided."""
    query = (
        select(SettlementRow.record_sequence, SettlementRow.programme, SettlementRow.amount_micros)
        .join(CostRecordRow, CostRecordRow.sequence == SettlementRow.record_sequence)
        .where(CostRecordRow.job_id == job)
        .order_by(SettlementRow.revision)
    )
    holding = {(record, programme): micros for record, programme, micros in session.execute(query)}
    return sum(holding.values()) if holding else None


def settled_sums(session: Session) -> Settled:
    """What all settlements that hold change, computed anew from them and the records they are about.

    Records that cannot be read are left out: the chain tells of those.
    """
    found = Settled()
    holding: dict[tuple[int, str], tuple[SettlementRow, CostRecordRow | None]] = {}
    about = CostRecordRow.sequence == SettlementRow.record_sequence
    wanted = select(SettlementRow, CostRecordRow).outerjoin(CostRecordRow, about).order_by(SettlementRow.revision)
    row: CostRecordRow | None
    for settlement, row in session.execute(wanted):
        if row is None or row.tenant_id != settlement.tenant_id or not _as_it_came(settlement):
            found.unlike.append(settlement.id)
        holding[settlement.record_sequence, settlement.programme] = settlement, row
    for (_, programme), (settlement, record_row) in holding.items():
        with suppress(orjson.JSONDecodeError, KeyError):
            record = orjson.loads(record_row.payload if record_row is not None else "{}")
            change = settlement.amount_micros - _estimate(session, settlement.record_sequence, record, programme)
            found.count(Claim.of(record, programme), record["contract"], change)
    return found


def _as_it_came(row: SettlementRow) -> bool:
    """Whether the columns are what the settlement said."""
    try:
        said = orjson.loads(row.body)
        told = (said["id"], sequence_of(said["record"]), said["programme"], said["revision"], parse_cny(said["amount"]))
    except (KeyError, TypeError, ValueError):
        return False
    return told == (row.id, row.record_sequence, row.programme, row.revision, row.amount_micros)
