"""Running time becomes cost records: hourly while an attempt runs and once at its end, tagged, chained and appended.

One transaction posts a batch: the records, the attempts' `metered_until`, the chain's head and the use of caps. A crash leaves
either all of it or none, and the next turn goes on from `metered_until`.
"""

from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Select, func, select
from sqlalchemy.orm import Session

from scheduler.billing.metering import MAX_SPAN, MILLI, Carried, Line, holdings, meter, whole_seconds
from scheduler.contract.cost import RecordKind
from scheduler.contract.job import JobSpec
from scheduler.contract.registry import Contract, Launcher, PricedItem
from scheduler.contract.sync import Placement
from scheduler.domain.clock import rfc3339
from scheduler.domain.hardware import HardwareClass, shipped_catalogue
from scheduler.domain.states import ATTEMPT_FINAL, AttemptState
from scheduler.service.journal import Journal
from scheduler.service.registry import Registry
from scheduler.service.tags import Charge, Terms, context_of, policy_days, tags_for
from scheduler.store.tables import AttemptRow, JobRow

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
    due = session.scalars(_due(every, now)).all()
    journal.expect({attempt.job_id: attempt.tenant_id for attempt in due})
    for attempt in due:
        _post_attempt(journal, attempt)
    return journal.close()


def _due(every: timedelta, now: datetime) -> Select[AttemptRow]:
    since = func.coalesce(AttemptRow.metered_until, AttemptRow.started_at)
    ended = AttemptRow.state.in_(ATTEMPT_FINAL)
    interval_over = (since <= now - every) & (AttemptRow.observed_at > since)
    return (
        select(AttemptRow)
        .where(AttemptRow.metered.is_(False), AttemptRow.started_at.is_not(None), ended | interval_over)
        .order_by(AttemptRow.fencing_token)
        .limit(BATCH)
        .with_for_update()
    )


def _post_attempt(journal: Journal, attempt: AttemptRow) -> None:
    """Charge [metered_until or start, end or last observation). Whole seconds only; a rest under a second is not charged."""
    final = attempt.state in ATTEMPT_FINAL
    start = attempt.metered_until or attempt.started_at
    end = attempt.finished_at if final else attempt.observed_at
    if start is None or end is None or (not final and whole_seconds(start, end) == 0):
        return
    job = journal.session.get_one(JobRow, attempt.job_id)
    spec = JobSpec.model_validate(job.spec)
    sums = journal.sums(job.id, job.tenant_id)
    last = max(start, end)
    end = min(last, start + MAX_SPAN)
    provider = journal.registry.clusters[attempt.cluster_id].provider
    contract = journal.registry.contracts.get(attempt.contract_id or "")
    core_milli, memory_milli = attempt.cores * MILLI, attempt.host_memory_gib * MILLI
    for holding in holdings(attempt.cluster_id, attempt.model, attempt.card_milli, core_milli, memory_milli):
        for line in meter(
            holding,
            since=attempt.started_at or start,
            start=start,
            end=end,
            book=journal.registry.book,
            buyer=journal.registry.entitlement(job.tenant_id, provider, contract),
            boundaries=policy_days(journal.registry),
            carried=Carried(sums.list_carried, sums.contracted_carried),
        ):
            _post_line(journal, job, spec, attempt, holding.sku[1], line)
    attempt.metered_until, attempt.metered = end, final and end == last


def _post_line(journal: Journal, job: JobRow, spec: JobSpec, attempt: AttemptRow, item: PricedItem, line: Line) -> None:
    registry = journal.registry
    provider = registry.clusters[attempt.cluster_id].provider
    contract = registry.contracts.get(attempt.contract_id or "")
    hardware_class = HardwareClass(attempt.hardware_class) if attempt.hardware_class else None
    charge = Charge(item, hardware_class, line.start, line.end, line.contracted_micros)
    terms = Terms.of(job.tenant_id, spec)
    tags = tags_for(registry, terms, provider, contract, charge)
    body = _body(registry, job, spec, attempt, provider, contract, item, line)
    journal.post(body, tags, context_of(registry, terms, provider, contract))


def _body(
    registry: Registry,
    job: JobRow,
    spec: JobSpec,
    attempt: AttemptRow,
    provider: str,
    contract: Contract | None,
    item: PricedItem,
    line: Line,
) -> dict[str, Any]:
    placements = [Placement.model_validate(placement) for placement in attempt.placements]
    seconds = whole_seconds(line.start, line.end)
    return {
        "kind": RecordKind.USAGE.value,
        "tenant": job.tenant_id,
        "provider": provider,
        "contract": contract.id if contract else None,
        "job": job.id,
        "attempt": attempt.id,
        "attempt_number": attempt.number,
        "cluster": attempt.cluster_id,
        "recorded": registry.clusters[attempt.cluster_id].launcher is Launcher.RECORDED,
        "nodes": [placement.node for placement in placements],
        "devices": [device for placement in placements for device in placement.devices],
        "hardware_class": attempt.hardware_class,
        "vendor": attempt.vendor,
        "model": attempt.model,
        "catalogue_version": shipped_catalogue().version,
        "item": item.value,
        "activity": spec.activity.value,
        "period_start": rfc3339(line.start),
        "period_end": rfc3339(line.end),
        "unit_seconds": line.unit_seconds,
        "card_seconds": line.unit_seconds if item is PricedItem.ACCELERATOR else 0,
        "list_price": line.price.list_micros,
        "contracted_price": line.price.contracted_micros,
        "price_version": line.price.version,
        "price_tier": line.price.tier.value,
        "price_reasons": [reason.code for reason in line.price.reasons()],
        "list_amount": line.list_micros,
        "contracted_amount": line.contracted_micros,
        "preempted_seconds": seconds if attempt.state == AttemptState.PREEMPTED else 0,
        "retried_seconds": seconds if attempt.tries > 1 else 0,
        "gap_seconds": 0,
        "reason": None,
        "reverses": None,
        "replaces": None,
        "description": None,
        "evidence_sha256": None,
        "voucher_application": spec.voucher.application if spec.voucher else None,
    }
