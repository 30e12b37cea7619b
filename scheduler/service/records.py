"""Posted records read from the store, in order and in pieces: no transaction is held while somebody works on them."""

import json
from collections.abc import Iterator
from typing import Any

from sqlalchemy import select

from scheduler.billing.journal import Row
from scheduler.service.journal import stored
from scheduler.store.database import CITY, Database
from scheduler.store.tables import CostContextRow, CostRecordRow

PIECE = 1000
"""Records read in one transaction."""


def stored_rows(database: Database, after: int = 0) -> Iterator[list[Row]]:
    """Every record after a sequence, as it is stored."""
    while True:
        query = select(CostRecordRow).where(CostRecordRow.sequence > after).order_by(CostRecordRow.sequence).limit(PIECE)
        with database.read(CITY) as session:
            rows = [stored(row) for row in session.scalars(query)]
        if not rows:
            return
        yield rows
        after = rows[-1].sequence


def stored_records(database: Database, after: int = 0) -> Iterator[dict[str, Any]]:
    """Every record after a sequence, as readers of the feed get it."""
    for rows in stored_rows(database, after):
        yield from (json.loads(row.served()) for row in rows)


def stored_context(database: Database, sha256: str) -> dict[str, Any]:
    """The facts a record names. Raises NoResultFound for what nobody stored."""
    with database.read(CITY) as session:
        found: dict[str, Any] = json.loads(session.get_one(CostContextRow, sha256).body)
        return found
