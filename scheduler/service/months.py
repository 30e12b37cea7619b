"""The records of a month of account, read in pieces by ranges of sequence: no transaction is open while somebody works on them.

Where a month begins and ends in the journal is found by bisection over sequences, since records are posted in order of time.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson
from sqlalchemy import ColumnElement, select

from scheduler.billing.focus import Names
from scheduler.billing.journal import Head
from scheduler.billing.months import POSTING_SKEW, Month, MonthOfAccount
from scheduler.domain.clock import rfc3339
from scheduler.service.journal import FEED
from scheduler.store.database import CITY, Database, Scope
from scheduler.store.tables import ClusterRow, CostContextRow, CostRecordRow, JournalHeadRow, ProviderRow, TenantRow

PIECE = 2_000
"""The most records that are read, and held, at a time: some fifteen megabytes, which the garbage collector walks quickly."""

Record = dict[str, Any]
"""A record as readers of the feed get it, its hash among its fields."""

Read = Callable[[int, int, int], list[Record]]
"""`read(after, last, limit)`: the first records after a sequence and up to another, in order, at most so many."""


@dataclass(frozen=True, slots=True)
class Range:
    """A stretch of the journal, both ends included; empty where `last` is before `first`."""

    first: int
    last: int

    @property
    def records(self) -> int:
        return max(0, self.last - self.first + 1)


def month_range(month: Month, head: int, read: Read) -> Range:
    """A stretch that holds every record of a month's statement, and some beside it. `read` sees all tenants' records."""
    first = _first_posted(month.start - POSTING_SKEW, head, read)
    return Range(first, _first_posted(month.closes_at + POSTING_SKEW, head, read) - 1)


def month_records(month: Month, within: Range, read: Read) -> Iterator[list[Record]]:
    """The records of a month's statement, in order, in pieces of at most `PIECE`; a piece may be empty."""
    account = MonthOfAccount(month)
    for piece in pieces(within, read):
        yield [record for record in piece if account.has(record)]


def pieces(within: Range, read: Read) -> Iterator[list[Record]]:
    """Every record of a stretch, in order, in pieces of at most `PIECE`."""
    after = within.first - 1
    while piece := read(after, within.last, PIECE):
        yield piece
        after = piece[-1]["sequence"]


def _first_posted(moment: datetime, head: int, read: Read) -> int:
    """The sequence of the first record that was posted at a moment or later; one past the head if there is none."""
    text = rfc3339(moment)
    low, high = 1, head + 1
    while low < high:
        middle = (low + high) // 2
        if read(middle - 1, middle, 1)[0]["posted_at"] < text:
            low = middle + 1
        else:
            high = middle
    return low


def stored(database: Database, scope: Scope = CITY, *only: ColumnElement[bool]) -> Read:
    """Reads from a store: each piece in a transaction of its own, of what the scope sees and the conditions let pass."""
    query = select(CostRecordRow.payload, CostRecordRow.hash).where(*only).order_by(CostRecordRow.sequence)

    def read(after: int, last: int, limit: int) -> list[Record]:
        with database.read(scope) as session:
            rows = session.execute(query.where(CostRecordRow.sequence > after, CostRecordRow.sequence <= last).limit(limit)).all()
        return [_served(payload, hash_) for payload, hash_ in rows]

    return read


def _served(payload: str, hash_: str) -> Record:
    record: Record = orjson.loads(payload)
    record["hash"] = hash_
    return record


def stored_head(database: Database) -> Head:
    """Where the journal ends."""
    with database.read(CITY) as session:
        row = session.get(JournalHeadRow, FEED)
        return Head(row.sequence, row.hash) if row else Head()


def stored_facts(database: Database, sha256: str) -> Record:
    """The facts a record names. Raises NoResultFound for what nobody stored."""
    with database.read(CITY) as session:
        facts: Record = orjson.loads(session.get_one(CostContextRow, sha256).body)
        return facts


def stored_names(database: Database) -> Names:
    """What everybody is called who may stand in a record."""
    with database.read(CITY) as session:
        providers = session.scalars(select(ProviderRow)).all()
        return Names(
            tenants={row.id: row.body["name"] for row in session.scalars(select(TenantRow))},
            providers={row.id: row.body["name"] for row in providers},
            cities={row.id: row.body["city"] for row in (*session.scalars(select(ClusterRow)), *providers)},
        )
