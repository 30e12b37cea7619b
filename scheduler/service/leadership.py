"""One leader schedules: a lease on one row, and an epoch that only grows.

The leader renews well before its lease ends. Every write it makes first confirms, in the same transaction, that its epoch is
still the one in the row (and locks that row): a leader that was paused past its lease finds out before it changes anything.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from scheduler.store.tables import LeadershipRow

LEASE_SECONDS = 10
_ROW = 1


class DeposedError(Exception):
    """Somebody else leads by now: drop everything held in memory and start over."""


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to write as leader until `expires_at`."""

    holder: str
    epoch: int
    expires_at: datetime


def acquire(session: Session, holder: str, now: datetime) -> Lease | None:
    """Become leader where there is none or the lease has run out; renewing one's own keeps its epoch. None if another leads."""
    row = session.get(LeadershipRow, _ROW, with_for_update=True)
    if row is None:
        row = _first(session, holder, now)
    if row.holder != holder or row.epoch == 0:
        if row.epoch > 0 and row.expires_at > now:
            return None
        row.epoch += 1
    row.holder, row.expires_at = holder, now + timedelta(seconds=LEASE_SECONDS)
    return Lease(holder, row.epoch, row.expires_at)


def _first(session: Session, holder: str, now: datetime) -> LeadershipRow:
    """The row, made by us or by whoever was faster at the very first start."""
    try:
        with session.begin_nested():
            row = LeadershipRow(id=_ROW, holder=holder, epoch=0, expires_at=now)
            session.add(row)
    except IntegrityError:
        row = session.get_one(LeadershipRow, _ROW, with_for_update=True)
    return row


def confirm(session: Session, lease: Lease) -> None:
    """Lock the leadership for this transaction. Raises DeposedError if the epoch has moved on."""
    found = session.execute(
        update(LeadershipRow)
        .where(LeadershipRow.id == _ROW, LeadershipRow.epoch == lease.epoch, LeadershipRow.holder == lease.holder)
        .values(holder=lease.holder)
    )
    if found.rowcount != 1:  # type: ignore[attr-defined]
        raise DeposedError(f"epoch {lease.epoch} is over")


def resign(session: Session, lease: Lease, now: datetime) -> None:
    """Give the lease back early, so that a successor need not wait for it to run out."""
    session.execute(
        update(LeadershipRow)
        .where(LeadershipRow.id == _ROW, LeadershipRow.epoch == lease.epoch, LeadershipRow.holder == lease.holder)
        .values(expires_at=now)
    )
