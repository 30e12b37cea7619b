"""The time of attempts becomes cost records: hourly while one runs and once at its end, tagged, chained and appended.

One transaction posts a batch: the records, the attempts' `metered_until`, the chain's head and the use of caps. A crash leaves
either all of it or none, and the next turn goes on from `metered_until`. What is charged and what is free says `billing.timeline`.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from sqlalchemy import Select, func, select
from sqlalchemy.orm import Session

from scheduler.billing.metering import MAX_SPAN, meter, whole_seconds
from scheduler.billing.reserve import at_most
from scheduler.billing.timeline import Course, Span, Unbilled, lost_from, unpriced
from scheduler.domain.states import ATTEMPT_FINAL, AttemptState
from scheduler.service.account import Account
from scheduler.service.budgets import Commitments, reservations
from scheduler.service.journal import Journal
from scheduler.service.tags import policy_days
from scheduler.store.tables import AttemptRow, SilenceRow

BATCH = 500
"""Attempts metered in one transaction."""


def is_due(session: Session, every: timedelta, now: datetime) -> bool:
    """Whether there is anything to post."""
    return session.scalars(_due(every, now).limit(1).with_only_columns(AttemptRow.id)).first() is not None


def post_due(session: Session, every: timedelta, now: datetime, nonce: str) -> int:
    """Post the lines of up to `BATCH` attempts that have ended, or ran for `every` since their last line.

    Returns how many records were posted; call again while that is not zero.
    """
    journal = Journal.locked(session, now, nonce)
    attempts = session.scalars(_due(every, now)).all()
    journal.expect({attempt.job_id: attempt.tenant_id for attempt in attempts})
    silences = _silences(session, attempts)
    reserved = reservations(session, [attempt.id for attempt in attempts])
    commitments = Commitments(session)
    for attempt in attempts:
        account = Account(journal, attempt, silences.get(attempt.id, ()))
        _post_attempt(account)
        if attempt.id in reserved:
            commitments.post(reserved[attempt.id], account.charged_micros, _still_to_come(account))
    commitments.close()
    return journal.close()


def _due(every: timedelta, now: datetime) -> Select[AttemptRow]:
    since = func.coalesce(AttemptRow.metered_until, AttemptRow.started_at)
    ended = AttemptRow.state.in_(ATTEMPT_FINAL)
    interval_over = (since <= now - every) & (AttemptRow.observed_at > since)
    return (
        select(AttemptRow)
        .where(AttemptRow.metered.is_(False), ended | interval_over)
        .order_by(AttemptRow.fencing_token)
        .limit(BATCH)
        .with_for_update()
    )


def _silences(session: Session, attempts: Sequence[AttemptRow]) -> Mapping[str, Sequence[Span]]:
    found: defaultdict[str, list[Span]] = defaultdict(list)
    for row in session.scalars(select(SilenceRow).where(SilenceRow.attempt_id.in_([attempt.id for attempt in attempts]))):
        found[row.attempt_id].append((row.since, row.until))
    return found


def _post_attempt(account: Account) -> None:
    """Account for [metered_until or grant, end or last observation): every whole second of it once, at most `MAX_SPAN` at a time.

    The first time after an attempt was lost, what was charged of the time that was lost with it is taken back.
    """
    attempt = account.attempt
    final = attempt.state in ATTEMPT_FINAL
    start = attempt.metered_until or attempt.held_from
    last = attempt.finished_at if final else attempt.observed_at
    if last is None or (not final and whole_seconds(start, last) == 0):
        return
    last = max(start, last)
    course = _course(account, last)
    if course.lost_from is not None and start > course.lost_from:
        _correct(account, course.lost_from)
    end = min(last, start + MAX_SPAN)
    for span, free in course.stretches(start, end):
        if free is None:
            _charge(account, *span)
        else:
            account.leave_main_free(span, free)
    attempt.metered_until, attempt.metered = end, final and end == last


def _still_to_come(account: Account) -> int | None:
    """What an attempt may still cost at most, micro-CNY; None once all of it is accounted for."""
    attempt, until = account.attempt, account.attempt.metered_until
    if attempt.metered:
        return None
    limit = timedelta(seconds=account.spec.max_runtime_seconds)
    since = attempt.started_at or attempt.held_from
    start = max(since, until or since)
    seconds = max(0, whole_seconds(start, since + limit))
    return at_most(account.held, seconds, start, since + limit, account.journal.registry.book, account.buyer)


def _course(account: Account, end: datetime) -> Course:
    attempt = account.attempt
    lost = None
    if attempt.state == AttemptState.LOST and attempt.started_at is not None:
        lost = lost_from(attempt.started_at, attempt.checkpoint_at, end)
    return Course(attempt.started_at, account.spec.max_runtime_seconds, lost)


def _charge(account: Account, start: datetime, end: datetime) -> None:
    registry = account.journal.registry
    for number, holding in enumerate(account.held):
        lines = meter(
            holding,
            since=account.attempt.held_from,
            start=start,
            end=end,
            book=registry.book,
            buyer=account.buyer,
            boundaries=policy_days(registry),
            carried=account.carried,
        )
        for line in lines:
            account.charge(holding, line)
        for span in unpriced(start, end, lines) if number == 0 else ():
            account.leave_free(holding, span, Unbilled.NO_PRICE)


def _correct(account: Account, since: datetime) -> None:
    """Take back what was charged from `since` on, and charge what stays due of it. Caps have all of it back before any is drawn."""
    records = [record for record in account.posted() if datetime.fromisoformat(record["period_end"]) > since]
    for record in records:
        account.take_back(record)
    for record in records:
        start, end = (datetime.fromisoformat(record[key]) for key in ("period_start", "period_end"))
        if start < since:
            account.charge_again(record, since)
        account.leave_free(account.holding(record["item"]), (max(start, since), end), Unbilled.NODE_LOST, replaces=record)
