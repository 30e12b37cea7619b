"""What every tenant has used, rebuilt from the attempts in one query: the memory of fair shares is the store's."""

from datetime import datetime, timedelta

from sqlalchemy import BigInteger, func, or_, select, type_coerce
from sqlalchemy.orm import Session

from scheduler.domain.clock import MICROS_PER_SECOND, from_micros, to_micros
from scheduler.domain.hardware import HardwareClass
from scheduler.engine.history import History
from scheduler.engine.order import resource_amounts
from scheduler.engine.shape import WHOLE_CARD_MILLI
from scheduler.store.tables import AttemptRow

CORE_MILLI = 1000


def load_history(session: Session, half_life: timedelta, now: datetime) -> History:
    """The spans in which attempts really ran, from start to end; an attempt that goes on is told as begun.

    Attempts that ended before the history's origin are not read: the rows are those of some ten half-lives.
    """
    micros = half_life // timedelta(seconds=1) * MICROS_PER_SECOND
    history = History(micros, History.origin_for(micros, to_micros(now)))
    row = AttemptRow
    started, finished = (type_coerce(column, BigInteger) for column in (row.started_at, row.finished_at))
    each_milli = func.coalesce(
        row.placements[0]["card_milli"].as_integer(), WHOLE_CARD_MILLI
    )  # of a gang every one counts the same
    spans = select(row.tenant_id, row.hardware_class, row.cards * each_milli, row.cores, started, finished).where(
        row.started_at.is_not(None), or_(row.finished_at.is_(None), row.finished_at > from_micros(history.origin))
    )
    for tenant, hardware_class, card_milli, cores, started_at, finished_at in session.execute(spans):
        known = HardwareClass(hardware_class) if hardware_class else None
        amounts = resource_amounts(known, card_milli, cores * CORE_MILLI)
        history.begin(tenant, amounts, started_at)
        if finished_at is not None:
            history.end(tenant, amounts, finished_at)
    return history
